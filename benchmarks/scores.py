"""Zero-cost scores: seconds of each for every shipped space, and how they rank with what was reached by training.

    python benchmarks/scores.py [N]
    nas leaderboard RUN --format json | python benchmarks/scores.py --against accuracy

Of N candidates a space (default 10): processor seconds on one thread, medians and maxima, and how many had no such
score. The goal is under 1 s for each. Against a metric of a run with scores: Kendall's and Spearman's correlation over
its completed trials, with 95 % intervals of 2,000 bootstrap samples; parameters and FLOPs stand beside them, as a score
that ranks no better than these says nothing new.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from typing import Any, get_args

import numpy as np
import torch
from scipy.stats import kendalltau, spearmanr
from shipped_trials import trials

from nas.train.scores import scored
from nas.train.settings import ScoreName

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


def correlations(rows: list[dict[str, Any]], metric: str) -> None:
    """The table of correlations with a metric."""
    metrics = [row["metrics"] for row in rows if row["state"] == "completed"]
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
        correlations(json.load(sys.stdin), sys.argv[sys.argv.index("--against") + 1])
    else:
        seconds(int(sys.argv[1]) if len(sys.argv) > 1 else 10)


if __name__ == "__main__":
    main()
