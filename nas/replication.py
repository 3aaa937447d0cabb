"""Replication: the best trials are trained again, with other seeds, before their ranks are trusted.

    best(history, worth, 5)    -> [12, 3, 40, 7, 33]     trials by the reward that the search saw, the best first
    waiting(history)           -> (12, 1), (3, 1), ...   replicates that want an attempt, in the order of launching

A search finds its best among many noisy numbers, so the best number is too good on average (the winner's curse). What a
trial is worth is therefore told by replicates alone: the training for which it was chosen is not one of them.

Which trials they are is journaled (ReplicationBegun) before anything is launched. A replicate is a training of an ended
trial: its attempts are numbered among the trial's, and machines' failures are retried as a trial's are. All that is
asked here is a function of the history. Controllers are told of none: a proposal is told once (of an Optuna trial
nothing more can be told), and what they know stays a function of the trials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from nas.history import History, Trial
from nas.records import Reward, Succeeded


@dataclass(frozen=True, slots=True)
class Wanted:
    """Trainings of each of the best trials, beside the search's own. Without seeds there is no replication."""

    top: int = 5
    seeds: int = 0


def best(history: History, worth: Callable[[Succeeded], Reward], top: int) -> list[int]:
    """The trials of the highest rewards, of equals the earlier; duplicates are their originals' alone.

    Of those that were trained in full, as their replicates will be.
    """
    found = [
        (-worth(trial.outcome).value, trial.number)
        for trial in history.trials.values()
        if trial.state == "completed" and trial.whole and isinstance(trial.outcome, Succeeded)
    ]
    return [number for _, number in sorted(found)[:top]]


def lacking(history: History, trials: Sequence[int], seeds: int) -> bool:
    """Whether one of so many replicates of these trials has not ended."""
    return any(not _ended(history.trials[number], one) for one in range(1, seeds + 1) for number in trials)


def unfinished(history: History) -> Iterator[tuple[Trial, int]]:
    """(trial, replicate) of what was begun and has not ended: one of each trial first, then the second of each."""
    begun = history.replication
    if begun is None or not history.replicates_left:
        return
    for replicate in range(1, begun.replicates + 1):
        for trial in map(history.trials.__getitem__, begun.trials):
            if not _ended(trial, replicate):
                yield trial, replicate


def waiting(history: History) -> Iterator[tuple[int, int]]:
    """(trial, replicate) of what wants an attempt."""
    return ((trial.number, one) for trial, one in unfinished(history) if not trial.running_attempts(one))


def _ended(trial: Trial, replicate: int) -> bool:
    return len(trial.replicates) >= replicate and trial.replicates[replicate - 1] is not None
