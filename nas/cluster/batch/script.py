"""The part of a job's script that a shell reads: every word of it that comes from outside is quoted by shlex.

STARTED=$(date +%s)              before all else: modules may take minutes, and the walltime runs
trap '' USR1                     a warning must not end what is not ready to be warned
module load cuda/12.4
export NAME='any value'
cd -- /where/it/was/submitted
exec /venv/bin/python -P -m nas.cluster.batch.worker /runs/mine/cluster --walltime 3600 --started "$STARTED"
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from nas.cluster.batch.jobs import Job


def body(job: Job, launcher: Sequence[str] = ()) -> list[str]:
    """Lines of POSIX shell; the last one becomes the job's program. ``launcher``: words before its command."""
    lines = ["STARTED=$(date +%s)", "trap '' USR1"]
    lines += [f"module load {shlex.quote(module)}" for module in job.settings.modules]
    lines += [f"export {name}={shlex.quote(value)}" for name, value in job.environment.items()]
    lines += [f"cd -- {shlex.quote(str(job.folder))}"]
    lines += [f'exec {shlex.join([*launcher, *job.command])} --started "$STARTED"']
    return lines
