"""The program of a worker job, without a batch system: what it does before it must go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aftermath import Traces, settled, traces  # noqa: F401 - a fixture
from stepwise import stepwise

import nas
from nas.cluster.batch.run import Batch

pytest.importorskip("cryptography")

SPACE = {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}
STEPS = 20


class Jobs:
    """One worker at a time, and another when it ends, as a batch system has it that tops up."""

    def __init__(self, folder: Path, walltimes: Iterator[float], began: Callable[[], float] = time.time) -> None:
        """``began``: when a job did; 0.0: when its worker's clock does."""
        self.folder, self.walltimes, self.began = folder, walltimes, began
        self.process: subprocess.Popen[bytes] | None = None
        self.codes: list[int] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        while not self.over.is_set():
            if not (self.folder / "cluster/scheduler.json").exists():
                time.sleep(0.1)
                continue
            words = [str(self.folder / "cluster"), f"--walltime={next(self.walltimes)}", f"--started={self.began()}"]
            with (self.folder / "workers.log").open("ab") as log:
                command = [sys.executable, "-m", "nas.cluster.batch.worker", *words]
                self.process = subprocess.Popen(command, stdout=log, stderr=log)
                code = self.process.wait()
                if not self.over.is_set():  # else it was ended here, perhaps before it had begun to listen
                    self.codes.append(code)

    def close(self) -> None:
        self.over.set()
        if self.process:
            self.process.terminate()
        self.thread.join()


@pytest.mark.parametrize("what", ["SIGTERM", "SIGUSR1", "walltime"])
def test_a_worker_that_must_go_has_its_trial_leave_its_state_and_the_next_goes_on(
    tmp_path: Path,
    traces: Traces,  # noqa: F811
    what: str,
) -> None:
    """Else a trial that is longer than the walltime never ends, and every preemption costs the whole of it."""
    run = tmp_path / "run"

    class Counting:
        resumable = True

        def __call__(self, candidate: nas.Candidate, context: nas.Context) -> float:
            return stepwise(context, STEPS, meanwhile=lambda step: time.sleep(0.3))[1]

    jobs = Jobs(run, iter([6.0] * 30 if what == "walltime" else [3600.0] * 30))
    sent: list[int] = []

    def observe(search: nas.machine.Search, now: float) -> None:  # type: ignore[name-defined]
        if what != "walltime" and not sent and search.history.epochs_trained >= 3:
            sent.append(jobs.process.pid)
            os.kill(jobs.process.pid, signal.Signals[what])

    try:
        nas.search(
            SPACE, Counting(), trials=1, controller="random", cluster={"kind": "script", "workers": 1}, run=run,
            observe=observe,
        )  # fmt: skip
    finally:
        jobs.close()
    history = settled(run, 1)
    trial = history.trials[0]
    assert len(trial.attempts) >= 2
    assert all(attempt.left_state for attempt in trial.attempts[:-1]), (run / "workers.log").read_text()
    assert history.epochs_trained == STEPS, "a step was made twice"
    assert set(jobs.codes) <= {0, 75}, "it did not end by itself"
    assert not list(run.rglob("state/*"))
    traces.none()


def test_a_worker_begins_nothing_that_would_not_end_in_its_time(tmp_path: Path) -> None:
    """Of an objective that leaves no state. Else the last attempt of each worker is cut off and made once more.

    The first worker has time for hardly two trials. (Where it takes over a second to join there is nothing to see.)
    """
    run, jobs = tmp_path / "run", Jobs(tmp_path / "run", iter([3.2, *[3600.0] * 30]), began=float)
    try:
        nas.search(
            SPACE, lambda candidate, context: time.sleep(1.5) or 1.0, trials=3, controller="random",
            cluster={"kind": "script", "workers": 1}, run=run,
        )  # fmt: skip
    finally:
        jobs.close()
    trials = settled(run, 3).trials
    assert [len(trial.attempts) for trial in trials.values()] == [1, 1, 1]
    places = [trial.outcome.place for trial in trials.values()]
    assert places.count(places[0]) == 1 or len({*places}) == 1, "the first worker began a second one"
    assert jobs.codes[0] == 0 and "ended: released" in (run / "workers.log").read_text()


def test_no_scheduler_is_waited_for_beyond_the_walltime(tmp_path: Path) -> None:
    """Else a worker whose controller is late to come again is cut off, and its job told as one that ran out of time."""
    Batch.prepare(tmp_path)
    words = [str(tmp_path / "cluster"), "--walltime=3", f"--started={time.time()}"]
    done = subprocess.run([sys.executable, "-m", "nas.cluster.batch.worker", *words], capture_output=True, timeout=120)
    assert done.returncode == 0 and b"ended: its time is up" in done.stderr
