"""What becomes of a trial by what became of its attempts, and of a run whose candidates all fail alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

from nas.history import AttemptRecord, History, Trial
from nas.records import SUSPECT_WHEN_REUSED, Failed, Outcome, Succeeded, TrialEnded, TrialPaused, settles

MACHINE_RETRIES = 20  # attempts that a training may lose to machines before it is given up
SLACK = 5.0  # seconds by which two deaths in the same way may differ, beside a quarter: workers begin and end unlike
RECENT = 10  # distinct candidates looked at for a diagnosis ...
ALIKE = 6  # ... and how many of them must have failed the same way


def verdict(trial: Trial) -> TrialEnded | TrialPaused | None:
    """How the trial ends, or that it pauses, by what became of its attempts; None where it deserves another one."""
    number = deciding(trial)
    if number is None:
        return None
    attempt = trial.attempts[number]
    succeeded = isinstance(attempt.outcome, Succeeded)
    if took_down(trial) == number:
        return TrialEnded(trial.number, "failed", number, set_aside=True)
    if succeeded and attempt.until is not None and attempt.step >= attempt.until:
        return TrialPaused(trial.number, number, attempt.until)
    return TrialEnded(trial.number, "completed" if succeeded else "failed", number)


def is_short(trial: Trial, ending: TrialEnded, full_length: int | None) -> bool:
    """Whether it was stopped; the word may have come too late, or a killed driver have given it unrecorded."""
    attempt = trial.attempts[ending.attempt or 0]
    stopped = attempt.stopped or (isinstance(attempt.outcome, Succeeded) and attempt.outcome.stopped)
    return bool(stopped) and not (full_length is not None and attempt.step >= full_length)


def deciding(trial: Trial, replicate: int = 0) -> int | None:
    """The attempt that says how a training of the trial ends or pauses, or None where it deserves another one.

    The first answer that settles it counts. What machines did is retried, up to MACHINE_RETRIES times since it paused,
    unless it shows to be the candidate's own doing.
    """
    for attempt in map(trial.attempts.__getitem__, trial.answers):
        assert attempt.outcome is not None
        if attempt.replicate == replicate and attempt.attempt >= trial.since and settles(attempt.outcome):
            return attempt.attempt
    if (number := took_down(trial, replicate)) is not None:
        return number
    tried = [attempt for attempt in trial.training(replicate) if attempt.attempt >= trial.since]
    if sum(attempt.lost for attempt in tried) > MACHINE_RETRIES and not any(attempt.running for attempt in tried):
        return tried[-1].attempt
    return None


def took_down(trial: Trial, replicate: int = 0) -> int | None:
    """The attempt by which a training is set aside: with it, too, its worker died, and in the same way on another host.

    A worker that dies is the machines' doing, as a rule; but a candidate can fill a host's memory, or kill what it can
    reach. One that did would take down a worker for each of its retries. The same way is: with the same words but for
    numbers, at the same step, and after as long, give or take a quarter. What a preemption or a failing node does is
    rarely the same twice; what ends all workers alike is no candidate's doing, and stops the run by its diagnosis.
    """
    died = [one for one in trial.training(replicate) if one.attempt >= trial.since and _died(one)]
    for later, earlier in combinations(reversed(died), 2):
        if earlier.host != later.host and _alike(earlier, later):
            return later.attempt
    return None


def _died(attempt: AttemptRecord) -> bool:
    return isinstance(attempt.outcome, Failed) and attempt.outcome.died and bool(attempt.host)


def _alike(one: AttemptRecord, other: AttemptRecord) -> bool:
    assert isinstance(one.outcome, Failed) and isinstance(other.outcome, Failed)
    shorter, longer = sorted((attempt.answered or 0.0) - attempt.started for attempt in (one, other))
    as_long = longer <= 1.25 * shorter + SLACK
    return one.step == other.step and as_long and _blanked(one.outcome.message) == _blanked(other.outcome.message)


def needs_fresh_child(trial: Trial, replicate: int = 0) -> bool:
    """Whether an earlier attempt failed, or took so long, in a way that a reused child may be to blame for."""
    return any(
        attempt.cut or (isinstance(attempt.outcome, Failed) and attempt.outcome.kind in SUSPECT_WHEN_REUSED)
        for attempt in trial.training(replicate)
    )


def must_halve(trial: Trial, replicate: int = 0) -> bool:
    """Whether an earlier attempt was killed for memory with all at once that was to be."""
    return any(isinstance(one.outcome, Failed) and one.outcome.may_halve for one in trial.training(replicate))


def failure_signature(outcome: Outcome | None) -> str:
    """Equal for failures that look alike: the kind, and for errors the first line with its numbers blanked."""
    if not isinstance(outcome, Failed):
        return ""
    if outcome.kind in ("error", "invalid", "crashed"):
        return f"{outcome.kind}: {_blanked(outcome.message)}"
    return outcome.kind


def _blanked(message: str) -> str:
    return re.sub(r"\d+", "#", message.partition("\n")[0])


def diagnosed(recent: Sequence[tuple[int, str]], history: History) -> str:
    """One failure in most of these (trial, how it failed or ""), in words; empty where there is none."""
    if not recent:
        return ""
    (how, count) = Counter(failure for _, failure in recent).most_common(1)[0]
    if not how or count < ALIKE:
        return ""
    trials = [number for number, failure in recent if failure == how]
    outcome = history.trials[trials[-1]].outcome
    message = outcome.message.partition("\n")[0] if isinstance(outcome, Failed) else ""
    listed = ", ".join(map(str, trials))
    kind = how.partition(":")[0]
    return f"{count} of the last {len(recent)} candidates failed alike (trials {listed}): {kind}: {message}"
