"""How long a candidate will take, against others: where a search ends by time, what is fast leaves room for more.

Were the reward model's scores those of random draws, which are exponential, the best of n would have about ln n of
them. A time has room for n = time / seconds, so e times the seconds would have to be worth one score more. A search
that learns gains less by mere numbers, and its scores are ranks among what it chose itself: so EXCHANGE is measured
(docs/log.md, 2026-11-30), and not derived. Expected improvement per second is the same thought (Snoek et al. 2012,
section 3.2).

Left out: what failures took, by their deadline, too; several objectives, as what is wished of them is not in scores;
what an earlier run's trials took, perhaps on another machine; and that in the end what takes longer than is left is
worth nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nas.controllers.reward_model import RewardModel

EXCHANGE = 0.5  # scores that a candidate must be better by to take e times as long
LEAST = 0.1  # seconds: what is over sooner costs a slot hardly less
LEAST_SPREAD = 1e-3  # of logarithms, below which all take the same


class CostModel:
    """A Gaussian process over logarithms of seconds, with the covariance of the one over rewards."""

    def __init__(self, process: RewardModel) -> None:
        self.process = process
        self._spread: Tensor | None = None  # None: nothing is known

    def fit(self, rows: Tensor, seconds: Tensor, ascents: int) -> None:
        """Learn from what candidates took: ``rows`` [n, columns], ``seconds`` [n]. Of fewer than two nothing."""
        self._spread = None
        if len(rows) > 1:
            logs = seconds.clamp(min=LEAST).log()
            self._spread = logs.std(correction=0).clamp(min=LEAST_SPREAD)
            self.process.fit(rows, (logs - logs.mean()) / self._spread, ascents)

    def penalty(self, rows: Tensor) -> Tensor:
        """Scores [m] that candidates [m, columns] lose by the time they are expected to take, against the mean."""
        if self._spread is None:
            return torch.zeros(len(rows), dtype=torch.float64)
        return EXCHANGE * self._spread * self.process.expected(rows)
