"""The driver: nothing is acted upon that is not on disk, and what a run is made of stays what it was."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
import textwrap
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nas import driver, store
from nas.cluster import Executor
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig
from nas.errors import InputError
from nas.objective import Context
from nas.plan import Plan
from nas.records import Answered, Attempt, AttemptStarted, Failed, Happening
from nas.space import Candidate, Space

SPACE = {"name": "line", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def objective(candidate: Candidate, context: Context) -> float:
    return candidate.hyperparameters["x"]


class Watched:
    """The inline executor, looking at the journal at every start, and losing every trial's first attempt."""

    def __init__(self, folder: Path) -> None:
        self.inner, self.folder = InlineExecutor(objective, slots=2), folder
        self.unrecorded: list[Attempt] = []
        self.seeds: dict[int, list[int]] = defaultdict(list)
        self.avoided: dict[int, list[tuple[str, ...]]] = defaultdict(list)
        self.lost: list[Happening] = []

    def start(self, attempt: Attempt) -> None:
        recorded = [entry.event for entry in store.read(self.folder / "journal")]
        if AttemptStarted(attempt.trial, attempt.attempt, attempt.fresh) not in recorded:
            self.unrecorded.append(attempt)
        self.seeds[attempt.trial].append(attempt.seed)
        self.avoided[attempt.trial].append(attempt.avoid)
        if attempt.attempt == 0:
            self.lost.append(Answered(attempt.trial, 0, Failed("lost", "its worker is gone", place="n7/1234")))
        else:
            self.inner.start(attempt)

    def wait(self, timeout: float) -> Sequence[Happening]:
        lost, self.lost = self.lost, []
        return lost or self.inner.wait(timeout)

    def stop(self, trial: int, attempt: int, *, leave: bool = False) -> None:
        self.inner.stop(trial, attempt, leave=leave)

    def cancel(self, trial: int, attempt: int) -> None:
        self.inner.cancel(trial, attempt)

    def wind_down(self, workers: int) -> None:
        self.inner.wind_down(workers)

    def close(self) -> None:
        self.inner.close()


def planned(connect: Any = None, **config: Any) -> Plan:
    values = {"name": "line", "space": "line", "objective": "objective", "controller": "random",
              "reward": {"maximize": "value"}, "budget": {"trials": 5}} | config  # fmt: skip
    inline = lambda folder: InlineExecutor(objective)  # noqa: E731
    return Plan(CallableConfig.model_validate(values), Space.read(SPACE), objective, connect or inline)


def test_an_attempt_is_journaled_before_it_starts_has_its_trials_seed_and_avoids_where_one_was_lost(
    tmp_path: Path,
) -> None:
    made: list[Watched] = []

    def connect(folder: Path) -> Executor:
        made.append(Watched(folder))
        return made[0]

    ended = driver.run(planned(connect), tmp_path / "run")
    assert made[0].unrecorded == []
    assert {len(trial.attempts) for trial in ended.history.trials.values()} == {2}
    assert all(first == second for first, second in made[0].seeds.values())
    assert len({seeds[0] for seeds in made[0].seeds.values()}) == 5
    assert list(made[0].avoided.values()) == [[(), ("n7",)]] * 5


def test_another_search_is_refused_in_a_folder_even_after_it_was_claimed(tmp_path: Path) -> None:
    """The command looks before it claims; what began in between must not be mixed with."""
    driver.run(planned(), tmp_path / "run")
    with pytest.raises(InputError, match=r"seed: the run was started with 0, not 7"):
        driver.run(planned(seed=7), tmp_path / "run")
    other = dataclasses.replace(planned(), space=Space.read({"hyperparameters": {"x": {"float": [0.0, 2.0]}}}))
    with pytest.raises(InputError, match=r"space: line is not what it was"):
        driver.run(other, tmp_path / "run")
    kinds = [entry.event.event for entry in store.read(tmp_path / "run/journal")]
    assert kinds.count("proposed") == 5


def test_a_larger_budget_goes_on_and_is_journaled(tmp_path: Path) -> None:
    driver.run(planned(), tmp_path / "run")
    ended = driver.run(planned(budget={"trials": 8}), tmp_path / "run")
    assert len(ended.history.trials) == 8
    assert ended.history.config["budget"]["trials"] == 8


SCRIPT = """
    import signal, sys, time
    import nas
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore them
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    def slow(candidate, context):
        try:
            print("training", flush=True)
            time.sleep(30)
        except Exception as error:
            print("swallowed", error, flush=True)
        return 1.0
    nas.search({"hyperparameters": {"x": {"float": [0.0, 1.0]}}}, slow, cluster={"kind": "inline"}, run=sys.argv[1])
"""


def test_what_a_torn_journal_does_not_know_of_is_swept_when_its_trial_is_launched_again(tmp_path: Path) -> None:
    half_written = tmp_path / "run/trials/0/0/.result.json.17.tmp"
    half_written.parent.mkdir(parents=True)
    half_written.touch()
    driver.run(planned(), tmp_path / "run")
    assert not half_written.exists()


@pytest.mark.parametrize("signals", [[signal.SIGINT, signal.SIGINT], [signal.SIGTERM], [signal.SIGHUP]])
def test_leaving_at_once_is_charged_to_no_candidate(signals: list[int], tmp_path: Path) -> None:
    run = tmp_path / "run"
    script = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "training\n"
    for number in signals:
        script.send_signal(number)
        time.sleep(0.3)
    said, complained = script.communicate(timeout=20)
    assert said == ""
    assert "nas resume" in complained
    assert [trial.state for trial in store.history(run).trials.values()] == ["running"]
