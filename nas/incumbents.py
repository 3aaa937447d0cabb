"""What a search has found so far: the best trials, the worst rewards, and how many trials brought nothing better.

    compare(reward, trial)      a trial completed, or paused: its reward is the latest of it
    failed(trial, charged)      a trial failed in the end, however far it came before

Rewards are vectors; with one objective, of one number. A function of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.controllers.fidelity import WHOLE
from nas.history import Trial
from nas.pareto import Vector, dominates, worst


@dataclass(slots=True)
class Incumbents:
    # Rewards and trials: what none dominates, of equals the earlier; with one objective, one. Where trials are cut
    # short, of those that came as far as any.
    best: list[tuple[Vector, int]] = field(default_factory=list)
    longest: int = 0  # the step that these reached, or WHOLE
    worst: Vector | None = None  # of each objective
    without_new_best: int = 0  # trials that ended in a row

    def compare(self, reward: Vector, trial: Trial) -> None:
        """Whether that is a new best: only those that came as far as any are compared."""
        reached = WHOLE if trial.whole else trial.reached
        self.worst = reward if self.worst is None else worst([self.worst, reward])
        if reached > self.longest:
            self.best, self.longest = [], reached
        beaten = reached < self.longest or any(dominates(other, reward) for other, _ in self.best)
        equals = [number for other, number in self.best if other == reward]
        grew = not beaten and not equals
        if grew or not trial.since:
            self.without_new_best = 0 if grew else self.without_new_best + 1
        if not beaten and trial.number <= min(equals, default=trial.number):
            ahead = [one for one in self.best if one[0] != reward and not dominates(reward, one[0])]
            self.best = [*ahead, (reward, trial.number)]

    def failed(self, trial: Trial, *, charged: bool) -> None:
        """``charged``: to the candidate, and not to the machines."""
        if trial.since:  # what it was worth before is no more
            self.best = [one for one in self.best if one[1] != trial.number]
            self.longest *= bool(self.best)
        else:
            self.without_new_best += charged

    def save(self) -> Any:
        return [self.best, self.longest, self.worst, self.without_new_best]

    def load(self, state: Any) -> None:
        best, self.longest, low, self.without_new_best = state
        self.best = [(tuple(reward), trial) for reward, trial in best]
        self.worst = low and tuple(low)
