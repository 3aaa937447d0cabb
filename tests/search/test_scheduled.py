"""Trials that pause, go on, or are stopped: by the machine alone; and driven, with state on disk, killed at every line.

Without this a promoted trial might be trained twice, lost with its driver, or never be heard of again.
"""

from __future__ import annotations

import shutil
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from stepwise import stepwise
from test_machine import FLOATS, HOST, Listening, bad, events, launches

from nas import controllers, driver, schedulers, store
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig
from nas.instructions import AskToStop, Cancel, End, Forget, Instruction, Record
from nas.limits import Budget, Stop
from nas.machine import Search
from nas.objective import Context
from nas.plan import Plan, finished
from nas.records import (
    Adopted,
    Answered,
    AttemptStarted,
    AttemptStopped,
    BudgetChanged,
    LateResult,
    Proposed,
    Reported,
    RunEnded,
    RunStarted,
    SlotsChanged,
    Succeeded,
    TrialEnded,
    TrialPaused,
)
from nas.reward import Limit, RewardSettings, compute, progress
from nas.schedulers.settings import whole_length
from nas.space import Candidate, Space


def machine(
    scheduler: Any = "asha",
    budget: Budget = Budget(),  # noqa: B008 - frozen
    stop: Stop = Stop(),  # noqa: B008
    length: int | None = 9,
    reward: RewardSettings = RewardSettings(maximize="value"),  # noqa: B008
) -> Search:
    space, settings = Space.read(FLOATS), schedulers.parse(scheduler)
    controller = controllers.make(controllers.parse("evolution"), space, 1)
    search = Search(
        controller,
        partial(compute, reward),
        budget,
        stop=stop,
        full_length=whole_length(settings, length),
        scheduler=schedulers.make(settings, 1, length),
        progress=partial(progress, reward),
    )
    search.apply(HOST, 0.0)
    return search


def good(value: float, step: int) -> Succeeded:
    return Succeeded({"value": value}, 1.0, step=step)


def acts(instructions: list[Instruction]) -> list[Instruction]:
    return [one for one in instructions if not isinstance(one, Record)]


def paused(search: Search, values: list[float]) -> list[Instruction]:
    """On one slot, that many trials in a row pause at the first rung; what the last answer brought."""
    instructions = search.handle(SlotsChanged(1), 0.0)
    for trial, value in enumerate(values):
        instructions = search.handle(Answered(trial, 0, good(value, 1)), 1.0)
    return instructions


def test_a_trial_pauses_is_walked_through_no_more_and_goes_on_when_a_slot_is_free() -> None:
    search = machine()
    instructions = paused(search, [0.1, 0.3, 0.2])
    assert events(instructions, TrialPaused) == [TrialPaused(2, 0, 1)]
    assert events(instructions, AttemptStarted) == [AttemptStarted(1, 1, False, until=3, saved=0)]
    assert list(search.history.open) == [1]
    assert search.history.tally == {"paused": 2}
    instructions = search.handle(Answered(1, 1, good(0.5, 3)), 2.0)
    assert acts(instructions)[0] == Forget(1, 0)  # only the state at the higher rung can be gone on from now
    assert search.history.trials[1].reached == 3
    assert search.incumbents.best == [((0.5,), 1)]


@pytest.mark.parametrize("scheduler", ["none", "asha"])
def test_seconds_are_told_where_the_search_ends_by_time_and_by_the_step_where_lengths_differ(scheduler: str) -> None:
    """And once: what a trial took that went on, a rung later, is of another length."""

    def told(config: dict[str, Any], changed: dict[str, Any]) -> list[tuple[bool, float | None]]:
        search = machine({"asha": {"min_resource": 2}} if scheduler == "asha" else scheduler)
        search.controller = listening = Listening(Space.read(FLOATS), 1)
        search.apply(RunStarted("id", "name", config, {}, {}, 1), 0.0)
        search.apply(BudgetChanged(changed), 0.0)
        search.handle(SlotsChanged(1), 0.0)
        for trial, value in enumerate([0.1, 0.3, 0.2]):
            search.handle(Answered(trial, 0, Succeeded({"value": value}, 3.0, step=2)), 1.0)
        if scheduler == "asha":
            search.handle(Answered(1, 1, Succeeded({"value": 0.4}, 6.0, step=6)), 2.0)
        return listening.told

    by_step = 1.5 if scheduler == "asha" else 3.0
    further = [(True, None)] if scheduler == "asha" else []
    assert told({"budget": {"time": 60.0}}, {}) == [(False, by_step)] * 3 + further
    assert told({"budget": {"trials": 9}}, {}) == [(False, None)] * 3 + further
    assert told({"budget": {"trials": 9}}, {"budget.trials": None, "budget.time": 60.0})[0] == (False, by_step)


def test_a_lost_attempt_of_a_promoted_trial_goes_on_from_the_same_state_to_the_same_rung() -> None:
    search = machine()
    paused(search, [0.1, 0.3, 0.2])
    instructions = search.handle(Answered(1, 1, bad("lost")), 2.0)
    assert events(instructions, AttemptStarted) == [AttemptStarted(1, 2, False, until=3, saved=0)]


def test_an_answer_to_an_attempt_before_the_pause_is_late_and_counts_for_nothing() -> None:
    """A first driver's attempt, adopted after a second one has paused the trial and promoted it."""
    search = machine()
    search.handle(SlotsChanged(1), 0.0)
    search.apply(HOST, 1.0)
    search.handle(SlotsChanged(1), 1.0)
    search.handle(Answered(0, 1, good(0.9, 1)), 1.0)
    for trial in (1, 2):
        search.handle(Answered(trial, 0, good(0.1, 1)), 1.0)
    assert search.history.trials[0].attempts[2].saved == 1
    assert search.handle(Adopted([Answered(0, 0, good(0.9, 1))]), 2.0) == []
    assert events(search.handle(Answered(0, 0, good(0.9, 1)), 2.0), LateResult)
    assert 0 in search.history.open


def test_a_result_adopted_while_another_attempt_runs_pauses_the_trial_and_cancels_that() -> None:
    search = machine()
    search.handle(SlotsChanged(1), 0.0)
    search.apply(HOST, 1.0)
    search.handle(SlotsChanged(1), 1.0)
    instructions = search.handle(Answered(0, 0, good(0.9, 1)), 2.0)
    assert Cancel(0, 1) in instructions
    assert events(instructions, TrialPaused) == [TrialPaused(0, 0, 1)]
    assert search.handle(Answered(0, 1, bad("preempted")), 3.0)  # its slot is free
    assert search.history.tally["paused"] == 1


def test_what_fails_after_a_promotion_is_told_as_a_failure_and_leaves_the_best() -> None:
    search = machine()
    paused(search, [0.1, 0.3, 0.2])
    search.handle(Answered(1, 1, bad("diverged")), 2.0)
    assert search.history.trials[1].state == "failed"
    assert search.incumbents.best != [((0.3,), 1)]


def test_what_ends_of_its_own_accord_before_its_rung_has_ended() -> None:
    search = machine({"asha": {"min_resource": 2}})
    search.handle(SlotsChanged(1), 0.0)
    instructions = search.handle(Answered(0, 0, good(0.5, 1)), 1.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "completed", 0)]


def test_when_the_trials_are_up_the_rungs_are_worked_off_and_one_is_trained_in_full() -> None:
    search = machine(budget=Budget(trials=4))
    instructions = search.handle(SlotsChanged(2), 0.0)
    reached: Counter[int | None] = Counter()
    while started := launches(instructions):
        instructions = []
        for trial, attempt, _ in started:
            until = search.history.trials[trial].attempts[attempt].until
            reached[until] += 1
            instructions += search.handle(Answered(trial, attempt, good(trial / 10, until or 9)), 1.0)
    assert reached == {1: 4, 3: 2, None: 1}  # trial 2 was the best of three, trial 3 of four
    assert isinstance(instructions[-1], End)
    assert search.history.tally == {"paused": 3, "completed": 1}


def test_a_rule_to_stop_by_promotes_nobody() -> None:
    search = machine(stop=Stop(reward=(0.3,)))
    instructions = paused(search, [0.1, 0.2, 0.3])
    assert isinstance(instructions[-1], End)
    assert instructions[-1].reason == "stopped"


def test_epochs_of_an_attempt_that_goes_on_are_counted_from_where_it_went_on() -> None:
    search = machine()
    paused(search, [0.1, 0.3, 0.2])
    assert search.history.epochs_trained == 3
    search.handle(Reported(1, 1, 2, {}), 1.0)
    assert search.history.epochs_trained == 4
    search.handle(Answered(1, 1, good(0.4, 3)), 1.0)
    assert search.history.epochs_trained == 5
    search.handle(Reported(3, 0, 1, {}), 1.0)
    assert search.history.epochs_trained == 6


def test_epochs_of_one_whose_state_was_gone_are_counted_from_the_beginning() -> None:
    search = machine({"asha": {"min_resource": 3}}, length=27)
    search.handle(SlotsChanged(1), 0.0)
    for trial in range(3):
        search.handle(Answered(trial, 0, good(trial / 10, 3)), 1.0)
    for step in range(1, 10):
        search.handle(Reported(2, 1, step, {}), 1.0)
    search.handle(Answered(2, 1, good(0.5, 9)), 1.0)
    assert search.history.epochs_trained == 3 * 3 + 9


def test_an_objective_that_never_reports_is_told_so() -> None:
    search = machine()
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Answered(0, 0, good(0.5, 0)), 1.0)
    outcome = search.history.trials[0].outcome
    assert "scheduler asha looks at reports, and the objective made none: call context.report" in outcome.message


def test_reports_without_the_rewards_metric_are_told_so() -> None:
    search = machine("median")
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Reported(0, 0, 1, {"loss": 1.0}), 1.0)
    search.handle(Answered(0, 0, good(0.5, 1)), 1.0)
    assert (
        "looks for the reward's metric in the reports, and these hold loss" in search.history.trials[0].outcome.message
    )


def test_a_stopped_trial_is_asked_once_says_why_and_ends_with_what_it_reached() -> None:
    search = machine({"median": {"min_trials": 2}})
    search.handle(SlotsChanged(1), 0.0)
    for trial in range(2):
        for step in range(1, 10):
            search.handle(Reported(trial, 0, step, {"value": 0.5}), 1.0)
        search.handle(Answered(trial, 0, good(0.5, 9)), 1.0)
    instructions = search.handle(Reported(2, 0, 1, {"value": 0.1}), 1.0)
    assert AskToStop(2, 0) in instructions
    (stopped,) = events(instructions, AttemptStopped)
    assert stopped.reason == "its best, 0.1, is below 0.5, the median average of 2 trials"
    assert acts(search.handle(Reported(2, 0, 2, {"value": 0.1}), 1.0)) == []
    instructions = search.handle(Answered(2, 0, good(0.1, 2)), 1.0)
    assert events(instructions, TrialEnded) == [TrialEnded(2, "completed", 0, short=True)]
    assert (search.history.trials[2].reached, search.history.trials[2].whole) == (2, False)
    assert search.incumbents.best == [((0.5,), 0)]


LIMITED = RewardSettings(maximize="value", limits={"size": Limit(at_most=100, weight=1)})


@pytest.mark.parametrize("scheduler", [{"median": {"min_trials": 2}}, {"extrapolate": {"min_trials": 2}}])
def test_what_loses_by_its_limits_is_stopped_and_not_what_wins_by_them(scheduler: Any) -> None:
    """By its value alone a small network that the reward prefers would be stopped for large ones."""
    search = machine(scheduler, reward=LIMITED)
    search.handle(SlotsChanged(1), 0.0)

    def stopped(trial: int, value: float, size: float) -> bool:
        metrics = {"value": value, "size": size}
        said = [one for step in range(1, 10) for one in search.handle(Reported(trial, 0, step, metrics), 1.0)]
        search.handle(Answered(trial, 0, Succeeded(metrics, 1.0, step=9)), 1.0)
        return AskToStop(trial, 0) in said

    assert [stopped(trial, 0.8, 200) for trial in range(2)] == [False, False]  # worth 0.4
    assert not stopped(2, 0.5, 100)
    assert stopped(3, 0.9, 300)  # worth 0.3


def test_reports_of_earlier_versions_without_what_is_limited_replay_to_what_they_were() -> None:
    """Else going on with a run would begin with another scheduler than the one that was killed."""
    one, other = machine("median", reward=LIMITED), machine("median")
    for search in (one, other):
        search.handle(SlotsChanged(1), 0.0)
        search.handle(Reported(0, 0, 1, {"value": 0.8}), 1.0)
        search.handle(Answered(0, 0, Succeeded({"value": 0.8, "size": 200}, 1.0, step=1)), 1.0)
        search.handle(Reported(1, 0, 1, {"value": 0.7}), 1.0)
    assert one.scheduler.save() == other.scheduler.save()
    assert one.scheduler.save()["ended"] == [[(1, 0.8)]]


def test_a_word_to_stop_that_came_too_late_shortened_nothing() -> None:
    search = machine({"median": {"min_trials": 1}}, length=2)
    search.handle(SlotsChanged(1), 0.0)
    for step in (1, 2):
        search.handle(Reported(0, 0, step, {"value": 0.5}), 1.0)
    search.handle(Answered(0, 0, good(0.5, 2)), 1.0)
    assert AskToStop(1, 0) in search.handle(Reported(1, 0, 1, {"value": 0.1}), 1.0)
    instructions = search.handle(Answered(1, 0, good(0.9, 2)), 1.0)
    assert events(instructions, TrialEnded) == [TrialEnded(1, "completed", 0)]


# Driven --------------------------------------------------------------------------------------------------------------


def objective(candidate: Candidate, context: Context) -> float:
    """Nine epochs towards x, from where an earlier attempt left off."""
    x = candidate.hyperparameters["x"]
    return stepwise(context, 9, lambda value: value + (x - value) / 2)[1]


def planned(scheduler: Any = "asha", order: Any = lambda started: -1, **config: Any) -> Plan:
    values = {"name": "line", "space": "line", "objective": "objective", "controller": "evolution",
              "scheduler": scheduler, "reward": {"maximize": "value"}, "budget": {"trials": 20}} | config  # fmt: skip
    return Plan(
        config=CallableConfig.model_validate(values),
        space=Space.read(FLOATS),
        objective=objective,
        connect=lambda folder: InlineExecutor(objective, slots=3, order=order),
        epochs=9,
    )


def whole(x: float) -> float:
    value = 0.0
    for _ in range(9):
        value += (x - value) / 2
    return value


def test_a_run_under_asha_trains_each_epoch_of_a_trial_once_and_leaves_no_states_but_those_that_wait(
    tmp_path: Path,
) -> None:
    ended = driver.run(planned(), tmp_path / "run")
    history = ended.history
    assert ended.reason == "budget"
    assert history.tally["completed"] >= 1
    assert history.tally["completed"] + history.tally["paused"] == 20
    assert history.epochs_trained == sum(trial.reached for trial in history.trials.values()) < 20 * 9 / 2
    for trial in history.trials.values():
        left = [path.parent.parent.name for path in (tmp_path / f"run/trials/{trial.number}").glob("*/state/*")]
        assert len(left) == (trial.state == "paused")
        assert [step for step, _ in trial.curve()] == list(range(1, trial.reached + 1))
        if trial.state == "completed":
            x = trial.proposal.candidate["hyperparameters"]["x"]
            assert trial.outcome.metrics["value"] == pytest.approx(whole(x))
    assert finished(store.history(tmp_path / "run"), planned().config)
    more = driver.run(planned(budget={"trials": 40}), tmp_path / "run")
    assert more.history.tally["completed"] + more.history.tally["paused"] == 40
    assert sum(trial.reached for trial in more.history.trials.values()) == more.history.epochs_trained


@pytest.mark.parametrize(
    "scheduler", ["asha", "hyperband", {"median": {"min_trials": 2}}, {"extrapolate": {"min_trials": 2}}]
)
@pytest.mark.parametrize("name", ["evolution", "random"])
def test_killed_at_every_line_a_scheduled_run_goes_on_as_if_it_had_not_been(
    memory_path: Path, scheduler: Any, name: str
) -> None:
    """One slot, so that the order of completions is the same: then decisions must be, too, state files or not."""
    plan = planned(scheduler, controller=name, budget={"trials": 7}, cluster={"kind": "inline", "workers": 1})
    single = Plan(plan.config, plan.space, objective, lambda folder: InlineExecutor(objective), epochs=9)
    ended = driver.run(single, memory_path / "whole")
    wanted = facts(ended.history)
    lines = (memory_path / "whole/journal/000001.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines) + 1, 1 if name == "evolution" else 7):
        run = memory_path / f"cut-{cut}"
        (run / "journal").mkdir(parents=True)
        (run / "journal/000001.jsonl").write_bytes(b"".join(lines[:cut]))
        (run / "journal/000001.alive").write_bytes(b"released")
        if adopts := cut % 2 == 1:  # what attempts left; some of it the journal does not know yet
            shutil.copytree(memory_path / "whole/trials", run / "trials")
        ended = driver.run(single, run)
        if not (adopts and driver.machine(single).scheduler.watches):  # who must do without the reports that were lost
            assert facts(ended.history) == wanted, f"cut after line {cut}"
        replayed = driver.machine(single)
        for entry in store.read(run / "journal"):
            if isinstance(entry.event, RunEnded) and entry.epoch == 2:
                assert replayed.digest() == entry.event.digest, f"cut after line {cut}"
            replayed.apply(entry.event, entry.time)
        paused_ = [e.event for e in store.read(run / "journal") if isinstance(e.event, TrialPaused)]
        assert len({(e.trial, e.step) for e in paused_}) == len(paused_)
        numbers = [e.event.proposal.number for e in store.read(run / "journal") if isinstance(e.event, Proposed)]
        assert numbers == list(range(len(numbers)))
        shutil.rmtree(run)


def facts(history: Any) -> list[Any]:
    return [
        (trial.proposal.hash, trial.state, trial.reached, trial.whole, trial.outcome and trial.outcome.metrics)
        for trial in history.trials.values()
    ]


@pytest.mark.parametrize("scheduler", ["asha", {"median": {"min_trials": 2}}])
def test_a_snapshot_with_paused_trials_goes_on_as_the_journal_does(memory_path: Path, scheduler: Any) -> None:
    plan = planned(scheduler, budget={"trials": 12})
    driver.run(plan, memory_path / "run")
    shutil.copytree(memory_path / "run", memory_path / "without")
    (memory_path / "without/journal/snapshot").unlink()
    more = planned(scheduler, budget={"trials": 30})
    with_, without = (driver.run(more, memory_path / name) for name in ("run", "without"))
    assert facts(with_.history) == facts(without.history)
    for name in ("run", "without"):
        replayed = driver.machine(more)
        entries = store.read(memory_path / name / "journal")
        for entry in entries[:-1]:
            replayed.apply(entry.event, entry.time)
        assert isinstance(entries[-1].event, RunEnded)
        assert entries[-1].event.digest == replayed.digest()
