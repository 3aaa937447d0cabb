"""`nas bench`: words and flags in, results out."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from nas.bench import contenders, plot, report, spec, table
from nas.bench.ledger import Ledger
from nas.bench.recorded import Recorded, join, read_space
from nas.bench.spec import DATASET, Protocol, Spec
from nas.bench.tournament import Results, Tournament
from nas.documents import Document, hint
from nas.errors import InputError, Interrupted
from nas.report.text import duration

DATA = "NAS_BENCH_DATA"  # the folder below which the tables of benchmarks lie
FIRST_SEED = {"tuning": 0, "reported": 10_000}
SEEDS = 200
QUICK_SEEDS, QUICK_EVALUATIONS = 20, 100
SAID = 10.0  # seconds between two words of progress
SLOW = ("optuna:gp",)  # which --quick leaves out


@dataclass(frozen=True, slots=True)
class Wishes:
    """The flags of the command; None: as the benchmark has it."""

    benchmark: str
    table: Path | None = None
    datasets: str | None = None  # names with commas between
    protocols: str = "query"  # likewise, or all
    controllers: str | None = None
    seeds: int | None = None
    tuning: bool = False
    evaluations: int | None = None
    workers: int | None = None
    processes: int | None = None
    quick: bool = False
    run: Path | None = None


@dataclass(frozen=True, slots=True)
class Played:
    benchmarks: list[Recorded]
    results: list[Results]
    folder: Path

    def page(self) -> str:
        return "\n".join(report.page(one, found) for one, found in zip(self.benchmarks, self.results, strict=True))

    def picture(self) -> str:
        """Regret against evaluations, as SVG."""
        return plot.svg(self.benchmarks, self.results)

    def plain(self) -> dict[str, Any]:
        told = [report.plain(one, found) for one, found in zip(self.benchmarks, self.results, strict=True)]
        return {"folder": str(self.folder), "benchmarks": told}


def play(
    wishes: Wishes, progress: Callable[[int, int], None], say: Callable[[str], None] = lambda text: None
) -> Played:
    """Everything that is wished for, of which only what is not on disk yet is played. ``say`` is told who of those that
    nobody named is left out.

    Raises:
        InputError: the benchmark, the table or a flag is wrong.
        DiskFailed: a result could not be written.
        Interrupted: by Ctrl-C, or because a process of it was killed.
    """
    said, document = spec.load(wishes.benchmark)
    tournament = Tournament(
        benchmarks=_benchmarks(wishes, said, document),
        contenders=_contenders(wishes),
        seeds=_seeds(wishes),
        processes=wishes.processes or len(os.sched_getaffinity(0)),
        leave_out=say if wishes.controllers is None else None,
    )
    most = max(len(one.wish.wishes) for one in tournament.benchmarks)
    for one in tournament.contenders if wishes.controllers is not None else ():
        if not one.takes(most):  # what was named is played, or refused
            raise InputError(f"--controllers: {one.name} knows one objective, and a protocol asked for has {most}")
    folder = wishes.run or Path("runs") / "bench" / said.name
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--run {folder}: this is a file; results are kept in a folder")
    try:
        results = tournament.play(Ledger(folder), progress)
    except Interrupted as why:
        raise Interrupted(f"{why}; what was played is kept in {folder}, and the same command goes on") from None
    return Played(list(tournament.benchmarks), results, folder)


def progress(say: Callable[[str], None]) -> Callable[[int, int], None]:
    """Says how far it is, at most every SAID seconds, and how long the rest will take at this pace."""
    began: list[float | int] = []  # when, and how many were done then
    last = [0.0]

    def show(done: int, total: int) -> None:
        now = monotonic()
        if not began:
            began.extend((now, done))
            say(f"{total - done:,} of {total:,} searches are to be played")
        elif done == total or now - last[0] >= SAID:
            left = (now - began[0]) / max(1, done - began[1]) * (total - done)
            say(f"{done:,} of {total:,} searches" + (f", {duration(left)} left" if done < total else ""))
        else:
            return
        last[0] = now

    return show


def _seeds(wishes: Wishes) -> range:
    first = FIRST_SEED["tuning" if wishes.tuning else "reported"]
    return range(first, first + (wishes.seeds or (QUICK_SEEDS if wishes.quick else SEEDS)))


def _contenders(wishes: Wishes) -> list[contenders.Contender]:
    if wishes.controllers is not None:
        return contenders.parse(wishes.controllers)
    return contenders.parse(",".join(name for name in contenders.DEFAULT if not (wishes.quick and name in SLOW)))


def _benchmarks(wishes: Wishes, said: Spec, document: Document) -> list[Recorded]:
    space = read_space(said, document)
    names = _chosen("--protocol", wishes.protocols, list(said.protocols))
    datasets = _chosen("--dataset", wishes.datasets or "all", list(said.datasets))
    tables: dict[Path, table.Table] = {}
    found = []
    for dataset in datasets:
        path = _table(wishes.table, said, dataset, Path(document.file).parent, alone=len(datasets) == 1)
        tables[path] = tables.get(path) or table.read(path)
        for name in names:
            protocol = _changed(said.protocols[name], wishes)
            found.append(join(said, document, space, tables[path], dataset, name, protocol))
    return found


def _chosen(flag: str, words: str, known: list[str]) -> list[str]:
    if words.lower() == "all" and "all" not in known:
        return known
    wanted = list(dict.fromkeys(word.strip().lower() for word in words.split(",")))
    wrong = [word for word in wanted if word not in known]
    if wrong:
        raise InputError(*(f"{flag} {word}: the benchmark has none of that name{hint(word, known)}" for word in wrong))
    return wanted


def _changed(protocol: Protocol, wishes: Wishes) -> Protocol:
    """With what flags say otherwise."""
    evaluations = wishes.evaluations
    if evaluations is None and wishes.quick and protocol.evaluations:
        evaluations = min(QUICK_EVALUATIONS, protocol.evaluations)
    changes: dict[str, Any] = {}
    if evaluations is not None:
        changes = {"evaluations": evaluations, "at": [n for n in protocol.at if n <= evaluations]}
    if wishes.workers is not None:
        changes["workers"] = wishes.workers
    return protocol.model_copy(update=changes)


def _table(given: Path | None, said: Spec, dataset: str, beside: Path, *, alone: bool) -> Path:
    """--table FILE, or FOLDER; else ``beside`` the YAML, else below NAS_BENCH_DATA. Raises InputError.

    ``alone``: no other data set is played.
    """
    relative = said.table.replace(DATASET, said.datasets[dataset])
    if given is not None and not given.is_dir():
        if DATASET in said.table and not alone:
            raise InputError(
                f"--table {given}: {said.name} has a table for each data set; give the folder above {said.table}, "
                "or one --dataset"
            )
        return given
    if given is None and (beside / relative).is_file():
        return beside / relative
    folder = given or (Path(os.environ[DATA]) if os.environ.get(DATA) else None)
    if folder is None:
        raise InputError(f"where is {relative}? give --table FILE, or the folder above it in {DATA}")
    if not (folder / relative).is_file():
        raise InputError(f"{folder / relative}: there is no such table; give --table FILE")
    return folder / relative
