"""Train every candidate of space.yaml for 27 epochs, and record its validation accuracy after each of them.

    python benchmarks/curves/record.py > benchmarks/curves/digits.csv

A line a candidate: its decisions, in the order of the space; then the accuracy on half of the digits, after epochs 1,
2, ..., 27 of one training. A line without accuracies diverged. What `schedulers.py` plays on, and a test of its loss.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from nas import documents
from nas.objective import Context, evaluate
from nas.space import Index, Space
from nas.train import Trainer, describe
from nas.train.hyperparameters import SECTION
from nas.train.settings import DatasetTask, TrainSettings

EPOCHS = 27
SEED = 1


def main() -> None:
    """Some ten minutes on one core."""
    task = DatasetTask(dataset="digits", validation=0.5)
    trainer = Trainer(TrainSettings(epochs=EPOCHS, precision="fp32"), task, SEED)
    space = Space.read(
        documents.read(Path(__file__).parent / "space.yaml"), describe(task, None, {}), hyperparameters=SECTION
    )
    table = csv.writer(sys.stdout, lineterminator="\n")
    decisions = [decision for decision in space.decisions if isinstance(decision, Index)]
    assert len(decisions) == len(space.decisions)
    table.writerow([*(decision.path for decision in decisions), *range(1, EPOCHS + 1)])
    for number, values in enumerate(product(*(range(decision.size) for decision in decisions))):
        curve: dict[int, float] = {}

        def record(epoch: int, metrics: Mapping[str, float], curve: dict[int, float] = curve) -> bool:
            curve[epoch] = metrics["accuracy"]
            return False

        draw = space.replay(dict(zip((decision.path for decision in decisions), values, strict=True)))
        evaluate(trainer, draw.candidate, Context(number, SEED, on_report=record))
        reached = [f"{curve[epoch]:.4f}" for epoch in range(1, EPOCHS + 1)] if len(curve) == EPOCHS else []
        table.writerow([*values, *reached])
        sys.stdout.flush()


if __name__ == "__main__":
    main()
