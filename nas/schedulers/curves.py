"""What trials reported, value by step: of those that run, and of the last REMEMBERED that ended."""

from __future__ import annotations

from collections import deque
from typing import Any

REMEMBERED = 1_000

Curve = dict[int, float]  # step -> value, in the order of the steps


class Curves:
    def __init__(self) -> None:
        self.running: dict[int, Curve] = {}
        self.ended: deque[Curve] = deque(maxlen=REMEMBERED)

    def began(self, trial: int) -> None:
        """An attempt that begins anew: what an earlier one said is void."""
        self.running[trial] = {}

    def reported(self, trial: int, step: int, value: float) -> None:
        curve = self.running.get(trial)
        if curve is None:
            return  # an attempt that is wanted no more
        if curve and step <= last(curve):  # it began anew: what diverged in bf16 is repeated in fp32
            curve.clear()
        curve[step] = value

    def take(self, trial: int) -> Curve:
        """The curve of a trial that ends; empty where it said nothing."""
        return self.running.pop(trial, {})

    def save(self) -> Any:
        return {
            "running": [(trial, list(curve.items())) for trial, curve in self.running.items()],
            "ended": [list(curve.items()) for curve in self.ended],
        }

    def load(self, state: Any) -> None:
        self.running = {trial: dict(curve) for trial, curve in state["running"]}
        self.ended = deque(map(dict, state["ended"]), REMEMBERED)


def last(curve: Curve) -> int:
    """The last step."""
    return next(reversed(curve))


def ladder(least: int, reached: int) -> list[int]:
    """Steps up to ``reached`` at which trials of any length are compared: ``least`` times the powers of 2."""
    return [step for power in range(reached.bit_length()) if (step := least << power) <= reached]
