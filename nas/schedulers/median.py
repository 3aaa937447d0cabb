"""The median stopping rule (Golovin et al. 2017, Google Vizier, section 3.3.1).

A trial is stopped at step s if the best value that it has reported by then is below the median of the others' averages
over their reports up to s. The others are all that ended, stopped ones among them, as far as they came: the rule asks
for no model and no length, and is never wrong about a trial that is better than most from its beginning.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import accumulate
from statistics import median
from typing import Any

from nas.pareto import Vector
from nas.schedulers import NoScheduler
from nas.schedulers.curves import REMEMBERED, Curve, Curves, ladder, last
from nas.schedulers.settings import MedianSettings


class MedianScheduler(NoScheduler):
    name = "median"
    watches = True

    def __init__(self, settings: MedianSettings) -> None:
        self._settings = settings
        self._curves = Curves()
        self._averages: dict[int, list[float]] = {}  # step -> of the reports up to it, of all that ended, sorted

    def rungs(self, reached: int) -> Sequence[int]:
        return ladder(self._settings.min_resource, reached)

    def stops(self, trial: int, length: int | None) -> str:
        curve = self._curves.running.get(trial)
        if not curve or last(curve) < self._settings.min_resource or (length and last(curve) >= length):
            return ""
        others = self._averages.get(last(curve), ())
        if len(others) < self._settings.min_trials:
            return ""
        best, middle = max(curve.values()), median(others)
        if best >= middle:
            return ""
        return f"its best, {best:.5g}, is below {middle:.5g}, the median average of {len(others):,} trials"

    def began(self, trial: int) -> None:
        self._curves.began(trial)

    def reported(self, trial: int, step: int, value: float) -> None:
        self._curves.reported(trial, step, value)

    def ended(self, trial: int, reward: Vector | None) -> None:
        curve = self._curves.take(trial)
        if reward is None or not curve:
            return
        if len(self._curves.ended) == REMEMBERED:
            for step, average in _averages(self._curves.ended[0]):
                del self._averages[step][bisect_left(self._averages[step], average)]
        self._remember(curve)

    def _remember(self, curve: Curve) -> None:
        self._curves.ended.append(curve)
        for step, average in _averages(curve):
            insort(self._averages.setdefault(step, []), average)

    def save(self) -> Any:
        return self._curves.save()

    def load(self, state: Any) -> None:
        self._curves.load(state)
        for curve in self._curves.ended.copy():
            for step, average in _averages(curve):
                insort(self._averages.setdefault(step, []), average)


def _averages(curve: Curve) -> list[tuple[int, float]]:
    """After each step the mean of what was reported so far."""
    sums = accumulate(curve.values())
    return [(step, total / count) for count, (step, total) in enumerate(zip(curve, sums, strict=True), 1)]
