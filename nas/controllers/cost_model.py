"""How long a candidate will take, against others: a search that ends by time has more of those that are fast.

The reward model's scores are exponential, so the best of n random candidates has about ln n of them: to a search that
only draws, a candidate twice as fast is worth ln 2 more. One that learns has more from each trial, and RATE of that was
best on recorded tables (docs/log.md, 2026-11-30). So a bound less the logarithm of seconds is what the bound's chance
of an improvement is by the second (as expected improvement per second: Snoek et al. 2012, section 3.2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.controllers.reward_model import RewardModel

RATE = 0.5  # scores that a candidate must be better by to take e times as long
LEAST_SPREAD = 1e-3  # of logarithms, below which all take the same


class CostModel:
    """A Gaussian process over logarithms of seconds, with the reward model's covariance."""

    def __init__(self, model: RewardModel) -> None:
        self.model = model
        self._spread: Tensor | None = None  # None: nothing is known

    def fit(self, rows: Tensor, seconds: Tensor, ascents: int) -> None:
        """Learn from what candidates took: ``rows`` [n, columns], ``seconds`` [n]."""
        if len(rows) < 2:
            self._spread = None
            return
        logs = seconds.log()
        self._spread = logs.std(correction=0).clamp(min=LEAST_SPREAD)
        self.model.fit(rows, (logs - logs.mean()) / self._spread, ascents)

    def handicap(self, rows: Tensor) -> Tensor:
        """Scores [m] that candidates [m, columns] lose by the time they are expected to take, against the mean."""
        if self._spread is None:
            return torch.zeros(len(rows), dtype=torch.float64)
        return RATE * self._spread * self.model.expected(rows)
