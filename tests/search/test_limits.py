"""When a search ends by itself: budgets over all workers and drivers, and rules to stop by; alone, and driven."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_machine import FLOATS, HOST, events, good, launches, run_out

from nas import controllers, driver, store
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig, StopSettings
from nas.errors import InputError
from nas.instructions import AskToStop, Cancel, End, Instruction, Record
from nas.limits import Budget, Stop, ends_by_time
from nas.machine import Search
from nas.objective import Context
from nas.plan import Plan, finished
from nas.records import (
    Adopted,
    Answered,
    Failed,
    Proposed,
    Reported,
    RunEnded,
    SlotsChanged,
    Succeeded,
    Tick,
    TrialEnded,
)
from nas.reward import RewardSettings, compute
from nas.space import Candidate, Space


def machine(
    budget: Budget = Budget(),  # noqa: B008 - frozen
    stop: Stop = Stop(),  # noqa: B008
    full_length: int | None = None,
    reward: RewardSettings = RewardSettings(maximize="value"),  # noqa: B008
) -> Search:
    space = Space.read(FLOATS)
    controller = controllers.make(controllers.parse("evolution"), space, 1, len(reward.wishes))
    search = Search(controller, partial(compute, reward), budget, stop=stop, full_length=full_length)
    search.apply(HOST, 0.0)
    return search


def acts(instructions: Iterable[Instruction]) -> list[Instruction]:
    return [one for one in instructions if not isinstance(one, Record)]


def report(search: Search, trial: int, attempt: int, *steps: int, now: float = 2.0) -> list[Instruction]:
    return [i for step in steps for i in search.handle(Reported(trial, attempt, step, {}), now)]


# Budgets -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "timed"),
    [
        ({"time": 9.0}, True),
        ({"device_seconds": 9.0, "trials": None}, True),
        ({"time": 9.0, "trials": 9}, False),
        ({"time": 9.0, "epochs": 9}, False),
        ({"trials": 9, "time": None}, False),
        ({}, False),
    ],
)
def test_a_search_ends_by_time_where_its_budget_has_nothing_else(budget: dict[str, Any], timed: bool) -> None:
    assert ends_by_time({"budget": budget}) is timed
    assert not ends_by_time({})


def test_device_seconds_are_summed_over_slots_drivers_and_attempts_that_came_to_nothing() -> None:
    search = machine(Budget(device_seconds=10.0))
    search.handle(SlotsChanged(2), 0.0)
    search.handle(Answered(0, 0, Failed("lost", "gone")), 2.0)  # 2 + 2 so far
    assert search.handle(Tick(), 3.9) == []  # 2 + 1.9 + 3.9
    search.apply(HOST, 100.0)  # the driver died, last heard of at 2.0; a pause costs nothing
    assert search.history.device_seconds(100.0) == 4.0
    search.handle(SlotsChanged(1), 100.0)
    assert acts(search.handle(Tick(), 105.9)) == []
    *cancelled, end = acts(search.handle(Tick(), 106.0))
    assert cancelled == [Cancel(0, 2)]
    assert end == End(
        "budget",
        "10 device-seconds are used up (budget.device_seconds): 2 trials were cut off, and not counted; "
        "a larger budget goes on",
    )


def test_epochs_are_counted_over_all_attempts_and_who_trained_its_last_is_waited_for() -> None:
    """Two trials of three epochs are what six pay for: the second must not be cut off between report and answer."""
    search = machine(Budget(epochs=7), full_length=3)
    search.handle(SlotsChanged(3), 1.0)
    report(search, 0, 0, 1)
    search.handle(Answered(0, 0, Failed("lost", "gone")), 2.0)  # its epoch was trained all the same
    report(search, 0, 1, 1)
    report(search, 1, 0, 1, 2, 3)
    assert search.history.epochs_trained == 5
    assert acts(report(search, 2, 0, 1)) == []
    assert acts(report(search, 0, 1, 2)) == [Cancel(0, 1), Cancel(2, 0)]  # seven: only trial 1 has no more to train
    assert acts(search.handle(Answered(2, 0, Failed("preempted", "cancelled")), 2.0)) == []  # nothing new begins
    instructions = search.handle(Answered(1, 0, good()), 3.0)
    assert events(instructions, TrialEnded) == [TrialEnded(1, "completed", 0)]
    assert acts(instructions)[-1] == End(
        "budget",
        "7 epochs are trained (budget.epochs): 2 trials were cut off, and not counted; a larger budget goes on",
    )
    assert search.history.epochs_trained == 7


def test_epochs_before_a_new_beginning_within_an_attempt_are_counted() -> None:
    """What diverged in bf16 is repeated in fp32."""
    search = machine(Budget(epochs=9), full_length=4)
    search.handle(SlotsChanged(1), 1.0)
    report(search, 0, 0, 1, 2, 3, 1, 2)
    assert search.history.epochs_trained == 5
    assert acts(report(search, 0, 0, 3, 4)) == []
    search.handle(Answered(0, 0, Succeeded({"value": 0.5, "epochs": 4.0})), 2.0)
    assert search.history.epochs_trained == 7


@pytest.mark.parametrize(("steps", "epochs"), [((1, 1, 2), 3), ((1, 2, 2, 3, 3), 3), ((1, 1, 2, 2), 3)])
def test_step_one_once_more_is_a_new_beginning_and_a_later_step_is_none(steps: tuple[int, ...], epochs: int) -> None:
    """Most diverge after one epoch, where the rate is highest: what was repeated was not paid for."""
    search = machine(Budget(epochs=9))
    search.handle(SlotsChanged(1), 1.0)
    report(search, 0, 0, *steps)
    assert search.history.epochs_trained == epochs
    search.handle(Answered(0, 0, Succeeded({"value": 0.5, "epochs": float(steps[-1])})), 2.0)
    assert search.history.epochs_trained == epochs


def test_an_answer_says_how_many_epochs_it_took_where_reports_did_not() -> None:
    search = machine(Budget(epochs=8), full_length=4)
    search.handle(SlotsChanged(1), 1.0)
    report(search, 0, 0, 1, 2)
    search.handle(Answered(0, 0, Succeeded({"value": 0.5, "epochs": 4.0})), 2.0)
    assert search.history.epochs_trained == 4
    search.handle(Answered(1, 0, Succeeded({"value": 0.5, "epochs": 4.0})), 2.0)
    assert search.over is not None
    assert search.over.message == "8 epochs are trained (budget.epochs); a larger budget goes on"


def test_an_objective_of_unknown_length_is_asked_to_stop_and_cut_off_only_when_it_goes_on() -> None:
    search = machine(Budget(epochs=3))
    search.handle(SlotsChanged(2), 1.0)
    report(search, 0, 0, 1)
    report(search, 1, 0, 1)
    assert acts(report(search, 0, 0, 2)) == [Cancel(1, 0), AskToStop(0, 0)]
    assert acts(report(search, 0, 0, 3)) == []  # it may have been in that one when it was asked
    *cancelled, end = acts(report(search, 0, 0, 4))
    assert Cancel(0, 0) in cancelled
    assert isinstance(end, End)


def test_what_an_earlier_drivers_attempts_left_behind_is_adopted_whatever_is_used_up() -> None:
    """The kill came at the budget's end, after results were written: the budget has paid for them."""
    search = machine(Budget(epochs=4), full_length=2)
    search.handle(SlotsChanged(2), 1.0)
    report(search, 0, 0, 1, 2)
    report(search, 1, 0, 1)
    search.apply(HOST, 50.0)
    answers = [Answered(trial, 0, Succeeded({"value": 0.5, "epochs": 2.0})) for trial in (0, 1)]
    instructions = search.handle(Adopted(answers), 50.0)
    assert [e.trial for e in events(instructions, TrialEnded) if isinstance(e, TrialEnded)] == [0, 1]
    assert acts(instructions) == [End("budget", "4 epochs are trained (budget.epochs); a larger budget goes on")]


# Rules to stop by ----------------------------------------------------------------------------------------------------


def test_a_target_lets_what_runs_end_and_begins_nothing_more() -> None:
    search = machine(stop=Stop(reward=(0.9,)))
    search.handle(SlotsChanged(2), 1.0)
    assert acts(search.handle(Answered(0, 0, good(0.9)), 2.0)) == []
    assert acts(search.handle(Answered(1, 0, good(0.1)), 3.0)) == [
        End("stopped", "trial 0 reached the target (stop.reward); a stop that is farther goes on")
    ]


def test_patience_ends_with_a_new_best_even_of_a_trial_that_ran_on() -> None:
    search = machine(stop=Stop(patience=3))
    search.handle(SlotsChanged(2), 1.0)
    values: list[Any] = [good(0.5), good(0.4), Failed("error", "why"), good(0.5)]  # equal to the best is none
    for trial, outcome in enumerate(values):
        instructions = search.handle(Answered(trial, 0, outcome), 2.0)
    assert launches(instructions) == []  # three in a row
    assert launches(search.handle(Answered(4, 0, good(0.6)), 3.0)) == [(5, 0, False), (6, 0, False)]
    for trial in (5, 6, 7):
        search.handle(Answered(trial, 0, good(0.1)), 4.0)
    (end,) = acts(search.handle(Answered(8, 0, good(0.1)), 5.0))
    assert end == End(
        "stopped", "4 trials in a row brought no new best (stop.patience); a stop that is farther goes on"
    )


def test_with_several_objectives_patience_waits_for_the_front_to_grow() -> None:
    both = RewardSettings(objectives={"loss": "minimize", "size": "minimize"})
    search = machine(stop=Stop(patience=2), reward=both)
    answers = {0: (1.0, 5.0), 1: (2.0, 4.0), 2: (2.0, 4.0), 3: (3.0, 3.0), 4: (3.0, 4.0), 5: (1.0, 6.0)}

    def outcome(trial: int, attempt: int) -> Succeeded:
        return Succeeded(dict(zip(("loss", "size"), answers[trial], strict=True)))

    instructions = run_out(search, outcome)
    assert len(events(instructions, TrialEnded)) == 6
    assert isinstance(instructions[-1], End)
    assert instructions[-1].reason == "stopped"


def test_device_seconds_of_stop_let_what_runs_end() -> None:
    search = machine(stop=Stop(device_seconds=5.0))
    search.handle(SlotsChanged(1), 0.0)
    assert search.handle(Tick(), 9.0) == []
    instructions = search.handle(Answered(0, 0, good()), 9.5)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "completed", 0)]
    assert acts(instructions) == [
        End("stopped", "5 device-seconds are over (stop.device_seconds); a stop that is farther goes on")
    ]


@pytest.mark.parametrize(
    ("target", "reward", "vector"),
    [
        (None, {"maximize": "a"}, None),
        (0.5, {"maximize": "a"}, (0.5,)),
        ({"a": 0.5}, {"maximize": "a"}, (0.5,)),
        ({"loss": 0.2}, {"minimize": "loss"}, (-0.2,)),
        (-0.2, {"minimize": "loss", "limits": {"size": {"at_most": 1.0}}}, (-0.2,)),
        ({"b": 3}, {"objectives": {"a": "maximize", "b": "minimize"}}, (-math.inf, -3)),
    ],
)
def test_a_target_is_read_in_the_units_of_its_metric(target: Any, reward: Any, vector: Any) -> None:
    settings = RewardSettings.model_validate(reward)
    assert StopSettings.model_validate({"reward": target}).target(settings) == vector


@pytest.mark.parametrize(
    ("target", "reward", "words"),
    [
        (0.2, {"minimize": "loss"}, r"the reward is minus the loss; write \{loss: 0.2\}"),
        (0.2, {"objectives": {"a": "maximize", "b": "minimize"}}, r"say of which: \{a: 0.2\}"),
        ({"los": 0.2}, {"minimize": "loss"}, "'los' is no objective of this search; did you mean 'loss'"),
        ({"a": 0.2}, {"maximize": "a", "limits": {"size": {"at_most": 1.0}}}, "with limits"),
    ],
)
def test_a_target_that_no_trial_could_reach_is_refused(target: Any, reward: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        StopSettings.model_validate({"reward": target}).target(RewardSettings.model_validate(reward))


# Driven --------------------------------------------------------------------------------------------------------------


def objective(candidate: Candidate, context: Context) -> float:
    """Three epochs, of which it gives back what it has when it is told to stop."""
    for epoch in (1, 2, 3):
        if context.report(epoch, {"value": candidate.hyperparameters["x"]}):
            break
    return float(candidate.hyperparameters["x"])


def planned(epochs: int | None = 3, **config: Any) -> Plan:
    values = {"name": "line", "space": "line", "objective": "objective", "controller": "evolution",
              "reward": {"maximize": "value"}, "budget": {"epochs": 10}} | config  # fmt: skip
    return Plan(
        config=CallableConfig.model_validate(values),
        space=Space.read(FLOATS),
        objective=objective,
        connect=lambda folder: InlineExecutor(objective, slots=2),
        epochs=epochs,
    )


def test_an_inline_run_ends_at_the_very_epoch_and_a_larger_budget_goes_on(tmp_path: Path) -> None:
    """It can only be cut off from within: the search must hear of an epoch while the attempt is in it."""
    ended = driver.run(planned(), tmp_path / "run")
    assert ended.history.epochs_trained == 10
    assert ended.reason == "budget"
    assert ended.history.tally == {"completed": 3}
    assert finished(store.history(tmp_path / "run"), planned().config)
    assert not finished(store.history(tmp_path / "run"), planned(budget={"epochs": 13}).config)
    ended = driver.run(planned(budget={"epochs": 16}), tmp_path / "run")
    assert ended.history.epochs_trained == 16
    assert ended.history.tally == {"completed": 5}  # one epoch was trained twice


def test_an_inline_objective_of_unknown_length_returns_what_it_has(tmp_path: Path) -> None:
    ended = driver.run(planned(epochs=None), tmp_path / "run")
    assert (ended.history.epochs_trained, ended.history.tally["completed"]) == (10, 4)


def test_killed_at_every_line_a_run_ends_within_an_epoch_of_its_budget_and_replays_to_the_same(
    memory_path: Path,
) -> None:
    """Attempts that a kill cut off are trained again, and are paid for twice; nothing is begun that cannot be paid."""
    plan = planned(stop={"patience": 3})
    driver.run(plan, memory_path / "whole")
    lines = (memory_path / "whole/journal/000001.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines) + 1):
        run = memory_path / f"cut-{cut}"
        (run / "journal").mkdir(parents=True)
        (run / "journal/000001.jsonl").write_bytes(b"".join(lines[:cut]))
        (run / "journal/000001.alive").write_bytes(b"released")
        ended = driver.run(plan, run)
        assert ended.reason == "stopped" or ended.history.epochs_trained == 10, f"cut after line {cut}"
        replayed = driver.machine(plan)
        for entry in store.read(run / "journal"):
            if isinstance(entry.event, RunEnded) and entry.epoch == 2:
                assert replayed.digest() == entry.event.digest, f"cut after line {cut}"
            replayed.apply(entry.event, entry.time)
        numbers = [e.event.proposal.number for e in store.read(run / "journal") if isinstance(e.event, Proposed)]
        assert numbers == list(range(len(numbers)))


def test_a_stop_goes_on_with_another_rule_and_not_with_another_budget(tmp_path: Path) -> None:
    rule = {"reward": -1.0}  # any trial reaches it
    ended = driver.run(planned(stop=rule), tmp_path / "run")
    assert (ended.reason, ended.history.tally["completed"]) == ("stopped", 2)
    history = store.history(tmp_path / "run")
    assert finished(history)
    assert finished(history, planned(stop=rule, budget={"trials": 50}).config)
    assert not finished(history, planned().config)
    ended = driver.run(planned(stop={"reward": 2.0}), tmp_path / "run")
    assert (ended.reason, ended.history.epochs_trained) == ("budget", 10)
    assert ended.history.config["stop"]["reward"] == 2.0


def test_patience_outlives_a_snapshot() -> None:
    search = machine(stop=Stop(patience=9))
    search.handle(SlotsChanged(1), 1.0)
    for trial in range(4):
        search.handle(Answered(trial, 0, good(0.5)), 2.0)
    again = machine(stop=Stop(patience=9))
    again.load(search.save(), search.history)
    again.stop = replace(again.stop, patience=3)
    assert again.stop.holds(again.incumbents, again.history, 3.0)
    assert again.save() == search.save()
