"""A rung: all trials that ever reached one length, in order, and which of them still wait there.

The best of those that wait is within the best k of all exactly where its own place is below k: two sorted lists answer
that by bisection. With several objectives the order is by front, then by crowding (NSGA-II's), which each newcomer may
change for all: it is made anew whenever the rung has grown by a sixteenth, and newcomers wait until then.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import Any

from nas.pareto import Vector, crowded

RENEWED = 16

Key = tuple[float, float, int]  # less is better; the trial's number last


class Rung:
    def __init__(self) -> None:
        self._rewards: dict[int, Vector] = {}  # in the order in which they came
        self._promoted: dict[int, None] = {}
        self._order: list[Key] = []
        self._waiting: list[Key] = []  # those of the order that were not promoted
        self._keys: dict[int, Key] = {}  # of those that were ordered together
        self._ordered = 0  # how many there were then

    def __len__(self) -> int:
        return len(self._rewards)

    def best(self, within: int) -> int | None:
        """The best trial that waits, if it is among the best ``within`` of all."""
        if not self._waiting or bisect_left(self._order, self._waiting[0]) >= within:
            return None
        return self._waiting[0][2]

    def add(self, trial: int, reward: Vector) -> None:
        self._rewards[trial] = reward
        if len(reward) == 1:
            insort(self._order, key := (-reward[0], 0.0, trial))
            insort(self._waiting, key)
        elif len(self._rewards) >= self._ordered + max(1, self._ordered // RENEWED):
            self._renew()

    def promote(self, trial: int) -> None:
        self._promoted[trial] = None
        reward = self._rewards[trial]
        key = (-reward[0], 0.0, trial) if len(reward) == 1 else self._keys[trial]
        del self._waiting[bisect_left(self._waiting, key)]

    def _renew(self) -> None:
        self._ordered = len(self._rewards)
        places = crowded(list(self._rewards.values()))
        self._keys = {
            trial: (-front, -apart, trial) for (front, apart), trial in zip(places, self._rewards, strict=True)
        }
        self._order = sorted(self._keys.values())
        self._waiting = [key for key in self._order if key[2] not in self._promoted]

    def save(self) -> Any:
        return {"rewards": list(self._rewards.items()), "promoted": list(self._promoted)}

    def load(self, state: Any) -> None:
        for trial, reward in state["rewards"]:
            self.add(trial, tuple(reward))
        for trial in state["promoted"]:
            self.promote(trial)
