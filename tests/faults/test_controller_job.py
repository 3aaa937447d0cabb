"""A controller job whose time is up, as real processes: whom it has requeued, and what a batch system's silence costs.

Stand-ins of SLURM's commands keep what they were called with, as no SLURM fails on demand. Without these, a job could
requeue the healthy copy that took its place, and a moment's trouble of SLURM's could end a run of weeks for good.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import impatient_controller
import orjson
import pytest

from nas import cli, store
from nas.records import DriverTookOver

pytestmark = pytest.mark.slow
CONFIG = """
name: queued
space: digits_cnn
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 400}
train: {epochs: 1, precision: fp32}
cluster: {kind: slurm, workers: 1, memory: 600M}
"""
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $@ of start ${{SLURM_RESTART_COUNT:-0}}" >>{folder}/calls
if [ "$(grep -c ^scontrol {folder}/calls)" -le "$(cat {folder}/down 2>/dev/null || echo -1)" ]; then
  echo "Unable to contact slurm controller (connect failure)" >&2; exit 1
fi
case "$0" in *sbatch) echo 99 ;; esac
"""


class Slurm:
    """Commands that do nothing, and a run that was submitted by them. ``down``: up to which requeue they fail."""

    def __init__(self, folder: Path) -> None:
        self.run, self.calls_file, self.down = folder / "run", folder / "calls", folder / "down"
        self.programs = folder / "programs"
        self.programs.mkdir()
        for name in ("sbatch", "squeue", "scancel", "scontrol"):
            (self.programs / name).write_text(STAND_IN.format(folder=folder))
            (self.programs / name).chmod(0o755)

    def controller(self, restart: int = 0, **environment: str) -> subprocess.Popen[str]:
        """Job 17, after so many requeues; returns when it waits for workers."""
        before = self.scheduler()
        again = {"SLURM_RESTART_COUNT": str(restart)} if restart else {}
        process = subprocess.Popen(
            [sys.executable, impatient_controller.__file__, str(self.run)],
            env={**os.environ, "SLURM_JOB_ID": "17", **again, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait(lambda: self.scheduler() not in (b"", before), "the controller")
        return process

    def scheduler(self) -> bytes:
        file = self.run / "cluster" / "scheduler.json"
        return file.read_bytes() if file.exists() else b""

    def over(self) -> bool:
        """Whether workers are told that no search comes any more."""
        return bool(self.scheduler()) and "over" in orjson.loads(self.scheduler())

    def requeues(self) -> list[str]:
        return [line for line in self.calls() if line.startswith("scontrol")]

    def calls(self) -> list[str]:
        return self.calls_file.read_text().splitlines()


def wait(until: Callable[[], object], what: str, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.02)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    found = Slurm(tmp_path)
    monkeypatch.setenv("PATH", f"{found.programs}:{os.environ['PATH']}")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "queued.yaml").write_text(CONFIG)
    cli.app(["submit", str(tmp_path / "queued.yaml"), "--run", str(found.run)], standalone_mode=False)
    return found


def test_a_controller_that_wakes_when_its_time_is_up_does_not_requeue_the_one_that_took_its_place(slurm: Slurm) -> None:
    """Both are job 17: after a node failure SLURM began it again, and what had been stopped on that node wakes up."""
    first = slurm.controller()
    time.sleep(1)  # it waits for what comes, and is stopped for longer than it meant to wait
    first.send_signal(signal.SIGSTOP)
    second = slurm.controller(restart=1)
    ctypes.CDLL(None).tgkill(first.pid, first.pid, signal.SIGUSR1)  # the main thread, so that its wait is what it ends
    first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=60)[0]
    assert first.returncode == 4, said
    assert f"{slurm.run}: another driver has taken this run over; this one stops" in said
    assert slurm.requeues() == [] and second.poll() is None and not slurm.over()
    second.send_signal(signal.SIGUSR1)
    said = second.communicate(timeout=60)[0]
    assert second.returncode == 75, said
    assert slurm.requeues() == ["scontrol requeue 17 of start 1"]
    entries = store.read(slurm.run / "journal")
    assert [e.event.restart for e in entries if isinstance(e.event, DriverTookOver) and e.event.job] == [0, 1]


def test_a_controller_that_is_preempted_says_so_and_leaves_the_rest_to_slurm(slurm: Slurm) -> None:
    controller = slurm.controller()
    controller.send_signal(signal.SIGTERM)
    said = controller.communicate(timeout=60)[0]
    assert controller.returncode == 75, said
    assert "nas: asked to end, by scancel or a preemption: everything is recorded" in said
    assert slurm.requeues() == [] and not slurm.over()


def test_a_slurm_that_is_silent_for_a_moment_is_asked_again(slurm: Slurm) -> None:
    controller = slurm.controller()
    slurm.down.write_text("2")
    controller.send_signal(signal.SIGUSR1)
    said = controller.communicate(timeout=60)[0]
    assert controller.returncode == 75, said
    assert said.count("not begun again yet: SLURM refuses the job") == 1 and "connect failure" in said
    assert "job 17 is requeued" in said
    assert [call.split()[0] for call in slurm.calls()][-5:] == ["scontrol", "sbatch", "scontrol", "sbatch", "scontrol"]
    assert not slurm.over()


def test_a_slurm_that_stays_silent_ends_this_job_and_not_the_run(slurm: Slurm) -> None:
    """The workers wait for who goes on, and the exit code is not that of a search that failed."""
    controller = slurm.controller(NAS_TEST_TRIES="0")
    slurm.down.write_text("99")
    controller.send_signal(signal.SIGUSR1)
    said = controller.communicate(timeout=60)[0]
    assert controller.returncode == 75, said
    assert f"nobody goes on; that does: nas resume {slurm.run} --to slurm" in said
    assert not slurm.over() and not [call for call in slurm.calls() if call.startswith("scancel")]
