"""A search as SLURM jobs: from `nas submit` to the first trial started, and how busy the workers are kept.

    python benchmarks/submitted.py [--starts 5] [--minutes 10] [--workers 4] [--epochs 6]

On the SLURM of several nodes on this host that the tests use (tests/slurm), which has nothing else to do: what a site's
queue adds is not in it. The config is digits_cnn on digits with the random controller, fp32, one core for each worker.

**Starts**: the command is begun as a process of its own, and cancelled when the first trial has begun; by the journal's
clock, which is this host's. The parts are the command (its imports, the run begun, two sbatch), the controller (its job
started, its imports, the run taken over) and the first worker (its job started, its imports, a slot announced).

**Utilisation**: busy over available worker-seconds, as `nas status` has it, where an attempt is busy from its launch to
its answer, as the journal has them. In training: the seconds that trials were in their children, by these, over those
of the workers from when all were there to the last trial's end; the rest is what driver, Dask, pipes and files take.
Where workers and controller together are more than the cores, all of them are slowed alike, trials too, so the share
says less about the machine than trials a minute do.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "slurm"))

from slurm_cluster import SlurmCluster, lacking

from nas import store
from nas.records import AttemptStarted, DriverTookOver, TrialEnded, WorkersChanged

CONFIG = """
name: submitted
space: digits_cnn
task: {{dataset: digits, validation: 0.2}}
controller: random
budget: {{trials: 1000000}}
train: {{epochs: {epochs}, precision: fp32}}
cluster: {{workers: {workers}, memory: 600M, controller_memory: 600M, time: 2h}}
"""
LIMIT = 300.0  # seconds for anything to begin


def nas(*words: str) -> dict[str, Any]:
    """What the command says with --json."""
    command = [sys.executable, "-m", "nas", *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def wait(until: Callable[[], object]) -> None:
    """Look five times a second."""
    limit = time.monotonic() + LIMIT
    while not until():
        assert time.monotonic() < limit, "that takes too long"
        time.sleep(0.2)


def started(run: Path) -> bool:
    """Whether a trial has begun."""
    return any(isinstance(entry.event, AttemptStarted) for entry in store.read(run / "journal"))


def start(config: Path, run: Path) -> dict[str, float]:
    """Seconds from the command's start to each of its steps."""
    began = time.time()
    nas("submit", str(config), "--to", "slurm", "--run", str(run))
    submitted = time.time() - began
    wait(lambda: started(run))
    entries = store.read(run / "journal")
    nas("cancel", str(run))
    first = lambda kind: next(e.time - began for e in entries if isinstance(e.event, kind))  # noqa: E731
    controller = [e.time - began for e in entries if isinstance(e.event, DriverTookOver)][1]  # the first one submitted
    return {"the command": submitted, "the run taken over": controller, "a worker": first(WorkersChanged),
            "the first trial": first(AttemptStarted)}  # fmt: skip


def busy(config: Path, run: Path, minutes: float, workers: int) -> None:
    """Run for so long, and print how it went."""
    nas("submit", str(config), "--to", "slurm", "--run", str(run), "--set", f"budget.time={minutes}m")
    wait(lambda: started(run))
    loads = []
    while store.history(run).ended is None:
        time.sleep(5)
        loads.append(os.getloadavg()[0])
    history = store.history(run)
    completed = [t for t in history.trials.values() if t.state == "completed" and t.outcome]
    seconds = [trial.outcome.seconds for trial in completed if trial.outcome]
    lost = sum(attempt.lost for trial in completed for attempt in trial.attempts)
    active = history.active_seconds()
    entries = store.read(run / "journal")
    there = next(e.time for e in entries if e.event == WorkersChanged(workers))
    ended = next(e.time for e in reversed(entries) if isinstance(e.event, TrialEnded))
    rate = len(completed) / active * 60
    print(f"{active / 60:.1f} minutes: {len(completed)} trials, {rate:.0f} a minute")
    print(f"median {statistics.median(seconds):.2f} s; {lost} attempts lost, {len(history.open)} cut off at the end")
    slots = sum(seconds) / (ended - there) / workers
    print(
        f"utilisation {history.utilisation():.2%}, in training {slots:.1%}; load {min(loads):.1f} to {max(loads):.1f}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=10, help="0: starts alone")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    if why := lacking():
        sys.exit(why)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{platform.platform()}, {os.cpu_count()} cores, torch {version('torch')}, load before {load}")
    cluster = SlurmCluster()
    os.environ.update(cluster.environment, OMP_NUM_THREADS="1")
    try:
        with tempfile.TemporaryDirectory(prefix="submitted-") as place:
            config = Path(place) / "submitted.yaml"
            config.write_text(CONFIG.format(workers=given.workers, epochs=given.epochs))
            starts = [start(config, Path(place) / f"start-{number}") for number in range(given.starts)]
            for step in starts[0] if starts else ():
                times = [one[step] for one in starts]
                print(f"  {step:<20}{statistics.median(times):6.2f} s ({min(times):.2f} to {max(times):.2f})")
            if given.minutes:
                busy(config, Path(place) / "busy", given.minutes, given.workers)
    finally:
        cluster.stop()


if __name__ == "__main__":
    main()
