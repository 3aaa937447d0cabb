"""What it costs to pause a training and to go on: milliseconds and bytes, for candidates of every shipped space.

    python benchmarks/checkpoint.py [N] [FOLDER]

Of N candidates a space (default 3), after two steps with the optimizer that each has: parameters, bytes of the
checkpoint, processor time of writing (digest and sync included; the wall clock beside it), and of reading and
restoring; medians and maxima.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import torch
from shipped_trials import trials

from nas.train import checkpoint
from nas.train.augmentation import Targets
from nas.train.fit import Training
from nas.train.precision import Precision
from nas.train.trial import Decided, Trial

ROUNDS = 5
CPU = torch.device("cpu")
Measured = tuple[int, int, float, float, float]  # parameters, bytes, then ms


def begun(trial: Trial, decided: Decided) -> Training:
    """A training whose optimizer remembers something."""
    training = trial.begin(trial.recipe(decided, None), decided.precision)
    training.network.train()
    inputs, labels = trial.samples.batch(trial.train[: decided.batch])
    for step in range(2):
        training.accumulation.gradients(inputs, Targets(labels), step)
        training.accumulation.scaling.step(training.optimizer)
    return training


def measured(trial: Trial, folder: Path) -> Measured:
    """Medians of some rounds."""
    decided = Decided(Precision("fp32", "for measuring"), 16)
    training, other = begun(trial, decided), begun(trial, decided)
    took = []
    for _ in range(ROUNDS):
        wall, began = time.perf_counter(), time.process_time()
        size = checkpoint.write(folder, {}, decided, training, CPU, 0)
        written, wall = time.process_time(), time.perf_counter() - wall
        checkpoint.read(folder, {}).restore(other, CPU)
        took.append((1e3 * (written - began), 1e3 * wall, 1e3 * (time.process_time() - written)))
    write, wall, read = (statistics.median(column) for column in zip(*took, strict=True))
    return trial.costs["parameters"], size, write, wall, read


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    torch.set_num_threads(1)
    found: dict[str, list[Measured]] = defaultdict(list)
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as folder:
        for space, trial in trials(count):
            found[space].append(measured(trial, Path(folder)))
    print(f"{count} candidates a space, {ROUNDS} rounds each, torch {torch.__version__}, 1 thread")
    print("| space | parameters | bytes | write, ms | on the clock, ms | read, ms |\n|---|---|---|---|---|---|")
    for space, rows in found.items():
        middle = [statistics.median(column) for column in zip(*rows, strict=True)]
        most = [max(column) for column in zip(*rows, strict=True)]
        sizes = " | ".join(f"{a:,.0f} (max {b:,.0f})" for a, b in zip(middle[:2], most[:2], strict=True))
        times = " | ".join(f"{a:.1f} (max {b:.1f})" for a, b in zip(middle[2:], most[2:], strict=True))
        print(f"| {space} | {sizes} | {times} |")


if __name__ == "__main__":
    main()
