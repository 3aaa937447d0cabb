"""Optimizers over their learning rate, on digits: accuracy, loss and the length of the weights, over some seeds.

    python benchmarks/optimizers.py lars=0.5,1,2 adamw=1e-3,0.02 [--epochs 6] [--seeds 3] [--batch 32]

Other settings are the optimizer's defaults; one epoch of warm-up, then a cosine; fp32. Each line: mean accuracy ± its
standard error, the seeds' own, mean loss, mean length of the weights at the end.
"""

from __future__ import annotations

import argparse
import math
import statistics
from typing import Any

from nas.errors import Diverged
from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings

NETWORK: list[Any] = [  # 4,354 parameters
    {"conv": 16},
    {"norm": "batch"},
    {"activation": "relu"},
    {"residual": [{"conv": {"filters": 24, "stride": 2}}, {"norm": "batch"}, {"activation": "gelu"}]},
    {"global_pool": "average"},
    {"dropout": 0.1},
    {"linear": 10},
]


def trial(optimizer: str, rate: float, seed: int, epochs: int, batch: int) -> tuple[float, float, float]:
    """Accuracy, loss and the weights' length; of one that diverged 0 and two infinities."""
    settings = TrainSettings(epochs=epochs, batch_size=batch, precision="fp32")
    candidate = Candidate(NETWORK, {"optimizer": {optimizer: {"learning_rate": rate}}})
    context = Context(0, seed)
    try:
        metrics = Trainer(settings, DatasetTask(dataset="digits", validation=0.2))(candidate, context)
    except Diverged:
        return 0.0, math.inf, math.inf
    return metrics["accuracy"], metrics["loss"], context.notes["weight_norm"]["final"]


def main() -> None:
    """One line for each rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizers", nargs="+", metavar="NAME=RATE,...")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=32)
    given = parser.parse_args()
    print(f"{given.epochs} epochs of batch {given.batch}, n = {given.seeds}")
    for name, _, rates in (one.partition("=") for one in given.optimizers):
        for rate in map(float, rates.split(",")):
            found = [trial(name, rate, seed, given.epochs, given.batch) for seed in range(given.seeds)]
            accuracies, losses, norms = zip(*found, strict=True)
            error = statistics.stdev(accuracies) / math.sqrt(given.seeds) if given.seeds > 1 else 0.0
            told = " ".join(f"{accuracy:.3f}" for accuracy in accuracies)
            print(
                f"{name:8}{rate:<8g}{statistics.fmean(accuracies):.4f} ± {error:.4f}  ({told})  "
                f"loss {statistics.fmean(losses):.4f}  norm {statistics.fmean(norms):.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
