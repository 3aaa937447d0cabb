"""Seconds of each zero-cost score, for sampled candidates of every shipped space, each with its own task.

    python benchmarks/scores.py [N]

Of N candidates a space (default 10): processor seconds on one thread, medians and maxima, and how many had no such
score. The goal is under 1 s for each.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from typing import get_args

import torch
from shipped_trials import trials

from nas.train.scores import scored
from nas.train.settings import ScoreName


def main() -> None:
    """Measure."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    torch.set_num_threads(1)
    names = get_args(ScoreName)
    took: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    lacking: dict[str, set[str]] = defaultdict(set)
    for space, trial in trials(count):
        for name in names:
            began = time.process_time()
            found = scored(trial, [name])
            took[space][name].append(time.process_time() - began)
            lacking[space] |= {f"{name}: {why}" for why in found.undefined.values()}
    print(f"{count} candidates a space, torch {torch.__version__}, 1 thread; processor seconds, median (maximum)")
    print(f"| space | {' | '.join(names)} | not defined |\n|---|{'---|' * len(names)}---|")
    for space, seconds in took.items():
        columns = (f"{statistics.median(seconds[name]):.3f} ({max(seconds[name]):.3f})" for name in names)
        print(f"| {space} | {' | '.join(columns)} | {'; '.join(sorted(lacking[space]))} |")


if __name__ == "__main__":
    main()
