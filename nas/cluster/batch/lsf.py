"""LSF's words (10.1 or later): directives of a script, and the commands bsub, bjobs, bkill and brequeue.

A job's name says which run it belongs to. What a job prints LSF keeps until its end, so scripts open their logs.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.cluster.batch import script
from nas.cluster.batch.commands import command, end, refused, said
from nas.cluster.batch.jobs import Job, mebibytes
from nas.cluster.batch.system import Queued
from nas.errors import Interrupted, SearchFailed

WAITING = frozenset({"PEND", "PSUSP", "PROV", "WAIT"})
ENDED = frozenset({"DONE", "EXIT", "ZOMBI"})
COLUMNS = "jobid jobindex stat exec_host job_name pend_reason delimiter='|'"


class Lsf:
    name, program = "LSF", "bsub"

    def render(self, job: Job) -> str:
        array = f"[1-{job.count}]" if job.role == "workers" else ""
        directives = [f'-J "{job.tag}{array}"', "-o /dev/null", "-r", f"-n {job.cpus}", '-R "span[hosts=1]"']
        if job.memory is not None:
            size = f"{mebibytes(job.memory)}MB"
            directives += [f"-M {size}", f'-R "rusage[mem={size}]"']
        directives += [f'-gpu "num={job.gpus}"'] if job.gpus else []
        directives += [f"-W {minutes(job.seconds)}"] if job.seconds is not None else []
        directives += script.site(job, "-q ", "-P ")
        log = '"${LSB_JOBID}_$LSB_JOBINDEX"' if job.role == "workers" else '"$LSB_JOBID"'
        return script.whole("#BSUB", directives, script.body(job, log=log))

    def submit(self, file: Path) -> str:
        done = command([self.program], stdin=file)
        found = re.search(r"Job <(\d+)>", done.stdout)
        if done.returncode or not found:
            raise refused("LSF", file, done)
        return found[1]

    def queue(self, tags: Mapping[str, str]) -> list[Queued]:
        """Each element of an array apart; LSF shows for an hour, as a rule, what has ended."""
        done = command(["bjobs", "-a", "-noheader", "-o", COLUMNS])
        if done.returncode and not re.search("No .*job found", done.stdout + done.stderr):
            raise SearchFailed(f"LSF does not show its queue: {said(done)}")
        found = []
        for line in done.stdout.splitlines():
            job, index, state, host, name, reason = (line.split("|", 5) + ["-"] * 6)[:6]
            if role := tags.get(re.sub(r"\[\d+\]$", "", name)):
                number = job if index in ("0", "-") else f"{job}[{index}]"
                found.append(_queued(number, role, state, reason, host))
        return found

    def cancel(self, jobs: Sequence[str]) -> None:
        end("bkill", jobs, "finished|No matching job", self.name)

    def own_job(self) -> str | None:
        return os.environ.get("LSB_JOBID")

    def begin_again(self, job: str) -> int | None:
        return None if command(["brequeue", job]).returncode else Interrupted.exit_code


def _queued(job: str, role: str, state: str, reason: str, host: str) -> Queued:
    if state in WAITING:
        return Queued(job, role, state, "waits", "" if reason == "-" else reason, never=state == "PSUSP")
    node = "" if host == "-" else host.split(":")[0].rpartition("*")[2]
    return Queued(job, role, state, "ended" if state in ENDED else "runs", node=node)


def minutes(seconds: float) -> str:
    """``hours:minutes``, as LSF counts a walltime.

    >>> minutes(3661)
    '1:02'
    """
    whole = math.ceil(seconds / 60)
    return f"{whole // 60}:{whole % 60:02d}"
