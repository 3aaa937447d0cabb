"""Rows per second of the shipped trainer against two loops written by hand, at equal loss, on digits and Fashion-MNIST.

    python benchmarks/trainer.py [--data DIR] [--rounds 5] [--threads 1 2] [--sets digits fashion_mnist] [--images 3072]

(a) plain: the loop of PyTorch's tutorials: fp32, a DataLoader over normalised tensors, torch's default memory order,
    optimizer and malloc.
(b) tuned: what a person writes who knows this machine: channels_last, data resident and normalised beforehand, fused
    SGD, bf16 autocast where the processor has units for it, malloc set as a search's workers have it; nothing recorded.

All three start from the same weights, see the same training samples in batches of one size for as many epochs with the
same optimizer and learning rates, and are judged on the same others. Each side has a process of its own, with the
environment that it would have; they take turns, and the medians of the rounds are shown with their range. Rows per
second are of training alone, of the clock and, "/cpu s", of processor time: that one is nearly free of what else runs
on the machine, as long as there is one thread. (c), what two slots do for a machine, is benchmarks/slots.py.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from worker_malloc import MALLOC

from nas import seeds
from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, data, network
from nas.train.precision.devices import unit
from nas.train.sources import describe, formats

RATE, VALIDATION = 0.1, 0.25
FASHION: list[Any] = [
    {"conv": 32},
    {"norm": "batch"},
    {"activation": "relu"},
    {"conv": 32},
    {"norm": "batch"},
    {"activation": "relu"},
    {"max_pool": 2},
    {"residual": [{"conv": 64}, {"norm": "batch"}, {"activation": "relu"}]},
    {"max_pool": 2},
    {"global_pool": "average"},
    {"linear": 10},
]
DIGITS: list[Any] = [
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


@dataclass(frozen=True)
class Setting:
    name: str
    architecture: list[Any]
    batch: int
    epochs: int


SETTINGS = {one.name: one for one in (Setting("digits", DIGITS, 64, 12), Setting("fashion_mnist", FASHION, 256, 2))}
SIDES: dict[str, Mapping[str, str]] = {"ours": MALLOC, "plain": {}, "tuned": MALLOC}  # with their environments
Measured = tuple[float, float, float]  # rows per second of the clock and of the processor, validation loss


class Inputs:
    """What both loops get for nothing: the trainer's own split, normalised, and a network with its initial weights."""

    def __init__(self, setting: Setting, folder: str) -> None:
        self.setting = setting
        self.settled = DatasetTask(dataset=setting.name, validation=VALIDATION)  # type: ignore[arg-type]
        samples = data.resident(self.settled, "train", folder, "cpu")
        train, validation = data.split_resident(samples, VALIDATION, 0)
        self.train, self.validation = samples.batch(train), samples.batch(validation)
        self.steps = len(train) // setting.batch  # of an epoch
        self.total = setting.epochs * self.steps
        self.warmup = self.total // 6
        self.task = describe(self.settled)

    def network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return network.build(Candidate(self.setting.architecture, {}), self.task)

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return RATE * (step + 1) / (self.warmup + 1)
        return RATE * 0.5 * (1 + math.cos(math.pi * (step - self.warmup) / (self.total - self.warmup)))


def ours(inputs: Inputs, folder: str, seed: int) -> Measured:
    """The trainer, as a search runs it."""
    setting = inputs.setting
    settings = TrainSettings(
        epochs=setting.epochs, batch_size=setting.batch, warmup_epochs=inputs.warmup / inputs.steps
    )
    trainer = Trainer(settings, inputs.settled, 0, folder)
    context = Context(0, seed, threads=torch.get_num_threads())
    rows = inputs.total * setting.batch
    began = time.process_time()
    metrics = trainer(Candidate(setting.architecture, {}), context)
    # Of a whole trial's processor time, the share that the clock gave to training.
    spent = context.notes["spent"]
    processor = (time.process_time() - began) * (1 - spent["evaluation"] / sum(spent.values()))
    return metrics["rows_per_second"], rows / processor, metrics["loss"]


def plain(inputs: Inputs, seed: int) -> Measured:
    """Side (a)."""
    images, labels = (tensor.contiguous() for tensor in inputs.train)
    model = inputs.network(seed)
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(images, labels), inputs.setting.batch, shuffle=True, drop_last=True)
    step = 0
    started, began = time.perf_counter(), time.process_time()
    for _ in range(inputs.setting.epochs):
        for x, y in loader:
            optimizer.param_groups[0]["lr"] = inputs.rate(step)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            step += 1
    seconds, processor = time.perf_counter() - started, time.process_time() - began
    with torch.no_grad():
        images, labels = inputs.validation
        judged = float(F.cross_entropy(model.eval()(images), labels))
    rows = step * inputs.setting.batch
    return rows / seconds, rows / processor, judged


def tuned(inputs: Inputs, seed: int) -> Measured:
    """Side (b)."""
    batch, half = inputs.setting.batch, bool(unit(torch.device("cpu"), "bf16"))
    model = inputs.network(seed).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9, nesterov=True, weight_decay=5e-4, fused=True)
    images, labels = inputs.train
    step = 0
    started, began = time.perf_counter(), time.process_time()
    for _ in range(inputs.setting.epochs):
        for indices in torch.randperm(len(images))[: inputs.steps * batch].split(batch):
            optimizer.param_groups[0]["lr"] = inputs.rate(step)
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                outputs = model(images[indices])
            loss = F.cross_entropy(outputs.float(), labels[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
    seconds, processor = time.perf_counter() - started, time.process_time() - began
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
        outputs: Tensor = model.eval()(inputs.validation[0])
        judged = float(F.cross_entropy(outputs.float(), inputs.validation[1]))
    rows = step * batch
    return rows / seconds, rows / processor, judged


# Processes -----------------------------------------------------------------------------------------------------------


def serve(side: str, folder: str) -> None:
    """A side's process: reads {"set", "seed", "threads"} line by line, answers with what it measured."""
    known: dict[str, Inputs] = {}
    for line in sys.stdin:
        asked = json.loads(line)
        chosen, seed = asked["set"], asked["seed"]
        torch.set_num_threads(asked["threads"])
        if chosen not in known:
            known[chosen] = Inputs(SETTINGS[chosen], folder)
        inputs = known[chosen]
        measured = (
            ours(inputs, folder, seed) if side == "ours" else {"plain": plain, "tuned": tuned}[side](inputs, seed)
        )
        print(json.dumps(measured), flush=True)


class Side:
    """One side's process."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [sys.executable, __file__, "--side", name, "--data", str(folder)]
        environment = {**{k: v for k, v in os.environ.items() if k not in MALLOC}, **SIDES[name]}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def measured(self, **asked: Any) -> Measured:
        assert self.process.stdin and self.process.stdout
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        first, second, third = json.loads(self.process.stdout.readline())
        return first, second, third

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait()


def write_excerpt(folder: Path, data_dir: str | None, count: int) -> None:
    """The first images of Fashion-MNIST in its own format, so that the trainer runs as it does in a search."""
    images, labels = formats.load("fashion_mnist", "train", data_dir)
    first = (images[:count, 0], labels[:count])
    for name, array in zip(("train-images-idx3-ubyte", "train-labels-idx1-ubyte"), first, strict=True):
        sizes = np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def main() -> None:
    """Compare for each data set and number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the folder with Fashion-MNIST")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sets", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--images", type=int, default=3072, help="of Fashion-MNIST: the first ones, a quarter to judge")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        serve(given.side, given.data)
        return
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()}"
    )
    with tempfile.TemporaryDirectory() as name:
        if "fashion_mnist" in given.sets:
            write_excerpt(Path(name), given.data, given.images)
        sides = {side: Side(side, Path(name)) for side in SIDES}
        for threads in given.threads:
            for chosen in given.sets:
                compare(sides, chosen, threads, given.rounds)
        for side in sides.values():
            side.end()


def compare(sides: Mapping[str, Side], chosen: str, threads: int, rounds: int) -> None:
    """Let the sides take turns, and print their medians. The first round warms up, and is not counted."""
    results: dict[str, list[Measured]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        seed = seeds.derive(number, "benchmark")
        for name, side in sides.items():
            measured = side.measured(set=chosen, seed=seed, threads=threads)
            results[name] += [measured] if number else []
    print(f"\n{chosen}, {threads} thread(s), n = {rounds}")
    for name, measured in results.items():
        clock, processor, losses = zip(*measured, strict=True)
        ratios = [ratio([one[at] for one in results["ours"]], [one[at] for one in measured]) for at in (0, 1)]
        print(
            f"  {name:6}{statistics.median(clock):9,.0f} rows/s ({min(clock):,.0f} to {max(clock):,.0f})"
            f"   ours / {name} {ratios[0]:5.2f}   {statistics.median(processor):9,.0f} rows/cpu s, {ratios[1]:5.2f}"
            f"   validation loss {statistics.median(losses):.4f}",
            flush=True,
        )


def ratio(mine: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the rounds."""
    return statistics.median(one / other for one, other in zip(mine, theirs, strict=True))


if __name__ == "__main__":
    main()
