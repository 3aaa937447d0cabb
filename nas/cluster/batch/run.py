"""One run's jobs: its folder made ready, its jobs submitted, listed and ended.

RUN/cluster/id                      a random word, by which a scheduler knows the jobs of this run
RUN/cluster/tls/                    keys (tls.py)
RUN/cluster/scheduler.json          where the scheduler listens, while there is one
RUN/cluster/{controller,workers}.*  scripts, as they were submitted last: controller.slurm, ...
RUN/cluster/jobs.jsonl              what was submitted (record.py)
RUN/logs/                           what the jobs say
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import orjson

from nas.cluster import tls
from nas.cluster.batch import jobs, record
from nas.cluster.batch.commands import here
from nas.cluster.batch.jobs import FOLDER, LOGS, OVER, SCHEDULER_FILE, Job, Role
from nas.cluster.batch.system import Queued, System
from nas.cluster.batch.systems import system
from nas.cluster.settings import BATCH, ClusterSettings
from nas.durable import within, write_whole
from nas.errors import DiskFailed, InputError, SearchFailed

ROLES: tuple[Role, ...] = ("controller", "workers")
END = 60.0  # seconds within which cancelled jobs have left the queue


@dataclass(frozen=True, slots=True)
class Supply:
    """Where worker jobs come from."""

    wanted: int  # workers
    each: int  # of them in a job
    jobs: Callable[[], Sequence[Queued]]  # that wait or run
    is_over: Callable[[], bool]  # whether somebody ended all of the run's
    submit: Callable[[int], object]  # so many jobs
    close: Callable[[], None]  # ends them, or leaves them to the next driver


@dataclass(frozen=True, slots=True)
class Batch:
    """The jobs of the run in ``folder``."""

    folder: Path
    id: str

    @classmethod
    def prepare(cls, folder: Path) -> Batch:
        """Make RUN/cluster, its keys and its id, where they are not there. Raises InputError, DiskFailed."""
        inside = folder / FOLDER
        tls.make_keys(inside)
        try:
            within(folder, LOGS).mkdir(exist_ok=True)
            if not (found := _id(folder)):
                found = uuid.uuid4().hex[:12]
                write_whole(inside / "id", found.encode())
            return cls(folder, found)
        except OSError as error:
            raise DiskFailed(f"{inside}: {error.strerror or error}") from error

    @classmethod
    def of(cls, folder: Path) -> Batch | None:
        """The batch of a run that has one. Raises InputError where its id is none, or cannot be read."""
        found = _id(folder)
        return cls(folder, found) if found else None

    def job(self, role: Role, name: str, settings: ClusterSettings) -> Job:
        make = jobs.controller if role == "controller" else jobs.workers
        return make(name, self.id, self.folder, settings)

    def systems(self) -> list[System]:
        """Those that jobs of the run were ever given to: their scripts are here, written before the jobs came to be."""
        inside = self.folder / FOLDER
        return [system(kind) for kind in BATCH if any((inside / f"{role}.{kind}").exists() for role in ROLES)]

    def reached(self) -> list[System]:
        """Those of them that this host can speak to: a run may have moved from one cluster to another."""
        return [one for one in self.systems() if here(one.program)]

    def submit(self, job: Job) -> str:
        """The id of the job. Raises InputError, SearchFailed."""
        kind = job.settings.kind
        script = self.folder / FOLDER / f"{job.role}.{kind}"
        write_whole(script, system(kind).render(job).encode(errors="surrogateescape"), mode=0o755)
        number = system(kind).submit(script)
        record.add(self.folder / FOLDER, number, job.role, job.count, kind)
        return number

    def queue(self) -> list[Queued]:
        """Jobs of this run that are to be seen from here: waiting, running and lately ended. Raises SearchFailed."""
        return [one for asked in self.reached() for one in self._queue(asked)]

    def active(self, role: Role) -> list[Queued]:
        return [one for one in self.queue() if one.role == role and one.active]

    def cancel(self) -> list[str]:
        """End the run's jobs, the controller first, as it submits others; returns the ids of what was ended.

        A search in the foreground, and workers that no batch system reaches any more, end by themselves.

        Raises:
            InputError: one of the batch systems cannot be spoken to from here.
            SearchFailed: it does not answer, or the jobs stay.
        """
        self._declare_over()
        return [job for asked in self.systems() for job in self._cancel(asked, ROLES)]

    def dismiss(self) -> None:
        """The search is over: end the worker jobs; workers that are nobody's jobs see it by themselves."""
        self._declare_over()
        for asked in self.reached():
            self._cancel(asked, ["workers"])

    def expect(self) -> None:
        """The search is to go on: workers that come before it wait for it."""
        if self.is_over():
            (self.folder / FOLDER / SCHEDULER_FILE).unlink(missing_ok=True)

    def is_over(self) -> bool:
        """Whether the search was ended, for good or by ``cancel``, and none began since."""
        with suppress(OSError, ValueError):
            return bool(orjson.loads((self.folder / FOLDER / SCHEDULER_FILE).read_bytes()) == OVER)
        return False

    def _declare_over(self) -> None:
        write_whole(self.folder / FOLDER / SCHEDULER_FILE, orjson.dumps(OVER), mode=0o600)

    def _queue(self, asked: System) -> list[Queued]:
        return asked.queue({jobs.tag(self.id, role): role for role in ROLES})

    def _cancel(self, asked: System, roles: Sequence[Role]) -> list[str]:
        ended: dict[str, None] = {}
        until, pause = time.monotonic() + END, 0.1
        while found := [one for one in self._queue(asked) if one.role in roles and one.active]:
            found.sort(key=lambda one: one.role)  # "controller" comes first
            new = list(dict.fromkeys(one.job for one in found if one.job not in ended))
            asked.cancel(new)
            ended.update(dict.fromkeys(new))
            if time.monotonic() > until:
                there = " ".join(one.job for one in found)
                raise SearchFailed(f"{asked.name} still has jobs {END:g} s after they were cancelled: {there}")
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)
        return list(ended)

    def supply(self, name: str, settings: ClusterSettings, *, keep: bool) -> Supply:
        """Worker jobs for a search. ``keep``: they stay when it stops, for the one that goes on."""
        job = self.job("workers", name, settings)

        def close() -> None:
            if not keep:
                mine = system(settings.kind)
                mine.cancel([one.job for one in self._queue(mine) if one.role == "workers" and one.active])

        return Supply(
            wanted=job.count * job.tasks,
            each=job.tasks,
            jobs=lambda: self.active("workers"),
            is_over=self.is_over,
            submit=lambda count: self.submit(replace(job, count=count)),
            close=close,
        )


def _id(folder: Path) -> str | None:
    """None where there is none. It stands in directives, which nothing quotes, so it is looked at.

    Raises:
        InputError: it cannot be read, or is none.
    """
    file = within(folder, FOLDER, "id")
    try:
        found = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        why = f"{file} cannot be read: {error.strerror}"
        raise InputError(f"{why}; by what it says the jobs of this run are known: make it readable") from None
    if not re.fullmatch(rb"[0-9a-f]{12}", found):
        raise InputError(f"{file} holds {found[:40]!r}, which is no id of a run's jobs; was it written by nas?")
    return found.decode()
