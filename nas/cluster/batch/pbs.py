"""PBS's words: directives of a script, and the commands qsub, qstat, qdel and qrerun.

OpenPBS and PBS Professional (``-l select``, ``-J``); of their commands only what SLURM's own qsub, qstat and qdel know
too. A job's name says which run it belongs to. What a job prints PBS keeps until its end, so scripts open their logs.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nas.cluster.batch import script
from nas.cluster.batch.commands import command, end, refused, said
from nas.cluster.batch.jobs import LOGS, Job, mebibytes
from nas.cluster.batch.system import Phase, Queued
from nas.errors import Interrupted, SearchFailed

INHERITED = ("PATH",)  # by which a controller finds qsub; PBS gives its jobs another
GONE = "Unknown Job Id|has finished|Request invalid for state"
STATES: Mapping[str, tuple[str, Phase]] = {
    "Q": ("queued", "waits"), "H": ("held", "waits"), "W": ("waiting", "waits"), "T": ("moved", "waits"),
    "B": ("begun", "runs"), "R": ("running", "runs"), "E": ("exiting", "runs"), "S": ("suspended", "runs"),
    "U": ("suspended", "runs"), "C": ("completed", "ended"), "F": ("finished", "ended"),
}  # fmt: skip


class Pbs:
    name, program = "PBS", "qsub"

    def render(self, job: Job) -> str:
        chunk = f"select=1:ncpus={job.cpus}"
        chunk += f":mem={mebibytes(job.memory)}mb" if job.memory is not None else ""
        chunk += f":ngpus={job.gpus}" if job.gpus else ""
        directives = [f"-N {job.tag}", "-S /bin/bash", "-j oe", "-r y", f"-l {chunk}"]
        if job.count > 1:  # PBS knows no array of one
            directives.append(f"-J 0-{job.count - 1}")
        directives += [f"-l walltime={script.hours(job.seconds)}"] if job.seconds is not None else []
        directives += script.site(job, "-q ", "-A ")
        return script.whole("#PBS", directives, script.body(job, log='"${PBS_JOBID:-$$}"', inherited=INHERITED))

    def submit(self, file: Path) -> str:
        done = command([self.program, str(file.absolute())], folder=file.parent.parent / LOGS)
        if done.returncode:
            raise refused("PBS", file, done)
        return done.stdout.split()[-1]

    def queue(self, tags: Mapping[str, str]) -> list[Queued]:
        """By their names, in full, which `qstat -u` shows only the beginning of. An array is told by its counts."""
        mine = self._ask("-u", pwd.getpwuid(os.getuid()).pw_name)
        ids = re.findall(r"^(\d+(?:\[\d*\])?)", mine, re.MULTILINE)
        full = self._ask("-f", *ids) if ids else ""
        return [job for record in _records(full) if record.get("Job_Name") in tags
                for job in _queued(record, tags[record["Job_Name"]])]  # fmt: skip

    def cancel(self, jobs: Sequence[str]) -> None:
        end("qdel", jobs, rf"{GONE}|^\s*$", self.name)

    def own_job(self) -> str | None:
        return os.environ.get("PBS_JOBID")

    def begin_again(self, job: str) -> int | None:
        """Of many sites' users nobody may."""
        return None if command(["qrerun", job]).returncode else Interrupted.exit_code

    def _ask(self, *arguments: str) -> str:
        done = command(["qstat", *arguments])
        if done.returncode and not done.stdout and done.stderr and not re.search(GONE, done.stderr):
            raise SearchFailed(f"PBS does not show its queue: {said(done)}")
        return done.stdout


def _records(text: str) -> Iterator[dict[str, str]]:
    """What `qstat -f` says, job by job: ``Job Id: 17.host``, then lines of ``name = value``, long ones continued."""
    for block in re.split(r"^Job Id:", text, flags=re.MULTILINE)[1:]:
        first, *lines = block.splitlines()
        record, name = {"id": first.strip()}, "id"
        for line in lines:
            if found := re.fullmatch(r"\s+([\w.]+) = (.*)", line):
                name = found[1]
                record[name] = found[2]
            else:
                record[name] += line.strip()
        yield record


def _queued(record: Mapping[str, str], role: str) -> Iterator[Queued]:
    """``array_state_count = Queued:2 Running:1 Exiting:0 Expired:1``: three jobs of the array's id."""
    why, node = record.get("comment", ""), record.get("exec_host", "").partition("/")[0]
    never = why.startswith("Can Never Run") or record.get("job_state") == "H"
    counts = re.findall(r"(Queued|Running|Exiting):(\d+)", record.get("array_state_count", ""))
    states = [state[0] for state, count in counts for _ in range(int(count))]
    for letter in states if counts else [record.get("job_state", "?")]:
        state, phase = STATES.get(letter, (letter, "ended"))
        waits = phase == "waits"
        yield Queued(record["id"], role, state, phase, why if waits else "", node, waits and never)
