"""Another attempt at a training that machines took: when it may begin, where it had better not, and from what.

    waits(trial, replicate, now)   -> seconds that its next attempt still has to wait
    state(trial, replicate)        -> the attempt from whose state it goes on; None: from the beginning
    avoided(trial, replicate)      -> hosts that lost it: an executor takes another where one is free

The first loss in a row is made good at once: a worker that dies is no reason to wait. From the second one on there is a
pause, as what failed twice may be out of order: 1 s, 2 s, 4 s, ... up to two minutes, so that MACHINE_RETRIES losses
take some 25 minutes and a network may come back within them. All of it is a function of the journal.
"""

from __future__ import annotations

from itertools import takewhile

from nas.history import AttemptRecord, Trial

FIRST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 120.0


def waits(trial: Trial, replicate: int, now: float) -> float:
    """0 where it may begin; so too after a driver's death, which is a pause of its own."""
    losses = list(
        takewhile(lambda one: one.lost and one.answered is not None, reversed(_since_pause(trial, replicate)))
    )
    if len(losses) < 2:
        return 0.0
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (len(losses) - 2))
    passed = now - max(one.answered or 0.0 for one in losses)
    return pause - passed if 0 <= passed < pause else 0.0  # a clock that was set back keeps nobody waiting


def state(trial: Trial, replicate: int) -> int | None:
    """Of those that were preempted and left theirs, the one that came farthest; else where the last one began."""
    attempts = _since_pause(trial, replicate)
    left = [one for one in attempts if one.left_state]
    if left:
        return max(left, key=lambda one: one.step).attempt
    return attempts[-1].saved if attempts else None


def states(trial: Trial, replicate: int) -> list[int]:
    """Attempts at a training that may have left a state, or half of one when they were killed."""
    attempts = trial.training(replicate)
    return [one.attempt for one in attempts if one.until is not None or one.left_state or one.lost]


def avoided(trial: Trial, replicate: int) -> tuple[str, ...]:
    """Those that are known, the first first."""
    lost = (one.host for one in _since_pause(trial, replicate) if one.lost and one.host)
    return tuple(dict.fromkeys(lost))


def _since_pause(trial: Trial, replicate: int) -> list[AttemptRecord]:
    return [one for one in trial.training(replicate) if one.attempt >= trial.since]
