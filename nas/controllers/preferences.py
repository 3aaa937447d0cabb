"""What trials are worth by one number: their reward, or with several objectives what a preference of the moment says.

A search for a front is a search for the best under many preferences, one after another (ParEGO: Knowles 2006): for each
thought weights w are drawn, uniform over those that sum to 1, from a seed derived from the number of trials told.
A trial is then worth, by the augmented Chebyshev function (his eq. 2) over its ranks u by each objective,

    -max_i w_i (1 - u_i)  -  0.05 sum_i w_i (1 - u_i)                              u_i in (0, 1), higher is better

which every trial of the front, and no other, is best by for some w. Ranks, because objectives have units of their own
and rewards may have any scale; they are counted among the trials told at that thought. Elite, replay and advantage ask
here, and the choice of what to try next, of the ranks that reward models expect: until the next thought all of them
want the same.

With one objective the wish never changes: a trial is worth its reward.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from nas.pareto import Vector, crowded
from nas.seeds import derive

AUGMENTED = 0.05  # rho: between two that are alike where the wish is strongest, the rest decides
WISHES = 8  # whose best are kept apart, where there are several objectives

Floats = NDArray[np.float64]


class Judged(Protocol):
    """A trial told; without a vector it failed, and is worse than any other."""

    @property
    def number(self) -> int: ...

    @property
    def vector(self) -> Vector | None: ...


Trial = TypeVar("Trial", bound=Judged)


class Preferences:
    def __init__(self, seed: int, objectives: int = 1) -> None:
        self._seed = seed
        self._objectives = objectives
        self._failures = 0
        self._vectors: list[Vector] = []  # told, in order; where there is one objective, none are kept
        self._worths: list[float] = []  # of all told, sorted
        self._drawn = (0, 0)  # when the wish was drawn: trials told, vectors among them
        self._weights: list[float] = []
        self._columns: list[Floats] = []  # of the vectors then, each sorted; where there were none, all are alike
        if self._several:
            self._wish(0, 0)

    def told(self, vector: Vector | None) -> None:
        if vector is None:
            self._failures += 1
            return
        if self._several:
            self._vectors.append(tuple(vector))
        insort(self._worths, self.worth(vector))

    def renew(self, told: int) -> None:
        """Another wish, after so many trials told."""
        if self._several:
            self._wish(told, len(self._vectors))
            self._worths = np.sort(self._scalarised(np.array(self._vectors))).tolist()

    def worth(self, vector: Vector) -> float:
        """By the present wish; higher is better."""
        return float(self._scalarised(np.array([vector]))[0]) if self._several else vector[0]

    def wanted(self, ranks: Sequence[Floats]) -> Floats:
        """By the present wish, of several: what candidates of such ranks are worth, [n] by objective -> [n]."""
        most = total = np.zeros(len(ranks[0]))
        for weight, rank in zip(self._weights, ranks, strict=True):
            missing = weight * (1.0 - rank)
            most, total = np.maximum(most, missing), total + missing
        return -most - AUGMENTED * total

    def standing(self, vector: Vector | None) -> float:
        """Among all told, from -1 (worst) to 1 (best); ties share the middle of their places."""
        total = len(self._worths) + self._failures
        if total == 1:
            return 0.0
        if vector is None:
            below, equal = 0, self._failures
        else:
            worth = self.worth(vector)
            below = self._failures + bisect_left(self._worths, worth)
            equal = self._failures + bisect_right(self._worths, worth) - below
        return 2.0 * (below + (equal - 1) / 2) / (total - 1) - 1.0

    def best(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The ``count`` that are worth most by the present wish, best first."""

        def place(one: Trial) -> tuple[float, int]:
            return math.inf if one.vector is None else -self.worth(one.vector), one.number

        return sorted(trials, key=place)[:count]

    def lasting(self, trials: Sequence[Trial], count: int) -> list[Trial]:
        """The ``count`` to keep whatever will be wished for: with several objectives by front, then by crowding."""
        if not self._several:
            return self.best(trials, count)
        sound = [(one, tuple(one.vector)) for one in trials if one.vector is not None]
        places = crowded([vector for _, vector in sound])
        order = sorted(range(len(sound)), key=lambda at: (-places[at][0], -places[at][1], sound[at][0].number))
        return [sound[at][0] for at in order[:count]]

    @property
    def wishes(self) -> int:
        """How many times as many trials as one wish needs are to be kept for all of them."""
        return WISHES if self._several else 1

    @property
    def _several(self) -> bool:
        return self._objectives > 1

    def _wish(self, told: int, among: int) -> None:
        rng = Random(derive(self._seed, "preference", told))
        shares = [rng.expovariate(1.0) for _ in range(self._objectives)]
        self._drawn = told, among
        self._weights = [share / sum(shares) for share in shares]
        self._columns = list(np.sort(np.array(self._vectors[:among]), axis=0).T) if among else []

    def _scalarised(self, vectors: Floats) -> Floats:
        """(n, objectives) -> (n,); the same bits for a vector alone and among others."""
        if not self._columns:
            return np.zeros(len(vectors))
        ranks = []
        for column, values in zip(self._columns, vectors.T, strict=True):
            below = np.searchsorted(column, values, "left")
            ranks.append((below + np.searchsorted(column, values, "right")) / (2 * len(column)))
        return self.wanted(ranks)

    # Snapshot --------------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Plain JSON. The worths of vectors follow from these and the wish."""
        worths = [] if self._several else self._worths
        return {"failures": self._failures, "vectors": self._vectors, "drawn": self._drawn, "worths": worths}

    def load(self, state: Mapping[str, Any]) -> None:
        self._failures, self._vectors = state["failures"], [tuple(vector) for vector in state["vectors"]]
        if self._several:
            self._wish(*state["drawn"])
        self._worths = sorted(map(self.worth, self._vectors)) if self._several else state["worths"]
