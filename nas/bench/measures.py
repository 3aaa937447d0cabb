"""What is told of many runs: measures of traces, percentiles in which failures are infinite, and paired tests.

    reached       evaluations completed up to the goal, its equals included; infinite where it was not reached
    score@n       what the table says finally of the row with the best reward among the first n
    regret@n      the best row's quality minus that row's, on the benchmark's scale: 0 is best
    log_regret@n  log10 of the distance in the table's own unit, at least that of the second best row
    hypervolume@n with several objectives: what the first n dominate, as a share of what the whole table does

Searches that evaluated less than n are judged by what they had; ``end`` stands for all that a run evaluated.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from nas.bench.recorded import Recorded
from nas.bench.trace import Trace
from nas.pareto import hypervolume

EXACT = 25  # pairs, up to which the test's distribution is counted out


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    values: tuple[float, ...]  # by seed
    higher: bool  # is better

    def quantile(self, share: float) -> float:
        return quantile(self.values, share)

    @property
    def mean(self) -> float:
        return math.fsum(self.values) / len(self.values) if all(map(math.isfinite, self.values)) else math.inf

    @property
    def failures(self) -> int:
        return sum(not math.isfinite(value) for value in self.values)


def measures(recorded: Recorded, traces: Sequence[Trace]) -> list[Measure]:
    """Everything that the protocol reports of these runs, in its order."""
    found = []
    ends: list[int | None] = [*recorded.protocol.at] or [None]
    for report in recorded.protocol.report:
        if report == "reached":
            found.append(Measure("reached", tuple(reached(recorded, trace) for trace in traces), False))
            continue
        for end in ends:
            if report == "hypervolume":
                values = tuple(share(recorded, trace, end) for trace in traces)
            else:
                values = tuple(_judged(recorded, incumbent(trace, end), report) for trace in traces)
            name = f"{report}@{'end' if end is None else end}"
            found.append(Measure(name, values, recorded.higher if report == "score" else report == "hypervolume"))
    return found


def reached(recorded: Recorded, trace: Trace) -> float:
    """Evaluations completed when the goal was."""
    assert recorded.goal is not None
    return next((n for n, row in enumerate(trace.rows, start=1) if row >= 0 and recorded.goal[row]), math.inf)


def incumbent(trace: Trace, end: int | None) -> int | None:
    """The row with the best reward among the first ``end`` evaluations; None where all failed."""
    if end is None:
        return trace.incumbents[-1][1] if trace.incumbents else None
    place = bisect_right([n for n, _ in trace.incumbents], end)
    return trace.incumbents[place - 1][1] if place else None


def _judged(recorded: Recorded, row: int | None, report: str) -> float:
    higher = recorded.higher and report == "score"
    assert recorded.final is not None
    if row is None or not math.isfinite(recorded.final[row]):  # nothing was found, or what has no final score
        return -math.inf if higher else math.inf
    if report == "score":
        return float(recorded.final[row])
    if report == "regret":
        return float(recorded.qualities[recorded.best] - recorded.qualities[row])
    distances = np.abs(recorded.final - recorded.final[recorded.best])
    return math.log10(max(distances[row], distances[distances > 0].min()))  # NaN is not above 0


def share(recorded: Recorded, trace: Trace, end: int | None) -> float:
    """Of the table's hypervolume, after so many evaluations; 1 is all of it."""
    found = {recorded.vectors[row] for row in trace.rows[:end] if row >= 0}
    return hypervolume(list(found), recorded.reference) / recorded.volume


def curve(recorded: Recorded, trace: Trace, points: Sequence[int]) -> list[float]:
    """Regret after each of these numbers of evaluations; infinite where there was nothing yet. With several objectives
    it is the share of the table's hypervolume that is missing.
    """
    if recorded.wish.objectives:
        return [1.0 - share(recorded, trace, point) for point in points]
    return [_judged(recorded, incumbent(trace, point), "regret") for point in points]


def quantile(values: Sequence[float], share: float) -> float:
    """By linear interpolation (R's type 7, NumPy's default); infinite where it lies beyond the finite values."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    if low in (high, -math.inf):  # from minus infinity there is no way up, and a difference would be no number
        return low
    return low + (high - low) * (place - math.floor(place))


# Tests ---------------------------------------------------------------------------------------------------------------


def better_than(ours: Mapping[int, float], theirs: Mapping[int, float], *, higher: bool) -> float:
    """p of Wilcoxon's signed-rank test, one-sided, over the seeds that both have: is ``ours`` better?

    Pairs that are equal (two failures, too) are left out, tied distances share their ranks, and a failure is infinitely
    worse than any success. Exact by counting where few pairs are left, else the normal approximation with corrections
    for ties and continuity (Wilcoxon 1945; Lehmann, Nonparametrics, 1975).
    """
    gains = []
    for seed in sorted(ours.keys() & theirs.keys()):
        one, other = (ours[seed], theirs[seed]) if higher else (-ours[seed], -theirs[seed])
        if one != other:
            gains.append(one - other)
    if not gains:
        return 1.0
    ranks = list(_ranks([abs(gain) for gain in gains]))
    for_us = math.fsum(rank for rank, gain in zip(ranks, gains, strict=True) if gain > 0)
    if len(gains) <= EXACT:
        return _chance_of(ranks, for_us)
    mean = math.fsum(ranks) / 2
    spread = math.sqrt(math.fsum(rank**2 for rank in ranks) / 4)  # of a sum of signed ranks, ties included
    return 0.5 * math.erfc((for_us - mean - 0.5) / spread / math.sqrt(2))


def _ranks(distances: Sequence[float]) -> Iterator[float]:
    """From 1, in the order given; equal ones share the mean of their places."""
    order = sorted(range(len(distances)), key=lambda index: distances[index])
    ranks = [0.0] * len(distances)
    place = 0
    for _, group in groupby(order, key=lambda index: distances[index]):
        tied = list(group)
        for index in tied:
            ranks[index] = place + (len(tied) + 1) / 2
        place += len(tied)
    yield from ranks


def _chance_of(ranks: Sequence[float], least: float) -> float:
    """That the sum of ranks with fair signs is at least this: all signs counted, in half ranks, which are whole."""
    counts = np.zeros(int(2 * math.fsum(ranks)) + 1)
    counts[0] = 1.0
    for rank in ranks:
        step = round(2 * rank)
        counts[step:] = counts[step:] + counts[:-step]
    return float(counts[round(2 * least) :].sum() / counts.sum())


def holm(chances: Sequence[float]) -> list[float]:
    """Holm 1979: p values of a family, corrected so that all of them may be read together; in the order given."""
    order = sorted(range(len(chances)), key=lambda index: chances[index])
    corrected, least = [0.0] * len(chances), 0.0
    for place, index in enumerate(order):
        least = max(least, min(1.0, (len(chances) - place) * chances[index]))
        corrected[index] = least
    return corrected
