"""What is known of a candidate while it is being drawn: values, what they can still be, and what is active.

Constraints look at a space through this. A *variable* is a define or a decision; its value is a scalar, or for options
that are no scalars (layers, mappings) the option's label. Values follow from the decisions alone, so they can be asked
for before the draw has ended; nothing is drawn by asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.space import ranges
from nas.space.decisions import Decision, Index, Integer, Real
from nas.space.expressions import Impossible, Term
from nas.space.ranges import Interval, Range
from nas.space.tree import (
    Choice,
    Constant,
    Define,
    Entries,
    Expression,
    Layer,
    Listed,
    Mapped,
    Members,
    Node,
    Number,
    Repeat,
    Stepped,
    Subset,
    Tie,
    is_times,
)
from nas.space.tree_graph import Graph, GraphNode, Removed
from nas.space.words import is_number

MOST_MENTIONS = 256  # of one define or decision that are looked at; one mentioned in more places is "perhaps active"


class Inactive(Exception):
    """What was asked for does not exist in this candidate, or is not drawn yet."""


@dataclass(slots=True)
class Known:
    """Decisions drawn so far, and of the one being drawn the bounds that are tried (of its index, if it has one)."""

    decisions: Mapping[str, int | float]
    costs: Mapping[str, float] = field(default_factory=dict)
    tried: str = ""
    bounds: Interval = ranges.EVERYTHING

    def drawn(self, path: str) -> int | float:
        """Raises Inactive."""
        try:
            return self.decisions[path]
        except KeyError:
            raise Inactive(path) from None


# Values --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Value:
    """A variable's value as a term over Known; ``compute`` raises Inactive or Impossible. ``paths``: it depends on."""

    term: Term
    paths: frozenset[str]
    items: frozenset[Define | str]  # the defines and decisions that must be active for it to be
    words: frozenset[Any] = (
        frozenset()
    )  # all that it can be and that is no number; beside an interval no range has them


def value_of(part: Node | Decision) -> Value | None:
    """The value of a node or decision; None where it is no scalar and has no label: a list, a mapping, layers."""
    match part:
        case Number(decision=decision) | (Integer() | Real() as decision):
            return _drawn(decision)
        case Stepped(decision=decision, values=values):
            return _indexed(decision, [_known(value) for value in values])
        case Choice(decision=decision, options=options):
            return _indexed(decision, [_option(o, label) for o, label in zip(options, decision.labels, strict=True)])
        case Subset(decision=decision) | (Index() as decision):
            return _indexed(decision, [_known(scalar) for scalar in decision.values or decision.labels])
        case Tie(define=define):
            return of_define(define)
        case Expression():
            return _expression(part)
        case Constant(data=data) if not isinstance(data, dict | list):
            return _known(data)
    return None


def of_define(define: Define) -> Value | None:
    """The value of a define. One that draws nothing itself is known as soon as what it is made of is."""
    value = value_of(define.body)
    if value is None or isinstance(define.body, Constant | Tie | Expression):
        return value
    return Value(value.term, value.paths, frozenset((define,)), value.words)


def _known(scalar: Any) -> Value:
    range_ = ranges.point(scalar)
    words = frozenset(one for one in range_ if not is_number(one))
    return Value(Term(lambda _: scalar, lambda _: range_), frozenset(), frozenset(), words)


def _drawn(decision: Integer | Real) -> Value:
    path, static = decision.path, (decision.low, decision.high)

    def bound(known: Known) -> Range:
        if path in known.decisions:
            return ranges.point(known.decisions[path])
        return known.bounds if known.tried == path else static

    return Value(Term(lambda known: known.drawn(path), bound), frozenset((path,)), frozenset((path,)))


def _indexed(decision: Index, options: list[Value]) -> Value:
    path = decision.path
    terms = [option.term for option in options]
    constant = all(not option.paths for option in options)
    static = ranges.union(term.bound(Known({})) for term in terms)

    def bound(known: Known) -> Range:
        if path in known.decisions:
            return terms[int(known.decisions[path])].bound(known)
        if known.tried == path:
            low, high = (int(end) for end in known.bounds)
            return ranges.union(term.bound(known) for term in terms[low : high + 1])
        return static if constant else ranges.union(term.bound(known) for term in terms)

    return Value(
        Term(lambda known: terms[int(known.drawn(path))].compute(known), bound),
        frozenset((path,)).union(*(option.paths for option in options)),
        frozenset((path,)),
        frozenset().union(*(option.words for option in options)),
    )


def _option(option: Node, label: str) -> Value:
    """A scalar, or the label of what is none; null for nothing."""
    if isinstance(option, Entries) and not option.items:
        return _known(None)
    return (value_of(option) if _is_scalar(option) else None) or _known(label)


def _is_scalar(node: Node) -> bool:
    match node:
        case Constant(data=data):
            return not isinstance(data, dict | list)
        case Number() | Stepped() | Expression():
            return True
        case Tie(define=define):
            return _is_scalar(define.body)
        case Choice(options=options):
            return all(map(_is_scalar, options))
    return False


def _expression(node: Expression) -> Value:
    parts = {define.name: of_define(define) for define in node.defines}
    terms = {name: part.term for name, part in parts.items() if part is not None}
    task = {name: ranges.point(value) for name, value in node.task.items()}

    def compute(known: Known) -> Any:
        return node.of({name: term.compute(known) for name, term in terms.items()})

    def bound(known: Known) -> Range:
        return node.term.bound({**task, **{name: term.bound(known) for name, term in terms.items()}})

    found = [part for part in parts.values() if part is not None]
    return Value(
        Term(compute, bound),
        frozenset().union(*(part.paths for part in found)),
        frozenset().union(*(part.items for part in found)),
    )


def nodes_of_decisions(roots: Iterable[Node]) -> Iterator[tuple[str, Node | Decision]]:
    """Every decision's path with the node that knows its value, or with the decision itself."""
    seen: set[Define] = set()
    waiting: list[Node | Decision | Define] = []
    waiting.extend(reversed(list(roots)))
    while waiting:
        part = waiting.pop()
        match part:
            case Define():
                if part not in seen:
                    seen.add(part)
                    waiting.append(part.body)
                continue
            case Index() | Integer() | Real():
                yield part.path, part
                continue
            case Choice() | Number() | Stepped() | Subset():
                yield part.decision.path, part
        own = part.decision if isinstance(part, Choice | Number | Stepped | Subset) else None
        waiting.extend(reversed([held for held in part.parts() if held is not own]))


# Activity ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chosen:
    """Active where a decision takes one of these options."""

    path: str
    options: frozenset[int]

    def holds(self, known: Known) -> bool | None:
        drawn = known.decisions.get(self.path)
        return None if drawn is None else drawn in self.options


@dataclass(frozen=True, slots=True)
class Repeated:
    """Active where something is repeated more than ``index`` times."""

    times: Value | None
    index: int

    def holds(self, known: Known) -> bool | None:
        if self.times is None:
            return None
        try:
            times = self.times.term.compute(known)
            return is_times(times) and times > self.index
        except Impossible:
            return False
        except Inactive:
            low, high = ranges.hull(self.times.term.bound(known))
        return True if low > self.index and self._is_whole() else False if high <= self.index else None

    def _is_whole(self) -> bool:
        """Whether the times are a count whatever is drawn: a broken one repeats nothing."""
        assert self.times is not None
        static = self.times.term.bound(Known({}))
        return isinstance(static, frozenset) and all(is_times(value) for value in static)


@dataclass(frozen=True, slots=True)
class Perhaps:
    """Under a node of which it is not known here when its parts are active."""

    def holds(self, known: Known) -> bool | None:
        return None


Condition = Chosen | Repeated | Perhaps
Item = Define | str  # a define, or a decision by its path
Mention = tuple[Define | None, tuple[Condition, ...]]  # within which define's body (None: a root), under what


class Activity:
    """When each define and decision is active: known from the decisions drawn so far, where that decides it."""

    def __init__(self, roots: Iterable[Node]) -> None:
        self.mentions: dict[Item, list[Mention]] = {}
        for root in roots:
            self._visit(root, None, ())

    def state(self, item: Item, known: Known) -> bool | None:
        """True: it is or will be active; False: it is not, and will not be; None: that is still open."""
        if isinstance(item, str) and (item in known.decisions or item == known.tried):
            return True
        mentions = self.mentions.get(item, [])
        if len(mentions) > MOST_MENTIONS:
            return None
        best: bool | None = False
        for owner, conditions in mentions:
            state = self._all(conditions, known)
            if state is not False and owner is not None:
                inside = self.state(owner, known)
                state = inside if inside is False or state else None
            if state:
                return True
            best = None if state is None else best
        return best

    def controlling(self, item: Item, found: set[str] | None = None, seen: set[Item] | None = None) -> set[str]:
        """The decisions that decide whether it is active."""
        found, seen = set() if found is None else found, set() if seen is None else seen
        if item in seen:
            return found
        seen.add(item)
        for owner, conditions in self.mentions.get(item, []):
            for condition in conditions:
                match condition:
                    case Chosen(path=path):
                        found.add(path)
                    case Repeated(times=Value(paths=paths)):
                        found |= paths
            if owner is not None:
                self.controlling(owner, found, seen)
        return found

    @staticmethod
    def _all(conditions: tuple[Condition, ...], known: Known) -> bool | None:
        state: bool | None = True
        for condition in conditions:
            holds = condition.holds(known)
            if holds is False:
                return False
            state = None if holds is None else state
        return state

    def _visit(self, part: Node | Define | Decision, owner: Define | None, under: tuple[Condition, ...]) -> None:
        for held, condition in within(part):
            here = under if condition is None else (*under, condition)
            item = held.path if isinstance(held, Index | Integer | Real) else held
            if not isinstance(item, Define | str):
                self._visit(item, owner, here)
                continue
            first = item not in self.mentions
            self.mentions.setdefault(item, []).append((owner, here))
            if first and isinstance(item, Define):
                self._visit(item.body, item, ())


# Nodes that resolve everything they hold; a kind that is forgotten here is safe, and masks are weaker under it.
_ALL_ACTIVE = (
    *(Constant, Number, Stepped, Tie, Expression, Mapped, Listed, Entries, Layer),
    *(Graph, GraphNode, Removed),
)


def within(part: Any) -> Iterator[tuple[Any, Condition | None]]:
    """What a node holds, in the order of drawing, and when that is active (None: whenever the node is)."""
    match part:
        case Choice(decision=decision, options=options):
            yield decision, None
            for index, option in enumerate(options):
                yield option, Chosen(decision.path, frozenset((index,)))
        case Members(decisions=decisions, members=members):
            for decision, member in zip(decisions, members, strict=True):
                yield decision, None
                yield member, Chosen(decision.path, frozenset((1,)))
        case Subset(decision=decision, members=members, combinations=combinations):
            yield decision, None
            for index, member in enumerate(members):
                yield (
                    member,
                    Chosen(decision.path, frozenset(i for i, group in enumerate(combinations) if index in group)),
                )
        case Repeat(times=times, bodies=bodies):
            yield times, None
            value = value_of(times)
            for index, body in enumerate(bodies):
                yield body, Repeated(value, index)
        case _:
            condition = None if isinstance(part, _ALL_ACTIVE) else Perhaps()
            for held in part.parts():
                yield held, condition
