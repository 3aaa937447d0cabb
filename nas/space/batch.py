"""Many draws at once, as columns: the decisions alone, for whoever needs thousands of them and no candidates.

    batch = space.prior_many(10_000, numpy.random.default_rng(1))
    batch.columns["architecture.0.conv.kernel"].values     # (10000,), of rows where .active
    space.replay(batch.row(7)).candidate                   # any row is a draw like any other

A row is distributed as the draws of ``Space.walk`` are: the same decisions are active, in the same views. The tree is
gone through once, with the set of rows for which a place of it is active; what depends on values (how often something
repeats, what constraints leave of a decision) is worked out once for each combination of values that occurs.

Left out: judging. As a single walk's may, a row may violate what no mask can rule out; ``Space.replay`` tells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.space.constraints import Masks
from nas.space.decisions import Decision, Index, Integer, Real
from nas.space.partial import Chosen, Condition, Known, Repeated, within
from nas.space.tree import Define, Node

Rows = npt.NDArray[np.bool_]  # (count,): of which draws something is the case
Values = npt.NDArray[Any]  # int64, of a Real float64
ChooseMany = Callable[
    [Decision, npt.NDArray[np.intp]], Values
]  # a decision (or view), for these rows: a value for each


@dataclass(frozen=True, slots=True)
class Column:
    """One decision of all draws: (count,) both; a value means something where it is active."""

    decision: Decision
    values: Values
    active: Rows


@dataclass(frozen=True, slots=True)
class Batch:
    count: int
    columns: Mapping[str, Column]  # by path; a decision that no draw has is missing
    drawn: Sequence[tuple[str, Rows]]  # in order: what a define holds is drawn at its first active mention, row by row

    def row(self, number: int) -> dict[str, int | float]:
        """The decisions of one draw in the order of its walk, as Space.replay takes and gives them."""
        return {path: self.columns[path].values[number].item() for path, rows in self.drawn if rows[number]}


def walk_many(roots: Iterable[Node], count: int, choose: ChooseMany, masks: Masks | None) -> Batch:
    """Ask ``choose`` for each decision and view that any draw meets. Values outside the domain raise ValueError."""
    walk = _Walk(count, choose, masks)
    for root in roots:
        walk.visit(root, np.ones(count, np.bool_))
    return Batch(count, walk.columns, walk.drawn)


class _Walk:
    def __init__(self, count: int, choose: ChooseMany, masks: Masks | None) -> None:
        self.count, self.choose, self.masks = count, choose, masks
        self.columns: dict[str, Column] = {}
        self.drawn: list[tuple[str, Rows]] = []
        self.mentioned: dict[Define, Rows] = {}

    def visit(self, node: Node, rows: Rows) -> None:
        for part, condition in within(node):
            here = rows if condition is None else rows & self.fulfilled(condition, rows)
            if isinstance(part, Define):  # drawn at its first active mention, and no more
                before = self.mentioned.get(part)
                self.mentioned[part] = here if before is None else before | here
                part, here = part.body, here if before is None else here & ~before
            if not here.any():
                continue
            if isinstance(part, Index | Integer | Real):
                self.draw(part, here)
            else:
                self.visit(part, here)

    def draw(self, decision: Decision, rows: Rows) -> None:
        column = self.columns.get(decision.path)
        if column is None:
            values = np.zeros(self.count, np.float64 if isinstance(decision, Real) else np.int64)
            column = self.columns[decision.path] = Column(decision, values, np.zeros(self.count, np.bool_))
        others = None if self.masks is None else self.masks.others(decision.path)
        if self.masks is None or others is None:
            groups: Iterable[tuple[Decision, Any]] = [(decision, np.flatnonzero(rows))]
        else:
            groups = [(self.masks.view(decision, drawn), these) for drawn, these in self.combinations(others, rows)]
        for view, these in groups:
            column.values[these] = _accepted(view, self.choose(view, these))
        column.active[rows] = True
        self.drawn.append((decision.path, rows))

    def fulfilled(self, condition: Condition, rows: Rows) -> Rows:
        """Of rows that the condition's decisions are drawn for, where it holds."""
        if isinstance(condition, Chosen):
            column = self.columns[condition.path]
            options = list(condition.options)
            taken = column.values == options[0] if len(options) == 1 else np.isin(column.values, options)
            return column.active & taken
        holds = np.zeros(self.count, np.bool_)
        if not isinstance(condition, Repeated) or condition.times is None:
            raise NotImplementedError("a node of which it is not known when its parts are active")
        for drawn, these in self.combinations(sorted(condition.times.paths), rows):
            holds[these] = bool(condition.holds(Known(drawn)))
        return holds

    def combinations(
        self, paths: Sequence[str], rows: Rows
    ) -> Iterator[tuple[dict[str, int | float], npt.NDArray[np.intp]]]:
        """The rows, grouped by the values of these decisions; what is not active is not in the group's mapping."""
        columns = [self.columns[path] for path in paths if path in self.columns]
        these = np.flatnonzero(rows)
        keys = [
            part for column in columns for part in (column.active[these], column.values[these] * column.active[these])
        ]
        if not keys:
            yield {}, these
            return
        order = np.lexsort(keys)
        differs = np.any([key[order][1:] != key[order][:-1] for key in keys], axis=0)
        for group in np.split(these[order], np.flatnonzero(differs) + 1):
            row = group[0]
            yield {column.decision.path: column.values[row].item() for column in columns if column.active[row]}, group


def _accepted(decision: Decision, values: Values) -> Values:
    """As Decision.accept: raises ValueError where a value is outside the domain."""
    if isinstance(decision, Index):
        allowed = decision.allowed
        right = (values >= 0) & (values < decision.size) if allowed is None else np.isin(values, allowed)
    else:
        right = (values >= decision.low) & (values <= decision.high)  # NaN is not
    if not isinstance(decision, Real) and not np.issubdtype(values.dtype, np.integer):
        raise TypeError(f"{decision.path}: whole numbers are needed, not {values.dtype}")
    if not right.all():
        raise ValueError(f"{decision.path}: {values[~right][0]} is outside of the domain, or ruled out")
    return values


# The prior -----------------------------------------------------------------------------------------------------------


def choose_prior(rng: np.random.Generator) -> ChooseMany:
    """From the prior, by uniform draws alone."""
    return lambda decision, rows: prior_values(decision, rng.random(len(rows)))


def prior_values(decision: Decision, u: npt.NDArray[np.float64]) -> Values:
    """What decisions.draw_prior makes of each uniform number in [0, 1)."""
    match decision:
        case Index(allowed=None, weights=None):
            return (u * decision.size).astype(np.int64)
        case Index():
            options = range(decision.size) if decision.allowed is None else decision.allowed
            chances = [decision.weights[option] if decision.weights else 1.0 for option in options]
            left = u * (1.0 if decision.allowed is None else math.fsum(chances))
            values = np.full(len(u), options[-1])
            open_ = np.ones(len(u), np.bool_)
            for option, chance in zip(options, chances, strict=True):
                left = left - chance
                values[open_ & (left < 0)] = option
                open_ &= left >= 0
            return values
        case Integer(log=False):
            return decision.low + (u * (decision.high - decision.low + 1)).astype(np.int64)
        case Integer():
            low, high = math.log(decision.low - 0.5), math.log(decision.high + 0.5)
            return np.clip(np.rint(np.exp(low + u * (high - low))).astype(np.int64), decision.low, decision.high)
        case Real(log=False):
            return np.clip(decision.low + u * (decision.high - decision.low), decision.low, decision.high)
        case Real():
            low, high = math.log(decision.low), math.log(decision.high)
            return np.clip(np.exp(low + u * (high - low)), decision.low, decision.high)
