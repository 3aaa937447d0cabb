"""SLURM's words: directives of a script, and the commands sbatch, squeue, scancel and scontrol.

No value is quoted in a directive: those that may stand there (names, numbers, folders, options) were checked to be of
characters that need no quotes; see settings.py and jobs.py. A job's comment says which run it belongs to.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.cluster.batch import script
from nas.cluster.batch.jobs import Job
from nas.errors import InputError, SearchFailed

PATIENCE = 60.0  # seconds for one command: a busy controller of a large site takes its time
WARNING = 120  # seconds before its end at which a job whose walltime we do not know is warned
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING"})
THERE = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
# Reasons for which a job waits that no passing of time mends.
NEVER = re.compile(
    r"BadConstraints|PartitionDown|PartitionInactive|PartitionNodeLimit|PartitionTimeLimit|PartitionConfig|"
    r"DependencyNeverSatisfied|InvalidAccount|InvalidQOS|JobHeld(Admin|User)|AssocMax\w+|Assoc\w*PerJobLimit|"
    r"QOS\w*PerJob\w*|QOSMax\w+Limit|AccountNotAllowed|QOSNotAllowed|.*never.*|launch_failed_requeued_held|"
    r"launch failed requeued held"
)


@dataclass(frozen=True, slots=True)
class Queued:
    """One job, or one element of an array, as the queue has it."""

    job: str  # 17, or 18_3
    role: str
    state: str  # SLURM's own word
    reason: str  # why it waits, or how it ended
    node: str = ""

    @property
    def waits(self) -> bool:
        return self.state in WAITING

    @property
    def active(self) -> bool:
        """Whether it is yet to run, or runs."""
        return self.waits or self.state in THERE

    @property
    def never(self) -> bool:
        """Whether it waits for what will not come."""
        return self.waits and bool(NEVER.fullmatch(self.reason))


def render(job: Job) -> str:
    """The whole script."""
    settings = job.settings
    log = f"{job.logs}/{job.role}-%{'A_%a' if job.role == 'workers' else 'j'}.log"
    said = [f"--job-name={job.name}", f"--comment={job.tag}", f"--output={log}", "--open-mode=append", "--requeue"]
    if job.role == "workers":
        said.append(f"--array=0-{job.count - 1}")
    said += ["--nodes=1", f"--ntasks-per-node={job.tasks}", f"--cpus-per-task={job.cpus}"]
    if job.gpus:
        said.append(f"--gres=gpu:{job.gpus * job.tasks}")
    if job.memory is not None:
        said.append(f"--mem={-(-job.memory * job.tasks // (1 << 20))}M")
    if job.seconds is not None:
        said.append(f"--time={walltime(job.seconds)}")
    else:
        said.append(f"--signal={'B:' if job.tasks == 1 else ''}USR1@{WARNING}")
    said += [f"--partition={settings.partition}"] if settings.partition else []
    said += [f"--account={settings.account}"] if settings.account else []
    said += settings.options
    launcher = ["srun", "--kill-on-bad-exit=0", "--label"] if job.tasks > 1 else []
    launcher += [f"--gpus-per-task={job.gpus}"] if job.gpus and job.tasks > 1 else []
    lines = ["#!/bin/bash", *(f"#SBATCH {one}" for one in said), *script.body(job, launcher)]
    return "\n".join(lines) + "\n"


def walltime(seconds: float) -> str:
    """``1-02:30:00``; SLURM counts whole minutes, the rest of one too.

    >>> walltime(3661)
    '01:02:00'
    """
    minutes = -(-int(seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    return (f"{days}-" if days else "") + f"{hours:02d}:{minutes % 60:02d}:00"


def submit(file: Path, count: int | None = None) -> str:
    """The id of the job that the script became; ``count``: of another size of array than it says.

    Raises:
        InputError: SLURM refused it; in its own words.
        SearchFailed: SLURM does not answer.
    """
    size = [] if count is None else [f"--array=0-{count - 1}"]
    done = _command(["sbatch", "--parsable", *size, str(file)])
    if done.returncode:
        raise InputError(f"SLURM refuses the job ({file}): {_said(done)}")
    return done.stdout.strip().partition(";")[0]


def queue(tags: Mapping[str, str]) -> list[Queued]:
    """The jobs with one of these comments (comment -> role), each element of an array apart; also lately ended ones.

    Raises:
        SearchFailed: SLURM does not answer.
    """
    columns = "%i|%T|%N|%k|%r"
    done = _command(["squeue", "--noheader", "--array", "--all", "--states=all", f"--format={columns}", *_mine()])
    if done.returncode:
        raise SearchFailed(f"SLURM does not show its queue: {_said(done)}")
    found = []
    for line in done.stdout.splitlines():
        job, state, node, comment, reason = (line.split("|", 4) + [""] * 5)[:5]
        if comment in tags:
            found.append(Queued(job, tags[comment], state, reason.strip("()"), node))
    return found


def cancel(jobs: Sequence[str]) -> None:
    """End them. Those that are gone already are no error. Raises SearchFailed where SLURM does not answer."""
    if jobs:
        done = _command(["scancel", *jobs])
        if done.returncode and "Invalid job id" not in done.stderr and "already completing" not in done.stderr:
            raise SearchFailed(f"SLURM does not end the jobs: {_said(done)}")


def requeue(job: str) -> bool:
    """Have the job, which may be the caller's own, begin again; False where SLURM will not."""
    return _command(["scontrol", "requeue", job]).returncode == 0


def own_job() -> str | None:
    """The id of the job that this process is in."""
    return os.environ.get("SLURM_JOB_ID")


def available() -> bool:
    """Whether there is a SLURM here to speak to."""
    import shutil

    return shutil.which("sbatch") is not None


def _mine() -> list[str]:
    return [f"--user={os.getuid()}"]


def _said(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    words = [re.sub(r"^(sbatch|squeue|scancel|scontrol): (error: )?", "", line) for line in lines]
    return "; ".join(words) or f"exit code {done.returncode}"


def _command(words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=PATIENCE, stdin=subprocess.DEVNULL
        )
    except FileNotFoundError:
        raise InputError(f"{words[0]} is not here: is this a host from which SLURM can be spoken to?") from None
    except subprocess.TimeoutExpired:
        raise SearchFailed(f"{words[0]} did not answer within {PATIENCE:g} s") from None
