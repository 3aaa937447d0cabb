"""How a policy sees a decision: a small number of bins, each with a prior mass, and a uniform draw inside the bin.

An index of a choice is its own bin. A real, a wide integer and a long ordered choice have 32 bins, of equal width in
the scale that the decision declares (linear or log), so a categorical head serves them all and its log-probability has
a closed form: log P(bin) plus the log-density within the bin, with respect to the value itself.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.space import Decision, Index, Integer, Real

BINS = 32
LEAST_SHARE = 1e-6  # of a bin of which anything is left: its logarithm must stay a number in single precision

Numbers = NDArray[Any]
Shares = Sequence[float]  # of each bin, the part that a view leaves: 0 (nothing) to 1 (all of it)


@dataclass(frozen=True, slots=True)
class Bins:
    """The bins of one decision: bin i holds edges[i] <= v < edges[i + 1], where v is the value itself for integers and
    indices, and for reals the position in the declared scale, from 0 to 1."""

    decision: Decision
    edges: tuple[float, ...]
    prior: tuple[float, ...]  # mass of each bin under the space's prior; sums to 1
    smooth: bool  # neighbours are alike

    @property
    def size(self) -> int:
        return len(self.prior)

    def bin_of(self, value: int | float) -> int:
        if len(self.edges) == 2:
            return 0
        at = position(self.decision, value) if isinstance(self.decision, Real) else value
        return min(max(bisect_right(self.edges, at) - 1, 0), self.size - 1)

    def shares(self, view: Decision) -> Shares:
        """How much of each bin is left in a view of the decision, of the values (a real: of the positions) in it.

        Chances of bins are multiplied by it, and normalised: that is the law of the whole decision, given the view.
        """
        if isinstance(view, Index) and view.allowed is not None:
            inside = [bisect_left(view.allowed, edge) for edge in self.edges]
            left = [float(b - a) for a, b in pairwise(inside)]
        else:
            low, high = self._ends(view)
            left = [min(b, high) - max(a, low) for a, b in pairwise(self.edges)]
        found = [
            max(part / (b - a), LEAST_SHARE) if part > 0 else 0.0
            for part, (a, b) in zip(left, pairwise(self.edges), strict=True)
        ]
        if not any(found) and not isinstance(view, Index):  # a real of which one point is left
            found[self.bin_of(view.low)] = LEAST_SHARE
        return found

    def bin_among(self, value: int | float, shares: Shares | None) -> int:
        """The bin of a value of a view; where it is the edge of a bin of which nothing is left, the one beside."""
        at = self.bin_of(value)
        if shares is None or shares[at]:
            return at
        return at - 1 if at and shares[at - 1] else min(at + 1, self.size - 1)

    def draw_within(self, bin: int, uniform: float, view: Decision) -> int | float:
        """A value inside the bin that a view leaves, from ``uniform`` in [0, 1)."""
        a, b = self.edges[bin], self.edges[bin + 1]
        if isinstance(view, Index) and view.allowed is not None:
            first, last = bisect_left(view.allowed, a), bisect_left(view.allowed, b)
            return view.allowed[first + math.floor(uniform * (last - first))]
        low, high = self._ends(view)
        a = max(a, low)
        b = max(min(b, high), a)
        if isinstance(self.decision, Real) and isinstance(view, Real):
            return min(max(_value(self.decision, a + uniform * (b - a)), view.low), view.high)
        return int(a + math.floor(uniform * (b - a)))

    def _ends(self, view: Decision) -> tuple[float, float]:
        """Where a view begins and ends, as ``edges`` count."""
        match view:
            case Integer(low=low, high=high):
                return low, high + 1
            case Real(low=low, high=high) if isinstance(self.decision, Real):
                return position(self.decision, low), position(self.decision, high)
        return self.edges[0], self.edges[-1]

    def draw(self, bin: int, uniform: float) -> int | float:
        """A value inside the bin, from ``uniform`` in [0, 1)."""
        low, high = self.edges[bin], self.edges[bin + 1]
        if isinstance(self.decision, Real):
            return _value(self.decision, low + uniform * (high - low))
        return int(low + math.floor(uniform * (high - low)))

    def log_density(self, bin: int, value: int | float) -> float:
        """log of the probability (index, integer) or density (real, per unit of ``value``) of a value given its bin."""
        width = self.edges[bin + 1] - self.edges[bin]
        if not isinstance(self.decision, Real):
            return -math.log(width)
        span = self.decision.high - self.decision.low
        if span == 0.0:
            return 0.0  # a point: there is nothing to be drawn
        if self.decision.log:  # d position / d value = 1 / (value * ln(high / low))
            return -math.log(width * value * math.log(self.decision.high / self.decision.low))
        return -math.log(width * span)

    # The same for many values at once: whole decisions only, arrays of one length in and out.

    def many_of(self, values: Numbers) -> Numbers:
        """The bin of each value."""
        if len(self.edges) == 2:
            return np.zeros(len(values), np.int64)
        at = values
        if isinstance(self.decision, Real):
            low, high = self.decision.low, self.decision.high
            at = np.log(values / low) / math.log(high / low) if self.decision.log else (values - low) / (high - low)
        return np.clip(np.searchsorted(self.edges, at, side="right") - 1, 0, self.size - 1)

    def draw_many(self, bins: Numbers, uniform: Numbers) -> Numbers:
        """A value inside each bin."""
        edges = np.asarray(self.edges)
        at = edges[bins] + uniform * (edges[bins + 1] - edges[bins])
        if not isinstance(self.decision, Real):
            return np.asarray(np.floor(at), np.int64)
        low, high = self.decision.low, self.decision.high
        values = low * np.exp(at * math.log(high / low)) if self.decision.log else low + at * (high - low)
        clipped: Numbers = np.clip(values, low, high)
        return clipped

    def log_densities(self, bins: Numbers, values: Numbers) -> Numbers:
        """As ``log_density``, of each value given its bin."""
        widths = np.diff(np.asarray(self.edges, np.float64))[bins]
        if not isinstance(self.decision, Real):
            return np.asarray(-np.log(widths))
        low, high = self.decision.low, self.decision.high
        if high == low:
            return np.zeros(len(values))
        return np.asarray(-np.log(widths * (values * math.log(high / low) if self.decision.log else high - low)))


def bins_of(decision: Decision) -> Bins:
    """The bins of any decision, with the mass that the space's prior gives each."""
    match decision:
        case Real(low=low, high=high):
            count = BINS if high > low else 1
            return Bins(decision, tuple(i / count for i in range(count + 1)), (1 / count,) * count, True)
        case Integer(low=low, high=high, log=log):
            edges = _integer_edges(low, high, log)
            return Bins(decision, edges, _integer_prior(edges, log), True)
    return _index_bins(decision)


def _index_bins(decision: Index) -> Bins:
    weights = decision.weights or (1 / decision.size,) * decision.size
    if not decision.ordered or decision.size <= BINS:
        return Bins(decision, tuple(range(decision.size + 1)), tuple(weights), decision.ordered)
    edges = _integer_edges(0, decision.size - 1, log=False)
    masses = tuple(sum(weights[int(a) : int(b)]) for a, b in pairwise(edges))
    return Bins(decision, edges, masses, True)


def _integer_edges(low: int, high: int, log: bool) -> tuple[float, ...]:
    if high - low < BINS:
        return tuple(range(low, high + 2))
    if not log:
        return tuple(low + (high + 1 - low) * i // BINS for i in range(BINS + 1))
    ratio = (high + 0.5) / (low - 0.5)
    return tuple(sorted({round((low - 0.5) * ratio ** (i / BINS) + 0.5) for i in range(BINS + 1)}))


def _integer_prior(edges: tuple[float, ...], log: bool) -> tuple[float, ...]:
    """Uniform, or log-uniform where each integer k stands for (k - 0.5, k + 0.5), as in space.draw_prior."""
    masses = [math.log((b - 0.5) / (a - 0.5)) if log else b - a for a, b in pairwise(edges)]
    return tuple(mass / sum(masses) for mass in masses)


def position(decision: Decision, value: float) -> float:
    """Where a value stands in its decision's domain, from 0 to 1, in the scale that the decision declares."""
    low, high = (0, decision.size - 1) if isinstance(decision, Index) else (decision.low, decision.high)
    if high == low:
        return 0.0
    if not isinstance(decision, Index) and decision.log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def moved(decision: Integer | Real, value: float, by: float) -> int | float:
    """The value ``by`` farther in its domain, which counts 1 as in ``position``; an integer moves by one at least."""
    at = min(max(position(decision, value) + by, 0.0), 1.0)
    if isinstance(decision, Real):
        return _value(decision, at)
    low, high = decision.low, decision.high
    there = round(low * (high / low) ** at if decision.log else low + at * (high - low))
    return min(max(there if there != value else there + (1 if by > 0 else -1), low), high)


def _value(decision: Real, position: float) -> float:
    if decision.log:
        value = decision.low * math.exp(position * math.log(decision.high / decision.low))
    else:
        value = decision.low + position * (decision.high - decision.low)
    return min(max(value, decision.low), decision.high)
