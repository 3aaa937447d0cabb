"""Attempts that take far longer than their like, told by how long the others took.

    too_long(history, key, now)       -> why the attempt is to be cut off; "": it is not
    to_copy(history, now)             -> of what an idle worker is to run a copy, when there is nothing else to do
    judged(trial, attempt, outcome)   -> the answer of an attempt that was cut off, as it counts

Like one another are attempts that begin and end at the same steps. A hanging disk, a throttled node or a stopped
process make a straggler of any candidate, so the first cut is charged to nobody: the training is tried once more, in a
fresh child and on another host where there is one. What is cut off there too is the candidate's own length: a timeout.

What began anew on its way, as what diverged in bf16 does in fp32, trains more than its like: it is not cut off before
its own deadline, and says nothing of how long others take.

Copies have the same seed, so it does not matter which one answers; the other is cancelled, and its answer is late.

Left out: whether an attempt still reports. One that does may be as slow as one that does not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from nas import retries
from nas.history import AttemptRecord, History, Trial
from nas.records import MACHINE_FAILURES, Failed, Outcome, Succeeded

FEWEST = 10  # ended ones of the like, before which nothing is said of another
REMEMBERED = 100  # latest
FAR = 3.0  # times their 95th percentile: is cut off ...
FLOOR = 60.0  # ... but nothing before so many seconds
COPIED = 1.5  # times their median: is worth a copy (Spark's speculation.multiplier) ...
COPIED_FLOOR = 10.0  # ... from so many seconds on

Like = tuple[int, int | None]  # the step that it begins at, and the one that it goes to; None: its end


@dataclass(slots=True)
class Stragglers:
    """What is known of how long attempts take: a function of the journal's events."""

    seconds: dict[Like, deque[float]] = field(default_factory=dict)

    def answered(self, trial: Trial, attempt: int) -> None:
        """Learn from an attempt that went to its end."""
        one = trial.attempts[attempt]
        outcome = one.outcome
        if isinstance(outcome, Succeeded) and not outcome.stopped and not _began_anew(trial, one):
            like = _like(trial, one)
            self.seconds.setdefault(like, deque(maxlen=REMEMBERED)).append(outcome.seconds)

    def too_long(self, history: History, key: tuple[int, int], now: float) -> str:
        trial = history.trials[key[0]]
        attempt = trial.attempts[key[1]]
        took = now - attempt.started
        known = None if _began_anew(trial, attempt) else self._known(trial, attempt)
        if took <= FLOOR or attempt.cut or not known or not trial.awaits(attempt.attempt):
            return ""
        usual = sorted(known)[math.ceil(0.95 * len(known)) - 1]
        return f"cut off after {took:.0f} s; 95 % of its like took {usual:.3g} s or less" if took > FAR * usual else ""

    def to_copy(self, history: History, now: float) -> tuple[Trial, AttemptRecord] | None:
        """The one that has run for longest of those that are worth it, and have none."""
        found = [
            (trial, attempt)
            for trial, attempt in _alone(history)
            if (known := self._known(trial, attempt))
            and now - attempt.started > max(COPIED_FLOOR, COPIED * median(known))
            and not retries.waits(trial, attempt.replicate, now)  # copies that were lost
        ]
        return min(found, key=lambda one: one[1].started, default=None)

    def may_be_copied(self, history: History) -> int:
        """How many of the running attempts may yet be."""
        return sum(self._known(trial, attempt) is not None for trial, attempt in _alone(history))

    def _known(self, trial: Trial, attempt: AttemptRecord) -> deque[float] | None:
        """Seconds of its like, where there are enough."""
        known = self.seconds.get(_like(trial, attempt))
        return known if known and len(known) >= FEWEST else None

    def save(self) -> Any:
        return [(like, list(seconds)) for like, seconds in self.seconds.items()]

    def load(self, state: Any) -> None:
        self.seconds = {(begins, until): deque(seconds, REMEMBERED) for (begins, until), seconds in state}


def judged(trial: Trial, attempt: int, outcome: Outcome) -> Outcome:
    """The answer as it counts. That of an attempt that was cut off says why; the second of a training is a timeout."""
    one = trial.attempts[attempt]
    if not one.cut or not isinstance(outcome, Failed) or outcome.kind not in MACHINE_FAILURES:
        return outcome
    earlier = (other for other in trial.training(one.replicate) if trial.since <= other.attempt != attempt)
    again = any(other.cut and other.outcome is not None for other in earlier)
    return replace(outcome, kind="timeout" if again else "preempted", message=one.cut)


def _alone(history: History) -> Iterator[tuple[Trial, AttemptRecord]]:
    """The running attempts whose answers are waited for, and of which no copy runs."""
    for number, attempt in history.running:
        trial = history.trials[number]
        one = trial.attempts[attempt]
        if trial.awaits(attempt) and len(trial.running_attempts(one.replicate)) == 1:
            yield trial, one


def _like(trial: Trial, attempt: AttemptRecord) -> Like:
    begins = 0 if attempt.saved is None else trial.attempts[attempt.saved].step
    return begins, attempt.until


def _began_anew(trial: Trial, attempt: AttemptRecord) -> bool:
    """Whether it has trained more epochs than lie between where it began and where it stands."""
    begins, _ = _like(trial, attempt)
    return attempt.epochs > attempt.step - begins
