"""What several slots make of a machine: trials per minute of two one-thread slots against one, on real Dask workers.

    python benchmarks/slots.py [--slots 2] [--trials 8] [--rounds 5] [--epochs 6] [--set digits] [--data DIR]
    python benchmarks/slots.py --gpu [--trials 32] ...          1, 4 and 16 slots on one GPU

Each round trains the same trials (one network, seeds in order) on each executor: with one slot, with ``--slots`` of
one thread each, and with one slot of as many threads, which is what a plain script's torch does; with --gpu, on one
GPU with one, four and sixteen slots (an hour of it makes 60 times the trials a minute). They take turns; the
clock runs from the first start to the last answer, children and data warm. Shown are medians of the rounds, with their
range, and of the ratio to one slot; then what share of the slots' time trials took. Where that is as high with several
slots as with one, what is missing to their number is the machine's: shared caches, other programs, other guests.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

from nas.cluster import Executor
from nas.cluster.connect import connect
from nas.cluster.settings import ClusterSettings
from nas.plan import PRELOAD
from nas.records import Answered, Attempt, SlotsChanged, Succeeded
from nas.train import DatasetTask, Trainer, TrainSettings

NETWORK: list[Any] = [
    {"conv": 16},
    {"norm": "batch"},
    {"activation": "relu"},
    {"residual": [{"conv": 16}, {"norm": "batch"}, {"activation": "gelu"}]},
    {"max_pool": 2},
    {"conv": 32},
    {"norm": "batch"},
    {"activation": "relu"},
    {"global_pool": "average"},
    {"linear": 10},
]
_numbers = count()


def opened(slots: int, threads: int, gpu: bool, trainer: Trainer, folder: Path) -> Executor:
    """With all its slots there."""
    card = {"gpus": 1, "slots_per_gpu": slots} if gpu else {"gpus": 0}
    settings = ClusterSettings(workers=slots, threads=threads, **card)
    executor = connect(settings, trainer, folder=folder, preload=PRELOAD)
    there = 0
    while there < slots:
        for happening in executor.wait(10):
            if isinstance(happening, SlotsChanged):
                there = happening.slots
    return executor


def trained(executor: Executor, slots: int, trials: int, folder: Path) -> tuple[float, float]:
    """Trials a minute, every slot kept busy; and the share of the slots' time that trials took."""
    began, busy = time.perf_counter(), 0.0
    started = answered = 0
    while answered < trials:
        while started < trials and started - answered < slots:
            number = next(_numbers)
            candidate = {"architecture": NETWORK, "hyperparameters": {}}
            executor.start(Attempt("run", number, 0, candidate, f"{number}", started, str(folder / str(number))))
            started += 1
        for happening in executor.wait(10):
            if isinstance(happening, Answered):
                assert isinstance(happening.outcome, Succeeded), happening
                answered += 1
                busy += happening.outcome.seconds
    seconds = time.perf_counter() - began
    return trials / seconds * 60, busy / seconds / slots


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--trials", type=int, default=8, help="of a round; a multiple of the slots")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--set", choices=("digits", "fashion_mnist"), default="digits")
    parser.add_argument("--data", help="the folder with Fashion-MNIST")
    parser.add_argument("--gpu", action="store_true")
    given = parser.parse_args()
    trainer = Trainer(TrainSettings(epochs=given.epochs), DatasetTask(dataset=given.set), 0, given.data)
    ways = {(1, 1): "one slot", (given.slots, 1): f"{given.slots} slots", (1, given.slots): "one, all threads"}
    if given.gpu:
        ways = {(1, 1): "one slot", (4, 1): "4 slots", (16, 1): "16 slots"}
    found: dict[tuple[int, int], list[tuple[float, float]]] = {way: [] for way in ways}
    with tempfile.TemporaryDirectory() as folder:
        executors = {way: opened(*way, given.gpu, trainer, Path(folder)) for way in ways}
        for (slots, _), executor in executors.items():
            trained(executor, slots, slots, Path(folder))  # loads the data, decides the precision
        for _ in range(given.rounds):
            for way, executor in executors.items():
                found[way].append(trained(executor, way[0], given.trials, Path(folder)))
        for executor in reversed(executors.values()):  # each puts back what distributed logged to before it
            executor.close()
    print(f"{platform.platform()}, {os.cpu_count()} cores, torch {version('torch')}, load {os.getloadavg()}")
    print(f"{given.set}, {given.epochs} epochs, {given.rounds} rounds of {given.trials} trials; medians (range)")
    for way, name in ways.items():
        told(name, found[way], [speed for speed, _ in found[1, 1]])


def told(name: str, found: Sequence[tuple[float, float]], one: Sequence[float]) -> None:
    """A line: trials a minute, how many times one slot's, and how busy the slots were."""
    speeds, busy = zip(*found, strict=True)
    ratio = statistics.median(mine / theirs for mine, theirs in zip(speeds, one, strict=True))
    print(
        f"  {name:<18}{statistics.median(speeds):8.1f} trials/min ({min(speeds):.1f} to {max(speeds):.1f})  {ratio:.2f}"
        f"  busy {statistics.median(busy):.0%}"
    )


if __name__ == "__main__":
    main()
