"""Attempts that take far longer than their like: cut off, and copied by workers that have nothing else to do."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from test_machine import HOST, bad, events, good, launches, machine

import nas
from nas import controllers
from nas.instructions import Cancel, End, Launch, Record
from nas.limits import Budget
from nas.machine import Search
from nas.records import (
    Answered,
    AttemptAnswered,
    AttemptCut,
    AttemptStarted,
    Failed,
    LateResult,
    ReplicateEnded,
    Reported,
    SlotsChanged,
    Succeeded,
    Tick,
    TrialEnded,
)
from nas.replication import Wanted
from nas.reward import RewardSettings, compute
from nas.space import Space
from nas.stragglers import COPIED_FLOOR, FEWEST, FLOOR, Stragglers

CANCELLED = bad("preempted", "cancelled", fresh=False)


def searched(trials: int, slots: int = 2, seconds: float = 30.0) -> Search:
    """A search of which FEWEST trials have ended after ``seconds`` each, at 0.0, and ``slots`` have just begun."""
    search = machine(trials=trials)
    search.stragglers = Stragglers()
    search.handle(SlotsChanged(slots), 0.0)
    for trial in range(FEWEST):
        search.handle(Answered(trial, 0, Succeeded({"value": 0.5}, seconds)), 0.0)
    return search


def test_an_attempt_three_times_over_its_like_is_cut_off_once_for_nothing_and_then_as_a_timeout() -> None:
    """Else one hanging disk keeps a worker for ever. What it was is not known before another host has said so too."""
    search = searched(20)
    assert search.handle(Tick(), 90.0) == []
    assert search.handle(Answered(11, 0, good()), 90.5)[-1] == Launch(12, 0, False)
    instructions = search.handle(Tick(), 91.0)
    why = "cut off after 91 s; 95 % of its like took 30 s or less"
    assert instructions == [Record(AttemptCut(10, 0, why), 91.0), Cancel(10, 0)]
    assert search.handle(Tick(), 93.0) == [], "it is asked once"
    instructions = search.handle(Answered(10, 0, CANCELLED), 94.0)
    assert events(instructions, AttemptAnswered) == [AttemptAnswered(10, 0, Failed("preempted", why, fresh=False))]
    assert launches(instructions) == [(10, 1, True)]
    assert Cancel(10, 1) in search.handle(Tick(), 190.0)
    instructions = search.handle(Answered(10, 1, bad("preempted", "cancelled")), 191.0)
    assert events(instructions, TrialEnded) == [TrialEnded(10, "failed", 1)]
    outcome = search.history.trials[10].outcome
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.message[:9]) == ("timeout", "cut off a")


def test_what_answers_after_all_counts() -> None:
    search = searched(20)
    assert Cancel(10, 0) in search.handle(Tick(), 91.0)
    assert events(search.handle(Answered(10, 0, good()), 92.0), TrialEnded) == [TrialEnded(10, "completed", 0)]


def test_nothing_is_cut_before_a_minute_nor_by_too_few_of_its_like() -> None:
    search = searched(20, seconds=1.0)
    assert search.handle(Tick(), FLOOR) == []
    assert len(events(search.handle(Tick(), FLOOR + 1), AttemptCut)) == 2
    fewer = machine(trials=20)
    fewer.stragglers = Stragglers()
    fewer.handle(SlotsChanged(1), 0.0)
    for trial in range(FEWEST - 1):
        fewer.handle(Answered(trial, 0, good()), 0.0)
    assert fewer.handle(Tick(), 10_000.0) == []


@pytest.mark.parametrize("steps", [(1, 1), (1, 2, 3, 1, 2)])
def test_what_began_anew_is_not_measured_by_its_like_nor_they_by_it(steps: tuple[int, ...]) -> None:
    """Else what diverged late in bf16 is cut off while it is repeated in fp32, and fails for its slowness."""
    search = searched(20)
    for step in steps:
        search.handle(Reported(10, 0, step, {}), 1.0)
    assert events(search.handle(Tick(), 100.0), AttemptCut) == [
        AttemptCut(11, 0, "cut off after 100 s; 95 % of its like took 30 s or less")
    ]
    search.handle(Answered(10, 0, Succeeded({"value": 0.5}, 500.0)), 500.0)
    assert [max(known) for known in search.stragglers.seconds.values()] == [30.0]


def test_when_nothing_else_is_left_an_idle_worker_runs_a_copy_and_the_first_answer_counts() -> None:
    """Else a whole run waits for its slowest worker, and all the others with it."""
    search = searched(12)
    assert launches(search.handle(Answered(11, 0, good()), 40.0)) == [], "it may yet be no straggler"
    assert search.useful(40.0) == 2
    instructions = search.handle(Tick(), 46.0)
    assert instructions == [Record(AttemptStarted(10, 1), 46.0), Launch(10, 1, False)]
    assert launches(search.handle(SlotsChanged(3), 47.0)) == [], "one copy is enough"
    assert search.useful(47.0) == 2
    instructions = search.handle(Answered(10, 1, good(0.9)), 50.0)
    assert events(instructions, TrialEnded) == [TrialEnded(10, "completed", 1)]
    assert Cancel(10, 0) in instructions
    assert search.history.device_seconds(52.0) == 40 + 4 + 52, "a copy is paid for, and so is what it outran"
    instructions = search.handle(Answered(10, 0, CANCELLED), 52.0)
    assert events(instructions, LateResult) == [LateResult(10, 0, CANCELLED)]
    assert isinstance(instructions[-1], End)
    assert search.history.device_seconds(60.0) == 96


@pytest.mark.parametrize("first", [0, 1])
def test_a_lost_copy_or_original_costs_nothing_while_the_other_runs(first: int) -> None:
    search = searched(12)
    search.handle(Answered(11, 0, good()), 46.0)
    copied = launches(search.handle(Answered(10, first, bad("lost")), 50.0))
    assert copied == ([(10, 2, False)] if first else []), "a copy that has just begun is worth none"
    instructions = search.handle(Answered(10, 1 - first, good()), 51.0)
    assert events(instructions, TrialEnded) == [TrialEnded(10, "completed", 1 - first)]
    assert (Cancel(10, 2) in instructions) == bool(first)


def test_replicates_are_copied_too() -> None:
    search = searched(11)
    search.replicate = Wanted(1, 1)
    assert launches(search.handle(Answered(10, 0, good(0.1)), 1.0)) == [(0, 1, False)]
    assert launches(search.handle(Tick(), 50.0)) == [(0, 2, False)]
    assert search.history.trials[0].attempts[2].replicate == 1
    instructions = search.handle(Answered(0, 2, good(0.8)), 60.0)
    assert events(instructions, ReplicateEnded) == [ReplicateEnded(0, 1, 2)]
    assert Cancel(0, 1) in instructions
    instructions = search.handle(Answered(0, 1, CANCELLED), 61.0)
    assert events(instructions, LateResult)
    assert isinstance(instructions[-1], End)


def test_none_is_copied_where_trials_take_seconds() -> None:
    search = searched(12, seconds=0.1)
    assert launches(search.handle(Answered(11, 0, good()), COPIED_FLOOR)) == []
    assert launches(search.handle(Tick(), COPIED_FLOOR + 1)) == [(10, 1, False)]


def test_a_scheduler_sees_the_original_alone() -> None:
    """Its curve would begin anew with the copy's first report, and the trial be judged by a beginner."""

    class Watching(nas.schedulers.NoScheduler):  # type: ignore[name-defined,misc]
        watches, seen = True, []  # type: ignore[var-annotated]

        def began(self, trial: int) -> None:
            self.seen.append(("began", trial))

        def reported(self, trial: int, step: int, value: float) -> None:
            self.seen.append((trial, step))

    search = searched(12)
    search.scheduler, search.progress = Watching(), lambda metrics: metrics["value"]
    search.handle(Reported(10, 0, 1, {"value": 0.1}), 1.0)
    search.handle(Answered(11, 0, good()), 46.0)
    search.handle(Reported(10, 1, 1, {"value": 0.1}), 47.0)
    search.handle(Reported(10, 0, 2, {"value": 0.1}), 48.0)
    assert Watching.seen == [(10, 1), (10, 2)]
    assert search.history.epochs_trained == 3, "the copy's epochs are paid for"


def test_replaying_copies_and_cuts_gives_the_live_state() -> None:
    def new() -> Search:
        space = Space.read({"hyperparameters": {"x": {"float": [0.0, 1.0]}}})
        search = Search(
            controllers.make(controllers.parse("evolution"), space, 1),
            partial(compute, RewardSettings(maximize="value")), Budget(12), stragglers=Stragglers(),
        )  # fmt: skip
        search.apply(HOST, 0.0)
        return search

    live, recorded = new(), []
    happenings: list[tuple[Any, float]] = [(SlotsChanged(2), 0.0)]
    happenings += [(Answered(trial, 0, Succeeded({"value": 0.5}, 20.0)), 0.0) for trial in range(10)]
    happenings += [(Answered(11, 0, good()), 40.0), (Tick(), 61.0), (Answered(10, 0, CANCELLED), 62.0)]
    happenings += [(Answered(10, 1, good(0.9)), 70.0), (Tick(), 71.0)]
    for happening, now in happenings:
        recorded += [one for one in live.handle(happening, now) if isinstance(one, Record)]
    replayed = new()
    for record in recorded:
        replayed.apply(record.event, record.time)
    assert [type(record.event) for record in recorded].count(AttemptCut) == 1
    assert live.over is not None
    assert replayed.digest() == live.digest() == recorded[-1].event.digest
    assert replayed.save() == live.save()
