"""Every precision that this device has against fp32, on digits: the losses and accuracies of the same ten trials.

    python benchmarks/precision.py [--seeds 10] [--epochs 8] [--precisions bf16 fp16 fp64] [--device cpu]

A trial of each precision has the weights, the order of samples and the validation split of fp32's trial of that seed.
Shown are medians, and of the paired differences to fp32 the mean with its standard error: "within noise" is a mean
difference of accuracy under two standard errors, or under half a sample of the validation split. For scale, the spread
of fp32 over seeds stands beside. Seconds are of the processor (a GPU's: of the clock), training and judging together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any

import torch

from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings
from nas.train.precision.devices import lack
from nas.train.settings import Numbers

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
    {"dropout": 0.1},
    {"linear": 10},
]
VALIDATION, TRAINING = 0.25, 1438  # of digits' samples that are not its test part


def trial(precision: Numbers, seed: int, epochs: int, device: str) -> tuple[float, float, float]:
    """Accuracy, loss and seconds."""
    settings = TrainSettings(epochs=epochs, batch_size=64, precision=precision)
    trainer = Trainer(settings, DatasetTask(dataset="digits", validation=VALIDATION), seed)
    context = Context(0, seed, device=device)
    clock = time.perf_counter if device == "cuda" else time.process_time
    started = clock()
    metrics = trainer(Candidate(NETWORK, {}), context)
    if context.notes.get("fallbacks"):
        print(f"  {precision}, seed {seed}: {context.notes['fallbacks']}")
    return metrics["accuracy"], metrics["loss"], clock() - started


def main() -> None:
    """Train all, and print one line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--precisions", nargs="+", default=["tf32", "bf16", "fp16", "fp64"])
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    trial("fp32", 0, 1, given.device)  # warms up
    device = torch.device(given.device)
    half = 0.5 / (VALIDATION * TRAINING)
    names = [name for name in ("fp32", *given.precisions) if not lack(device, name)]
    found = {name: [trial(name, seed, given.epochs, given.device) for seed in range(given.seeds)] for name in names}
    base = found["fp32"]
    spread = statistics.stdev(accuracy for accuracy, _, _ in base)
    print(f"torch {torch.__version__}, {given.device}, n = {given.seeds}, fp32 over seeds: deviation {spread:.4f}")
    for name, trials in found.items():
        accuracies, losses, seconds = zip(*trials, strict=True)
        differences = [one[0] - other[0] for one, other in zip(trials, base, strict=True)]
        mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(given.seeds)
        noise = "within noise" if abs(mean) <= max(2 * error, half) else "NOT within noise"
        print(
            f"  {name}  accuracy {statistics.median(accuracies):.4f}  loss {statistics.median(losses):.4f}  "
            f"to fp32 {mean:+.4f} ± {error:.4f}: {noise}  {statistics.median(seconds):.1f} s"
        )


if __name__ == "__main__":
    main()
