"""Reads mutants one after another, in a process of its own, and says of each how that went, a JSON line each.

    python read_mutants.py FIRST END FOLDER        FOLDER is where it works; afterwards it holds the last mutant

A space is read as `nas space` does it, with the task of the config that searches it: counted, shown, sampled. A config
is read as far as `nas search` gets before it trains anything. Before that the seeds themselves are
read, and must be right: what is imported or remembered only once is charged to no mutant.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import mutants
from mutants import Kind

from nas import config, controllers, documents, driver, durable, inspect, plan, shipped
from nas.documents import Document
from nas.errors import InputError
from nas.report import space as report
from nas.report import yaml
from nas.space import Space
from nas.space.constraints import Costs
from nas.train import describe
from nas.train.hyperparameters import SECTION
from nas.train.layers import LAYERS
from nas.train.pricing import Pricing
from nas.train.settings import TrainSettings

T = TypeVar("T")
SAMPLES = 2
MOST_SECONDS = 20  # of the processor, after which a mutant is given up
MOST_ADDRESSES = 4 << 30  # bytes, beyond what the seeds needed
FASHION_MNIST = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class Reading:
    """How reading one mutant went."""

    number: int
    what: str  # it was, and what was done to it
    level: str
    parses: bool  # as strict YAML
    problems: list[tuple[str, str, int, int]] | None  # message, file, line, column of each; None: nothing is wrong
    traceback: str  # where it ended in anything but an InputError
    seconds: float  # of the processor
    peak: int  # bytes that the process had resident at most until now, beyond what the seeds needed


class GivenUp(BaseException):
    """No Exception, so that nobody takes it for one of their own."""


def read_space(document: Document, task: dict[str, Any]) -> None:
    pricing = Pricing(task, TrainSettings(), None, LAYERS)
    is_network = isinstance(document.data, dict) and "architecture" in document.data
    costs = Costs(pricing, pricing.names) if is_network else None
    space = Space.read(document, task, layers=LAYERS, hyperparameters=SECTION, costs=costs)
    found = inspect.check(inspect.Opened(space, Path(document.file), ""), samples=SAMPLES)
    report.page(found.plain())
    report.tree(space.source, terminal=False)
    candidate = space.prior(random.Random(0)).candidate
    yaml.dump({"sha256": candidate.hash, **candidate.json()})


def read_config(document: Document) -> None:
    planned = plan.plan(config.load(document.file))
    driver.machine(planned)
    durable.seal({"config": planned.config.plain(), "space": planned.space.source})  # what a journal begins with


def read(kind: Kind, document: Document, seed: Path) -> None:
    if kind == "space":
        read_space(document, task_of(seed))
    else:
        read_config(document)


@cache
def task_of(space: Path) -> dict[str, Any]:
    """The task of a shipped config that searches it."""
    loaded = map(config.load, shipped.names("configs").values())
    return next(dict(describe(one.task)) for one in loaded if one.space == space.stem)


def timed(call: Callable[[], T]) -> tuple[T | InputError | None, str, float]:
    """Its answer or InputError, or the traceback of anything else; and the seconds of the processor that it took."""
    answer: T | InputError | None = None
    broken = ""
    started = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
    try:
        answer = call()
    except InputError as error:
        answer = error
    except (Exception, GivenUp):
        broken = traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return answer, broken, time.process_time() - started


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prepared(folder: Path) -> None:
    """Data sets are where they are looked for, but empty; a download is refused by a proxy that is not there."""
    for name in FASHION_MNIST:
        path = folder / "data" / "fashion_mnist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    away = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9", "no_proxy": ""}
    os.environ.update(away, NAS_DATA=str(folder / "data"), HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"))
    os.chdir(folder)


def main(first: int, end: int, folder: Path) -> None:
    prepared(folder)

    def give_up(number: int, frame: object) -> None:
        raise GivenUp

    signal.signal(signal.SIGPROF, give_up)
    controllers.parse("optuna:tpe")
    kinds: tuple[Kind, ...] = ("space", "config")
    for kind in kinds:
        for seed in mutants.seeds(kind):
            read(kind, documents.read(seed), seed)
    before = resident()
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (addresses + MOST_ADDRESSES, resource.RLIM_INFINITY))
    for number in range(first, end):
        mutant = mutants.mutant(number)
        path = folder / f"mutant.{mutant.kind}.yaml"
        path.write_bytes(mutant.raw)
        found, broken, seconds = timed(partial(documents.read, path))
        parses = isinstance(found, Document)
        if isinstance(found, Document):
            found, broken, more = timed(partial(read, mutant.kind, found, mutant.seed))
            seconds += more
        problems = found.problems if isinstance(found, InputError) else None
        reading = Reading(
            number=number,
            what=f"{mutant.kind} {mutant.seed.stem}: {mutant.by}",
            level=mutant.level,
            parses=parses,
            problems=problems and [(p.message, p.file, p.line, p.column) for p in problems],
            traceback=broken,
            seconds=seconds,
            peak=resident() - before,
        )
        print(json.dumps(asdict(reading)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
