"""Zero-cost scores: seconds of each for every shipped space, and how they rank with what was reached by training.

    python benchmarks/scores.py [N]
    nas leaderboard RUN --format json | python benchmarks/scores.py --against accuracy
    NAS_BENCH_DATA=... python benchmarks/scores.py --cells 120

Of N candidates a space (default 10): processor seconds on one thread, medians and maxima, and how many had no such
score. The goal is under 1 s for each. Against a metric of a run with scores: Kendall's and Spearman's correlation over
its completed trials, with 95 % intervals of 2,000 bootstrap samples; parameters and FLOPs stand beside them, as a score
that ranks no better than these says nothing new. ``--cells``: against the recorded accuracies of that many cells of
NAS-Bench-201 on CIFAR-10 (mean of validation after 200 epochs), with a cell in each stage instead of five, and noise in
place of images, which are not at hand.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from random import Random
from typing import get_args

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from shipped_trials import trials

from nas import documents, shipped
from nas.bench import spec as specs
from nas.bench import table as tables
from nas.bench.recorded import join, read_space
from nas.space import Space
from nas.train.plugins import BUILT_IN
from nas.train.scores import scored
from nas.train.settings import ArraysTask, ScoreName, TrainSettings
from nas.train.trial import Trial

NAMES = get_args(ScoreName)
SAMPLES = 2000


def seconds(count: int) -> None:
    """The table of times."""
    torch.set_num_threads(1)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    lacking: dict[str, set[str]] = defaultdict(set)
    for space, trial in trials(count):
        for name in NAMES:
            began = time.process_time()
            found = scored(trial, [name])
            took[space][name].append(time.process_time() - began)
            lacking[space] |= {f"{name}: {why}" for why in found.undefined.values()}
    print(f"{count} candidates a space, torch {torch.__version__}, 1 thread; processor seconds, median (maximum)")
    print(f"| space | {' | '.join(NAMES)} | not defined |\n|---|{'---|' * len(NAMES)}---|")
    for space, of in took.items():
        columns = (f"{statistics.median(of[name]):.3f} ({max(of[name]):.3f})" for name in NAMES)
        print(f"| {space} | {' | '.join(columns)} | {'; '.join(sorted(lacking[space]))} |")


def cells(count: int) -> list[dict[str, float]]:
    """Scores and costs of cells of NAS-Bench-201, with their recorded accuracy."""
    torch.set_num_threads(1)
    said, document = specs.load("nasbench201")
    table = tables.read(Path(os.environ["NAS_BENCH_DATA"]) / said.table)
    space = read_space(said, document)
    recorded = join(said, document, space, table, "cifar10", "query", said.protocols["query"])
    written = documents.read(shipped.find("search_spaces", "nasbench201")).data
    written["define"]["width"] = 16
    wide = Space.read(written, {"classes": 10})
    random = np.random.default_rng(0)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        noise = {"x": random.normal(size=(200, 3, 32, 32)).astype("f4"), "y": random.integers(0, 10, 200)}
        np.savez(Path(folder) / "noise.npz", **noise)
        task = ArraysTask(npz=str(Path(folder) / "noise.npz"))
        for seed in range(count):
            draw = wide.sample(Random(seed))
            row = recorded.rows.of(draw.decisions)
            assert row is not None
            trial = Trial.read(draw.candidate, seed, "cpu", TrainSettings(), task, BUILT_IN, None, 0)
            found.append({**scored(trial, NAMES).scores, **trial.costs, "accuracy": float(recorded.qualities[row])})
    return found


def correlations(metrics: list[dict[str, float]], metric: str) -> None:
    """The table of correlations with a metric."""
    print(f"| with {metric} | n | Kendall | Spearman |\n|---|---|---|---|")
    for name in (*NAMES, "parameters", "flops"):
        pairs = np.array([(m[name], m[metric]) for m in metrics if name in m and metric in m])
        random = np.random.default_rng(0)
        picked = [pairs[random.integers(len(pairs), size=len(pairs))] for _ in range(SAMPLES)]
        told = []
        for measure in (kendalltau, spearmanr):
            low, high = np.nanpercentile([measure(*some.T).statistic for some in picked], [2.5, 97.5])
            told.append(f"{measure(*pairs.T).statistic:.2f} ({low:.2f} to {high:.2f})")
        print(f"| {name} | {len(pairs)} | {' | '.join(told)} |")


def main() -> None:
    """Measure."""
    if "--against" in sys.argv:
        rows = [row["metrics"] for row in json.load(sys.stdin) if row["state"] == "completed"]
        correlations(rows, sys.argv[sys.argv.index("--against") + 1])
    elif "--cells" in sys.argv:
        correlations(cells(int(sys.argv[sys.argv.index("--cells") + 1])), "accuracy")
    else:
        seconds(int(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    main()
