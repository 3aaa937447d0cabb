"""What candidates do wrong, in a real search on real workers: each its own kind of failure, and the search goes on."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest

import nas
from nas.records import CandidateFailure, Reward
from nas.space import Space

MISDEEDS = ["good", "raises", "exits", "allocates", "sleeps", "nan"]
EXPECTED = {
    "good": "completed", "raises": "error", "exits": "crashed", "allocates": "out_of_memory", "sleeps": "timeout",
    "nan": "diverged",
}  # fmt: skip
SPACE = {
    "name": "misdeeds",
    "hyperparameters": {"does": {"choice": MISDEEDS}, "x": {"choice": ["a", "b"]}},
}


def misbehave(candidate: nas.Candidate, context: nas.Context) -> float:
    match candidate.hyperparameters["does"]:
        case "raises":
            raise KeyError("no such key")
        case "exits":
            os._exit(3)
        case "allocates":
            hog = bytearray(500 << 20)
            hog[::4096] = b"x" * len(hog[::4096])
            time.sleep(20)
        case "sleeps":
            time.sleep(60)
        case "nan":
            return float("nan")
    return 1.0


@pytest.mark.timeout(170)
@pytest.mark.parametrize("controller", ["random", "optuna:tpe"])
def test_every_kind_of_failure_ends_its_own_trial_and_no_other(controller: str, tmp_path: Path) -> None:
    run = nas.search(
        SPACE, misbehave, trials=None, controller=controller, deadline=4.0, run=tmp_path / "run",
        cluster={"workers": 2, "memory": "300M"}, time="100s",
    )  # fmt: skip
    trained = [row for row in run.leaderboard if row.state != "duplicate"]
    found = {(row.hyperparameters["does"], row.failure or row.state) for row in trained}
    assert found == set(EXPECTED.items())
    assert len(trained) == 2 * len(MISDEEDS), "the search goes on until the space is used up"
    assert run.reason == "exhausted"


class Watching:
    """A real controller, and what it was told."""

    def __init__(self, inner: nas.controllers.Controller) -> None:  # type: ignore[name-defined]
        self.inner, self.told = inner, []

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def tell(self, proposal: object, result: object) -> None:
        self.told.append(result)
        self.inner.tell(proposal, result)


def test_the_controller_is_told_rewards_and_failures_and_never_nan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas import controllers

    watching: list[Watching] = []
    make = controllers.make

    def watched(*arguments: object, **options: object) -> Watching:
        watching.append(Watching(make(*arguments, **options)))
        return watching[-1]

    monkeypatch.setattr(controllers, "make", watched)
    nas.search(
        {"hyperparameters": {"does": {"choice": ["good", "raises", "nan"]}, "x": {"choice": ["a", "b"]}}},
        misbehave, trials=None, controller="rl", cluster={"kind": "inline"}, run=tmp_path / "run",
    )  # fmt: skip
    told = watching[-1].told
    assert Counter(map(type, told)) == {Reward: 2, CandidateFailure: 4}
    assert {one.kind for one in told if isinstance(one, CandidateFailure)} == {"error", "diverged"}


def counted(candidate: nas.Candidate, context: nas.Context) -> float:
    """A constant, and one file for each real call."""
    folder = Path(os.environ["NAS_TEST_CALLS"])
    (folder / f"{candidate.hash}-{context.trial}").touch()
    return 0.5


@pytest.mark.parametrize("controller", ["rl", "evolution", "random", "optuna:tpe"])
def test_a_constant_objective_over_a_small_space_trains_no_candidate_twice(
    controller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    calls.mkdir()
    monkeypatch.setenv("NAS_TEST_CALLS", str(calls))
    space = {"hyperparameters": {"x": {"choice": ["a", "b", "c"]}, "y": {"int": [1, 4]}}}
    assert Space.read(space).count().exact == 12
    run = nas.search(
        space, counted, trials=None, controller=controller, cluster={"kind": "inline", "workers": 3},
        run=tmp_path / "run",
    )  # fmt: skip
    hashes = [path.name.partition("-")[0] for path in calls.iterdir()]
    assert len(hashes) == len(set(hashes)) == 12
    assert run.reason == "exhausted"
    originals = {row.hash: row.reward for row in run.leaderboard if row.state == "completed"}
    assert all(row.reward == originals[row.hash] for row in run.leaderboard)
