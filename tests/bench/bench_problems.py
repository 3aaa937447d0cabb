"""A made-up table small enough to be worked out by hand, and its benchmark's YAML."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from pathlib import Path

import numpy as np

WIDTHS, KINDS = (8, 16, 32), ("plain", "wide", "deep")

SPEC = """\
name: toy
space:
  name: toy
  hyperparameters:
    width: {choice: [8, 16, 32]}
    kind: {choice: [plain, wide, deep]}
    layers: {int: [1, 4]}
table: toy.csv
cells:
  hyperparameters.width: width
  hyperparameters.kind: {column: code, values: {plain: p, wide: w, deep: d}}
  hyperparameters.layers: layers
equals: group
protocols:
  query:
    reward: val
    final: test
    goal: val
    evaluations: 30
    at: [5, 30]
    report: [reached, score, regret, log_regret]
  noisy:
    reward: {one_of: [val_0, val_1]}
    final: {mean_of: [val_0, val_1]}
    evaluations: 12
    report: [regret]
  timed:
    reward: val
    final: test
    seconds: 100
    duration: {column: cost}
    workers: 2
    report: [score]
"""


def rows() -> list[dict[str, str]]:
    """36 candidates; the best is (32, deep, 4), and (32, wide, 4) counts as its equal."""
    found = []
    for index, (width, kind, layers) in enumerate(itertools.product(WIDTHS, KINDS, range(1, 5))):
        value = WIDTHS.index(width) * 10 + KINDS.index(kind) * 3 + layers
        best = (width, layers) == (32, 4) and kind != "plain"
        found.append(
            {
                "width": str(width),
                "code": kind[0],
                "layers": str(layers),
                "val": str(value),
                "test": str(value + 0.5),
                "val_0": str(value - 1),
                "val_1": "" if index == 0 else str(value + 1),
                "cost": str(10 * layers),
                "group": "best" if best else str(index),
                "nothing": "",
                "one": "1",
            }
        )
    return found


def write(folder: Path, text: str = SPEC, *, compressed: bool = False) -> Path:
    """The table and its benchmark, in ``folder``; returns the benchmark."""
    lines = io.StringIO(newline="")
    table = csv.DictWriter(lines, list(rows()[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows())
    raw = lines.getvalue().encode()
    (folder / "toy.csv").write_bytes(gzip.compress(raw) if compressed else raw)
    path = folder / "toy.yaml"
    path.write_text(text)
    return path


NPZ_SPEC = """\
name: matrix
space: {hyperparameters: {width: {choice: [8, 16, 32]}, kind: {choice: [plain, wide, deep]}}}
table: <dataset>.npz
datasets: {one: first, two: second}
cells: {hyperparameters.width: "config[0]", hyperparameters.kind: "config[1]"}
values: index
better: lower
scale: log
protocols:
  query: {reward: {mean_of: loss}, final: {mean_of: loss}, evaluations: 9, at: [4, 9], report: [regret, log_regret]}
  noisy: {reward: {one_of: loss}, final: {mean_of: loss}, evaluations: 9, report: [regret]}
"""


def write_npz(folder: Path) -> Path:
    """Two data sets of nine rows; the losses of a row have a mean of 10 to the power of minus its number."""
    config = np.array(list(itertools.product(range(3), range(3))), np.uint8)
    for name, order in (("first", 1), ("second", -1)):
        mean = 10.0 ** -np.arange(9)[::order]
        np.savez(folder / f"{name}.npz", config=config, loss=np.stack([mean * 0.5, mean * 1.5], axis=1))
    path = folder / "matrix.yaml"
    path.write_text(NPZ_SPEC)
    return path
