"""How long a job's program has: its walltime, as the script hands it down, and the moment after a signal.

    python -m nas.cluster.batch.worker RUN/cluster --walltime 3600 --started 1764426000

The script takes the time before all else, as loading modules may take minutes, and the walltime runs.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence

TERM_GRACE = 20.0  # seconds after SIGTERM for a state to be left; SLURM kills after 30 (KillWait)


def words(walltime: float | None) -> Sequence[str]:
    """Of the program's command line; the script adds when it was started."""
    return [] if walltime is None else ["--walltime", f"{walltime:g}"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of every job's program."""
    parser.add_argument("--walltime", type=float)
    parser.add_argument("--started", type=float, default=0.0)


def end(arguments: argparse.Namespace, *, share: float, most: float) -> float:
    """The time.monotonic() before the walltime by a share of it, at most so many seconds; inf where there is none."""
    if arguments.walltime is None:
        return math.inf
    gone = max(0.0, time.time() - arguments.started) if arguments.started else 0.0
    return time.monotonic() + float(arguments.walltime - gone - min(most, share * arguments.walltime))
