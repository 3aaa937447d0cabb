"""A run begun here and gone on with by batch jobs; how its jobs stand, and their end."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas import driver
from nas.cluster import connect, tls
from nas.cluster.batch import jobs, kubernetes, record, shell
from nas.cluster.batch.commands import here
from nas.cluster.batch.run import ROLES, Batch
from nas.cluster.batch.system import Queued, in_words
from nas.cluster.batch.systems import system
from nas.cluster.settings import BATCH
from nas.durable import write_whole
from nas.errors import InputError, SearchFailed
from nas.plan import Plan

UNKNOWN_ID = "0" * 12  # stands in a dry run for the id that a submitted run gets


@dataclass(frozen=True, slots=True)
class Written:
    """A run whose processes somebody else starts, by a file that was written."""

    folder: Path
    file: Path
    start: str  # commands
    end: str
    logs: str

    def plain(self) -> dict[str, Any]:
        return dict(self._rows(), folder=str(self.folder))

    def page(self) -> str:
        return _page(self._rows())

    def _rows(self) -> Sequence[tuple[str, str]]:
        watch = _command("status", self.folder, "--watch")
        return [("file", str(self.file)), ("start", self.start), ("logs", self.logs), ("watch", watch),
                ("end", self.end)]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Submitted:
    folder: Path
    controller: str  # ids of jobs
    workers: str | None  # None: those that are in the queue are enough
    logs: Path

    def plain(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "jobs": {"controller": self.controller, "workers": self.workers},
            "logs": str(self.logs),
            "watch": _command("status", self.folder, "--watch"),
            "cancel": _command("cancel", self.folder),
        }

    def page(self) -> str:
        workers = f"job {self.workers}" if self.workers else "those that are in the queue"
        rows = [
            ("controller", f"job {self.controller}"),
            ("workers", workers),
            ("logs", f"{self.logs}/controller-{self.controller}.log, {self.logs}/workers-*.log"),
            ("watch", _command("status", self.folder, "--watch")),
            ("cancel", _command("cancel", self.folder)),
        ]
        return _page(rows)


def scripts(plan: Plan, folder: Path) -> dict[str, str]:
    """What ``submit`` would submit or write, by role or by the file's name. Raises InputError."""
    kind, batch = plan.config.cluster.kind, Batch.of(folder) or Batch(folder, UNKNOWN_ID)
    with plan.config.blaming("cluster"):
        both = {role: batch.job(role, plan.config.name, plan.config.cluster) for role in ROLES}
        match kind:
            case "script":
                return {shell.FILE: shell.render(both["controller"], both["workers"])}
            case "kubernetes":
                return {kubernetes.FILE: kubernetes.render(both["controller"], both["workers"])}
            case _:
                return {role: system(kind).render(job) for role, job in both.items()}


def submit(plan: Plan, folder: Path) -> Submitted | Written:
    """Begin the run here, or record what ``plan`` changes about it; then submit it, or write by what it is started.

    Raises:
        InputError: a job is refused (in the batch system's words), this host has no such system, or the run's
            controller is in the queue.
        RunHeld: a driver is alive on the run.
        SearchFailed: the batch system does not answer.
    """
    scripts(plan, folder)  # refused before there is a folder
    if plan.config.cluster.kind in BATCH:
        return _submit(plan, folder)
    return _write(plan, folder)


def _write(plan: Plan, folder: Path) -> Written:
    tls.require_cryptography()
    driver.begin(plan, folder)
    batch = Batch.prepare(folder)
    batch.expect()
    ((name, text),) = scripts(plan, folder).items()
    file = folder / jobs.FOLDER / name
    write_whole(file, text.encode(errors="surrogateescape"), mode=0o755)
    if plan.config.cluster.kind == "script":
        return Written(
            folder, file, shlex.join(["bash", str(file)]), "Ctrl-C", f"{(folder / jobs.LOGS).absolute()}/*.log"
        )
    apply, delete = (shlex.join(["kubectl", verb, "-f", str(file)]) for verb in ("apply", "delete"))
    return Written(folder, file, apply, delete, f"kubectl logs --prefix -l app.kubernetes.io/instance=nas-{batch.id}")


def _submit(plan: Plan, folder: Path) -> Submitted:
    settings, name = plan.config.cluster, plan.config.name
    connect.check(settings)
    batch = Batch.of(folder)
    if batch and (there := batch.active("controller")):
        raise InputError(
            f"{folder}: its controller is in the queue already (job {there[0].job}, {there[0].state.lower()}); "
            f"see {_command('status', folder)}, or end it with {_command('cancel', folder)}"
        )
    driver.begin(plan, folder)
    batch = Batch.prepare(folder)
    batch.expect()
    job = batch.job("workers", name, settings)
    missing = job.count - len(batch.active("workers"))
    controller = batch.submit(batch.job("controller", name, settings))
    try:
        workers = batch.submit(dataclasses.replace(job, count=missing)) if missing > 0 else None
    except (InputError, SearchFailed):
        system(settings.kind).cancel([controller])  # a search without workers helps nobody
        raise
    return Submitted(folder, controller, workers, (folder / jobs.LOGS).absolute())


def cancel(folder: Path) -> list[str]:
    """End all jobs of the run, and only those; their ids. Raises InputError where it has none, SearchFailed."""
    batch = Batch.of(folder)
    if batch is None:
        never = "this run was never submitted, and has no jobs"
        raise InputError(f"{folder}: {never if folder.exists() else 'no such folder'}")
    if not batch.systems():
        manifests = folder / jobs.FOLDER / kubernetes.FILE
        how = shlex.join(["kubectl", "delete", "-f", str(manifests)]) if manifests.exists() else "Ctrl-C, where it runs"
        raise InputError(f"{folder}: its processes are no jobs of a batch system; they end by: {how}")
    return batch.cancel()


# How jobs stand ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Jobs:
    """The jobs of a run that the queues know."""

    queue: Sequence[Queued]
    problem: str = ""  # why a queue is not known

    @property
    def active(self) -> Sequence[Queued]:
        return [one for one in self.queue if one.active]

    @property
    def waiting(self) -> bool:
        """Whether the search is to begin or to go on by itself."""
        return any(one.waits for one in self.queue if one.role == "controller")

    def plain(self) -> list[dict[str, Any]]:
        return [dataclasses.asdict(one) | {"waits": one.waits, "never": one.never} for one in self.queue]

    def lines(self) -> list[str]:
        known = in_words(one for one in self.queue if one.active or one.role == "controller")
        return [*known, f"the queue is not known: {self.problem}"] if self.problem else known


def jobs_of(folder: Path) -> Jobs | None:
    """None for a run that was never submitted."""
    try:
        batch = Batch.of(folder)
        if batch is None:
            return None
        queue = batch.queue()
    except (SearchFailed, InputError) as error:
        return Jobs((), str(error))
    absent = [one.name for one in batch.systems() if not here(one.program)]
    ids = ", ".join(one.job for one in record.read(folder / jobs.FOLDER)) or "none"
    return Jobs(queue, f"there is no {' or '.join(absent)} on this host; submitted were {ids}" if absent else "")


def _page(rows: Sequence[tuple[str, str]]) -> str:
    return "".join(f"{name:<11} {words}\n" for name, words in rows)


def _command(verb: str, folder: Path, *flags: str) -> str:
    return shlex.join(["nas", verb, str(folder), *flags])
