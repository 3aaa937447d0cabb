"""SLURM's words: directives of a script, and the commands sbatch, squeue, scancel and scontrol.

No value is quoted in a directive: those that may stand there (names, numbers, folders, options) were checked to be of
characters that need no quotes; see settings.py and jobs.py. A job's comment says which run it belongs to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from nas.cluster.batch import script
from nas.cluster.batch.commands import command, end, refused, said
from nas.cluster.batch.jobs import Job, mebibytes
from nas.cluster.batch.system import Queued
from nas.errors import Interrupted, SearchFailed

WARNING = 120  # seconds before its end at which a job whose walltime we do not know is warned
WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESIZING"})
THERE = frozenset({"RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT"})
# Reasons for which a job waits that no passing of time mends (SchedMD's page "Job Reason Codes"): what it asks for is
# more, or less, than one job may have, or somebody must act. What others hold or a node lacks at the moment is none.
NEVER = re.compile(
    r"BadConstraints|PartitionTimeLimit|PartitionConfig|MaxMemPerLimit|(Assoc|QOS)Max\w*Per(Job|Node)\w*|QOSMin\w+|"
    r"DependencyNeverSatisfied|ReservationDeleted|Invalid(Account|QOS)|(Account|QOS)NotAllowed|"
    r"JobHeld(Admin|User)|JobHoldMaxRequeue|launch[_ ]failed[_ ]requeued[_ ]held|.*never.*"
)


class Slurm:
    name, program = "SLURM", "sbatch"

    def render(self, job: Job) -> str:
        log = f"{job.logs}/{job.role}-%{'A_%a' if job.role == 'workers' else 'j'}.log"
        directives = [f"--job-name={job.name}", f"--comment={job.tag}", f"--output={log}"]
        directives += ["--open-mode=append", "--requeue"]
        if job.role == "workers":
            directives.append(f"--array=0-{job.count - 1}")
        directives += ["--nodes=1", f"--ntasks-per-node={job.tasks}", f"--cpus-per-task={job.cpus}"]
        if job.gpus:
            directives.append(f"--gres=gpu:{job.gpus * job.tasks}")
        if job.memory is not None:
            directives.append(f"--mem={mebibytes(job.memory * job.tasks)}M")
        if job.seconds is not None:
            directives.append(f"--time={walltime(job.seconds)}")
        else:
            directives.append(f"--signal={'B:' if job.tasks == 1 else ''}USR1@{WARNING}")
        directives += script.site(job, "--partition=", "--account=")
        launcher = ["srun", "--kill-on-bad-exit=0", "--label"] if job.tasks > 1 else []
        launcher += [f"--gpus-per-task={job.gpus}"] if job.gpus and job.tasks > 1 else []
        return script.whole("#SBATCH", directives, script.body(job, launcher))

    def submit(self, file: Path) -> str:
        done = command([self.program, "--parsable", str(file)])
        if done.returncode:
            raise refused("SLURM", file, done)
        return done.stdout.strip().partition(";")[0]

    def queue(self, tags: Mapping[str, str]) -> list[Queued]:
        """By their comments; each element of an array apart."""
        columns = "%i|%T|%N|%k|%r"
        mine = f"--user={os.getuid()}"
        done = command(["squeue", "--noheader", "--array", "--all", "--states=all", f"--format={columns}", mine])
        if done.returncode:
            raise SearchFailed(f"SLURM does not show its queue: {said(done)}")
        found = []
        for line in done.stdout.splitlines():
            job, state, node, comment, reason = (line.split("|", 4) + [""] * 5)[:5]
            if comment in tags:
                found.append(_queued(job, tags[comment], state, "" if reason == "None" else reason.strip("()"), node))
        return found

    def cancel(self, jobs: Sequence[str]) -> None:
        end("scancel", jobs, "Invalid job id|already completing", self.name)

    def own_job(self) -> str | None:
        return os.environ.get("SLURM_JOB_ID")

    def begin_again(self, job: str) -> int | None:
        done = command(["scontrol", "requeue", job])
        waits = "pending" in done.stderr + done.stdout  # it is to begin again already
        return Interrupted.exit_code if waits or not done.returncode else None


def _queued(job: str, role: str, state: str, reason: str, node: str) -> Queued:
    if state in WAITING:
        return Queued(job, role, state, "waits", reason, never=bool(NEVER.fullmatch(reason)))
    return Queued(job, role, state, "runs" if state in THERE else "ended", reason, node)


def walltime(seconds: float) -> str:
    """``1-02:30:00``; SLURM counts whole minutes, the rest of one too.

    >>> walltime(3661)
    '01:02:00'
    """
    minutes = -(-int(seconds) // 60)
    days, hours = divmod(minutes // 60, 24)
    return (f"{days}-" if days else "") + f"{hours:02d}:{minutes % 60:02d}:00"
