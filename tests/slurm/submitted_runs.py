"""What the tests of submitted runs ask of a run and of SLURM, and how long they wait for it."""

import time
from collections.abc import Callable
from pathlib import Path

from aftermath import sound
from slurm_cluster import ACTIVE, SlurmCluster

from nas import store
from nas.history import History

CONFIG = """
name: queued
space: digits_cnn
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 4}
train: {epochs: 1, precision: fp32}
cluster: {workers: 2, memory: 600M, controller_memory: 600M}
"""
LONG = 240.0  # seconds: far more than anything here takes on an idle machine


def wait(until: Callable[[], object], what: str, run: Path | None = None, seconds: float = LONG) -> None:
    limit = time.monotonic() + seconds
    while not until():
        if time.monotonic() > limit:
            logs = (
                [f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted((run / "logs").iterdir())]
                if run
                else []
            )
            raise AssertionError("\n".join([f"{what} did not come within {seconds:g} s", *logs]))
        time.sleep(0.2)


def history(run: Path) -> History:
    return store.history(run)


def completed(run: Path) -> int:
    return history(run).tally["completed"]


def finished(run: Path) -> bool:
    ended = history(run).ended
    return ended is not None and ended.reason == "budget"


def active(slurm: SlurmCluster, *jobs: str) -> list[str]:
    """Jobs that wait or run; of all, or of these ids (and their elements)."""
    return [job for job, state in slurm.states().items()
            if state in ACTIVE and (not jobs or job.partition("_")[0] in jobs)]  # fmt: skip


def each_trial_once(run: Path) -> None:
    """And the journal replayed is the live state."""
    assert any(not trial.open for trial in sound(run).trials.values())
