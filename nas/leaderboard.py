"""Trials as ranked rows: what `nas leaderboard` prints, and what Python gets from a run.

Trials that a scheduler paused or stopped are ranked after those that were trained for longer, the longest first: a
reward says nothing beside one of another length.

A row is made of journaled facts and of a reward computed from them now, so that a run can be ranked again under
another reward. Left out: trials that are still open, which `nas status` shows.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas import intervals
from nas.controllers.fidelity import WHOLE
from nas.history import History, Trial
from nas.pareto import Vector, contributions, fronts
from nas.records import MACHINE_FAILURES, Failed, Outcome, Succeeded
from nas.reward import Front, RewardSettings, compute, front_of, reference_of
from nas.space import Candidate

RANKED = ("completed", "paused")  # states


@dataclass(frozen=True, slots=True)
class Row:
    """One trial that ended or paused. The fields, in this order, are the columns of every format."""

    rank: int | None  # from 1; None for a trial that failed or repeated another
    front: int | None  # from 1, the trials that none dominates; None without a rank, or with one objective
    run: str
    trial: int
    state: str  # completed, paused, failed or duplicate
    failure: str | None  # a records.FailureKind
    reward: float | None  # higher is better; a duplicate has its original's; None with several objectives
    replicates: Mapping[str, Any]  # see _replicates; {} where it was not trained with other seeds
    metrics: Mapping[str, float]
    parameters: int | None
    flops: int | None  # forward, one sample; a multiply-add is 2
    seconds: float | None  # that the attempt which counts took; None where nothing was trained
    reached: int | None  # the step (epoch, of the shipped trainer) that it came to; None where it reported none
    whole: bool  # that was its end: no scheduler paused or stopped it there
    dtype: str | None  # that it was trained in, as it noted
    other_dtype: bool  # than the first of the ranking: numbers of two precisions are no like measure
    fallbacks: Sequence[str]  # to another dtype or setting than was wanted, each with its reason
    spent: Mapping[str, float]  # seconds of the training by phase (data, forward, ...), as it noted
    noise_scale: Mapping[str, Any]  # samples: the batch beyond which more help little, as it noted (accumulation.py)
    weight_norm: Mapping[str, float]  # initial and final, as it noted: SGD's winners end far longer than Adam's
    architecture: str  # in one line; empty for a space without one
    hyperparameters: Mapping[str, Any]
    candidate: Mapping[str, Any]
    decisions: Mapping[str, int | float]  # active ones only
    hash: str
    attempts: int
    audit: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of its run: Audit.brief(); {} without one

    def plain(self) -> dict[str, Any]:
        """The row as JSON-like values, keys in the order of the fields."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}


def rows(history: History, settings: RewardSettings, run: str) -> list[Row]:
    """Every trial of one run that ended or paused, ranked.

    Raises:
        InputError: the reward names a metric that a trial has not got.
    """
    found = []
    for trial in history.trials.values():
        if not trial.open or trial.outcome is not None:  # one that paused, and goes on
            again = _replicates(trial, history, settings) if trial.number in history.replicated else {}
            found.append(dataclasses.replace(_row(trial, settings, run), replicates=again))
    return rank(found, settings)


def rank(rows: Iterable[Row], settings: RewardSettings) -> list[Row]:
    """Completed and paused trials, the best first, then those without a rank; rows of several runs compete.

    With one objective by reward; equal rewards rank in the order given, which within a run is that of the trials'
    numbers. What was trained with other seeds goes before, by its mean there, where fewer of these failed first; last
    come those that failed with every other seed.
    With several objectives by front, and within a front by the hypervolume that a trial alone adds to it, so that what
    is far from its neighbours leads; equal vectors share a rank.

    Raises:
        InputError: an objective is a metric that a trial has not got.
    """
    everything = list(rows)
    trained = [row for row in everything if row.state in RANKED]
    others = [dataclasses.replace(row, front=None) for row in everything if row.state not in RANKED]
    if settings.objectives:
        return _marked(_by_length_and_front(trained, settings)) + others
    best_first = sorted(trained, key=lambda row: (-_length(row), *_trusted(row)))
    return _marked([dataclasses.replace(row, rank=number) for number, row in enumerate(best_first, 1)]) + others


def _length(row: Row) -> int:
    return WHOLE if row.whole else row.reached or 0


def _trusted(row: Row) -> tuple[int, int, float]:
    """The order of the ranking: a mean over seeds that had no part in the choice says more than the number chosen by.

    Until replication has ended, all ranks are by the trainings of the search.
    """
    again = row.replicates
    if not again or not again["ended"]:
        return 1, 0, -(row.reward or 0.0)
    if not again["rewards"]:
        return 2, 0, -(row.reward or 0.0)
    return 0, sum(kind not in MACHINE_FAILURES for kind in again["failures"]), -again["mean"]


def _replicates(trial: Trial, history: History, settings: RewardSettings) -> dict[str, Any]:
    """What trainings with other seeds brought: how many are wanted, their rewards, kinds of failures, and the mean.

    ``interval``: half the width of the mean's 95 % interval, by Student's t; None where less than two succeeded.
    ``dtypes``: of the trainings that the rewards are of; ``other_dtype``: see ``_marked``.
    """
    told = [outcome for outcome in trial.replicates if outcome is not None]
    succeeded = [outcome for outcome in told if isinstance(outcome, Succeeded)]
    rewards = [compute(settings, one.metrics, one.seconds).value for one in succeeded]
    wanted = history.replicated[trial.number]
    mean, interval = intervals.mean(rewards) if rewards else (None, None)
    return {
        "wanted": wanted,
        "ended": not history.replicates_left and len(told) >= wanted,
        "mean": mean,
        "interval": interval,
        "rewards": rewards,
        "dtypes": [dtype_of(one) for one in succeeded],
        "other_dtype": False,
        "failures": [one.kind for one in told if isinstance(one, Failed)],
    }


def _marked(ranked: Sequence[Row]) -> list[Row]:
    """With what was trained in another dtype than the first, and which means are of one, or of several."""
    first = next((row.dtype for row in ranked if row.dtype), None)
    first_mean = next((dtype for row in ranked for dtype in row.replicates.get("dtypes", ()) if dtype), None)

    def again(row: Row) -> Mapping[str, Any]:
        others = set(row.replicates.get("dtypes", ())) - {None, first_mean}
        return {**row.replicates, "other_dtype": bool(others)} if row.replicates else {}

    return [
        dataclasses.replace(row, other_dtype=row.dtype not in (None, first), replicates=again(row)) for row in ranked
    ]


def front(rows: Iterable[Row], settings: RewardSettings) -> Front | None:
    """What those that were trained longest reached together; None where that is nothing, or with one objective."""
    trained = [row for row in rows if row.state in RANKED]
    longest = max(map(_length, trained), default=0)
    return front_of(settings, _vectors([row for row in trained if _length(row) == longest], settings))


def _by_length_and_front(trained: Sequence[Row], settings: RewardSettings) -> list[Row]:
    """Fronts of those that were trained for longest, then of the next; ranks and fronts are counted through."""
    found: list[Row] = []
    for length in sorted(set(map(_length, trained)), reverse=True):
        fronts_before = max((row.front or 0 for row in found), default=0)
        found += [
            dataclasses.replace(row, rank=len(found) + (row.rank or 0), front=fronts_before + (row.front or 0))
            for row in _by_front([row for row in trained if _length(row) == length], settings)
        ]
    return found


def _by_front(completed: Sequence[Row], settings: RewardSettings) -> list[Row]:
    vectors = _vectors(completed, settings)
    if not vectors:
        return []
    numbers, reference = fronts(vectors), reference_of(settings, vectors)
    members: dict[int, list[Vector]] = {}
    for vector, number in zip(vectors, numbers, strict=True):
        members.setdefault(number, []).append(vector)
    alone = {
        vector: part
        for one in members.values()
        for vector, part in zip(one, contributions(one, reference), strict=True)
    }
    order = sorted(range(len(vectors)), key=lambda at: (numbers[at], -alone[vectors[at]], vectors[at]))
    ranks: dict[Vector, int] = {}
    return [
        dataclasses.replace(completed[at], rank=ranks.setdefault(vectors[at], place), front=numbers[at])
        for place, at in enumerate(order, 1)
    ]


def _vectors(completed: Sequence[Row], settings: RewardSettings) -> list[Vector]:
    return [compute(settings, row.metrics, row.seconds).vector for row in completed]


def _row(trial: Trial, settings: RewardSettings, run: str) -> Row:
    candidate = Candidate.of(trial.proposal.candidate)
    outcome = trial.outcome
    metrics: Mapping[str, float] = outcome.metrics if isinstance(outcome, Succeeded) else {}
    reward = compute(settings, metrics, outcome.seconds) if isinstance(outcome, Succeeded) else None
    return Row(
        rank=None,
        front=None,
        run=run,
        trial=trial.number,
        state="paused" if trial.open else trial.state,
        failure=outcome.kind if isinstance(outcome, Failed) else None,
        reward=reward.value if reward and not settings.objectives else None,
        replicates={},
        metrics=metrics,
        parameters=_whole(metrics.get("parameters")),
        flops=_whole(metrics.get("flops")),
        seconds=outcome.seconds if outcome and trial.attempts else None,
        reached=trial.reached or None,
        whole=trial.whole,
        dtype=dtype_of(outcome),
        other_dtype=False,
        fallbacks=_noted(outcome, "fallbacks", list, []),
        spent=_noted(outcome, "spent", dict, {}),
        noise_scale=_noted(outcome, "noise_scale", dict, {}),
        weight_norm=_noted(outcome, "weight_norm", dict, {}),
        architecture=candidate.one_line(),
        hyperparameters=trial.proposal.candidate.get("hyperparameters") or {},
        candidate=trial.proposal.candidate,
        decisions=trial.proposal.decisions,
        hash=trial.proposal.hash,
        attempts=len(trial.training()),
    )


def dtype_of(outcome: Outcome | None) -> str | None:
    """That it was trained in, as it noted."""
    dtype: str | None = _noted(outcome, "dtype", str, None)
    return dtype


def _noted(outcome: Outcome | None, name: str, kind: type, absent: Any) -> Any:
    """What the trainer noted under a name. An objective of one's own may note anything there."""
    found = outcome.notes.get(name) if outcome else None
    return found if isinstance(found, kind) else absent


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)
