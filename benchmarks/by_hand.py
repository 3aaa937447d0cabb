"""What the trainer decides by itself against the best setting found by hand, for networks of five shipped spaces.

    python benchmarks/by_hand.py [--spaces digits ...] [--data DIR] [--seconds 0.6] [--rounds 5] [--all]

By hand: a bare training loop (forward, backward, a fused optimizer's step, on batches that lie ready), timed over a
grid of threads, precision, memory layout and batch; ``--seconds`` for each point. The trainer trains as a search would
have it: one thread for a slot, precision auto, channels_last, and a batch of 256 or ``fit``. It decides precision,
layout and batch; the threads of a slot are the cluster's to say (``threads``, 1), and it never chooses them.

Two ratios. *Per core*, to the best by rows per second and core: what a search with a slot for each core loses, as what
leaves a core free leaves it to another trial; two threads that make 1.6 times the rows count as 0.8. *Alone*, the plain
ratio of rows per second to the fastest whatever its threads: what a trial loses that has the whole machine to itself.

The grid's batches leave an epoch 16 steps, as ``fit`` keeps to: what is faster with fewer does not learn. Then the best
of the grid and the trainer take turns, so that the best's luck in the grid is not held against the trainer; medians of
the rounds.

Each network is the one of median FLOPs among nine drawn from the space. Both sides have the malloc settings that a
search's workers have. Times are of the clock: run it where nothing else runs. ``--all`` prints the whole grid.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from worker_malloc import begin_again_with_it

if __name__ == "__main__":
    begin_again_with_it()

import torch
from torch import Tensor

from nas import config as configs
from nas.config import RunConfig
from nas.objective import Context
from nas.plan import plan
from nas.space import Candidate
from nas.train import Trainer, TrainSettings, data, network, optimizers, problems
from nas.train.fitting import LEAST_STEPS
from nas.train.precision.policy import Precision
from nas.train.settings import SGD, Numbers, TaskSettings
from nas.train.sources import describe

CONFIGS = ("digits", "fashion_mnist", "penguins", "transformer_text", "unet_segmentation")
DRAWS = 9
THREADS = (1, 2)
PRECISIONS: tuple[Numbers, ...] = ("fp32", "bf16")
LAYOUTS = ("channels_last", "contiguous")
BATCHES = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Hand:
    threads: int
    precision: Numbers
    layout: str
    batch: int

    def __str__(self) -> str:
        return f"{self.threads} thread(s), {self.precision}, {self.layout}, batch {self.batch}"


@dataclass(frozen=True)
class Task:
    settings: TaskSettings
    data_dir: str | None
    candidate: Candidate  # its architecture alone

    @classmethod
    def of(cls, config: RunConfig) -> Task:
        """The network of median FLOPs among some of the config's space."""
        space, described = plan(config).space, describe(config.task, config.data)
        drawn = [Candidate(space.sample(Random(seed)).candidate.architecture, {}) for seed in range(DRAWS)]
        drawn.sort(key=lambda one: network.costs(one, described)["flops"])
        return cls(config.task, config.data, drawn[DRAWS // 2])


def by_hand(task: Task, hand: Hand, seconds: float, best: float = 0.0) -> float:
    """Rows per second and core. Roughly those of the second step, where that is three times slower than ``best``."""
    torch.set_num_threads(hand.threads)
    samples = data.resident(task.settings, "train", task.data_dir, "cpu")
    order = torch.channels_last if hand.layout == "channels_last" else torch.contiguous_format
    described = describe(task.settings, task.data_dir)
    torch.manual_seed(0)
    model = network.build(task.candidate, described).to(memory_format=order)  # type: ignore[call-overload]
    precision, problem = Precision(hand.precision, "by hand"), problems.problem(described)
    precision.adapt(model, torch.device("cpu"))
    optimizer = optimizers.make(SGD(learning_rate=1e-4), model)
    ready = list(itertools.islice(_batches(samples, hand.batch, order), 4))

    def step(inputs: Tensor, targets: Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        problem.loss(precision.outputs(model, inputs), targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    step(*(tensor[:2] for tensor in ready[0]))  # kernels are made
    began = time.perf_counter()
    step(*ready[0])
    if (rough := hand.batch / (time.perf_counter() - began) / hand.threads) < best / 3:
        return rough
    rows, began = 0, time.perf_counter()
    for inputs, targets in itertools.cycle(ready):
        step(inputs, targets)
        rows += len(inputs)
        if (took := time.perf_counter() - began) >= seconds:
            return rows / took / hand.threads
    raise AssertionError("a cycle has no end")


def _batches(samples: data.Resident, batch: int, order: torch.memory_format) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    while True:
        inputs, targets = samples.batch(torch.randint(len(samples.inputs), (batch,), generator=generator))
        yield inputs.contiguous(memory_format=order) if inputs.ndim == 4 else inputs, targets


def ours(task: Task, batch: Any, seconds: float, speed: float) -> tuple[float, str]:
    """Rows per second and core of the trainer's own loop, for about so long at about that speed; what it chose."""
    settings = TrainSettings(epochs=1, batch_size=batch, optimizer={"sgd": {"learning_rate": 1e-4}})  # type: ignore[arg-type]
    steps = max(2, round(speed * seconds / 256))
    context = Context(0, 0, threads=1)
    trainer = Trainer(settings, task.settings, 0, task.data_dir, steps=steps)
    trainer(task.candidate, Context(0, 0, threads=1))  # what is decided once for a process is decided
    metrics = trainer(task.candidate, context)
    return metrics["rows_per_second"], f"{context.notes['dtype']}, batch {context.notes['batch_size']}"


def main() -> None:
    """Each space in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", nargs="+", choices=CONFIGS, default=CONFIGS, help="by their configs")
    parser.add_argument("--data", help="the folder with Fashion-MNIST")
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--all", action="store_true", help="print the whole grid")
    given = parser.parse_args()
    print(f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {os.getloadavg()}")
    folder = Path(__file__).resolve().parents[1] / "configs"
    for name in given.spaces:
        overrides = [f"data={given.data}"] if given.data else []
        compare(name, Task.of(configs.load(folder / f"{name}.yaml", overrides)), given)


def compare(name: str, task: Task, given: argparse.Namespace) -> None:
    """The grid, then its best and the trainer in turns."""
    inputs = data.resident(task.settings, "train", task.data_dir, "cpu").inputs
    most = len(inputs) * (1 - task.settings.validation) / LEAST_STEPS
    batches = [batch for batch in BATCHES if batch == BATCHES[0] or batch <= most]
    layouts = LAYOUTS if inputs.ndim == 4 else LAYOUTS[:1]  # of tables and texts there is one
    points = [Hand(*point) for point in itertools.product(THREADS, PRECISIONS, layouts, batches[-3:])]
    grid: dict[Hand, float] = {}
    for point in points:
        grid[point] = by_hand(task, point, given.seconds, max(grid.values(), default=0.0))
    if given.all:
        for point, speed in sorted(grid.items(), key=lambda one: -one[1]):
            print(f"    {speed:9,.0f}  {point}")
    best = max(grid, key=lambda point: grid[point])
    fastest = max(grid, key=lambda point: grid[point] * point.threads)
    print(f"\n{name}: {task.candidate.one_line()}")
    print(f"  best by hand per core: {best}; alone: {fastest}")
    for batch in (256, "fit"):
        per_core, alone, chosen = [], [], ""
        for _ in range(given.rounds):
            theirs = {point: by_hand(task, point, given.seconds) for point in {best, fastest}}
            mine, chosen = ours(task, batch, given.seconds, grid[best])
            per_core.append(mine / theirs[best])
            alone.append(mine / (theirs[fastest] * fastest.threads))
        print(
            f"  batch_size: {batch}: {_spread(per_core)} of the best per core, {_spread(alone)} alone, "
            f"n = {given.rounds}; {chosen}",
            flush=True,
        )


def _spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


if __name__ == "__main__":
    main()
