"""Stops a trial that will hardly become the best, by its learning curve (the rule of Domhan et al. 2015, section 3.3).

Where a curve will end is read off those of this run that went to their end (after Chandrashekaran and Lane 2017,
doi:10.1007/978-3-319-71249-9_29): of these the third that stood most alike at this step, and what they gained from
there. The trial is expected to gain as much; it is stopped where the chance that it ends above the best so far, by a
normal law with their mean and spread (wider where they are few), is less than the threshold. Curves of other levels
scatter otherwise, which a law for all of them, as Domhan's power laws are, does not say: on recorded curves what these
foretell orders candidates worse than the last value alone does (docs/log.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean, stdev
from typing import Any

from nas.pareto import Vector
from nas.schedulers import NoScheduler
from nas.schedulers.curves import Curves, ladder, last
from nas.schedulers.settings import ExtrapolateSettings

ALIKE = 3  # one in so many of the curves is looked at


class ExtrapolateScheduler(NoScheduler):
    name = "extrapolate"
    watches = True

    def __init__(self, settings: ExtrapolateSettings, length: int) -> None:
        self._settings = settings
        self._length = length
        self._curves = Curves()  # of those that ended, the ones that went to their end
        self._best = -math.inf  # at the end of any

    def rungs(self, reached: int) -> Sequence[int]:
        return ladder(self._settings.min_resource, reached)

    def stops(self, trial: int, length: int | None) -> str:
        curve = self._curves.running.get(trial)
        if not curve or not self._settings.min_resource <= last(curve) < self._length:
            return ""
        step = last(curve)
        value = curve[step]
        others = [(other[step], other[last(other)]) for other in self._curves.ended if step in other]
        if len(others) < self._settings.min_trials:
            return ""
        alike = sorted(others, key=lambda other: abs(other[0] - value))
        gains = [end - then for then, end in alike[: max(self._settings.min_trials, len(others) // ALIKE)]]
        count = len(gains)
        spread = stdev(gains) * math.sqrt((1 + 1 / count) * (count + 1) / (count - 1))
        expected = value + fmean(gains)
        chance = 1 - NormalDist(expected, spread).cdf(self._best) if spread else float(expected >= self._best)
        if chance >= self._settings.probability:
            return ""
        return f"expected to end at {expected:.4g} ± {spread:.2g}: {chance:.1%} to beat the best, {self._best:.4g}"

    def began(self, trial: int) -> None:
        self._curves.began(trial)

    def reported(self, trial: int, step: int, value: float) -> None:
        self._curves.reported(trial, step, value)

    def ended(self, trial: int, reward: Vector | None) -> None:
        curve = self._curves.take(trial)
        if reward is not None and curve and last(curve) >= self._length:
            self._curves.ended.append(curve)
            self._best = max(self._best, curve[last(curve)])

    def save(self) -> Any:
        return {"curves": self._curves.save(), "best": None if self._best == -math.inf else self._best}

    def load(self, state: Any) -> None:
        self._curves.load(state["curves"])
        self._best = -math.inf if state["best"] is None else state["best"]
