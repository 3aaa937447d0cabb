"""How long attempts take, and how long they are silent: what a worker that must end by some time is still given.

pace.began(key, now); pace.reported(key, now); pace.ended(key, now)
pace.needs()         -> seconds without which nothing is begun on a worker that has been served before
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

REPORTS = 3.0  # as long as so many take, an attempt that can leave its state is worth beginning


@dataclass(slots=True)
class Pace:
    resumable: bool  # attempts can leave their state at any report
    longest: float = 0.0  # seconds of one, so far
    silence: float = 0.0  # seconds between two reports of one, or from its beginning to the first
    _began: dict[str, float] = field(default_factory=dict)  # of what runs
    _reported: dict[str, float] = field(default_factory=dict)  # likewise

    def began(self, key: str, now: float) -> None:
        self._began[key] = self._reported[key] = now

    def reported(self, key: str, now: float) -> None:
        self.silence = max(self.silence, now - self._reported[key])
        self._reported[key] = now

    def ended(self, key: str, now: float) -> None:
        del self._reported[key]
        self.longest = max(self.longest, now - self._began.pop(key))

    def needs(self) -> float:
        """Those of the longest attempt; of a few reports, where less, and an attempt can leave its state at each."""
        return min(self.longest, REPORTS * self.silence if self.resumable and self.silence else math.inf)
