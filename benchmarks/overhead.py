"""What a trial costs beside its training: a no-op objective through each executor.

    python benchmarks/overhead.py [--trials 200] [--rounds 7] [--workers 2]

Rounds alternate between the executors. For each: milliseconds from one start to its answer with one attempt in flight
(latency), and milliseconds per trial with every slot kept busy (its inverse is the throughput). Each attempt writes and
syncs its result.json and opens its log.txt, as any attempt does.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from importlib.metadata import version
from itertools import count
from pathlib import Path

from nas.cluster import Executor
from nas.cluster.connect import connect
from nas.cluster.settings import ClusterSettings
from nas.records import Answered, Attempt, SlotsChanged, Succeeded

_numbers = count()


def trials_per_round(executor: Executor, slots: int, trials: int, folder: Path) -> float:
    """Milliseconds per trial with ``slots`` in flight."""
    began = time.perf_counter()
    started = answered = 0
    while answered < trials:
        while started < trials and started - answered < slots:
            number = next(_numbers)
            executor.start(Attempt("run", number, 0, {}, f"{number}", 1, str(folder / str(number))))
            started += 1
        for happening in executor.wait(10):
            if isinstance(happening, Answered):
                assert isinstance(happening.outcome, Succeeded), happening
                answered += 1
    return (time.perf_counter() - began) / trials * 1e3


def open_executor(settings: ClusterSettings) -> tuple[Executor, float]:
    """The executor with all its slots, and the seconds until they were there."""
    began = time.perf_counter()
    executor = connect(settings, lambda candidate, context: 1.0)
    slots = 0
    while slots < (settings.workers or 1):
        for happening in executor.wait(10):
            if isinstance(happening, SlotsChanged):
                slots = happening.slots
    return executor, time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=200, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    kinds = {"inline": ClusterSettings(kind="inline"), "local Dask": ClusterSettings(workers=arguments.workers)}
    figures: dict[str, dict[str, list[float]]] = {kind: {"latency": [], "busy": []} for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        executors = {kind: open_executor(settings) for kind, settings in kinds.items()}
        for kind, (executor, _) in executors.items():  # first attempts start children
            trials_per_round(executor, kinds[kind].workers or 1, 20, Path(folder))
        for _ in range(arguments.rounds):
            for kind, (executor, _) in executors.items():
                slots = kinds[kind].workers or 1
                figures[kind]["latency"].append(trials_per_round(executor, 1, arguments.trials, Path(folder)))
                figures[kind]["busy"].append(trials_per_round(executor, slots, arguments.trials, Path(folder)))
        for executor, _ in executors.values():
            executor.close()
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()},", end=" ")
    print(
        f"distributed {version('distributed')}; {arguments.rounds} rounds of {arguments.trials} trials; medians (range)"
    )
    print(f"{'executor':<12} {'slots':>5} {'up, s':>6} {'latency, ms':>20} {'ms per trial, busy':>20} {'trials/s':>9}")
    for kind, measured in figures.items():
        latency, busy = (
            f"{statistics.median(v):.2f} ({min(v):.2f}-{max(v):.2f})" for v in (measured["latency"], measured["busy"])
        )
        throughput = 1e3 / statistics.median(measured["busy"])
        slots, up = kinds[kind].workers or 1, executors[kind][1]
        print(f"{kind:<12} {slots:>5} {up:>6.2f} {latency:>20} {busy:>20} {throughput:>9.0f}")


if __name__ == "__main__":
    main()
