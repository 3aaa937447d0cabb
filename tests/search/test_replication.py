"""The best are trained again with other seeds: fixed before a launch, cut and resumed anywhere, told to nobody."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_machine import FLOATS, HOST, bad, events, good, launches, machine, run_out

from nas import driver, provenance, store
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig, from_plain
from nas.errors import Diverged, InputError
from nas.instructions import End
from nas.leaderboard import rows
from nas.machine import Search
from nas.objective import Context
from nas.plan import Plan, finished
from nas.records import (
    Answered,
    AttemptStarted,
    LateResult,
    Outcome,
    ReplicateEnded,
    ReplicationBegun,
    RunEnded,
    SlotsChanged,
    StopRequested,
    Succeeded,
    Tick,
    TrialEnded,
)
from nas.replication import Wanted
from nas.seeds import derive
from nas.space import Candidate, Space
from nas.store import snapshot
from nas.verdict import MACHINE_RETRIES

# The machine alone ---------------------------------------------------------------------------------------------------


def searched(rewards: Mapping[int, float], seconds: float | None = None, top: int = 2, seeds: int = 2) -> Search:
    """A search whose trials brought these rewards; the last of them is still running."""
    search = machine(trials=len(rewards), seconds=seconds)
    search.replicate = Wanted(top, seeds)
    search.handle(SlotsChanged(1), 1.0)
    for trial in range(len(rewards) - 1):
        search.handle(Answered(trial, 0, good(rewards[trial])), 2.0 + trial)
    return search


REWARDS = {0: 0.3, 1: 0.9, 2: 0.5, 3: 0.7}


def test_when_the_search_has_ended_its_best_are_trained_again_one_seed_after_the_other() -> None:
    search = searched(REWARDS)
    instructions = search.handle(Answered(3, 0, good(0.7)), 9.0)
    told = search.controller.save()
    assert events(instructions, ReplicationBegun, AttemptStarted) == [
        ReplicationBegun([1, 3], 2),
        AttemptStarted(1, 1, False, replicate=1),
    ]
    order = []
    for value in (0.8, 0.6, 0.7, 0.5):
        ((trial, attempt, _),) = launches(instructions)
        replicate = search.history.trials[trial].attempts[attempt].replicate
        order.append((trial, replicate))
        instructions = search.handle(Answered(trial, attempt, good(value)), 10.0)
        assert events(instructions, ReplicateEnded) == [ReplicateEnded(trial, replicate, attempt)]
    assert order == [(1, 1), (3, 1), (1, 2), (3, 2)]
    assert instructions[-1] == End("budget", "4 trials are done (budget.trials); a larger budget goes on")
    assert search.controller.save() == told, "a controller was told of a replicate"
    trial = search.history.trials[1]
    assert (trial.state, trial.outcome, trial.replicates) == ("completed", good(0.9), [good(0.8), good(0.7)])


def test_several_slots_train_replicates_of_one_trial_at_once() -> None:
    search = searched(REWARDS, top=1, seeds=3)
    search.handle(SlotsChanged(4), 8.0)
    assert len(launches(search.handle(Answered(3, 0, good(0.7)), 9.0))) == 3
    for attempt in (3, 1, 2):
        instructions = search.handle(Answered(1, attempt, good(attempt / 10)), 10.0)
    assert search.history.trials[1].replicates == [good(0.1), good(0.2), good(0.3)]
    assert isinstance(instructions[-1], End)


def test_what_machines_do_is_retried_and_what_the_candidate_does_ends_its_replicate() -> None:
    search = searched(REWARDS, top=1, seeds=1)
    search.handle(Answered(3, 0, good(0.7)), 9.0)
    for attempt in range(1, 1 + MACHINE_RETRIES):
        now = 1000.0 * attempt
        launched = launches(search.handle(Answered(1, attempt, bad("lost")), now) + search.handle(Tick(), now + 500))
        assert launched == [(1, attempt + 1, False)]
    given_up = search.handle(Answered(1, 1 + MACHINE_RETRIES, bad("lost")), 30_000.0)
    assert events(given_up, ReplicateEnded) == [ReplicateEnded(1, 1, 1 + MACHINE_RETRIES)]
    search = searched(REWARDS, top=1, seeds=1)
    search.handle(Answered(3, 0, good(0.7)), 9.0)
    assert launches(search.handle(Answered(1, 1, bad("crashed", fresh=False)), 10.0)) == [(1, 2, True)]
    instructions = search.handle(Answered(1, 2, bad("diverged")), 11.0)
    assert search.history.trials[1].replicates == [bad("diverged")]
    assert isinstance(instructions[-1], End)
    assert not events(instructions, TrialEnded)


def test_a_time_budget_cuts_replicates_off_and_a_larger_one_goes_on_with_them() -> None:
    search = searched(REWARDS, seconds=20.0)
    search.handle(Answered(3, 0, good(0.7)), 9.0)
    search.handle(Answered(1, 1, good(0.8)), 12.0)
    instructions = search.handle(Tick(), 20.0)
    assert instructions[-1] == End(
        "budget", "time is up (budget.time): 3 replicates have not ended; a larger budget goes on"
    )
    again = machine(trials=4, seconds=100.0)
    again.replicate = Wanted(2, 2)
    again.history, again.originals.counted = search.history, 4
    again.apply(HOST, 30.0)
    assert launches(again.handle(SlotsChanged(1), 31.0)) == [(3, 2, False)], "attempt 1 of trial 3 was cut off"


def test_a_stop_request_waits_for_what_runs_and_leaves_the_rest_for_later() -> None:
    search = searched(REWARDS)
    search.handle(Answered(3, 0, good(0.7)), 9.0)
    assert search.handle(StopRequested(), 10.0) == []
    assert search.handle(Answered(1, 1, good(0.8)), 11.0)[-1] == End("interrupted")


def test_an_answer_to_an_attempt_of_a_replicate_that_has_ended_is_kept_as_late() -> None:
    search = searched(REWARDS, top=1)
    search.handle(Answered(3, 0, good(0.7)), 9.0)
    search.apply(HOST, 10.0)
    assert launches(search.handle(SlotsChanged(1), 11.0)) == [(1, 2, False)]
    search.handle(Answered(1, 1, good(0.8)), 12.0)  # the earlier driver's attempt answers first
    instructions = search.handle(Answered(1, 2, good(0.1)), 13.0)
    assert events(instructions, LateResult) == [LateResult(1, 2, good(0.1))]
    busy = search.history.device_seconds(13.0)
    assert search.history.device_seconds(99.0) - busy == pytest.approx(86.0), "one slot works, on the second replicate"
    assert search.history.trials[1].replicates[0] == good(0.8)


def test_without_a_success_there_is_nothing_to_replicate() -> None:
    search = machine(trials=3)
    search.replicate = Wanted(2, 2)
    instructions = run_out(search, lambda trial, attempt: bad("diverged"))
    assert not events(instructions, ReplicationBegun)
    assert isinstance(instructions[-1], End)


@pytest.mark.parametrize("slots", [1, 3])
def test_the_events_replayed_give_the_live_state(slots: int) -> None:
    def outcome(trial: int, attempt: int) -> Outcome:
        return good(derive(1, trial, attempt) % 100 / 100) if (trial + attempt) % 3 else bad("lost")

    live = machine(FLOATS, trials=6)
    live.replicate = Wanted(3, 2)
    instructions = run_out(live, outcome, slots)
    replayed = machine(FLOATS, trials=6)
    for instruction in instructions:
        if hasattr(instruction, "event"):
            replayed.apply(instruction.event, instruction.time)
    assert len(events(instructions, ReplicateEnded)) == 6
    assert replayed.digest() == live.digest() == events(instructions, RunEnded)[0].digest


# The whole, in one process -------------------------------------------------------------------------------------------

TRAINED: list[tuple[int, int]] = []  # (trial, seed) of every training, in order
INTERRUPTED_BY: set[int] = set()  # seeds whose training asks the driver to stop


def objective(candidate: Candidate, context: Context) -> dict[str, float]:
    """What is great with the search's seed is not so with others; trial 4 diverges with one of them."""
    TRAINED.append((context.trial, context.seed))
    if context.seed in INTERRUPTED_BY:
        os.kill(os.getpid(), signal.SIGINT)
    own = context.seed == derive(3, "train", context.trial)
    context.report(1, {"accuracy": 0.1})
    if context.trial == 4 and context.seed == derive(3, "train", 4, 2):
        raise Diverged("the loss is infinite")
    noise = derive(0, context.seed) % 100 / 10_000
    return {"accuracy": 0.5 + context.trial / 100 + 0.1 * own + noise}


def planned(**changes: Any) -> Plan:
    settings = {
        "name": "again",
        "space": "floats",
        "objective": "objective",
        "seed": 3,
        "controller": "random",
        "reward": {"maximize": "accuracy"},
        "budget": {"trials": 6},
        "replicate": {"top": 2, "seeds": 3},
    }
    return Plan(
        config=CallableConfig.model_validate(settings | changes),
        space=Space.read(FLOATS),
        objective=objective,
        connect=lambda folder: InlineExecutor(objective, slots=2),
    )


def board(ended: driver.Ended) -> list[dict[str, Any]]:
    found = [row.plain() for row in rows(ended.history, planned().config.reward, "run")]
    return [{key: value for key, value in row.items() if key not in ("seconds", "attempts")} for row in found]


def test_replicates_train_with_seeds_of_their_own_and_rank_by_their_means(memory_path: Path) -> None:
    TRAINED.clear()
    ended = driver.run(planned(), memory_path / "run")
    assert {seed for trial, seed in TRAINED if trial == 5} == {
        derive(3, "train", 5),
        *(derive(3, "train", 5, replicate) for replicate in (1, 2, 3)),
    }
    assert len(TRAINED) == len(set(TRAINED)) == 6 + 2 * 3
    first, second, third = board(ended)[:3]
    assert [first["trial"], second["trial"], third["trial"]] == [5, 4, 3]
    assert first["replicates"]["mean"] < 0.6 < first["reward"], "the training that it was chosen by is not in the mean"
    assert (len(first["replicates"]["rewards"]), first["replicates"]["wanted"]) == (3, 3)
    assert second["replicates"]["failures"] == ["diverged"]
    assert len(second["replicates"]["rewards"]) == 2
    assert third["replicates"] == {}
    assert finished(store.history(memory_path / "run"))


def test_cut_at_every_line_a_run_ends_with_the_same_replicates(memory_path: Path) -> None:
    """A kill after each line of the journal, with the results that attempts had written and without."""
    whole = driver.run(planned(), memory_path / "whole")
    lines = (memory_path / "whole/journal/000001.jsonl").read_bytes().splitlines(keepends=True)
    begun = next(n for n, line in enumerate(lines) if orjson.loads(line)["body"]["event"] == "replication_begun")
    kinds = Counter(orjson.loads(line)["body"]["event"] for line in lines[begun:])
    assert kinds["replicate_ended"] == 6
    for cut in range(begun - 3, len(lines) + 1):
        for results_are_there in (False, True):
            run = memory_path / "cut"
            (run / "journal").mkdir(parents=True)
            (run / "journal/000001.jsonl").write_bytes(b"".join(lines[:cut]))
            (run / "journal/000001.alive").write_bytes(b"released")
            if results_are_there:
                shutil.copytree(memory_path / "whole/trials", run / "trials")
            TRAINED.clear()
            ended = driver.run(planned(), run)
            assert board(ended) == board(whole), f"cut after line {cut}"
            assert len(TRAINED) == len(set(TRAINED))
            assert not (results_are_there and TRAINED), f"trained again after line {cut}"
            replayed = driver.machine(planned())
            for entry in store.read(run / "journal"):
                if isinstance(entry.event, RunEnded) and entry.event.digest:
                    assert replayed.digest() == entry.event.digest, f"cut after line {cut}"
                replayed.apply(entry.event, entry.time)
            shutil.rmtree(run)


def test_a_finished_run_is_replicated_later_and_nothing_of_it_is_repeated(memory_path: Path) -> None:
    run = memory_path / "run"
    driver.run(planned(replicate={}), run)
    assert finished(store.history(run))
    assert not finished(store.history(run), planned().config)
    for changes, trained in (({}, 6), ({}, 0), ({"replicate": {"top": 3, "seeds": 4}}, 6)):
        TRAINED.clear()
        ended = driver.run(planned(**changes), run)
        assert len(TRAINED) == trained, changes
        assert all(seed != derive(3, "train", trial) for trial, seed in TRAINED)
    assert from_plain(ended.history.config).replicate.seeds == 4
    assert [row["replicates"].get("wanted") for row in board(ended)[:4]] == [4, 4, 4, None]
    assert finished(store.history(run), planned(replicate={"top": 3, "seeds": 4}).config)


def test_more_trials_after_a_replication_are_searched_and_the_new_best_replicated(memory_path: Path) -> None:
    run = memory_path / "run"
    driver.run(planned(), run)
    TRAINED.clear()
    ended = driver.run(planned(budget={"trials": 7}), run)  # the later, the better: trial 6 is the new first
    assert Counter(trial for trial, _ in TRAINED) == {6: 4}, "trial 5 has its three"
    assert [row["trial"] for row in board(ended)[:3]] == [6, 5, 4]


def test_a_snapshot_amid_the_replicates_gives_what_replay_does(memory_path: Path) -> None:
    run = memory_path / "run"
    whole = driver.run(planned(), memory_path / "whole")
    INTERRUPTED_BY.add(derive(3, "train", 5, 2))
    assert driver.run(planned(), run).reason == "interrupted"  # which leaves a snapshot
    INTERRUPTED_BY.clear()
    left = store.history(run).replicates_left
    assert 0 < left < 6
    assert snapshot.read(run / "journal", provenance.code())
    kept = shutil.copytree(run, memory_path / "kept")
    (kept / "journal/snapshot").unlink()
    ended = [driver.run(planned(), folder) for folder in (run, kept)]
    assert board(ended[0]) == board(ended[1]) == board(whole)
    for one in (run, kept):
        replayed = driver.machine(planned())
        for entry in store.read(one / "journal")[:-1]:
            replayed.apply(entry.event, entry.time)
        assert replayed.digest() == store.read(one / "journal")[-1].event.digest


def in_steps(candidate: Candidate, context: Context) -> dict[str, float]:
    """Later trials are better; with other seeds than the search's every one is worse than all that the search saw."""
    accuracy = context.trial / 100 + 0.5 * (context.seed == derive(3, "train", context.trial))
    for step in range(1, 10):
        if context.report(step, {"accuracy": accuracy}):
            return {"accuracy": accuracy, "cut_short": step}
    return {"accuracy": accuracy, "cut_short": 0.0}


@pytest.mark.parametrize("scheduler", [{"median": {"min_trials": 2}}, {"asha": {"max_resource": 9}}])
def test_a_scheduler_neither_stops_nor_learns_of_replicates(scheduler: dict[str, Any], memory_path: Path) -> None:
    """What is trained to say what a trial is worth in full is trained in full."""
    plan = planned(scheduler=scheduler, budget={"trials": 9}, replicate={"top": 2, "seeds": 2})
    plan = dataclasses.replace(plan, objective=in_steps, connect=lambda folder: InlineExecutor(in_steps, slots=2))
    ended = driver.run(plan, memory_path / "run")
    told = [ended.history.trials[trial].replicates for trial in ended.history.replicated]
    assert told and all(len(outcomes) == 2 for outcomes in told)
    assert {one.metrics["cut_short"] for outcomes in told for one in outcomes if isinstance(one, Succeeded)} == {0.0}
    assert {one.step for outcomes in told for one in outcomes if isinstance(one, Succeeded)} == {9}
    entries = store.read(memory_path / "run/journal")
    begun = next(n for n, entry in enumerate(entries) if isinstance(entry.event, ReplicationBegun))
    assert not [entry for entry in entries[begun:] if entry.event.event in ("attempt_stopped", "trial_paused")]
    replayed = driver.machine(plan)
    before = b""
    for number, entry in enumerate(entries[:-1]):
        replayed.apply(entry.event, entry.time)
        before = before if number != begun else orjson.dumps(replayed.scheduler.save())
    assert orjson.dumps(replayed.scheduler.save()) == before
    assert replayed.digest() == entries[-1].event.digest


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"budget": {"time": 60}}, "give --trials N too"),
        ({"reward": {"objectives": {"accuracy": "maximize", "loss": "minimize"}}}, "replicate is for one objective"),
    ],
)
def test_a_replication_that_could_not_begin_or_not_be_ranked_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        driver.run(planned(**changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
