"""Grid Engine's words: directives of a script, and the commands qsub, qstat and qdel.

A job's name says which run it belongs to; only `qstat -xml` shows it in full. What several cores are called is a site's
to say (a parallel environment, `cluster.parallel_environment`), and so are GPUs: here ``gpu``, as most have it.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from nas.cluster.batch import script
from nas.cluster.batch.commands import command, end, refused, said
from nas.cluster.batch.jobs import Job, mebibytes
from nas.cluster.batch.system import Queued
from nas.errors import SearchFailed

INHERITED = ("PATH",)  # by which a controller finds qsub; Grid Engine gives its jobs another
AGAIN = 99  # the exit code with which a job asks to be started again


class Sge:
    name, program = "Grid Engine", "qsub"

    def render(self, job: Job) -> str:
        settings = job.settings
        directives = [f"-N {job.tag}", "-S /bin/bash", "-o /dev/null", "-j y", "-r y"]
        directives += [f"-t 1-{job.count}"] if job.role == "workers" else []
        directives += [f"-pe {settings.parallel_environment} {job.cpus}"] if job.cpus > 1 else []
        if job.memory is not None:  # of each core
            directives.append(f"-l mem_free={mebibytes(job.memory / job.cpus)}M")
        directives += [f"-l gpu={job.gpus}"] if job.gpus else []
        directives += [f"-l h_rt={script.hours(job.seconds)}"] if job.seconds is not None else []
        directives += script.site(job, "-q ", "-P ")
        log = '"$JOB_ID.$SGE_TASK_ID"' if job.role == "workers" else '"$JOB_ID"'
        return script.whole("#$", directives, script.body(job, log=log, inherited=INHERITED))

    def submit(self, file: Path) -> str:
        done = command([self.program, "-terse", str(file)])
        if done.returncode:
            raise refused("Grid Engine", file, done)
        return done.stdout.split()[-1].partition(".")[0]  # 18 of 18.1-4:1

    def queue(self, tags: Mapping[str, str]) -> list[Queued]:
        """Each task of an array apart; what has ended is forgotten."""
        done = command(["qstat", "-xml", "-g", "d", "-u", pwd.getpwuid(os.getuid()).pw_name])
        try:
            jobs = list(_jobs(ElementTree.fromstring(done.stdout)))
        except ElementTree.ParseError:
            raise SearchFailed(f"Grid Engine does not show its queue: {said(done)}") from None
        return [_queued(job, tags[job["JB_name"]]) for job in jobs if job["JB_name"] in tags]

    def cancel(self, jobs: Sequence[str]) -> None:
        end("qdel", jobs, "does not exist|already in deletion|has registered the job", self.name)

    def own_job(self) -> str | None:
        return os.environ.get("JOB_ID") if "SGE_ROOT" in os.environ else None

    def begin_again(self, job: str) -> int | None:
        return AGAIN


def _jobs(answer: ElementTree.Element) -> Iterator[dict[str, str]]:
    for job in answer.iter("job_list"):
        yield {part.tag: part.text or "" for part in job}


def _queued(job: Mapping[str, str], role: str) -> Queued:
    """States are letters: qw, hqw (held), Eqw (an error, which a person must clear), t, r, Rr (again), s, S, T, dr."""
    state, task = job["state"], job.get("tasks", "")
    number = job["JB_job_number"] + (f".{task}" if task else "")
    if "w" not in state:
        return Queued(number, role, state, "runs", node=job.get("queue_name", "").partition("@")[2])
    why = {"E": _error(job["JB_job_number"]), "h": "held"}.get(state[0], "")
    return Queued(number, role, state, "waits", why, never=bool(why))


def _error(number: str) -> str:
    found = re.search(r"^error reason[\s\d]*:\s*(?:\S+ \S+ \[[\d:]+\]: )?(?:error: )?(.*)$",
                      command(["qstat", "-j", number]).stdout, re.MULTILINE)  # fmt: skip
    return found[1] if found else "error"
