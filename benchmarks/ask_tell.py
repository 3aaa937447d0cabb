"""What a controller's thinking costs per trial: ask, began and tell, at 100, 1,000 and 10,000 recorded trials.

    python benchmarks/ask_tell.py [--quick] [--controllers rl,evolution,optuna:tpe] [--disk FOLDER]

Compute in the first table, in processor time, so that what else the machine does is not in it. The disk apart, in the
second: the journal's appends of a trial (answered and ended, then the next one proposed and started: one turn, one
sync) on FOLDER's disk, with the time inside fsync alone beside the whole.

The space is 20 unordered choices of 5; rewards are a sum over the choices. rl and evolution live through the whole
history themselves; a sampler of Optuna gets the recorded part by ``began`` and ``tell``, as on a resume, because asking
10,000 times would take it a quarter of an hour.
One thread each. An update of the RL policy falls into the tell that triggers it, so its mean is what matters there.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy or torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nas.controllers import Controller, make, parse  # noqa: E402  (threads are set first)
from nas.controllers.random import RandomController  # noqa: E402
from nas.records import (  # noqa: E402
    AttemptAnswered,
    AttemptStarted,
    Proposal,
    Proposed,
    Reward,
    Succeeded,
    TrialEnded,
)
from nas.space import Space  # noqa: E402
from nas.store import Journal  # noqa: E402

CHOICES, OPTIONS = 20, 5
SPACE = {
    "hyperparameters": {f"c{i}": {"choice": [f"o{j}" for j in range(OPTIONS)], "name": f"c{i}"} for i in range(CHOICES)}
}


def worth(decisions: Mapping[str, int | float]) -> Reward:
    """A made-up reward, cheap to compute, with one best candidate."""
    return Reward(sum((i % 3 + 1) * ((value + i) % OPTIONS) for i, value in enumerate(decisions.values())))


def one_trial(controller: Controller, number: int) -> tuple[float, float]:
    """Processor seconds of the ask, and of began and tell."""
    start = time.process_time()
    proposal = controller.ask(number)
    asked = time.process_time()
    assert isinstance(proposal, Proposal)
    result = worth(proposal.decisions)
    before = time.process_time()
    controller.began(proposal)
    controller.tell(proposal, result)
    return asked - start, time.process_time() - before


def measure(name: str, points: list[int], n: int) -> list[str]:
    """A row of the table for each number of recorded trials."""
    space = Space.read(SPACE)
    controller, recorded = make(parse(name), space, 1), RandomController(space, 2)
    rows, number = [], 0
    for point in points:
        while number < point:
            if name.startswith("optuna"):
                proposal = recorded.ask(number)
                controller.began(proposal)
                controller.tell(proposal, worth(proposal.decisions))
            else:
                one_trial(controller, number)
            number += 1
        times = [one_trial(controller, number + i) for i in range(n)]
        number += n
        asks, tells = ([1e3 * one for one in part] for part in zip(*times, strict=True))
        totals = sorted(ask + tell for ask, tell in zip(asks, tells, strict=True))
        rows.append(
            f"| {name} | {point:,} | {statistics.median(asks):.2f} | {statistics.median(tells):.2f} "
            f"| {statistics.median(totals):.2f} | {statistics.mean(totals):.2f} "
            f"| {totals[int(0.99 * (n - 1))]:.2f} | {n} |"
        )
        print(rows[-1], flush=True)
    return rows


def measure_disk(folder: Path, n: int) -> None:
    """Milliseconds of a trial's turn in the journal: seal, write and sync, and the sync alone."""
    space = Space.read(SPACE)
    proposals = [RandomController(space, 1).ask(number) for number in range(n)]
    outcome = Succeeded({"accuracy": 0.9, "loss": 0.3, "parameters": 36_000.0, "flops": 1e6}, 60.0)
    whole, syncs = [], []
    with tempfile.TemporaryDirectory(dir=folder) as name:
        journal, _ = Journal.claim(Path(name), 0.0)
        for number, proposal in enumerate(proposals):
            assert isinstance(proposal, Proposal)
            turn = [
                (AttemptAnswered(number, 0, outcome), 1.0),
                (TrialEnded(number, "completed", 0), 1.0),
                (Proposed(proposal), 1.0),
                (AttemptStarted(number, 0), 1.0),
            ]
            before, start = journal.sync_seconds, time.perf_counter()
            journal.append(turn)
            whole.append(1e3 * (time.perf_counter() - start))
            syncs.append(1e3 * (journal.sync_seconds - before))
        journal.close()
    print(
        "\n| a trial's turn in the journal | median ms | p99 ms | of it fsync, median ms | n |\n|---|---|---|---|---|"
    )
    p99 = sorted(whole)[int(0.99 * (n - 1))]
    print(
        f"| four events, one sync | {statistics.median(whole):.2f} | {p99:.2f} | {statistics.median(syncs):.2f} | {n} |"
    )


def processor() -> str:
    """The processor's name, where the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 recorded trials, fewer repetitions")
    parser.add_argument("--controllers", default="rl,evolution,optuna:tpe")
    parser.add_argument("--disk", type=Path, default=Path(), metavar="FOLDER", help="where the journal is measured")
    options = parser.parse_args()
    points, n = ([100, 1_000], 40) if options.quick else ([100, 1_000, 10_000], 100)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "numpy"))
    print(f"{processor()}, {os.cpu_count()} cores, one thread used; Python {platform.python_version()}, {packages}\n")
    print(
        "| controller | recorded trials | ask ms (median) | began + tell ms (median) | sum, median | mean | p99 | n |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in options.controllers.split(","):
        measure(name, points, n)
    measure_disk(options.disk, 10 * n)


if __name__ == "__main__":
    main()
