"""Many real Dask workers on one machine, and trials that do nothing: how many a second, and whether one gets lost.

    python benchmarks/many_workers.py [--workers 64] [--trials 3000] [--memory]

A whole search from Python: the random controller, journal, result files, a scheduler and its workers, each a process
with a fork server and a child, which import what the objective names, here nothing. Counted are trials that ended
from when all workers were there, by the journal's clock; before that workers start, which is what the cores are busy
with. Lost are attempts that machines took, and trials that have not ended once. Where there are more workers than
cores the driver, the scheduler and the workers' own messages share the cores: the number says what a trial costs in
all of these, not what so many hosts would do.

``--memory``: what the processes have resident, proportionally (PSS), when the search is half done.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import nas
from nas import store
from nas.machine import Search
from nas.records import AttemptStarted, TrialEnded, WorkersChanged

SPACE = {"name": "nothing", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def nothing(candidate: nas.Candidate, context: nas.Context) -> float:
    """The objective."""
    return float(candidate.hyperparameters["x"])


def resident() -> tuple[int, float]:
    """How many processes are below this one, and their GB, with shared pages counted once."""
    parents, sizes = {}, {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):
            if entry.name.isdecimal():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                sizes[int(entry.name)] = int((entry / "smaps_rollup").read_text().partition("Pss:")[2].split()[0])
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    below -= {os.getpid()}
    return len(below), sum(sizes.get(pid, 0) for pid in below) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--trials", type=int, default=3000)
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    assert "torch" not in sys.modules, "children would be given it"
    looked: list[tuple[int, float]] = []

    def observe(search: Search, now: float) -> None:
        if given.memory and not looked and search.history.tally["completed"] > given.trials // 2:
            looked.append(resident())

    with tempfile.TemporaryDirectory() as place:
        began = time.time()
        nas.search(
            SPACE,
            nothing,
            trials=given.trials,
            controller="random",
            cluster={"workers": given.workers, "memory": "1G"},
            run=Path(place) / "run",
            observe=observe,
        )
        entries = store.read(Path(place) / "run/journal")
        history = store.history(Path(place) / "run")
    there = next(e.time for e in entries if e.event == WorkersChanged(given.workers))
    ended = [e.time for e in entries if isinstance(e.event, TrialEnded)]
    counted = [at for at in ended if at >= there]
    times = Counter(e.event.trial for e in entries if isinstance(e.event, TrialEnded))
    attempts = sum(isinstance(e.event, AttemptStarted) for e in entries)
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"{platform.platform()}, {os.cpu_count()} cores, distributed {version('distributed')}; load {load}")
    print(
        f"{given.workers} workers there after {there - began:.1f} s; {len(ended) - len(counted)} trials had ended then"
    )
    print(f"{len(counted)} trials in {counted[-1] - there:.1f} s: {len(counted) / (counted[-1] - there):.0f} a second")
    once = sum(number == 1 for number in times.values())
    lost = sum(attempt.lost for trial in history.trials.values() for attempt in trial.attempts)
    print(f"{once} of {given.trials} trials ended once, in {attempts} attempts, {lost} of them lost")
    for processes, size in looked:
        print(f"{processes} processes, {size:.2f} GB")


if __name__ == "__main__":
    main()
