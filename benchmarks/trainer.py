"""Images per second of the shipped trainer against two loops written by hand, on Fashion-MNIST, at equal loss.

    python benchmarks/trainer.py --data DIR [--rounds 5] [--threads 1 2]

(a) plain: what a person writes first: fp32, a DataLoader over normalised tensors, torch's default memory order.
(b) tuned: what a person writes who knows this machine: bf16 autocast, channels_last, data resident and normalised
    beforehand, fused SGD, nothing recorded.

All three start from the same weights, see 6,144 training images twice in batches of 256 with the same optimizer and
learning rates, and are judged on the same 2,048 others. They take turns; the median of the rounds is shown with its
range. The process runs again under the malloc settings that the search's workers have, so that all three profit.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
}
if __name__ == "__main__" and any(os.environ.get(name) != value for name, value in MALLOC.items()):
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})  # glibc reads them at its start

import numpy as np  # noqa: E402  - after the process has its settings
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from nas import seeds  # noqa: E402
from nas.objective import Context  # noqa: E402
from nas.space import Candidate  # noqa: E402
from nas.train import DatasetTask, Trainer, TrainSettings, data, network  # noqa: E402
from nas.train.sources import describe, formats  # noqa: E402

BATCH, RATE, EPOCHS, IMAGES, VALIDATION = 256, 0.1, 2, 8_192, 0.25
EPOCH_STEPS = 24
WARMUP = 8  # steps
NETWORK: list[Any] = [
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
Measured = tuple[float, float]  # images per second of training, validation loss


def ours(folder: Path, seed: int, threads: int) -> Measured:
    """The trainer, as a search runs it."""
    settings = TrainSettings(epochs=EPOCHS, batch_size=BATCH, warmup_epochs=WARMUP / EPOCH_STEPS)
    trainer = Trainer(settings, DatasetTask(dataset="fashion_mnist", validation=VALIDATION), 0, str(folder))
    metrics = trainer(Candidate(NETWORK, {}), Context(0, seed, threads=threads))
    return metrics["rows_per_second"], metrics["loss"]


class Inputs:
    """What both loops get for nothing: the trainer's own split, normalised, and a network with its initial weights."""

    def __init__(self, folder: Path) -> None:
        images = data.resident(DatasetTask(dataset="fashion_mnist"), "train", str(folder), "cpu")
        train, validation = data.split_resident(images, VALIDATION, 0)
        self.train, self.validation = images.batch(train), images.batch(validation)
        self.total = EPOCHS * (len(train) // BATCH)
        self.task = describe(DatasetTask(dataset="fashion_mnist"))

    def network(self, seed: int) -> nn.Module:
        torch.manual_seed(seed)
        return network.build(Candidate(NETWORK, {}), self.task)

    def rate(self, step: int) -> float:
        if step < WARMUP:
            return RATE * (step + 1) / (WARMUP + 1)
        return RATE * 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (self.total - WARMUP)))


def plain(inputs: Inputs, seed: int) -> Measured:
    """Side (a)."""
    model = inputs.network(seed)
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9, nesterov=True, weight_decay=5e-4)
    loader = DataLoader(TensorDataset(*inputs.train), BATCH, shuffle=True, drop_last=True)
    step = 0
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for images, labels in loader:
            optimizer.param_groups[0]["lr"] = inputs.rate(step)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - started
    with torch.no_grad():
        images, labels = inputs.validation
        return step * BATCH / seconds, float(F.cross_entropy(model.eval()(images), labels))


def tuned(inputs: Inputs, seed: int) -> Measured:
    """Side (b)."""
    model = inputs.network(seed).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), RATE, 0.9, nesterov=True, weight_decay=5e-4, fused=True)
    images, labels = inputs.train
    step = 0
    started = time.perf_counter()
    for _ in range(EPOCHS):
        for indices in torch.randperm(len(images))[: inputs.total // EPOCHS * BATCH].split(BATCH):
            optimizer.param_groups[0]["lr"] = inputs.rate(step)
            with torch.autocast("cpu", torch.bfloat16):
                outputs = model(images[indices])
            loss = F.cross_entropy(outputs.float(), labels[indices])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - started
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs: Tensor = model.eval()(inputs.validation[0])
        return step * BATCH / seconds, float(F.cross_entropy(outputs.float(), inputs.validation[1]))


def write_excerpt(folder: Path, data_dir: str | None) -> None:
    """The first images of Fashion-MNIST in its own format, so that the trainer runs as it does in a search."""
    images, labels = formats.load("fashion_mnist", "train", data_dir)
    for name, array in (("train-images-idx3-ubyte", images[:IMAGES, 0]), ("train-labels-idx1-ubyte", labels[:IMAGES])):
        sizes = np.array(array.shape, ">u4").tobytes()
        (folder / name).write_bytes(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def main() -> None:
    """Compare for each number of threads."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="the folder with Fashion-MNIST")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print(
        f"torch {torch.__version__}, Python {platform.python_version()}, {os.cpu_count()} CPUs, load {os.getloadavg()}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_excerpt(folder, given.data)
        inputs = Inputs(folder)
        for threads in given.threads:
            compare(folder, inputs, threads, given.rounds)


def compare(folder: Path, inputs: Inputs, threads: int, rounds: int) -> None:
    """Let the sides take turns, and print their medians."""
    torch.set_num_threads(threads)
    results: dict[str, list[Measured]] = {"ours": [], "plain": [], "tuned": []}
    for number in range(rounds + 1):  # the first warms up, and is not counted
        seed = seeds.derive(number, "benchmark")
        turn = {
            "ours": ours(folder, seed, threads),
            "plain": plain(inputs, seed),
            "tuned": tuned(inputs, seed),
        }
        for side, measured in turn.items():
            results[side] += [measured] if number else []
    print(f"\n{threads} thread(s), n = {rounds}")
    for side, measured in results.items():
        speeds, losses = zip(*measured, strict=True)
        ratio = statistics.median(mine / its for (mine, _), (its, _) in zip(results["ours"], measured, strict=True))
        print(
            f"  {side:6}{statistics.median(speeds):8,.0f} images/s ({min(speeds):,.0f} to {max(speeds):,.0f})"
            f"   ours / {side} {ratio:5.2f}   validation loss {statistics.median(losses):.4f}"
        )


if __name__ == "__main__":
    main()
