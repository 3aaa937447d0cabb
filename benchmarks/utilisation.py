"""How busy a controller keeps many workers: the search machine under a virtual clock, charged for every decision.

    python benchmarks/utilisation.py [--controller rl] [--workers 1000,10000] [--trials 100000] [--deaths 0.05] [--wall]

Trials last log-normally long (sigma 1.2, mean 60 s). That share of attempts ends with their worker's death, at a
moment uniform within them; the trial runs again, and another worker comes after a minute. What the driver decides, it
decides for as long as it takes here, on one thread, while answers wait: the time of ask, began and tell, and of the
machine; in processor time, so that what else this computer does is not in it, unless ``--wall`` is given. Not in it:
the journal and the network. The space is 20 unordered choices of 5.

Busy over present worker-seconds, from full load to the last launch of a new trial; dead workers are not present.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy or torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ask_tell import SPACE, processor, worth  # noqa: E402  (threads are set first)

from nas.bench.simulation import Simulation  # noqa: E402
from nas.controllers import make, parse  # noqa: E402
from nas.instructions import Instruction  # noqa: E402
from nas.limits import Budget  # noqa: E402
from nas.machine import Search  # noqa: E402
from nas.records import Outcome, Succeeded  # noqa: E402
from nas.reward import RewardSettings, compute  # noqa: E402
from nas.seeds import derive  # noqa: E402
from nas.space import Space  # noqa: E402

SIGMA, MEAN, REPLACED_AFTER = 1.2, 60.0, 60.0  # of the logarithm; seconds; seconds
SAID = 20.0  # seconds of real time between two words of progress


def attempts(search: Search, seed: int) -> Callable[[int, int], tuple[float, Outcome]]:
    """Durations keyed by (seed, trial, attempt), so that every controller meets the same ones."""

    def one(trial: int, attempt: int) -> tuple[float, Outcome]:
        law = Random(derive(seed, "duration", trial, attempt))
        seconds = law.lognormvariate(math.log(MEAN) - SIGMA**2 / 2, SIGMA)
        return seconds, Succeeded({"value": worth(search.history.trials[trial].proposal.decisions).value}, seconds)

    return one


def played(controller: str, workers: int, trials: int, deaths: float, clock: Callable[[], float]) -> Simulation:
    """The simulation, over."""
    search = Search(
        controller=make(parse(controller), Space.read(SPACE), 1),
        reward=partial(compute, RewardSettings(maximize="value")),
        budget=Budget(trials),
    )
    began = said = time.monotonic()

    def observe(instructions: list[Instruction], now: float) -> None:
        nonlocal said
        if time.monotonic() - said > SAID:
            said = time.monotonic()
            print(f"  {len(search.history.trials):,} trials in {said - began:.0f} s", file=sys.stderr, flush=True)

    simulation = Simulation(
        search=search,
        workers=workers,
        attempts=attempts(search, 1),
        seed=1,
        decision=None,
        clock=clock,
        deaths=deaths,
        replaced_after=REPLACED_AFTER,
        observe=observe,
    )
    simulation.run()
    return simulation


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--controller", default="rl,evolution,random")
    parser.add_argument("--workers", default="1000,10000")
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--deaths", type=float, default=0.05)
    parser.add_argument("--wall", action="store_true", help="charge wall time, not processor time")
    options = parser.parse_args()
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "numpy"))
    print(f"{processor()}, {os.cpu_count()} cores, one thread used; Python {platform.python_version()}, {packages}\n")
    print(
        "| controller | workers | trials | deaths | utilisation | ms a turn, median | p99 | longest | driver's share |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    clock = time.perf_counter if options.wall else time.process_time
    for name in options.controller.split(","):
        for workers in map(int, options.workers.split(",")):
            simulation = played(name, workers, options.trials, options.deaths, clock)
            turns = simulation.turns[1:-1]
            ordered = sorted(1e3 * turn for turn in turns)  # not the first asks of all, nor the digest at the end
            ends = max(until for _, until in simulation.busy)
            print(
                f"| {name} | {workers:,} | {options.trials:,} | {len(simulation.dead):,} "
                f"| {100 * simulation.utilisation():.2f} % | {statistics.median(ordered):.2f} "
                f"| {ordered[int(0.99 * (len(ordered) - 1))]:.2f} | {ordered[-1]:.1f} "
                f"| {100 * sum(turns) / ends:.1f} % |",
                flush=True,
            )


if __name__ == "__main__":
    main()
