"""What a job is made of. Nothing here knows a scheduler.

Everything that a job needs lies in RUN/cluster: keys, the scheduler's file, scripts, the list of what was submitted.
"""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.cluster import environment
from nas.cluster.batch import walltime
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError

Role = Literal["controller", "workers"]
FOLDER = "cluster"  # in the run's
SCHEDULER_FILE = "scheduler.json"
FINAL = (2, 3, 74)  # exit codes of a controller that another start does not mend: input, no success, disk
OVER = {"over": True}  # in its place, where workers that no batch system ends are to see that they are not needed
LOGS = "logs"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Job:
    """One job, or an array of ``count`` alike; each has ``tasks`` processes, each with cpus, gpus and memory."""

    name: str
    role: Role
    tag: str  # by which a scheduler tells the jobs of this run from all others
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path  # in which it is started
    logs: Path  # a folder
    settings: ClusterSettings  # partition, account, options, modules, container
    count: int = 1
    tasks: int = 1
    cpus: int = 1
    gpus: int = 0
    memory: int | None = None  # bytes
    seconds: float | None = None  # walltime

    def __post_init__(self) -> None:
        require_unbroken(*self.command, *self.environment.values(), str(self.folder))


def require_unbroken(*words: str) -> None:
    """Raises InputError. Quoted or not: Grid Engine and LSF look for directives in every line of a script."""
    for word in words:
        if "\n" in word:
            raise InputError(f"{word!r}: no line of a job's script may break here; go to another folder, say")


def tag(run: str, role: Role) -> str:
    """``run``: the run's id."""
    return f"nas-{run}-{role}"


def controller(name: str, run: str, folder: Path, settings: ClusterSettings) -> Job:
    """The job of the search itself. ``folder``: the run's.

    Raises:
        InputError: the folder's name cannot stand in a script's directives.
    """
    seconds = settings.controller_time or settings.time
    return Job(
        name=_checked(name),
        role="controller",
        tag=tag(run, "controller"),
        command=[*_program("nas.submit.controller", settings, folder), str(place(folder)), *walltime.words(seconds)],
        environment=dict(settings.environment),
        folder=_start(),
        logs=place(folder) / LOGS,
        settings=settings,
        memory=settings.controller_memory,
        seconds=seconds,
    )


def workers(name: str, run: str, folder: Path, settings: ClusterSettings) -> Job:
    """The array of worker jobs: one for each worker, or ``nodes`` of them with several workers each.

    Raises:
        InputError: the workers cannot be spread evenly, or the folder's name cannot stand in a directive.
    """
    wanted = settings.workers or 1
    count = settings.nodes or wanted
    if wanted % count:
        raise InputError(f"{wanted} workers cannot be spread evenly over {count} nodes; ask for a multiple of {count}")
    network = [] if settings.interface is None else ["--interface", settings.interface]
    variables = environment.settings(settings.threads or settings.cpus_per_worker)
    if not settings.gpus_per_worker:
        variables["CUDA_VISIBLE_DEVICES"] = ""
    return Job(
        name=_checked(f"{name[:56]}-workers"),
        role="workers",
        tag=tag(run, "workers"),
        command=[
            *_program("nas.cluster.batch.worker", settings, folder),
            str(place(folder) / FOLDER),
            *walltime.words(settings.time),
            *network,
        ],
        environment={**variables, **settings.environment},
        folder=_start(),
        logs=place(folder) / LOGS,
        settings=settings,
        count=count,
        tasks=wanted // count,
        cpus=settings.cpus_per_worker,
        gpus=settings.gpus_per_worker,
        memory=settings.memory,
        seconds=settings.time,
    )


def mebibytes(size: float) -> int:
    """Of so many bytes, the last one whole: what batch systems ask for is not to be less."""
    return math.ceil(size / (1 << 20))


def _program(module: str, settings: ClusterSettings, folder: Path) -> list[str]:
    return [*_python(settings, folder), "-P", "-m", module]


def _python(settings: ClusterSettings, folder: Path) -> list[str]:
    if settings.kind == "kubernetes":
        return ["python3"]
    if settings.container is not None:
        gpu = ["--nv"] if settings.gpus_per_worker else []
        return ["apptainer", "exec", *gpu, "--bind", str(place(folder)), settings.container, "python3"]
    if settings.virtual_environment is not None:
        home = os.path.expanduser(settings.virtual_environment)  # noqa: PTH111 - pathlib's raises for ~nobody
        return [str(Path(home).absolute() / "bin" / "python")]
    return [sys.executable]


def _start() -> Path:
    return Path(os.path.realpath(Path.cwd()))


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InputError(f"{name!r} is no name for a job: 1 to 64 of a-z, 0-9, '.', '_' and '-'")
    return name


def place(folder: Path) -> Path:
    """The folder, absolute, links resolved. Logs' names stand in directives, which no shell's quotes protect.

    Raises:
        InputError: there is something in its name that would have to be quoted.
    """
    real = Path(os.path.realpath(folder))
    if bad := sorted(set(re.sub(r"[\w./+@=~-]", "", str(real)))):
        raise InputError(
            f"{real}: batch systems cannot be told of a folder with {' '.join(map(repr, bad))} in its name; "
            "give another --run DIR, of letters, digits and . _ - + = @ ~"
        )
    return real
