"""How many assignments of decisions a space has: exact, by dynamic programming over the tree.

Independent parts multiply and options add; what breaks that is a define mentioned in several places, drawn once and
only if one of its mentions is active. So the recursion carries *states*: which of the defines that are still to be
mentioned have been drawn, and the value of those that decide how often something is repeated. A state maps to a
polynomial in R, the number of values of one unstepped float: R is a symbol and never a number, and two floats are R^2.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import InputError
from nas.space.decisions import Index, Integer, Real
from nas.space.expressions import Impossible
from nas.space.tree import (
    Choice,
    Constant,
    Define,
    Expression,
    Members,
    Node,
    Number,
    Repeat,
    Stepped,
    Subset,
    Tie,
    is_times,
)

MOST_STATES = 10_000
MOST_BITS = 14_000  # of a number that is written out; Python prints at most 4,300 digits

Polynomial = tuple[int, ...]  # (a, b, c) is a + b R + c R^2
State = tuple[frozenset[Define], frozenset[tuple[Any, Any]]]  # drawn; and values, by define (by node: repetitions left)
States = dict[State, Polynomial]
Defines = frozenset[Define]

_START: State = (frozenset(), frozenset())
_ONE: Polynomial = (1,)


@dataclass(frozen=True, slots=True)
class Count:
    """``coefficients[k]`` counts the assignments with k unstepped floats active, those floats' values aside."""

    coefficients: Polynomial

    @property
    def exact(self) -> int | None:
        """The number of assignments; None where an unstepped float makes it unbounded."""
        return self.coefficients[0] if len(self.coefficients) == 1 else None

    @property
    def finite(self) -> int:
        """The number of assignments of everything but unstepped floats (exact where there are none)."""
        return sum(self.coefficients)

    def __str__(self) -> str:
        """``1,728``, or ``96 + 48 R + 12 R^2``."""
        powers = ["", " R", *(f" R^{k}" for k in range(2, len(self.coefficients)))]
        terms = [f"{_written(a)}{power}" for a, power in zip(self.coefficients, powers, strict=False) if a]
        return " + ".join(terms) or "0"


def _written(number: int) -> str:
    """``1,728``; a number of more digits than Python prints, as 1.234e5678."""
    bits = number.bit_length()
    if bits < MOST_BITS:
        return f"{number:,}"
    exponent, fraction = divmod(math.log10(number >> (bits - 64)) + (bits - 64) * math.log10(2), 1)
    return f"{10**fraction:.3f}e{int(exponent)}"


def count(roots: Sequence[Node]) -> Count:
    """The count of the nodes of one space, drawn one after another.

    Raises:
        InputError: more states than can be carried: very many defines that are each drawn in some candidates only.
    """
    states = _Counter(roots).sequence(roots, {_START: _ONE}, frozenset())
    return Count(_sum(states.values()))


class _Counter:
    def __init__(self, roots: Sequence[Node]) -> None:
        self.mentioned: dict[Node | Define, Defines] = {}
        self.settled: set[Node | Define] = set()  # parts without a decision: they change no count and need no state
        self.deciding: set[Define] = set()  # whose values decide how often something is repeated
        for root in roots:
            self.mentions(root)

    def mentions(self, part: Node | Define) -> Defines:
        """All defines that a node can draw, those inside other defines included."""
        if part not in self.mentioned:
            held = [part.body] if isinstance(part, Define) else list(part.parts())
            nodes = [node for node in held if not isinstance(node, Index | Integer | Real)]
            found: Defines = frozenset().union(*(self.mentions(node) for node in nodes))
            if len(nodes) == len(held) and self.settled.issuperset(nodes):
                self.settled.add(part)
            elif isinstance(part, Define):
                found |= {part}
            self.mentioned[part] = found
            if isinstance(part, Repeat):
                self.deciding |= self.mentions(part.times)
        return self.mentioned[part]

    # All of these take the states before, and answer the states after; `live` are the defines mentioned later on.

    def sequence(self, parts: Sequence[Node | Define], states: States, live: Defines) -> States:
        for part, later in zip(parts, self.after_each(parts, live), strict=True):
            states = _forgetting(self.through(part, states, later), later)
        return states

    def after_each(self, parts: Sequence[Node | Define], live: Defines) -> list[Defines]:
        """For each part the defines that are mentioned after it: by the parts that follow, or later on."""
        found: list[Defines] = []
        for part in reversed(parts):
            found.append(live)
            live |= self.mentions(part)
        return found[::-1]

    def through(self, part: Node | Define, states: States, live: Defines) -> States:
        if part in self.settled:
            return states
        mentioned = self.mentions(part)
        if len(states) > 1 and not mentioned & live and not any(mentioned & drawn for drawn, _ in states):
            alone = _sum(self.step(part, {_START: _ONE}, live).values())
            return {state: _times(count, alone) for state, count in states.items()}
        return self.step(part, states, live)

    def step(self, part: Node | Define, states: States, live: Defines) -> States:
        match part:
            case Define():
                return self.mention(part, states, live)
            case Number(decision=Real()):
                return {state: (0, *count) for state, count in states.items()}
            case Number(decision=Integer(low=low, high=high)):
                return _scaled(states, high - low + 1)
            case Stepped(decision=decision):
                return _scaled(states, decision.size)
            case Choice(options=options):
                return _merged(self.through(option, states, live) for option in options)
            case Members(members=members):
                for member, later in zip(members, self.after_each(members, live), strict=True):
                    states = _merged([states, self.through(member, states, later)])
                return states
            case Subset(decision=decision, members=members) if all(isinstance(m, Constant) for m in members):
                return _scaled(states, decision.size)
            case Subset(members=members, combinations=combinations):
                return _merged(self.sequence([members[m] for m in group], states, live) for group in combinations)
            case Repeat():
                return self.repeat(part, states, live)
        return self.sequence([p for p in part.parts() if not isinstance(p, Index | Integer | Real)], states, live)

    def mention(self, define: Define, states: States, live: Defines) -> States:
        drawn = {state: count for state, count in states.items() if define in state[0]}
        fresh = {state: count for state, count in states.items() if define not in state[0]}
        if not fresh:
            return drawn
        if define in self.deciding:
            outcomes = self.outcomes(define.body, fresh, live)
            new = {(s[0] | {define}, s[1] | {(define, value)}): count for (s, value), count in outcomes.items()}
        else:
            new = _merged(
                {(s[0] | {define}, s[1]): count} for s, count in self.through(define.body, fresh, live).items()
            )
        return _merged([drawn, new])

    def repeat(self, node: Repeat, states: States, live: Defines) -> States:
        """Repetitions left are part of the state, so that all numbers of them go through a body together."""
        running: States = {}
        ended: list[States] = []
        within = live.union(*map(self.mentions, node.bodies))
        for (state, times), count in self.outcomes(node.times, states, within).items():
            if is_times(times) and times > 0:
                _add(running, (state[0], state[1] | {(node, int(times))}), count)
            else:  # none, or a number that makes the candidate invalid
                ended.append({state: count})
        bodies = zip(node.bodies, self.after_each(node.bodies, live), strict=True)
        for done, (body, later) in enumerate(bodies, start=1):
            ending: States = {}
            going: States = {}
            for (drawn, known), count in self.through(body, running, later).items():
                last = (node, done) in known
                _add(ending if last else going, (drawn, known - {(node, done)}), count)
            ended.append(ending)
            running = _forgetting(going, later)
        return _merged(ended)

    def outcomes(self, node: Node, states: States, live: Defines) -> dict[tuple[State, Any], Polynomial]:
        """The states after, each with a value that the node resolves to there. For nodes with possible() values."""
        found: dict[tuple[State, Any], Polynomial] = {}

        def add(after: States, value: Any) -> None:
            for state, count in after.items():
                _add(found, (state, value), count)

        match node:
            case Constant(data=value):
                add(states, value)
            case Number(decision=Integer(low=low, high=high)):
                for value in range(low, high + 1):
                    add(states, value)
            case Stepped(values=values):
                for value in values:
                    add(states, value)
            case Choice(options=options):
                for option in options:
                    for (state, value), count in self.outcomes(option, states, live).items():
                        _add(found, (state, value), count)
            case Tie(define=define) if define in self.settled:
                found = self.outcomes(define.body, states, live)
            case Tie(define=define):
                for state, count in self.mention(define, states, live).items():
                    _add(found, (state, dict(state[1])[define]), count)
            case Expression(defines=defines):
                needed = live.union(defines)
                settled = {define: _only(define) for define in defines if define in self.settled}
                for state, count in self.sequence(defines, states, needed).items():
                    _add(found, (state, _computed(node, settled | dict(state[1]))), count)
        return found


def _only(define: Define) -> Any:
    """The value of a define without decisions."""
    (value,) = define.body.possible() or (None,)
    return value


def _computed(node: Expression, known: dict[Any, Any]) -> Any:
    try:
        return node.of({define.name: known[define] for define in node.defines})
    except Impossible:
        return None


def _forgetting(states: States, live: Defines) -> States:
    """Without the defines that nothing mentions any more: states that differ in them alone are one."""
    kept: States = {}
    for (drawn, known), count in states.items():
        pairs = frozenset(pair for pair in known if not isinstance(pair[0], Define) or pair[0] in live)
        _add(kept, (drawn & live, pairs), count)
    if len(kept) > MOST_STATES:
        raise InputError(
            "too many defines are each drawn in some candidates only: their combinations cannot be counted"
        )
    return kept


def _merged(many: Iterable[States]) -> States:
    result: States = {}
    for states in many:
        for state, count in states.items():
            _add(result, state, count)
    return result


def _add(states: dict[Any, Polynomial], state: Any, count: Polynomial) -> None:
    states[state] = _sum([states[state], count]) if state in states else count


def _scaled(states: States, factor: int) -> States:
    return {state: tuple(a * factor for a in count) for state, count in states.items()}


def _sum(many: Iterable[Polynomial]) -> Polynomial:
    total: list[int] = []
    for one in many:
        total += [0] * (len(one) - len(total))
        for power, coefficient in enumerate(one):
            total[power] += coefficient
    return tuple(total) or (0,)


def _times(one: Polynomial, other: Polynomial) -> Polynomial:
    product = [0] * (len(one) + len(other) - 1)
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            product[i + j] += a * b
    return tuple(product)
