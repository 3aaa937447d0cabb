"""Interrupted anywhere, a run proposes exactly what the uninterrupted one does.

The real driver and the real inline executor, with a scripted order of completions over four slots; the journal is cut
after every one of its lines and each stump is run to its end. Without this a resumed search would be another search.
What machine and driver do at a line is the same for every controller, so one that thinks for milliseconds is cut at
every seventh line (of five a trial: each kind of event is met); its own replay, from every step, is in
tests/controllers/test_contract.py.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from nas import driver, store
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig
from nas.errors import Diverged, InvalidCandidate
from nas.leaderboard import rows
from nas.objective import Context
from nas.plan import Plan
from nas.records import Attempt, Proposal, Proposed, RunEnded
from nas.reward import RewardSettings
from nas.seeds import derive
from nas.space import Candidate, Space

CONDITIONAL = {
    "define": {"width": {"choice": [8, 16, 32]}},
    "architecture": [
        {"conv": {"filters": "=width", "kernel": {"choice": [3, 5]}}},
        {"repeat": {"times": {"int": [0, 2]}, "of": {"choice": ["identity", {"conv": {"filters": "=width"}}]}}},
    ],
    "hyperparameters": {
        "optimizer": {
            "choice": [
                {"sgd": {"rate": {"float": [0.01, 1.0], "log": True}, "momentum": {"float": [0.5, 0.99]}}},
                {"adamw": {"rate": {"float": [1e-4, 1e-1], "log": True}}},
            ]
        }
    },
}
TRIALS = 18
CONTROLLERS: dict[str, Any] = {
    "rl": {"rl": {"warmup": 10, "pool": 16}},
    "evolution": {"evolution": {"population": 6, "sample": 3}},
    "optuna:tpe": {"optuna": {"sampler": "tpe", "n_startup_trials": 6}},
    "optuna:nsgaii": {"optuna": {"sampler": "nsgaii", "population_size": 6}},
}

STRIDES = {"rl": 7, "evolution": 1, "optuna:tpe": 7, "optuna:nsgaii": 7}  # lines from one cut to the next


def objective(candidate: Candidate, context: Context) -> dict[str, float]:
    """Smooth in what is conditional, with every kind of failure that a candidate can be charged with."""
    ((name, settings),) = candidate.hyperparameters["optimizer"].items()
    rate = math.log10(settings["rate"])
    context.report(1, {"accuracy": 0.1})
    layers = len(candidate.architecture or [])
    if rate > -0.5:
        raise Diverged("the loss is infinite")
    if layers == 3 and name == "adamw" and rate < -3.5:
        raise InvalidCandidate("too deep for this")
    return {"accuracy": 1.0 / (1.0 + (rate + 2.0) ** 2) + 0.05 * layers - 0.1 * (name == "sgd")}


def scripted(attempts: Sequence[Attempt]) -> int:
    """Which of the running attempts completes next: a fixed shuffle of trial numbers."""
    return min(range(len(attempts)), key=lambda i: derive(7, attempts[i].trial // 5, attempts[i].trial))


def planned(controller: Any, **parts: Any) -> Plan:
    config = {
        "name": "cut",
        "space": "conditional",
        "objective": "objective",
        "seed": 3,
        "controller": controller,
        "reward": {"maximize": "accuracy"},
        "budget": {"trials": TRIALS},
    }
    return Plan(
        config=CallableConfig.model_validate(config | parts),
        space=Space.read(CONDITIONAL),
        objective=objective,
        connect=lambda folder: InlineExecutor(objective, slots=4, order=scripted),
    )


def proposals(run: Path) -> list[Proposal]:
    return [e.event.proposal for e in store.read(run / "journal") if isinstance(e.event, Proposed)]


def ranked(ended: driver.Ended) -> list[dict[str, Any]]:
    """The leaderboard, without what a pause may change."""
    found = [row.plain() for row in rows(ended.history, RewardSettings(maximize="accuracy"), "run")]
    return [{key: value for key, value in row.items() if key not in ("seconds", "attempts")} for row in found]


def stump(whole: Path, lines: Sequence[bytes], cut: int, folder: Path) -> Path:
    """A run of which the journal's first ``cut`` lines are left, and no result of an attempt."""
    (folder / "journal").mkdir(parents=True)
    (folder / "journal/000001.jsonl").write_bytes(b"".join(lines[:cut]))
    (folder / "journal/000001.alive").write_bytes(b"released")
    return folder


def test_seconds_are_told_by_the_budget_of_the_moment_and_in_a_replay_too(memory_path: Path) -> None:
    """A replay that went by the last budget would be another search than the one it repeats."""
    run, day = memory_path / "run", 86_400.0
    by_time = planned(CONTROLLERS["rl"], budget={"time": day}, stop={"patience": 12})
    by_trials = planned(CONTROLLERS["rl"], budget={"trials": 80, "time": day})
    for plan in (by_time, by_trials):
        driver.run(plan, run)
    for plan in (by_time, by_trials):
        search = driver.machine(plan)
        for entry in store.read(run / "journal"):
            if isinstance(entry.event, RunEnded):
                assert search.digest() == entry.event.digest
            search.apply(entry.event, entry.time)
        memory = orjson.loads(search.controller.save().partition(b"\n")[0])["imagination"]["memory"]
        told = [seconds for *_, seconds in memory]
        assert any(seconds is not None for seconds in told)
        assert told[-1] is None


@pytest.mark.parametrize("name", CONTROLLERS)
def test_cut_at_every_line_a_run_proposes_what_the_whole_one_does(name: str, memory_path: Path) -> None:
    plan = planned(CONTROLLERS[name])
    whole = driver.run(plan, memory_path / "whole")
    expected, board = proposals(memory_path / "whole"), ranked(whole)
    assert len({row["state"] for row in board}) >= 2, "the objective was meant to fail now and then"
    lines = (memory_path / "whole/journal/000001.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(1, len(lines) + 1, STRIDES[name]):
        run = stump(memory_path / "whole", lines, cut, memory_path / "cut")
        ended = driver.run(plan, run)
        assert proposals(run) == expected, f"cut after line {cut}"
        assert ranked(ended) == board, f"cut after line {cut}"
        replayed = driver.machine(plan)
        for entry in store.read(run / "journal"):
            if isinstance(entry.event, RunEnded) and entry.epoch == 2:
                assert replayed.digest() == entry.event.digest, f"cut after line {cut}"
            replayed.apply(entry.event, entry.time)
        shutil.rmtree(run)


def completions(lines: Sequence[bytes]) -> list[tuple[int, int]]:
    """(line after which it stands, trial) of every answer."""
    events = [orjson.loads(line)["body"] for line in lines]
    return [(number, event["trial"]) for number, event in enumerate(events) if event["event"] == "attempt_answered"]


@pytest.mark.parametrize("name", ["rl", "evolution"])
def test_a_result_that_was_written_and_not_journaled_is_adopted_and_nothing_is_trained_again(
    name: str, memory_path: Path
) -> None:
    """The kill came between an attempt's result file and its line in the journal."""
    plan = planned(CONTROLLERS[name])
    whole = memory_path / "whole"
    board = ranked(driver.run(plan, whole))
    expected = proposals(whole)
    lines = (whole / "journal/000001.jsonl").read_bytes().splitlines(keepends=True)
    for answered, trial in completions(lines):
        run = stump(whole, lines, answered, memory_path / "cut")
        shutil.copytree(whole / "trials" / str(trial), run / "trials" / str(trial))
        ended = driver.run(plan, run)
        assert proposals(run) == expected, f"cut before the answer of trial {trial}"
        assert ranked(ended) == board
        assert len(ended.history.trials[trial].attempts) == 1, "adopted before anything was launched"
        shutil.rmtree(run)
