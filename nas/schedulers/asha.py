"""ASHA (Li et al. 2020, arXiv:1810.05934, algorithm 2) and, of several ladders, asynchronous Hyperband (section 3.3).

Rungs lie at r, r eta, r eta^2, ... steps. A trial pauses at each. Whenever a slot is free, a trial in the best 1/eta of
all that ever reached its rung goes on to the next, the highest rung first; where there is none a new one begins. So
nobody waits for a rung to fill; the price is that early comers are compared with few.

Hyperband shares trials out among ladders that begin at r, r eta, ..., the last one at no rung at all, in proportion to
what Hyperband's brackets hold (Li et al. 2018, JMLR 18-185, algorithm 1): eta^s / (s + 1) for a ladder of s rungs.
Which ladder is a function of (seed, trial).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nas.pareto import Vector
from nas.schedulers import NoScheduler, Promotion
from nas.schedulers.rung import Rung
from nas.schedulers.settings import AshaSettings, HyperbandSettings
from nas.seeds import derive


@dataclass(slots=True)
class Ladder:
    steps: Sequence[int]  # of its rungs
    rungs: list[Rung] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rungs = [Rung() for _ in self.steps]

    def rung(self, step: int) -> Rung:
        return self.rungs[self.steps.index(step)]

    def further(self, at: int) -> int | None:
        return self.steps[at + 1] if at + 1 < len(self.steps) else None


class AshaScheduler(NoScheduler):
    def __init__(self, settings: AshaSettings | HyperbandSettings, seed: int, length: int) -> None:
        self.name = settings.kind
        self._seed = seed
        self._factor = settings.reduction_factor
        steps = []
        step = settings.min_resource
        while step < length:
            steps.append(step)
            step *= self._factor
        self._steps = steps
        first = range(len(steps) + 1 if isinstance(settings, HyperbandSettings) else 1)
        self._ladders = [Ladder(steps[at:]) for at in first]
        self._weights = [self._factor ** len(ladder.steps) / (len(ladder.steps) + 1) for ladder in self._ladders]
        self._whole = 0  # trials that ended well, at their end

    def rungs(self, reached: int) -> Sequence[int]:
        return [step for step in self._steps if step <= reached]

    def first(self, trial: int) -> int | None:
        return next(iter(self._ladder(trial).steps), None)

    def promotion(self, closing: bool) -> Promotion | None:
        for ladder in self._ladders:
            for at in range(len(ladder.steps) - 1, -1, -1):
                rung = ladder.rungs[at]
                best = rung.best(within=len(rung) // self._factor)
                if best is not None:
                    return Promotion(best, ladder.further(at))
        return self._last() if closing and not self._whole else None

    def _last(self) -> Promotion | None:
        """The best of the highest rung on which somebody waits."""
        for at in range(len(self._steps) - 1, -1, -1):
            for ladder in self._ladders:
                rung = ladder.rung(self._steps[at]) if self._steps[at] in ladder.steps else None
                if rung is not None and (best := rung.best(within=len(rung))) is not None:
                    return Promotion(best, ladder.further(ladder.steps.index(self._steps[at])))
        return None

    def paused(self, trial: int, until: int, reward: Vector) -> None:
        self._ladder(trial).rung(until).add(trial, reward)

    def promoted(self, trial: int, until: int, further: int | None) -> None:
        self._ladder(trial).rung(until).promote(trial)

    def ended(self, trial: int, reward: Vector | None) -> None:
        self._whole += reward is not None

    def _ladder(self, trial: int) -> Ladder:
        if len(self._ladders) == 1:
            return self._ladders[0]
        return Random(derive(self._seed, "bracket", trial)).choices(self._ladders, self._weights)[0]

    def save(self) -> Any:
        return {"whole": self._whole, "ladders": [[rung.save() for rung in one.rungs] for one in self._ladders]}

    def load(self, state: Any) -> None:
        self._whole = state["whole"]
        for ladder, saved in zip(self._ladders, state["ladders"], strict=True):
            for rung, one in zip(ladder.rungs, saved, strict=True):
                rung.load(one)
