"""What becomes of a trial by what became of its attempts, and of a run whose candidates all fail alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from nas.history import History, Trial
from nas.records import SUSPECT_WHEN_REUSED, Failed, Outcome, Succeeded, TrialEnded, TrialPaused, settles

MACHINE_RETRIES = 20  # attempts that a training may lose to machines before it is given up
RECENT = 10  # distinct candidates looked at for a diagnosis ...
ALIKE = 6  # ... and how many of them must have failed the same way


def verdict(trial: Trial) -> TrialEnded | TrialPaused | None:
    """How the trial ends, or that it pauses, by what became of its attempts; None where it deserves another one."""
    number = deciding(trial)
    if number is None:
        return None
    attempt = trial.attempts[number]
    succeeded = isinstance(attempt.outcome, Succeeded)
    if succeeded and attempt.until is not None and attempt.step >= attempt.until:
        return TrialPaused(trial.number, number, attempt.until)
    return TrialEnded(trial.number, "completed" if succeeded else "failed", number)


def deciding(trial: Trial, replicate: int = 0) -> int | None:
    """The attempt that says how a training of the trial ends or pauses, or None where it deserves another one.

    The first answer that settles it counts. What machines did is retried, up to MACHINE_RETRIES times since it paused.
    """
    for attempt in map(trial.attempts.__getitem__, trial.answers):
        assert attempt.outcome is not None
        if attempt.replicate == replicate and attempt.attempt >= trial.since and settles(attempt.outcome):
            return attempt.attempt
    tried = [attempt for attempt in trial.training(replicate) if attempt.attempt >= trial.since]
    if sum(attempt.lost for attempt in tried) > MACHINE_RETRIES and not tried[-1].running:
        return tried[-1].attempt
    return None


def needs_fresh_child(trial: Trial, replicate: int = 0) -> bool:
    """Whether an earlier attempt failed in a way that a reused child may be to blame for."""
    outcomes = (attempt.outcome for attempt in trial.training(replicate))
    return any(isinstance(outcome, Failed) and outcome.kind in SUSPECT_WHEN_REUSED for outcome in outcomes)


def failure_signature(outcome: Outcome | None) -> str:
    """Equal for failures that look alike: the kind, and for errors the first line with its numbers blanked."""
    if not isinstance(outcome, Failed):
        return ""
    if outcome.kind in ("error", "invalid", "crashed"):
        return f"{outcome.kind}: " + re.sub(r"\d+", "#", outcome.message.partition("\n")[0])
    return outcome.kind


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
