"""Attempts on record as lost whose results may come yet: their workers were stopped or cut off, and woke.

Such a worker has lost its place, and what it says arrives nowhere. What its child writes lies in the run's folder, and
is looked for there now and then: on record, and told to nobody, since another attempt stands for the trial.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from nas.history import History
from nas.records import Answered, Failed, Happening, Outcome

KEPT = 128  # of the attempts that were lost, the latest: a run of weeks on preemptible nodes loses thousands
LOOK = 5.0  # seconds between two looks, of a file system call for each


class Latecomers:
    """``read`` gives the sound result of an attempt, by trial and attempt; None where there is none yet."""

    def __init__(self, read: Callable[[int, int], Outcome | None]) -> None:
        self._read = read
        self._lost: deque[tuple[int, int]] = deque(maxlen=KEPT)
        self._next = 0.0

    def remember(self, history: History) -> None:
        """Those that earlier drivers lost."""
        lost = [
            (attempt.answered, trial.number, attempt.attempt)
            for trial in history.trials.values()
            for attempt in trial.attempts
            if attempt.answered is not None and not attempt.late and _lost(attempt.outcome)
        ]
        self._lost.extend((number, attempt) for _, number, attempt in sorted(lost))

    def hear(self, happening: Happening) -> None:
        """Some of what happens is that an attempt is lost."""
        if isinstance(happening, Answered) and _lost(happening.outcome):
            self._lost.append((happening.trial, happening.attempt))

    def come(self, now: float) -> Iterator[Answered]:
        """Each result that is there at ``now`` (time.monotonic()), once; none where the last look is not long ago."""
        if now < self._next:
            return
        self._next = now + LOOK
        for key in list(self._lost):
            if (outcome := self._read(*key)) is not None:
                self._lost.remove(key)
                if not _lost(outcome):  # which is what the record says already
                    yield Answered(*key, outcome)


def _lost(outcome: Outcome | None) -> bool:
    return isinstance(outcome, Failed) and outcome.kind == "lost"
