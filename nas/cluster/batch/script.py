"""The part of a job's script that a shell reads: every word of it that comes from outside is quoted by shlex.

exec >>/runs/mine/logs/workers-"$JOB".log 2>&1   where the scheduler does not write logs as they come
STARTED=$(date +%s)              before all else: modules may take minutes, and the walltime runs
trap '' USR1                     a warning must not end what is not ready to be warned
module load cuda/12.4
export NAME='any value'
cd -- /where/it/was/submitted
exec /venv/bin/python -P -m nas.cluster.batch.worker /runs/mine/cluster --walltime 3600 --started "$STARTED"
"""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping, Sequence

from nas.cluster.batch.jobs import Job, require_unbroken
from nas.cluster.options import words


def whole(mark: str, directives: Sequence[str], lines: Sequence[str]) -> str:
    """The file: directives first, each behind its scheduler's ``mark`` (#SBATCH)."""
    return "\n".join(["#!/bin/bash", *(f"{mark} {one}" for one in directives), *lines]) + "\n"


def site(job: Job, queue: str, account: str) -> list[str]:
    """Directives of what a site's own words are: the queue, who pays, and whatever else was said."""
    settings = job.settings
    said = [f"{queue}{settings.partition}"] if settings.partition else []
    said += [f"{account}{settings.account}"] if settings.account else []
    return said + [words(settings.kind, option) for option in settings.options]


def body(job: Job, launcher: Sequence[str] = (), log: str | None = None, inherited: Sequence[str] = ()) -> list[str]:
    """Lines of POSIX shell; the last one becomes the job's program.

    Args:
        launcher: words before its command.
        log: the job's id as a word of shell, for the name of the log that the script opens; None: it opens none.
        inherited: what a controller needs of the environment it was submitted from, where a scheduler hands none on.
    """
    asked = inherited if job.role == "controller" else ()
    own = {name: os.environ[name] for name in asked if name in os.environ}
    require_unbroken(*own.values())
    lines = [f"exec >>{shlex.quote(f'{job.logs}/{job.role}-')}{log}.log 2>&1"] if log else []
    lines += ["STARTED=$(date +%s)", "trap '' USR1", *exports(own)]
    if job.settings.modules:
        lines.append("command -v module >/dev/null || . /etc/profile")  # some schedulers' shells read no profile
    lines += [f"module load {shlex.quote(module)}" for module in job.settings.modules]
    lines += exports(job.environment)
    lines += [f"cd -- {shlex.quote(str(job.folder))}"]
    lines += [f'exec {shlex.join([*launcher, *job.command])} --started "$STARTED"']
    return lines


def exports(environment: Mapping[str, str]) -> list[str]:
    """Lines that set these variables, whatever their values hold."""
    return [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]


def hours(seconds: float) -> str:
    """A walltime in hours, minutes and seconds.

    >>> hours(90061)
    '25:01:01'
    """
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"
