"""Constraints: what a candidate must satisfy, decided before training and seen by every controller alike.

    parameters <= 500_000            2 <= depth <= 8            width * 2 <= filters
    not active(momentum) or momentum >= 0.9                     path('architecture.0.kernel') == 5

A constraint is judged when a draw has ended. One that names something inactive holds, unless it asks by
``value(x, default)`` or ``active(x)``; a comparison of something inactive that ``active()`` guards counts as true. One
that cannot be computed (division by zero) is violated.

Before a decision is drawn, the constraints that depend on it are looked ahead: where one fails for every value that
the undrawn rest can still have, the option is taken out of the decision's view (decisions.py). So a mask follows from
what is drawn already, and never changes the support; what no mask can know is left to rejection.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from nas.errors import InputError, Problem
from nas.space import ranges
from nas.space.candidate import Candidate
from nas.space.decisions import Decision, Index, Integer
from nas.space.expressions import Impossible, Term
from nas.space.partial import Activity, Inactive, Known, Value
from nas.space.ranges import Range
from nas.space.words import COSTS, is_number

MOST_OPTIONS = 256  # that are tried one by one; of a longer choice only the ends are cut off
HALVINGS = 24  # of a real's range, when its ends are cut off: to 1e-7 of it
MOST_VIEWS = 4096  # that are remembered


@dataclass(frozen=True, slots=True)
class Costs:
    """What candidates cost, handed in from above: this package knows no layers.

    ``of(candidate)`` has at least ``names``, and raises errors.InvalidCandidate where no network can be built.
    """

    of: Callable[[Candidate], Mapping[str, float]]
    names: tuple[str, ...] = COSTS


@dataclass(frozen=True, slots=True)
class Variable:
    """A define or decision that a constraint mentions, by the text it is mentioned with."""

    text: str
    value: Value
    activity: Activity

    def state(self, known: Known) -> bool | None:
        """True: it has a value, or will have one; False: it is inactive; None: that is open."""
        states = [self.activity.state(item, known) for item in self.value.items]
        return False if False in states else None if None in states else True

    def read(self, known: Known) -> Any:
        """Raises Inactive, Impossible."""
        return self.value.term.compute(known)


@dataclass(frozen=True, slots=True)
class Test:
    """A condition, compiled twice: whether it holds, and whether that is settled by what is known so far."""

    decide: Callable[[Known], bool]  # raises Impossible
    foresee: Callable[[Known], bool | None]


@dataclass(frozen=True, slots=True, eq=False)
class Constraint:
    text: str
    place: Problem  # where it stands; its message is not used
    test: Test
    needs: tuple[Variable, ...]  # where one of these is inactive, the constraint holds
    costs: frozenset[str]
    paths: frozenset[str]  # the decisions that its variables' values, or their being active, depend on

    def holds(self, known: Known) -> bool:
        """Of a draw that has ended."""
        try:
            for variable in self.needs:
                variable.read(known)
            return self.test.decide(known)
        except Inactive:
            return True
        except Impossible:
            return False

    def foresee(self, known: Known) -> bool | None:
        """Whether it will hold, of a draw that goes on; None where what is still to be drawn may decide it."""
        states = [variable.state(known) for variable in self.needs]
        if False in states:
            return True
        return None if None in states else self.test.foresee(known)

    def problem(self, message: str) -> Problem:
        return replace(self.place, message=message)


# Conditions ----------------------------------------------------------------------------------------------------------


def all_of(tests: list[Test]) -> Test:
    """``and``."""

    def foresee(known: Known) -> bool | None:
        found = [test.foresee(known) for test in tests]
        return False if False in found else None if None in found else True

    return Test(lambda known: all(test.decide(known) for test in tests), foresee)


def any_of(tests: list[Test]) -> Test:
    """``or``."""

    def foresee(known: Known) -> bool | None:
        found = [test.foresee(known) for test in tests]
        return True if True in found else None if None in found else False

    return Test(lambda known: any(test.decide(known) for test in tests), foresee)


def negated(test: Test) -> Test:
    """``not``."""

    def foresee(known: Known) -> bool | None:
        found = test.foresee(known)
        return None if found is None else not found

    return Test(lambda known: not test.decide(known), foresee)


def is_active(variable: Variable) -> Test:
    """``active(x)``."""

    def decide(known: Known) -> bool:
        try:
            variable.read(known)
        except Inactive:
            return False
        except Impossible:
            return True
        return True

    return Test(decide, variable.state)


def value_or(variable: Variable, default: Term) -> Term:
    """``value(x, default)``."""

    def compute(known: Known) -> Any:
        try:
            return variable.read(known)
        except Inactive:
            return default.compute(known)

    def bound(known: Known) -> Range:
        state = variable.state(known)
        found = [] if state is False else [variable.value.term.bound(known)]
        return ranges.union([*found, *([] if state else [default.bound(known)])])

    return Term(compute, bound)


def cost(name: str) -> Term:
    """``parameters`` and the like: known when the draw has ended."""

    def compute(known: Known) -> float:
        if name not in known.costs:
            raise InputError(f"a constraint needs '{name}', and the costs that were given have none")
        return known.costs[name]

    return Term(compute, lambda _: (0.0, float("inf")))


def compare(terms: list[Term], operators: list[str], guarded: list[Variable]) -> Test:
    """A chain ``a <= b < c``; true where one of the ``guarded`` variables in it is inactive."""
    links = list(zip(terms, operators, terms[1:], strict=False))

    def decide(known: Known) -> bool:
        try:
            return all(_DECIDE[sign](a.compute(known), b.compute(known)) for a, sign, b in links)
        except Inactive:
            return True

    def foresee(known: Known) -> bool | None:
        found = [_foresee(sign, a.bound(known), b.bound(known)) for a, sign, b in links]
        if False in found:
            return None if guarded and not all(variable.state(known) for variable in guarded) else False
        return None if None in found else True

    return Test(decide, foresee)


def _equal(a: Any, b: Any) -> bool:
    return bool(a == b and isinstance(a, bool) == isinstance(b, bool))  # 1 is not true


_DECIDE: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": _equal,
    "!=": lambda a, b: not _equal(a, b),
}


def _foresee(sign: str, a: Range, b: Range) -> bool | None:
    match sign:
        case "<" | "<=":
            return _below(sign == "<=", ranges.hull(a), ranges.hull(b))
        case ">" | ">=":
            return _below(sign == ">=", ranges.hull(b), ranges.hull(a))
    same = _same(a, b)
    return same if sign == "==" or same is None else not same


def _below(or_equal: bool, a: ranges.Interval, b: ranges.Interval) -> bool | None:
    if a[1] < b[0] or (or_equal and a[1] == b[0]):
        return True
    if a[0] > b[1] or (not or_equal and a[0] == b[1]):
        return False
    return None


def _same(a: Range, b: Range) -> bool | None:
    if isinstance(a, frozenset) and isinstance(b, frozenset):
        if not any(_equal(x, y) for x in a for y in b):
            return False
        return True if len(a) == len(b) == 1 else None
    if isinstance(a, frozenset):
        a, b = b, a
    if ranges.EVERYTHING in (a, b):  # words among it
        return None
    if isinstance(b, frozenset):  # against an interval, which holds numbers alone
        low, high = ranges.hull(a)
        return None if any(is_number(y) and low <= y <= high for y in b) else False
    (low, high), (lower, upper) = ranges.hull(a), ranges.hull(b)
    return False if high < lower or upper < low else None


# Looking ahead -------------------------------------------------------------------------------------------------------


class Masks:
    """What the constraints of a space say about each decision before it is drawn."""

    def __init__(self, constraints: Iterable[Constraint]) -> None:
        self._about: dict[str, list[Constraint]] = {}
        for constraint in constraints:
            for path in constraint.paths:
                self._about.setdefault(path, []).append(constraint)
        # What a view depends on: the decisions of the constraints about it, other than itself.
        self._others = {
            path: sorted(frozenset().union(*(constraint.paths for constraint in about)) - {path})
            for path, about in self._about.items()
        }
        self._views: dict[tuple[Any, ...], Decision] = {}

    def others(self, path: str) -> list[str] | None:
        """The decisions that a view of this one depends on; None where no constraint is about it."""
        return self._others.get(path)

    def view(self, decision: Decision, drawn: dict[str, int | float]) -> Decision:
        """The decision without the values that can only lead to a violation; itself, where there is none of these.

        Where every value leads to one, all are left: the draw then ends in a violation that can be named.
        """
        about = self._about.get(decision.path)
        if about is None:
            return decision
        key = (decision.path, *map(drawn.get, self._others[decision.path]))
        view = self._views.get(key)
        if view is None:
            if isinstance(decision, Index) and decision.size <= MOST_OPTIONS:
                view = _without_options(decision, about, drawn)
            else:
                view = _without_ends(decision, about, drawn)
            if len(self._views) >= MOST_VIEWS:
                self._views.clear()
            self._views[key] = view
        return view


def masks(constraints: Iterable[Constraint]) -> Masks | None:
    """None where no constraint says anything about a decision."""
    found = list(constraints)
    return Masks(found) if any(constraint.paths for constraint in found) else None


def _without_options(decision: Index, about: list[Constraint], drawn: dict[str, int | float]) -> Index:
    known = Known(drawn)
    left = []
    for index in range(decision.size):
        drawn[decision.path] = index
        if all(constraint.foresee(known) is not False for constraint in about):
            left.append(index)
    del drawn[decision.path]
    return decision if len(left) in (0, decision.size) else replace(decision, allowed=tuple(left))


def _without_ends(decision: Decision, about: list[Constraint], drawn: dict[str, int | float]) -> Decision:
    """Bisection: what fails everywhere between the low end and some point is cut off; likewise at the high end."""
    low, high = (0, decision.size - 1) if isinstance(decision, Index) else (decision.low, decision.high)
    known = Known(drawn, tried=decision.path)
    real = not isinstance(decision, Index | Integer)

    def fails(a: float, b: float) -> bool:
        known.bounds = (a, b)
        return any(constraint.foresee(known) is False for constraint in about)

    if fails(low, high):
        return decision
    new_low = _cut(low, high, fails, real) if fails(low, low) else low
    new_high = -_cut(-high, -new_low, lambda a, b: fails(-b, -a), real) if fails(high, high) else high
    if (new_low, new_high) == (low, high) or new_low > new_high:
        return decision
    if isinstance(decision, Index):
        return replace(decision, allowed=tuple(range(int(new_low), int(new_high) + 1)))
    bounds: Any = {"low": new_low, "high": new_high}
    return replace(decision, **bounds)


def _cut(low: Any, high: Any, fails: Callable[[Any, Any], bool], real: bool) -> Any:
    """The lowest value that is left, where ``low`` fails and ``low``..``high`` does not fail throughout."""
    first, bad, good = low, low, high
    if real:
        for _ in range(HALVINGS):
            middle = (bad + good) / 2
            bad, good = (middle, good) if fails(first, middle) else (bad, middle)
        return bad
    while good - bad > 1:
        middle = (bad + good) // 2
        bad, good = (middle, good) if fails(first, middle) else (bad, middle)
    return good
