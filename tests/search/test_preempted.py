"""Attempts that leave their state when their worker must go: the next one goes on from it, and nothing was lost."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aftermath import settled
from stepwise import stepwise
from test_machine import HOST, Listening, bad, events, good, launches, machine

from nas import driver
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig
from nas.errors import Interrupted
from nas.instructions import AskToStop, End, Forget
from nas.objective import Context
from nas.plan import Plan
from nas.records import Answered, AttemptStarted, Failed, Reported, RunStarted, SlotsChanged, StopRequested
from nas.replication import Wanted
from nas.space import Candidate, Space

FLOATS = {"hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def left(step: int) -> Failed:
    return Failed("preempted", "preempted; it left its state", step=step)


def test_what_runs_is_asked_once_to_leave_its_state_and_the_next_driver_goes_on_from_it() -> None:
    search = machine(trials=2)
    search.handle(SlotsChanged(2), 0.0)
    assert search.handle(StopRequested(), 1.0) == []
    assert search.handle(StopRequested(leave=True), 2.0) == [AskToStop(0, 0, leave=True), AskToStop(1, 0, leave=True)]
    assert search.handle(StopRequested(leave=True), 3.0) == []
    for step in (1, 2, 3):
        search.handle(Reported(0, 0, step, {}), 4.0)
    assert launches(search.handle(Answered(0, 0, left(3)), 5.0)) == []
    assert search.handle(Answered(1, 0, good()), 6.0)[-1] == End("interrupted")
    assert not any(attempt.lost for trial in search.history.trials.values() for attempt in trial.attempts)

    resumed = search  # as a replay of its journal would have it
    resumed.over, resumed.stopping, resumed.leaving = None, False, False
    resumed.apply(HOST, 10.0)
    assert events(resumed.handle(SlotsChanged(1), 10.0), AttemptStarted) == [AttemptStarted(0, 1, saved=0)]
    resumed.handle(Reported(0, 1, 4, {}), 11.0)
    assert resumed.history.epochs_trained == 4, "no epoch was trained twice"
    instructions = resumed.handle(Answered(0, 1, good()), 12.0)
    assert Forget(0, 0) in instructions


def test_preemptions_with_a_state_count_nothing_against_anybody() -> None:
    """A long trial on a preemptible partition is preempted more than twenty times, and has not failed once."""
    search = machine(trials=1)
    search.handle(SlotsChanged(1), 0.0)
    for attempt in range(30):
        search.handle(Reported(0, attempt, attempt + 1, {}), 1.0)
        instructions = search.handle(Answered(0, attempt, left(attempt + 1)), 1.0)
        assert events(instructions, AttemptStarted) == [AttemptStarted(0, attempt + 1, saved=attempt)]
    assert not any(attempt.lost for attempt in search.history.trials[0].attempts)
    assert search.history.epochs_trained == 30
    assert events(search.handle(Answered(0, 30, bad("lost")), 2.0), AttemptStarted) == [AttemptStarted(0, 31, saved=29)]


def test_what_a_preempted_trial_took_is_told_with_all_its_parts() -> None:
    """Slow trials are preempted most, and would else look fastest."""
    search = machine(trials=None, seconds=60.0)
    search.controller = listening = Listening(Space.read(FLOATS), 1)
    search.apply(RunStarted("id", "name", {"budget": {"time": 60.0}}, {}, {}, 1), 0.0)
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Answered(0, 0, replace(left(3), seconds=9.0)), 9.0)
    search.handle(Answered(0, 1, replace(good(), seconds=1.0)), 10.0)
    assert listening.told == [(False, 10.0)]


def test_a_replicate_goes_on_from_its_own_state() -> None:
    search = machine(trials=1)
    search.replicate = Wanted(1, 1)
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Answered(0, 0, good()), 1.0)
    instructions = search.handle(Answered(0, 1, left(3)), 2.0)
    assert events(instructions, AttemptStarted) == [AttemptStarted(0, 2, replicate=1, saved=1)]
    assert Forget(0, 1) in search.handle(Answered(0, 2, good()), 3.0)


# Driven --------------------------------------------------------------------------------------------------------------


class Counting:
    """Nine epochs towards x, from where an earlier attempt left off; at some it is sent signals."""

    resumable = True

    def __init__(self, signals: dict[tuple[int, int], int]) -> None:
        self.signals = signals  # by trial and step, each once

    def __call__(self, candidate: Candidate, context: Context) -> float:
        x = candidate.hyperparameters["x"]

        def kill(step: int) -> None:
            if (context.trial, step) in self.signals:
                os.kill(os.getpid(), self.signals.pop((context.trial, step)))

        return stepwise(context, 9, lambda value: value + (x - value) / 2, kill)[1]


def plan(objective: Any, **config: Any) -> Plan:
    values = {"name": "line", "space": "line", "objective": "objective", "controller": "evolution",
              "reward": {"maximize": "value"}, "budget": {"trials": 4}} | config  # fmt: skip
    return Plan(
        CallableConfig.model_validate(values), Space.read(FLOATS), objective,
        lambda folder: InlineExecutor(objective), epochs=9,
    )  # fmt: skip


@pytest.mark.parametrize(("number", "again"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
@pytest.mark.parametrize("scheduler", ["none", {"asha": {"max_resource": 9}}, {"median": {"min_trials": 2}}])
def test_a_warned_run_leaves_states_and_goes_on_as_if_it_had_not_been(
    tmp_path: Path, number: signal.Signals, again: bool, scheduler: Any
) -> None:
    """A warning comes two minutes before a kill, a preemption's half a minute: an epoch is less, a trial is more."""
    whole = driver.run(plan(Counting({}), scheduler=scheduler), tmp_path / "whole")
    warned = plan(Counting({(1, 1): number, (3, 2): number}), scheduler=scheduler)
    stops = 0
    while (ended := driver.run(warned, tmp_path / "run")).reason == "interrupted":
        stops += 1
        assert (ended.exit_code, ended.again) == (75, again)
    assert stops == 2 if scheduler == "none" else stops
    assert ended.history.epochs_trained == whole.history.epochs_trained, "an epoch was trained twice"
    found = [[(t.state, t.outcome.metrics, t.curve()) for t in one.history.trials.values()] for one in (whole, ended)]  # type: ignore[union-attr]
    assert found[0] == found[1]
    settled(tmp_path / "run", 4)
    waiting = [path.parents[2].name for path in (tmp_path / "run/trials").glob("*/*/state/*")]
    assert len(waiting) == ended.history.tally["paused"], "a state that nothing goes on from was left"


def test_an_objective_that_does_not_say_it_can_go_on_is_stopped_as_ever(tmp_path: Path) -> None:
    objective = Counting({(1, 4): signal.SIGTERM})
    objective.resumable = False  # type: ignore[misc]
    with pytest.raises(Interrupted):
        driver.run(plan(objective), tmp_path / "run")
    ended = driver.run(plan(objective), tmp_path / "run")
    assert ended.history.tally == {"completed": 4}
    assert [attempt.lost for attempt in ended.history.trials[1].attempts] == [True, False]
    settled(tmp_path / "run", 4)


def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    def objective(candidate: Candidate, context: Context) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    objective.resumable = True  # type: ignore[attr-defined]
    with pytest.raises(Interrupted):
        driver.run(plan(objective), tmp_path / "run")
