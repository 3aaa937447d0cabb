"""An objective for workers on a real SLURM: small, importable there, and slow on request."""

import os
import time
from pathlib import Path

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
    step = int((context.saved / "step").read_text()) if context.saved else 0
    while step < STEPS:
        time.sleep(0.4)
        step += 1
        if context.report(step, {"value": float(step)}):
            break
    if context.folder and step < STEPS:
        (context.folder / "step").write_text(str(step))
    return float(candidate.hyperparameters["x"])


count_slowly.resumable = True  # type: ignore[attr-defined]
