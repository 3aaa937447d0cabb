"""An objective for workers on a real SLURM: small, importable there, and slow on request."""

import os
import time

from nas.objective import Context
from nas.space import Candidate


def sleep_a_little(candidate: Candidate, context: Context) -> float:
    context.note(job=os.environ.get("SLURM_JOB_ID"), node=os.environ.get("SLURMD_NODENAME"))
    time.sleep(candidate.hyperparameters["seconds"])
    return float(candidate.hyperparameters["x"])
