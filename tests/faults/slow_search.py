"""A search as a process of its own, for tests that stop and kill it: ``slow_search.py RUN TRIALS SECONDS CLUSTER``.

CLUSTER is settings as JSON. Each training leaves a file <trial>-<pid> in the folder NAS_TEST_CALLS. Exit codes are
those of the command line.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import nas
from nas.errors import NasError
from nas.store import liveness

SPACE = {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def main() -> None:
    run, trials, seconds, cluster = sys.argv[1:]
    calls = os.environ["NAS_TEST_CALLS"]
    if "NAS_TEST_STANDSTILL" in os.environ:  # half a minute, for people
        liveness.STANDSTILL, liveness.HEARTBEAT = float(os.environ["NAS_TEST_STANDSTILL"]), 0.2

    def objective(candidate: nas.Candidate, context: nas.Context) -> float:
        Path(calls, f"{context.trial}-{os.getpid()}").touch()
        time.sleep(float(seconds))
        return float(candidate.hyperparameters["x"])

    try:
        nas.search(SPACE, objective, trials=int(trials), controller="random", cluster=json.loads(cluster), run=run)
    except NasError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
