"""Trials as ranked rows: what `nas leaderboard` prints, and what Python gets from a run.

A row is made of journaled facts and of a reward computed from them now, so that a run can be ranked again under
another reward. Left out: trials that are still open, which `nas status` shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from nas.history import History, Trial
from nas.records import Failed, Succeeded
from nas.reward import RewardSettings, compute
from nas.space import Candidate


@dataclass(frozen=True, slots=True)
class Row:
    """One ended trial. The fields, in this order, are the columns of every format."""

    rank: int | None  # from 1; None for a trial that failed or repeated another
    run: str
    trial: int
    state: str  # completed, failed or duplicate
    failure: str | None  # a records.FailureKind
    reward: float | None  # higher is better; a duplicate has its original's
    metrics: Mapping[str, float]
    parameters: int | None
    flops: int | None  # forward, one sample; a multiply-add is 2
    seconds: float | None  # that the attempt which counts took; None where nothing was trained
    architecture: str  # in one line; empty for a space without one
    hyperparameters: Mapping[str, Any]
    candidate: Mapping[str, Any]
    decisions: Mapping[str, int | float]  # active ones only
    hash: str
    attempts: int

    def plain(self) -> dict[str, Any]:
        """The row as JSON-like values, keys in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def rows(history: History, settings: RewardSettings, run: str) -> list[Row]:
    """Every ended trial of one run, ranked.

    Raises:
        InputError: the reward names a metric that a trial has not got.
    """
    return rank(_row(trial, settings, run) for trial in history.trials.values() if not trial.open)


def rank(rows: Iterable[Row]) -> list[Row]:
    """Completed trials by reward, the highest first, then those without a rank; rows of several runs compete.

    Equal rewards rank in the order given, which within a run is that of the trials' numbers.
    """
    everything = list(rows)
    best_first = sorted((row for row in everything if row.state == "completed"), key=lambda row: -(row.reward or 0.0))
    ranked = [dataclasses.replace(row, rank=number) for number, row in enumerate(best_first, 1)]
    return ranked + [row for row in everything if row.state != "completed"]


def _row(trial: Trial, settings: RewardSettings, run: str) -> Row:
    candidate = Candidate.of(trial.proposal.candidate)
    outcome = trial.outcome
    metrics: Mapping[str, float] = outcome.metrics if isinstance(outcome, Succeeded) else {}
    reward = compute(settings, metrics, outcome.seconds) if isinstance(outcome, Succeeded) else None
    return Row(
        rank=None,
        run=run,
        trial=trial.number,
        state=trial.state,
        failure=outcome.kind if isinstance(outcome, Failed) else None,
        reward=reward.value if reward else None,
        metrics=metrics,
        parameters=_whole(metrics.get("parameters")),
        flops=_whole(metrics.get("flops")),
        seconds=outcome.seconds if outcome and trial.attempts else None,
        architecture=candidate.one_line(),
        hyperparameters=trial.proposal.candidate.get("hyperparameters") or {},
        candidate=trial.proposal.candidate,
        decisions=trial.proposal.decisions,
        hash=trial.proposal.hash,
        attempts=len(trial.attempts),
    )


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
