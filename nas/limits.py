"""When a search ends by its own settings: budgets, which cut off, and rules to stop by, which let what runs end.

Both answer with a reason in words, empty while there is none. They are asked in every turn, and are functions of what
the journal says and the time. Whether time is all that ends a search, controllers are told by the rewards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import ge
from typing import Any

from nas.history import History
from nas.incumbents import Incumbents
from nas.pareto import Vector


@dataclass(frozen=True, slots=True)
class Budget:
    """Whichever is used up first; None is without limit. All are of the whole run: over its workers and drivers."""

    trials: int | None = None  # duplicates are not counted; what runs when the last one has begun is waited for
    seconds: float | None = None  # of summed active time; what runs then is cut off, and charged to nobody
    device_seconds: float | None = None  # that slots were busy, summed; likewise
    epochs: int | None = None  # that all attempts trained, those without a result too; likewise

    def time_is_up(self, history: History, now: float) -> str:
        if self.seconds is not None and history.active_seconds(now) >= self.seconds:
            return "time is up (budget.time)"
        if self.device_seconds is not None and history.device_seconds(now) >= self.device_seconds:
            return f"{self.device_seconds:g} device-seconds are used up (budget.device_seconds)"
        return ""

    def epochs_are_up(self, history: History) -> str:
        if self.epochs is not None and history.epochs_trained >= self.epochs:
            return f"{self.epochs:,} epochs are trained (budget.epochs)"
        return ""


def ends_by_time(config: Mapping[str, Any]) -> bool:
    """Whether the budget is of time and of nothing else: then a fast candidate leaves room for more.

    Of the config as the journal has it, with its changes so far, and not of the driver's own: a replay under a larger
    budget must tell what was told. Rules to stop by are none of the budget.
    """
    budget = config.get("budget", {})
    timed = budget.get("time") is not None or budget.get("device_seconds") is not None
    return timed and budget.get("trials") is None and budget.get("epochs") is None


@dataclass(frozen=True, slots=True)
class Stop:
    """Whichever holds first; None never does. A trial that still runs may yet end the patience's end."""

    reward: Vector | None = None  # that one trial is to reach in every objective; -inf where one does not matter
    patience: int | None = None  # trials that end in a row without a new best, or without growth of the first front
    device_seconds: float | None = None  # that slots were busy, summed

    def holds(self, incumbents: Incumbents, history: History, now: float) -> str:
        if self.reward is not None:
            for reward, trial in incumbents.best:
                if all(map(ge, reward, self.reward)):
                    return f"trial {trial} reached the target (stop.reward)"
        if self.patience is not None and incumbents.without_new_best >= self.patience:
            return f"{incumbents.without_new_best:,} trials in a row brought no new best (stop.patience)"
        if self.device_seconds is not None and history.device_seconds(now) >= self.device_seconds:
            return f"{self.device_seconds:g} device-seconds are over (stop.device_seconds)"
        return ""
