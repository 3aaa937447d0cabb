"""A preemption as a batch system makes it: SIGTERM to every process of a job at once, with half a minute to live."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from aftermath import Traces, settled, sound

from nas import driver, store
from nas.plan import recorded_plan
from nas.records import Succeeded

EPOCHS = 30
CONFIG = """\
space: space.yaml
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 1}
train: {epochs: 30, precision: fp32, compile: "off"}  # auto measures, and may find otherwise another time
cluster: {workers: 1}
"""
SPACE = """\
name: tiny
architecture:
  - conv: {filters: {choice: [16, 17]}, kernel: 3}
  - dropout: 0.2
  - global_pool: average
  - linear: {units: =task.classes}
hyperparameters:
  optimizer: {adamw: {learning_rate: {float: [0.001, 0.01]}}}
"""
OF_THE_CLOCK = {"train_seconds", "rows_per_second", "share_of_peak", "peak_memory"}


def test_a_preempted_trial_goes_on_from_its_checkpoint_bit_for_bit(tmp_path: Path, traces: Traces) -> None:
    """The trainer's own trial, on a real worker. Else a partition that preempts trains the same epochs for ever."""
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "space.yaml").write_text(SPACE)
    run = tmp_path / "run"
    words = [sys.executable, "-m", "nas", "search", "tiny.yaml", "--run", "run"]
    search = subprocess.Popen(words, cwd=tmp_path, env=os.environ | {"OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 60
    while not store.exists(run / "journal") or store.history(run).epochs_trained < 3:
        assert time.monotonic() < until and search.poll() is None
        time.sleep(0.1)
    for pid in traces.processes():
        os.kill(pid, signal.SIGTERM)
    assert search.wait(30) == 75
    [first] = sound(run).trials[0].attempts
    assert first.left_state and first.epochs >= 3
    traces.none()

    planned = recorded_plan(run)
    driver.run(planned, run)
    history = settled(run, 1)
    trial = history.trials[0]
    assert history.epochs_trained == EPOCHS and not any(attempt.lost for attempt in trial.attempts)
    assert trial.outcome.notes["continued_from_epoch"] == first.epochs
    assert measured(trial.outcome) == measured(driver.run_again(planned, run, 0)), "which trains it from its beginning"
    assert not list(run.rglob("state/*"))


def measured(outcome: Succeeded) -> dict[str, float]:
    return {name: value for name, value in outcome.metrics.items() if name not in OF_THE_CLOCK}
