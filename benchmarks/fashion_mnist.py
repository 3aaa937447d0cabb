"""End to end on Fashion-MNIST: test accuracy within a given time, `nas` against Optuna's TPE with its Hyperband pruner.

    python benchmarks/fashion_mnist.py --minutes 15 --seeds 5 --side both [--ledger FILE] [--data DIR] [--set KEY=VALUE]

Everything counts, from the start of the first process to the test accuracy: both sides search for SEARCH of the time
with two workers of one thread each, on the space fashion_cnn with the same trainer, settings and full length. The best
candidate is then trained once more from new weights, with both cores, in the precision that `auto` gives, and for as
many epochs as the rest of the time allows by a few steps' speed, and scored once on the test images. What runs when a
search's time is up is cut off.

optuna: two processes on one study (JournalStorage), TPESampler(multivariate, group, constant_liar), HyperbandPruner
from 1 epoch to the full length (--epochs); a proposal's decisions are Optuna's parameters as controllers/optuna.py
makes them. nas: the command `nas search`, with the controller rl and the scheduler asha; ``--set`` is handed on to it.
A trial counts where it has trained its full length.

A seed that is done is a line of the ledger, so a stopped comparison goes on. With all of them, `reached` is after how
many seconds of search a side had a trial as good, by validation, as the other's best in all its time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from nas import config as configs
from nas import durable, seeds, shipped, store
from nas.errors import Diverged, InvalidCandidate, OutOfMemory
from nas.objective import Context
from nas.plan import plan
from nas.records import AttemptAnswered, Proposed, Succeeded
from nas.space import Candidate

SEARCH = 0.55  # of the time
MARGIN = 0.85  # of what is left after it, for which the final training is planned
MOST_EPOCHS = 30  # of the final training
LOOK = 20  # steps by which its speed is known
CONFIG = f"""\
name: fashion
space: {shipped.find("search_spaces", "fashion_cnn")}
task: {{dataset: fashion_mnist, validation: 0.1}}
controller: rl
scheduler: asha
train: {{scale_learning_rate: sqrt, warmup_epochs: 0.2, flip: true, epochs: EPOCHS}}
cluster: {{kind: local, workers: 2, threads: 1, memory: 4G}}
"""


@dataclass(frozen=True)
class Found:
    """What a search ended with. ``course``: (seconds since the start, validation accuracy) of each trial."""

    candidate: dict[str, Any]
    course: list[tuple[float, float]]


@dataclass(frozen=True)
class Asked:
    """One side's seed. ``end``: of the search, by time.time()."""

    folder: Path
    seed: int
    epochs: int  # of a search's whole trial
    began: float
    end: float
    data: str | None
    settings: list[str]

    @property
    def config(self) -> Path:
        """The file, written where it is not there yet."""
        path = self.folder / "fashion.yaml"
        if not path.exists():
            path.write_text(f"{CONFIG.replace('EPOCHS', str(self.epochs))}seed: {self.seed}\n")
        return path


def whole(asked: Asked, metrics: Any) -> bool:
    """Whether a trial has trained its full length."""
    return bool(metrics["epochs"] == asked.epochs)


# nas -----------------------------------------------------------------------------------------------------------------


def by_nas(asked: Asked) -> Found:
    """The command, and what its journal says."""
    run = asked.folder / "run"
    data = ["--data", asked.data] if asked.data else []
    settings = [word for one in asked.settings for word in ("--set", one)]
    limit = max(1, round(asked.end - time.time()))
    command = [sys.executable, "-m", "nas", "search", asked.config, "--run", run, "--time", f"{limit}s"]
    done = subprocess.run([*command, *data, *settings], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    candidates: dict[int, Any] = {}
    course, best, found = [], -1.0, None
    for entry in store.read(run / "journal"):
        match entry.event:
            case Proposed(proposal=proposal):
                candidates[proposal.number] = proposal.candidate
            case AttemptAnswered(trial=number, outcome=Succeeded(metrics=metrics)) if whole(asked, metrics):
                course.append((entry.time - asked.began, metrics["accuracy"]))
                if metrics["accuracy"] > best:
                    best, found = metrics["accuracy"], candidates[number]
    if found is None:
        raise SystemExit("no trial came to an end: more --minutes are needed")
    return Found(found, course)


# Optuna --------------------------------------------------------------------------------------------------------------


def by_optuna(asked: Asked) -> Found:
    """Two processes on one study, ended when the time is up."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=optuna_worker, args=(asked, number)) for number in range(2)]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join(max(0.0, asked.end - time.time()))
    finally:
        for worker in workers:
            worker.kill()
            worker.join()
    done = [t for t in study_of(asked, 0).trials if t.state.name == "COMPLETE"]
    if not done:
        raise SystemExit("no trial came to an end: more --minutes are needed")
    best = max(done, key=lambda trial: trial.value)
    course = sorted((trial.datetime_complete.timestamp() - asked.began, trial.value) for trial in done)
    return Found(orjson.loads(best.user_attrs["candidate"]), course)


def study_of(asked: Asked, worker: int) -> Any:
    """The study, from its file."""
    import optuna
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    sampler = optuna.samplers.TPESampler(
        multivariate=True, group=True, constant_liar=True, seed=seeds.derive(asked.seed, "tpe", worker) % 2**32
    )
    return optuna.create_study(
        study_name="fashion",
        storage=optuna.storages.JournalStorage(JournalFileBackend(str(asked.folder / "study.log"))),
        sampler=sampler,
        pruner=optuna.pruners.HyperbandPruner(min_resource=1, max_resource=asked.epochs),
        direction="maximize",
        load_if_exists=True,
    )


def optuna_worker(asked: Asked, worker: int) -> None:
    """Trials, one after another."""
    import optuna

    from nas.controllers.optuna import distribution

    config = configs.load(asked.config)
    if asked.data:
        config = config.model_copy(update={"data": asked.data})
    planned = plan(config)
    domains = {decision.path: distribution(decision) for decision in planned.space.decisions}

    def objective(trial: Any) -> float:
        draw = planned.space.walk(lambda decision: trial._suggest(decision.path, domains[decision.path]))

        def report(step: int, metrics: Any) -> bool:
            trial.report(metrics["accuracy"], step)
            return bool(trial.should_prune())

        context = Context(trial.number, seeds.derive(asked.seed, "train", trial.number), on_report=report)
        try:
            metrics: Any = planned.objective(draw.candidate, context)
        except (InvalidCandidate, Diverged, OutOfMemory) as error:
            raise optuna.TrialPruned(str(error)) from error
        if not whole(asked, metrics):
            raise optuna.TrialPruned
        trial.set_user_attr("candidate", orjson.dumps(draw.candidate.json()).decode())
        return float(metrics["accuracy"])

    study_of(asked, worker).optimize(objective)


# The end -------------------------------------------------------------------------------------------------------------


def validated(asked: Asked, found: Found, end: float) -> dict[str, Any]:
    """The candidate trained for the rest of the time, and its one score on the test images."""
    import torch

    from nas.train import data, precision
    from nas.train.fit import evaluate, fit
    from nas.train.plugins import BUILT_IN
    from nas.train.trial import Decided, Trial

    torch.set_num_threads(2)
    config = configs.load(asked.config)
    seed = seeds.derive(asked.seed, "final")
    candidate = Candidate.of(found.candidate)
    read = (config.task, BUILT_IN, asked.data, asked.seed)
    trial = Trial.read(candidate, seed, "cpu", config.train, *read)
    batch = trial.asked_batch
    assert batch != "fit"  # the space says numbers
    decided = Decided(precision.choose(trial.device, "auto", trial.work(batch)), batch)

    def trained(trial: Trial, steps: int | None, report: Any) -> tuple[Any, dict[str, float]]:
        recipe = trial.recipe(decided, steps)
        training = trial.begin(recipe, decided.precision)
        judging = trial.validation if steps is None else trial.validation[:batch]
        metrics = fit(
            training, trial.judgement, trial.samples, trial.train, judging, recipe, report,
            augmentation=trial.augmentation,
        )  # fmt: skip
        training.finish()
        return training, metrics

    looked, _ = trained(trial, LOOK, lambda step, metrics: False)
    epochs = int(MARGIN * (end - time.time()) * looked.spent.rows_per_second / len(trial.train))
    epochs = min(max(1, epochs), MOST_EPOCHS)
    trial = Trial.read(candidate, seed, "cpu", config.train.model_copy(update={"epochs": epochs}), *read)
    started = time.time()

    def late(step: int, metrics: Any) -> bool:
        """Whether another epoch would end after the time: the machine may have become slower."""
        return time.time() + (time.time() - started) / step > end

    training, validation = trained(trial, None, late)
    test = data.resident(config.task, "test", asked.data, "cpu", BUILT_IN)
    parts = torch.split(torch.arange(len(test.targets)), 512)
    scored = evaluate(training.network, trial.judgement(), test, parts, decided.precision)
    return {
        "planned_epochs": epochs,
        "epochs": training.epoch,
        "validation": validation["accuracy"],
        "test": scored["accuracy"],
        "parameters": trial.costs["parameters"],
        "dtype": decided.precision.dtype,
    }


def one(side: str, seed: int, minutes: float, epochs: int, data: str | None, settings: list[str]) -> dict[str, Any]:
    """A side's whole time, as a line of the ledger."""
    began = time.time()
    end = began + 60 * minutes
    with tempfile.TemporaryDirectory(prefix="nas-fashion-") as folder:
        asked = Asked(Path(folder), seed, epochs, began, began + SEARCH * 60 * minutes, data, settings)
        found = by_nas(asked) if side == "nas" else by_optuna(asked)
        searched = time.time() - began
        ended = validated(asked, found, end)
    return {
        "side": side,
        "seed": seed,
        "minutes": minutes,
        "trial_epochs": epochs,
        "settings": settings,
        "seconds": time.time() - began,
        "searched": searched,
        "trials": len(found.course),
        "course": found.course,
        "best": max(accuracy for _, accuracy in found.course),
        **ended,
        "candidate": found.candidate,
        "machine": f"{platform.node()}, Python {platform.python_version()}",
    }


# The ledger ----------------------------------------------------------------------------------------------------------


def kept(ledger: Path) -> list[dict[str, Any]]:
    """Whole lines; a torn last one is of a seed that is played again."""
    rows = []
    for line in ledger.read_bytes().splitlines(keepends=True) if ledger.exists() else ():
        try:
            rows.append(durable.unseal(line))
        except durable.DamagedLine:
            continue
    return rows


def reached(mine: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Seconds until a trial was as good as the other's best; None: never."""
    return next((seconds for seconds, accuracy in mine["course"] if accuracy >= other["best"]), None)


def summary(rows: list[dict[str, Any]]) -> None:
    """Of the sides that have seeds."""
    columns = (
        "side",
        "seeds",
        "test, mean (min)",
        "validation",
        "trials",
        "epochs",
        "most seconds",
        "reached the other",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for side in ("nas", "optuna"):
        mine = [row for row in rows if row["side"] == side]
        if not mine:
            continue
        others = {row["seed"]: row for row in rows if row["side"] != side}
        times = [reached(row, others[row["seed"]]) for row in mine if row["seed"] in others]
        test = [row["test"] for row in mine]
        names = ("validation", "trials", "epochs")
        validation, trials, epochs = (statistics.median(row[name] for row in mine) for name in names)
        told = [
            side,
            len(mine),
            f"{statistics.mean(test):.4f} ({min(test):.4f})",
            f"{validation:.4f}",
            f"{trials:g}",
            f"{epochs:g}",
            f"{max(row['seconds'] for row in mine):.0f}",
            ", ".join("never" if seconds is None else f"{seconds:.0f} s" for seconds in times),
        ]
        print(f"| {' | '.join(map(str, told))} |")


def main() -> None:
    """Play what is missing, and sum up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3, help="of a search's whole trial")
    parser.add_argument("--side", choices=("nas", "optuna", "both"), default="both")
    parser.add_argument("--ledger", type=Path, default=Path("fashion_mnist.jsonl"))
    parser.add_argument("--data", help="where Fashion-MNIST lies; else NAS_DATA, Debian's folder, a download")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for nas search")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # whoever is killed at once leaves workers that compute on
    sides = ("nas", "optuna") if given.side == "both" else (given.side,)

    def settings(side: str) -> list[str]:
        return given.set if side == "nas" else []

    def wanted(row: dict[str, Any]) -> bool:
        asked = (given.minutes, given.epochs, settings(row["side"]))
        return (row["minutes"], row["trial_epochs"], row["settings"]) == asked

    done = {(row["side"], row["seed"]) for row in kept(given.ledger) if wanted(row)}
    jobs = [(side, seed) for seed in range(given.seeds) for side in sides if (side, seed) not in done]
    for side, seed in jobs:  # the sides take turns, so that both see the machine as it is
        row = one(side, seed, given.minutes, given.epochs, given.data, settings(side))
        with given.ledger.open("ab") as file:
            file.write(durable.seal(row))
        print(f"{side}, seed {seed}: test {row['test']:.4f} after {row['seconds']:.0f} s", flush=True)
    summary([row for row in kept(given.ledger) if wanted(row)])


if __name__ == "__main__":
    main()
