"""The tree of a space, and the one walk over it that sampling, replay, counting and every controller share.

Every node stands for one place of one unfolded space: repetitions and ``{new: ...}`` have nodes of their own, so a
decision's path is a constant of its node and the walk formats no text. A node in layer position resolves to a *list* of
entries (nothing, one, or several), which is what makes splicing plain concatenation; a node in value position resolves
to its value.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nas.documents import copied
from nas.space.decisions import Decision, Index, Integer, Real
from nas.space.expressions import Impossible, Term, as_integer_if_whole
from nas.space.words import is_number

Choose = Callable[[Decision], int | float]
View = Callable[[Decision, dict[str, int | float]], Decision]  # of a decision, by what is drawn: see constraints.Masks
MOST_POSSIBLE = 4096  # values that `possible` enumerates


class Walk:
    """One pass through the active part of the tree."""

    __slots__ = ("choose", "decisions", "invalid", "own", "tied", "view")

    def __init__(self, choose: Choose, view: View | None = None, *, shared: bool = False) -> None:
        """``shared``: what is written out in the space, and each mention of a define, is handed on as it is. That is
        twice as fast, and for looking only."""
        self.choose = choose
        self.view = view
        self.own: Callable[[Any], Any] = _same if shared else copied
        self.decisions: dict[str, int | float] = {}  # path -> value, in the order drawn
        self.tied: dict[Define, Any] = {}
        self.invalid = ""  # the first reason why the candidate cannot be trained

    def draw(self, decision: Decision) -> int | float:
        if self.view is not None:
            decision = self.view(decision, self.decisions)
        value = self.decisions[decision.path] = decision.accept(self.choose(decision))
        return value

    def mention(self, define: Define) -> Any:
        """The define's value, drawn now if this is its first active mention."""
        if define not in self.tied:
            self.tied[define] = define.body.value(self)
        return self.tied[define]

    def index(self, decision: Index) -> int:
        return int(self.draw(decision))


def _same(data: Any) -> Any:
    return data


class Node(Protocol):
    def value(self, walk: Walk) -> Any:
        """Resolve, drawing the active decisions in document order. Containers are the caller's own, but for a shared
        walk's."""
        ...

    def parts(self) -> Iterator[Decision | Define | Node]:
        """What stands here, in document order: its decisions, the defines it mentions, the nodes it holds."""
        ...

    def possible(self) -> frozenset[Any] | None:
        """All scalars that this can resolve to (maybe more), or None where they cannot be enumerated."""
        ...


class _Opaque:
    """A node whose values nobody needs to enumerate."""

    __slots__ = ()

    def possible(self) -> frozenset[Any] | None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Define:
    """A named body, drawn at most once in a walk. Compared by identity: each repetition has its own."""

    name: str
    body: Node


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    data: Any

    def value(self, walk: Walk) -> Any:
        return walk.own(self.data)

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter(())

    def possible(self) -> frozenset[Any] | None:
        return None if isinstance(self.data, dict | list) else frozenset({self.data})


@dataclass(frozen=True, slots=True, eq=False)
class Mapped(_Opaque):
    """A mapping of values."""

    items: tuple[tuple[str, Node], ...]

    def value(self, walk: Walk) -> dict[str, Any]:
        return {key: node.value(walk) for key, node in self.items}

    def parts(self) -> Iterator[Decision | Define | Node]:
        return (node for _, node in self.items)


@dataclass(frozen=True, slots=True, eq=False)
class Listed(_Opaque):
    """A list of values."""

    items: tuple[Node, ...]

    def value(self, walk: Walk) -> list[Any]:
        return [node.value(walk) for node in self.items]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter(self.items)


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    decision: Index
    options: tuple[Node, ...]

    def value(self, walk: Walk) -> Any:
        return self.options[walk.index(self.decision)].value(walk)

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.decision, *self.options))

    def possible(self) -> frozenset[Any] | None:
        sets = [option.possible() for option in self.options]
        return None if None in sets else frozenset(itertools.chain(*(s for s in sets if s is not None)))


@dataclass(frozen=True, slots=True, eq=False)
class Number:
    """An integer or real drawn from its range."""

    decision: Integer | Real

    def value(self, walk: Walk) -> int | float:
        return walk.draw(self.decision)

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.decision,))

    def possible(self) -> frozenset[Any] | None:
        d = self.decision
        if isinstance(d, Real) or d.high - d.low >= MOST_POSSIBLE:
            return None
        return frozenset(range(d.low, d.high + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Stepped:
    """A range with a step: the decision is an index, and only this node knows the values."""

    decision: Index
    values: tuple[int | float, ...]

    def value(self, walk: Walk) -> int | float:
        return self.values[walk.index(self.decision)]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.decision,))

    def possible(self) -> frozenset[Any] | None:
        return frozenset(self.values)


@dataclass(frozen=True, slots=True, eq=False)
class Subset(_Opaque):
    """A subset of a given size (or sizes): one index over all combinations, members in declared order."""

    decision: Index
    members: tuple[Node, ...]
    combinations: tuple[tuple[int, ...], ...]

    def value(self, walk: Walk) -> list[Any]:
        return [self.members[member].value(walk) for member in self.combinations[walk.index(self.decision)]]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.decision, *self.members))


@dataclass(frozen=True, slots=True, eq=False)
class Members(_Opaque):
    """A subset of any size: one yes or no for each member."""

    decisions: tuple[Index, ...]
    members: tuple[Node, ...]

    def value(self, walk: Walk) -> list[Any]:
        pairs = zip(self.decisions, self.members, strict=True)
        return [member.value(walk) for decision, member in pairs if walk.index(decision)]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return itertools.chain.from_iterable(zip(self.decisions, self.members, strict=True))


@dataclass(frozen=True, slots=True, eq=False)
class Tie:
    """``=name``: the define's value, the same at every mention."""

    define: Define

    def value(self, walk: Walk) -> Any:
        return walk.own(walk.mention(self.define))

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.define,))

    def possible(self) -> frozenset[Any] | None:
        return self.define.body.possible()


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """``=2 * width``; where it has no value the candidate is invalid, and null stands in its place."""

    text: str
    path: str
    term: Term
    defines: tuple[Define, ...]  # in order of first mention
    task: Mapping[str, Any]  # "task.classes" -> 10

    def value(self, walk: Walk) -> int | float | None:
        names = {define.name: walk.mention(define) for define in self.defines}
        try:
            return self.of(names)
        except Impossible as error:
            walk.invalid = walk.invalid or f"{self.path}: ={self.text}: {error}"
            return None

    def of(self, names: Mapping[str, Any]) -> int | float:
        """Raises Impossible."""
        lost = [name for name, value in names.items() if not is_number(value)]
        if lost:
            raise Impossible(f"'{lost[0]}' has no value")
        return as_integer_if_whole(self.term.compute({**self.task, **names}))

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter(self.defines)

    def possible(self) -> frozenset[Any] | None:
        sets = [define.body.possible() for define in self.defines]
        size = 1
        for s in sets:
            size *= MOST_POSSIBLE + 1 if s is None else len(s)
        if size > MOST_POSSIBLE:
            return None
        values: set[Any] = set()
        for combination in itertools.product(*(s or () for s in sets)):
            try:
                values.add(self.of(dict(zip((d.name for d in self.defines), combination, strict=True))))
            except Impossible:
                values.add(None)
        return frozenset(values)


# Nodes in layer position: they resolve to lists of entries -----------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Layer(_Opaque):
    name: str
    settings: Node

    def value(self, walk: Walk) -> list[Any]:
        return [{self.name: self.settings.value(walk)}]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.settings,))


@dataclass(frozen=True, slots=True, eq=False)
class Entries(_Opaque):
    """A list of entries, spliced; an empty one is what null stands for."""

    items: tuple[Node, ...]

    def value(self, walk: Walk) -> list[Any]:
        return [entry for node in self.items for entry in node.value(walk)]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter(self.items)


@dataclass(frozen=True, slots=True, eq=False)
class Repeat(_Opaque):
    """``bodies`` has one node for each repetition that can ever be, so that repetition i always has the same paths."""

    path: str
    times: Node
    bodies: tuple[Node, ...]

    def value(self, walk: Walk) -> list[Any]:
        times = self.times.value(walk)
        if not is_times(times):
            walk.invalid = walk.invalid or f"{self.path}.times: {times} is no number of repetitions"
            return []
        return [entry for body in self.bodies[: int(times)] for entry in body.value(walk)]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.times, *self.bodies))


def is_times(value: Any) -> bool:
    """Whether a resolved value can count repetitions: 24.0 serves, 24.5 does not."""
    return is_number(value) and value >= 0 and value == int(value)


def all_decisions(roots: Sequence[Node]) -> list[Decision]:
    """Every decision that can ever be active, in document order; a define's stand at its first possible mention."""
    found: list[Decision] = []
    seen: set[Define] = set()

    def visit(part: Decision | Define | Node) -> None:
        if isinstance(part, Index | Integer | Real):
            found.append(part)
        elif not isinstance(part, Define):
            for held in part.parts():
                visit(held)
        elif part not in seen:
            seen.add(part)
            visit(part.body)

    for root in roots:
        visit(root)
    return found
