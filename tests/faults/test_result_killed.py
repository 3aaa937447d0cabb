"""kill -9 of a child before, while and after it writes its result: the file is whole or absent, halves are swept."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from aftermath import settled

import nas
from nas import durable
from nas.records import Failed, Succeeded

# The step of durable.write_whole at which the child dies, and how its trial then ends.
MOMENTS = {
    "before": "crashed",
    "half of it": "crashed",
    "before its name": "crashed",
    "after its name": "completed",
    "after all": "completed",
}


def die_at(moment: str) -> None:
    """Arrange that this process is killed there; it is the child's own copy of everything."""
    die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
    match moment:
        case "before":
            die()
        case "half of it":

            def half(descriptor: int, data: bytes) -> None:
                os.write(descriptor, data[: len(data) // 2])
                die()

            durable.write_all = half
        case "before its name":
            os.fsync = die
        case "after its name":
            durable.sync_folder = die
        case "after all":
            from nas.cluster import child

            send, outcomes = child.Connection.send, (Succeeded, Failed)
            child.Connection.send = lambda self, it: die() if isinstance(it, outcomes) else send(self, it)


@pytest.mark.timeout(120)
def test_a_child_killed_at_any_step_of_writing_its_result_leaves_one_outcome_and_no_half_file(tmp_path: Path) -> None:
    def objective(candidate: nas.Candidate, context: nas.Context) -> float:
        die_at(candidate.hyperparameters["moment"])
        return 1.0

    space = {"name": "moments", "hyperparameters": {"moment": {"choice": list(MOMENTS)}}}
    run = nas.search(space, objective, trials=None, controller="random", cluster={"workers": 2}, run=tmp_path / "run")
    trials = settled(tmp_path / "run", len(MOMENTS)).trials.values()
    found = {
        row.hyperparameters["moment"]: (row.failure or row.state) for row in run.leaderboard if row.state != "duplicate"
    }
    assert found == MOMENTS
    for trial in trials:
        if trial.duplicate_of is None:
            assert len(trial.attempts) == 1 or not trial.attempts[0].outcome.fresh
