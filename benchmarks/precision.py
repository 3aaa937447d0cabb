"""Every precision that this device has against fp32, on digits: the losses and accuracies of the same ten trials.

    python benchmarks/precision.py [--seeds 10] [--epochs 8] [--precisions bf16 fp16 fp64] [--device cpu]
    python benchmarks/precision.py --probe 10 [--device cpu]

A trial of each precision has the weights, the order of samples and the validation split of fp32's trial of that seed.
Shown are medians, and of the paired differences to fp32 the mean with its standard error: "within noise" is a mean
difference of accuracy under two standard errors, or under half a sample of the validation split. For scale, the spread
of fp32 over seeds stands beside. Seconds are of the processor (a GPU's: of the clock), training and judging together.

``--probe``: what ``precision: auto`` takes to decide for so many candidates of every shipped space, each as if it were
the first of its shape class, and then again, when it is known. Seconds of the clock, on one thread: run it where
nothing else runs. The goal is at most half a second.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections import defaultdict
from typing import Any

import torch
from shipped_trials import trials

from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings
from nas.train.precision import choose, probe
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


def probes(count: int, device: str) -> None:
    """The table of what deciding takes."""
    torch.set_num_threads(1)
    first, again = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    timed: dict[str, int] = defaultdict(int)
    for space, trial in trials(count, device):
        batch = 256 if trial.asked_batch == "fit" else min(trial.asked_batch, len(trial.train))
        probe._TIMED.clear()
        for took in (first, again):
            began = time.perf_counter()
            choose(trial.device, "auto", trial.work(batch))
            took[space].append(time.perf_counter() - began)
        timed[space] += bool(probe._TIMED)
    print(f"{count} candidates a space, torch {torch.__version__}, {device}, 1 thread; seconds, median (maximum)")
    print("| space | timed, not by rule | first of its shape | shape is known |\n|---|---|---|---|")
    for space in first:
        columns = (f"{statistics.median(took[space]):.3f} ({max(took[space]):.3f})" for took in (first, again))
        print(f"| {space} | {timed[space]} | {' | '.join(columns)} |")


def main() -> None:
    """Train all, and print one line for each precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--precisions", nargs="+", default=["tf32", "bf16", "fp16", "fp64"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--probe", type=int, metavar="N", help="time what auto takes, of N candidates a space")
    given = parser.parse_args()
    if given.probe:
        probes(given.probe, given.device)
        return
    trial("fp32", 0, 1, given.device)  # warms up
    device = torch.device(given.device)
    half = 0.5 / (VALIDATION * TRAINING)
    names = [name for name in ("fp32", *given.precisions) if not lack(device, name)]
    found = {name: [trial(name, seed, given.epochs, given.device) for seed in range(given.seeds)] for name in names}
    base = found["fp32"]
    spread = statistics.stdev(accuracy for accuracy, _, _ in base)
    print(f"torch {torch.__version__}, {given.device}, n = {given.seeds}, fp32 over seeds: deviation {spread:.4f}")
    for name, own in found.items():
        accuracies, losses, seconds = zip(*own, strict=True)
        differences = [one[0] - other[0] for one, other in zip(own, base, strict=True)]
        mean, error = statistics.mean(differences), statistics.stdev(differences) / math.sqrt(given.seeds)
        noise = "within noise" if abs(mean) <= max(2 * error, half) else "NOT within noise"
        print(
            f"  {name}  accuracy {statistics.median(accuracies):.4f}  loss {statistics.median(losses):.4f}  "
            f"to fp32 {mean:+.4f} ± {error:.4f}: {noise}  {statistics.median(seconds):.1f} s"
        )


if __name__ == "__main__":
    main()
