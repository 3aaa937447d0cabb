"""What schedulers save and what they lose, on recorded curves; and Optuna's own pruners on the same.

    python benchmarks/schedulers.py [--seeds 100] [--controllers random,rl] [--epochs 540] [--trials 60] [--seed 1000]

First, of random candidates as many as ``--trials``: how often the eventual best of those proposed is not the one that
leads in the end, by how much accuracy, and which share of the epochs of full trainings it took. Then searches with a
budget of ``--epochs`` (540 are 20 full trainings): the regret, which is what the leader lacks, trained in full, of the
best of all candidates. Optuna's samplers and pruners search the same table one trial after another, ours on four
virtual workers. Curves: benchmarks/curves/digits.csv, 288 small networks over 27 epochs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy or torch is imported
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent / "curves")]

import optuna  # noqa: E402  (threads are set first)
from play import Recorded, play  # noqa: E402

from nas.schedulers import NAMES  # noqa: E402

CURVES = Path(__file__).parent / "curves" / "digits.csv"


def optunas(recorded: Recorded, sampler: str, pruner: str, seed: int, epochs: int) -> tuple[float, int]:
    """The leader's accuracy in full, and how many trials there were: one after another, until the epochs are spent."""
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    pruners: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        "none": optuna.pruners.NopPruner,
        "SuccessiveHalving": lambda: optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3),
        "Hyperband": lambda: optuna.pruners.HyperbandPruner(1, recorded.length, 3),
        "Median": optuna.pruners.MedianPruner,
    }
    study = optuna.create_study(direction="maximize", sampler=samplers[sampler](seed=seed), pruner=pruners[pruner]())
    spent = 0
    while spent < epochs:
        trial = study.ask()
        key = tuple(trial.suggest_int(f"d{at}", 0, size - 1) for at, size in enumerate(recorded.sizes))
        state = optuna.trial.TrialState.COMPLETE
        for epoch, value in enumerate(recorded.curves[key], 1):
            spent += 1
            trial.report(value, epoch)
            if trial.should_prune():
                state = optuna.trial.TrialState.PRUNED
                break
            if spent >= epochs and epoch < recorded.length:
                state = optuna.trial.TrialState.FAIL  # cut off
                break
        complete = state == optuna.trial.TrialState.COMPLETE
        study.tell(trial, value if complete else None, state=None if complete else state)
    done = study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE])
    return max((one.value for one in done), default=0.0), len(study.trials)


def line(name: str, regrets: list[float], seconds: float) -> str:
    """One row of the second table."""
    q1, middle, q3 = statistics.quantiles(regrets, n=4)
    mean = statistics.fmean(regrets)
    return f"{name:34}{100 * middle:9.2f}  [{100 * q1:.2f}, {100 * q3:.2f}]{100 * mean:9.2f}{seconds:9.2f} s"


def main() -> None:
    """Two tables, in some minutes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1000, help="the first of them")
    parser.add_argument("--controllers", default="random,rl")
    parser.add_argument("--epochs", type=int, default=540)
    parser.add_argument("--trials", type=int, default=60)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    recorded = Recorded.read(CURVES)
    seeds = range(options.seed, options.seed + options.seeds)

    print(f"Of {options.trials} random candidates, n = {options.seeds}:")
    print("scheduler       best lost   accuracy lost, mean and most, %   share of the epochs")
    for scheduler in NAMES:
        played = [play(recorded, "random", scheduler, seed, trials=options.trials) for seed in seeds]
        lacks = [100 * (max(c[-1] for c in one.candidates if c) - one.final) for one in played]
        lost = sum(one.lost for one in played) / len(played)
        share = statistics.median(one.epochs for one in played) / (options.trials * recorded.length)
        print(f"{scheduler:14}{lost:9.1%}{statistics.fmean(lacks):18.3f}{max(lacks):8.2f}{share:22.2f}", flush=True)

    print(f"\nRegret after {options.epochs} epochs, % accuracy, n = {options.seeds}:")
    print("                                     median  [quartiles]       mean  a search")
    for controller in options.controllers.split(","):
        for scheduler in NAMES:
            began = time.process_time()
            ended = [play(recorded, controller, scheduler, seed, epochs=options.epochs) for seed in seeds]
            seconds = (time.process_time() - began) / options.seeds
            print(line(f"{controller}, {scheduler}", [recorded.best - one.final for one in ended], seconds), flush=True)
    for sampler in ("random", "tpe"):
        for pruner in ("none", "SuccessiveHalving", "Hyperband", "Median"):
            began = time.process_time()
            found = [optunas(recorded, sampler, pruner, seed, options.epochs)[0] for seed in seeds]
            seconds = (time.process_time() - began) / options.seeds
            print(line(f"Optuna {sampler}, {pruner}", [recorded.best - one for one in found], seconds), flush=True)


if __name__ == "__main__":
    main()
