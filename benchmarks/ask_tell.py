"""What a controller's thinking costs per trial, at 1,000, 10,000 and 100,000 recorded trials, and beside it Optuna.

    python benchmarks/ask_tell.py [--quick] [--controllers rl,evolution,optuna:tpe,bare:tpe] [--points 1000,10000]
                                  [--seconds 60] [--parts asking,sampling,disk] [--disk FOLDER]

Three tables, on a space of 20 unordered choices of 5, one thread:

    asking     ask, began and tell of a trial, in processor time, so that what else the machine does is not in it.
               ``bare:tpe`` is Optuna without us: study.ask, 20 suggests, study.tell, in memory, multivariate in groups
    sampling   draws of RL's policy, many at once and one by one, with the candidate's hash; beside it Optuna's
               RandomSampler by ask and suggests. Processor time, too
    disk       what a trial writes, in wall time: ours in one turn with one sync; Optuna's journal with a sync for each
               parameter, and where the whole trial is added at once. With the time inside fsync alone, beside the whole

Rewards are a sum over the choices, and say how long a trial took, as where a search ends by time: rl has a second model
to fit then. rl and evolution live through the recorded part themselves, up to 10,000 trials; beyond, rl's is told to a
controller that does not think (no pool, no steps), whose state the measured one takes over, and lives with for two
thoughts. Optuna gets it by ``began`` and ``tell``, as on a resume, or bare by add_trials. A row
stops after ``--seconds`` of processor time, but not before three trials: ``n`` says how many there were.
RL thinks in one tell of 128, then for some tenths of a second: that is in its mean and is its longest, not its p99.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import Random

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
LIVED, SETTLING = 10_000, 256  # trials that rl lives through at most; and after taking over a state
LEAST = 3  # trials of a row, however long they take
SPACE = {
    "hyperparameters": {f"c{i}": {"choice": [f"o{j}" for j in range(OPTIONS)], "name": f"c{i}"} for i in range(CHOICES)}
}


def worth(decisions: Mapping[str, int | float]) -> Reward:
    """A made-up reward, cheap to compute, with one best candidate."""
    total = sum((i % 3 + 1) * ((value + i) % OPTIONS) for i, value in enumerate(decisions.values()))
    return Reward(total, seconds=2.0 ** next(iter(decisions.values())))


class Bare:
    """Optuna as its users have it: a study in memory."""

    def __init__(self, sampler: str) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        made: dict[str, Callable[[], optuna.samplers.BaseSampler]] = {
            "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, group=True, seed=1),
            "random": lambda: optuna.samplers.RandomSampler(seed=1),
        }
        self.study = optuna.create_study(direction="maximize", sampler=made[sampler]())
        self.kinds = {f"c{i}": optuna.distributions.CategoricalDistribution(range(OPTIONS)) for i in range(CHOICES)}

    def recorded(self, first: int, last: int, proposer: RandomController) -> None:
        """Trials that another one proposed."""
        import optuna

        trials = []
        for number in range(first, last):
            decisions = proposed(proposer, number).decisions
            params = dict(zip(self.kinds, decisions.values(), strict=True))
            trials.append(optuna.create_trial(params=params, distributions=self.kinds, value=worth(decisions).value))
        self.study.add_trials(trials)

    def one_trial(self, number: int) -> tuple[float, float]:
        start = time.process_time()
        trial = self.study.ask()
        decisions = {name: trial.suggest_categorical(name, range(OPTIONS)) for name in self.kinds}
        asked = time.process_time()
        result = worth(decisions).value
        before = time.process_time()
        self.study.tell(trial, result)
        return asked - start, time.process_time() - before


def proposed(controller: Controller, number: int) -> Proposal:
    """What is asked of a space that is never exhausted."""
    proposal = controller.ask(number)
    assert isinstance(proposal, Proposal)
    return proposal


def one_trial(controller: Controller, number: int) -> tuple[float, float]:
    """Processor seconds of the ask, and of began and tell."""
    start = time.process_time()
    proposal = proposed(controller, number)
    asked = time.process_time()
    result = worth(proposal.decisions)
    before = time.process_time()
    controller.began(proposal)
    controller.tell(proposal, result)
    return asked - start, time.process_time() - before


class Ours:
    """A controller of ours, at some number of recorded trials."""

    def __init__(self, name: str, space: Space) -> None:
        self.name, self.space = name, space
        self.controller = make(parse(name), space, 1)

    def recorded(self, first: int, last: int, proposer: RandomController) -> None:
        told = self.name.startswith("optuna")
        taken_over = self.name == "rl" and last > LIVED
        controller = make(parse({"rl": {"pool": 0, "steps": 0}}), self.space, 1) if taken_over else self.controller
        if taken_over:
            controller.load(self.controller.save())
        for number in range(first, last - SETTLING if taken_over else last):
            if told or taken_over:
                proposal = proposed(proposer, number)
                controller.began(proposal)
                controller.tell(proposal, worth(proposal.decisions))
            else:
                self.one_trial(number)
        if taken_over:
            self.controller.load(controller.save())
            for number in range(last - SETTLING, last):
                self.one_trial(number)

    def one_trial(self, number: int) -> tuple[float, float]:
        return one_trial(self.controller, number)


def measure(name: str, points: list[int], n: int, seconds: float) -> None:
    """Print a row of the table for each number of recorded trials."""
    space = Space.read(SPACE)
    who = Bare(name.removeprefix("bare:")) if name.startswith("bare:") else Ours(name, space)
    proposer = RandomController(space, 2)
    number = 0
    for point in points:
        who.recorded(number, point, proposer)
        number, until = point, time.process_time() + seconds
        times: list[tuple[float, float]] = []
        while len(times) < n and (len(times) < LEAST or time.process_time() < until):
            times.append(who.one_trial(number))
            number += 1
        asks, tells = ([1e3 * one for one in part] for part in zip(*times, strict=True))
        totals = sorted(ask + tell for ask, tell in zip(asks, tells, strict=True))
        print(
            f"| {name} | {point:,} | {statistics.median(asks):.2f} | {statistics.median(tells):.2f} "
            f"| {statistics.median(totals):.2f} | {percentile_99(totals):.2f} | {statistics.mean(totals):.2f} "
            f"| {totals[-1]:.1f} | {len(totals):,} |",
            flush=True,
        )


def percentile_99(values: Sequence[float]) -> float:
    """The nearest one below."""
    return sorted(values)[int(0.99 * (len(values) - 1))]


def measure_sampling(repeats: int) -> None:
    """Proposals a second: the policy's many at once, its one by one, and Optuna's."""
    import numpy as np

    from nas.controllers.policy import Policy
    from nas.controllers.settings import RLSettings

    space = Space.read(SPACE)
    policy = Policy(space, RLSettings().hidden, 1)
    bare = Bare("random")

    def many(rows: int, mapped: bool) -> Callable[[int], None]:
        def draw(seed: int) -> None:
            batch = policy.draw_many(np.random.default_rng(seed), np.full(rows, 0.05)).batch
            if mapped:
                for row in range(rows):
                    batch.row(row)

        return draw

    def one(seed: int) -> None:
        draw = policy.draw(Random(seed), 0.05).draw
        assert draw.candidate.hash

    def optuna(seed: int) -> None:
        trial = bare.study.ask()
        for name in bare.kinds:
            trial.suggest_categorical(name, range(OPTIONS))

    print("\n| sampling 20 choices of 5 | proposals/s, median | ms each, median | p99 | n |\n|---|---|---|---|---|")
    for what, rows, draws, n in (
        ("Policy.draw_many, 256 rows", 256, many(256, False), repeats),
        ("Policy.draw_many, 10,000 rows", 10_000, many(10_000, False), repeats // 5),
        ("the same, each row as a mapping", 10_000, many(10_000, True), repeats // 5),
        ("Policy.draw, with candidate and hash", 1, one, 10 * repeats),
        ("Optuna RandomSampler: ask, 20 suggests", 1, optuna, 5 * repeats),
    ):
        times = []
        for seed in range(n):
            start = time.process_time()
            draws(seed)
            times.append((time.process_time() - start) / rows)
        middle = statistics.median(times)
        print(
            f"| {what} | {1 / middle:,.0f} | {1e3 * middle:.3f} | {1e3 * percentile_99(times):.3f} | {n} |", flush=True
        )


def measure_disk(folder: Path, n: int) -> None:
    """Milliseconds of wall time that a trial's writing takes, and those inside fsync."""
    import optuna
    from optuna.samplers import RandomSampler
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    space = Space.read(SPACE)
    proposals = [proposed(RandomController(space, 1), number) for number in range(n)]
    outcome = Succeeded({"accuracy": 0.9, "loss": 0.3, "parameters": 36_000.0, "flops": 1e6}, 60.0)
    kinds = Bare("random").kinds
    print("\n| a trial on disk | syncs | median ms | p99 ms | of it fsync, median ms | n |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=folder) as name, syncs_timed() as synced:
        journal, _ = Journal.claim(Path(name), 0.0)
        storage = JournalStorage(JournalFileBackend(str(Path(name, "study"))))
        study = optuna.create_study(storage=storage, sampler=RandomSampler(seed=1), direction="maximize")

        def ours(number: int) -> None:
            turn = [
                (AttemptAnswered(number, 0, outcome), 1.0),
                (TrialEnded(number, "completed", 0), 1.0),
                (Proposed(proposals[number]), 1.0),
                (AttemptStarted(number, 0), 1.0),
            ]
            journal.append(turn)

        def suggested(number: int) -> None:
            trial = study.ask()
            for name in kinds:
                trial.suggest_categorical(name, range(OPTIONS))
            study.tell(trial, 0.9)

        def added(number: int) -> None:
            params = dict(zip(kinds, proposals[number].decisions.values(), strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=0.9))

        for what, write, times in (
            ("nas: four events in one turn", ours, n),
            ("Optuna JournalFileBackend: ask, 20 suggests, tell", suggested, n // 5),
            ("Optuna JournalFileBackend: add_trial", added, n // 5),
        ):
            whole, within, count = [], [], len(synced)
            for number in range(times):
                start, before = time.perf_counter(), len(synced)
                write(number)
                whole.append(1e3 * (time.perf_counter() - start))
                within.append(1e3 * sum(synced[before:]))
            print(
                f"| {what} | {(len(synced) - count) / times:.0f} | {statistics.median(whole):.2f} "
                f"| {percentile_99(whole):.2f} | {statistics.median(within):.2f} | {times} |",
                flush=True,
            )
        journal.close()


@contextmanager
def syncs_timed() -> Iterator[list[float]]:
    """Seconds of each os.fsync within."""
    seconds: list[float] = []
    fsync, fdatasync = os.fsync, os.fdatasync

    def timed(sync: Callable[[int], None], file: int) -> None:
        start = time.perf_counter()
        sync(file)
        seconds.append(time.perf_counter() - start)

    os.fsync, os.fdatasync = partial(timed, fsync), partial(timed, fdatasync)  # type: ignore[assignment]
    try:
        yield seconds
    finally:
        os.fsync, os.fdatasync = fsync, fdatasync


def processor() -> str:
    """The processor's name, where the kernel tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="100 and 1,000 recorded trials, fewer repetitions")
    parser.add_argument("--controllers", default="rl,evolution,optuna:tpe,bare:tpe")
    parser.add_argument("--points", help="numbers of recorded trials, rising; else 1000,10000,100000")
    parser.add_argument("--seconds", type=float, default=60.0, help="of processor time, that a row takes about at most")
    parser.add_argument("--parts", default="asking,sampling,disk")
    parser.add_argument("--disk", type=Path, default=Path(), metavar="FOLDER", help="where journals are measured")
    options = parser.parse_args()
    words, n = ("100,1000", 256) if options.quick else ("1000,10000,100000", 1024)
    points, parts = [int(word) for word in (options.points or words).split(",")], options.parts.split(",")
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "numpy"))
    load = os.getloadavg()[0]
    print(
        f"{processor()}, {os.cpu_count()} cores, one thread used, load {load:.1f}; Python {platform.python_version()}, "
        f"{packages}"
    )
    if "asking" in parts:
        print(
            "\n| controller | recorded trials | ask ms (median) | began + tell ms (median) | sum, median | p99 | mean "
            "| longest | n |\n|---|---|---|---|---|---|---|---|---|"
        )
        for name in options.controllers.split(","):
            measure(name, points, n, options.seconds)
    if "sampling" in parts:
        measure_sampling(20 if options.quick else 100)
    if "disk" in parts:
        measure_disk(options.disk, 200 if options.quick else 1_000)


if __name__ == "__main__":
    main()
