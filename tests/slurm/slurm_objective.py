"""An objective for workers on a real SLURM: small, importable there, and slow on request."""

import os
import time
from pathlib import Path

from stepwise import stepwise

from nas.objective import Context
from nas.space import Candidate


def sleep_a_little(candidate: Candidate, context: Context) -> float:
    context.note(job=os.environ.get("SLURM_JOB_ID"), node=os.environ.get("SLURMD_NODENAME"))
    time.sleep(candidate.hyperparameters["seconds"])
    return float(candidate.hyperparameters["x"])


def wait_for_a_file(candidate: Candidate, context: Context) -> float:
    """Trials after some return when a file is there, so that what it stands for comes while they run."""
    until, after = candidate.hyperparameters["until"], candidate.hyperparameters["after"]
    limit = time.monotonic() + 120
    while context.trial > after and not Path(until).exists() and time.monotonic() < limit:
        time.sleep(0.1)
    return sleep_a_little(candidate, context)


STEPS = 12


def count_slowly(candidate: Candidate, context: Context) -> float:
    """In steps, from where an earlier attempt left its state."""
    context.note(job=os.environ.get("SLURM_JOB_ID"))
    stepwise(context, STEPS, meanwhile=lambda step: time.sleep(0.4))
    return float(candidate.hyperparameters["x"])


count_slowly.resumable = True  # type: ignore[attr-defined]
