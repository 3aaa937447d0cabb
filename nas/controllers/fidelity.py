"""Trials that were trained for different lengths, in one order.

A reward told under a scheduler has a curve: what the trial was worth at each rung that it reached, the last of which
is the reward. A long run is worth more than a short one of the same candidate, so rewards of two lengths are never
compared as numbers; and a trial that came far is not better for that alone: Hyperband trains some for long whatever
they are worth. Two trials are to be compared at the highest rung that both reached. That alone is no order (a may beat
b at one rung, b beat c at another, c beat a at the first), so it is made one from below:

    at the lowest rung a trial's level is its value there
    those that reached the next rung share out their levels anew, in the order of their values there; and so on

A level is in units of the lowest rung, where everybody has been, and says by that where among all of them a trial
belongs that was seen for longer. Of several objectives each has levels of its own.

>>> levels = Levels()
>>> for curve in ([(1, (0.5,))], [(1, (0.7,)), (3, (0.8,))], [(1, (0.6,)), (3, (0.9,))]):
...     levels.add(curve)
>>> levels.of([(1, (0.7,)), (3, (0.8,))]), levels.of([(1, (0.6,)), (3, (0.9,))])
((0.6,), (0.7,))
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from nas.pareto import Vector

Curve = Sequence[tuple[int, Vector]]  # by rung, the lowest first
WHOLE = 2**31 - 1  # the rung of what went to its end, however many steps that were


class Levels:
    def __init__(self) -> None:
        # rung -> for each objective, sorted, what all who reached it were worth there, and at the rung before theirs
        self._rungs: dict[int, list[tuple[list[float], list[float]]]] = {}

    def add(self, curve: Curve, *, again: bool = False) -> None:
        """A trial that was told; ``again``: but for its last rung, it was before."""
        for before, (rung, vector) in [*pairwise(curve)][-1 if again else 0 :]:
            columns = self._rungs.setdefault(rung, [([], []) for _ in vector])
            for (here, below), value, earlier in zip(columns, vector, before[1], strict=True):
                insort(here, value)
                insort(below, earlier)

    def of(self, curve: Curve) -> Vector:
        """The level of a trial that was added."""
        *_, (_, vector) = curve
        for rung, _ in reversed(curve[1:]):
            vector = tuple(
                below[min(bisect_left(here, value), len(below) - 1)]
                for value, (here, below) in zip(vector, self._rungs[rung], strict=True)
            )
        return tuple(vector)

    def save(self) -> Any:
        return [(rung, columns) for rung, columns in self._rungs.items()]

    def load(self, state: Any) -> None:
        self._rungs = {rung: [(here, below) for here, below in columns] for rung, columns in state}
