"""nas.search: any callable as the objective, on the machinery of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import nas
from nas import store
from nas.errors import InputError

SPACE = {"name": "parabola", "hyperparameters": {"x": {"float": [-1.0, 1.0]}, "sign": {"choice": [-1, 1]}}}


def parabola(candidate: nas.Candidate, context: nas.Context) -> float:
    return -((candidate.hyperparameters["x"] - 0.5) ** 2)


def test_five_lines_search_with_a_lambda_on_dask_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    target = 0.5
    run = nas.search(
        SPACE,
        lambda candidate, context: -((candidate.hyperparameters["x"] - target) ** 2),
        trials=12,
        cluster={"workers": 2},
    )
    assert run.best is not None
    assert run.best.reward == max(row.reward or -9.0 for row in run.leaderboard)
    assert len(run.leaderboard) == 12
    assert run.folder == Path("runs/parabola")


def test_the_best_are_evaluated_again_with_other_seeds_and_ranked_by_their_means(tmp_path: Path) -> None:
    def noisy(candidate: nas.Candidate, context: nas.Context) -> float:
        return parabola(candidate, context) + context.seed % 1000 / 1000

    words = {"trials": 8, "controller": "random", "cluster": {"kind": "inline"}, "run": tmp_path / "run"}
    run = nas.search(SPACE, noisy, **words, replicate={"top": 2, "seeds": 4})
    first, second, third = run.leaderboard[:3]
    assert len(first.replicates["rewards"]) == len(second.replicates["rewards"]) == 4
    assert first.replicates["mean"] >= second.replicates["mean"]
    assert third.replicates == {}
    more = nas.search(SPACE, noisy, **words, replicate=4)
    assert sum(bool(row.replicates) for row in more.leaderboard) == 5


def test_several_metrics_a_reward_and_failures(tmp_path: Path) -> None:
    def objective(candidate: nas.Candidate, context: nas.Context) -> dict[str, float]:
        x = candidate.hyperparameters["x"]
        if x < -0.5:
            raise nas.InvalidCandidate("too far left")
        return {"loss": (x - 0.5) ** 2, "size": abs(x)}

    run = nas.search(
        SPACE, objective, trials=15, controller="random", reward={"minimize": "loss"},
        cluster={"kind": "inline"}, run=tmp_path / "run",
    )  # fmt: skip
    assert run.best is not None
    assert run.best.reward == -run.best.metrics["loss"]
    failed = [row for row in run.leaderboard if row.state == "failed"]
    assert failed
    assert {row.failure for row in failed} == {"invalid"}


@pytest.mark.parametrize("controller", ["rl", "evolution", "optuna:tpe", "random"])
def test_two_objectives_give_a_front(tmp_path: Path, controller: str) -> None:
    def objective(candidate: nas.Candidate, context: nas.Context) -> dict[str, float]:
        x = candidate.hyperparameters["x"]
        if x < -0.8:
            raise nas.InvalidCandidate("too far left")
        return {"loss": (x - 0.5) ** 2, "size": abs(x)}

    reward = {"objectives": {"loss": "minimize", "size": "minimize"}, "reference": {"loss": 2.0, "size": 1.0}}
    run = nas.search(
        SPACE, objective, trials=14, controller=controller, reward=reward,
        cluster={"kind": "inline"}, run=tmp_path / "run",
    )  # fmt: skip
    front = sorted((row.metrics["size"], row.metrics["loss"]) for row in run.front)
    assert front
    assert [loss for _, loss in front] == sorted((loss for _, loss in front), reverse=True)
    assert run.best in run.front
    assert run.hypervolume is not None
    assert 1.0 < run.hypervolume < 2.0
    assert f"a front of {len(run.front)}" in repr(run)
    assert {row.front for row in run.leaderboard if row.state == "failed"} <= {None}


def test_constraints_are_kept_by_every_trial_and_costs_may_be_given(tmp_path: Path) -> None:
    space = {
        **SPACE,
        "constraints": ["path('hyperparameters.x') >= 0 or path('hyperparameters.sign') == 1", "flops < 4"],
    }
    inline = {"kind": "inline"}

    def costs(candidate: nas.Candidate) -> dict[str, float]:
        if candidate.hyperparameters["x"] > 0.9:
            raise nas.InvalidCandidate("too far right")
        return {"flops": 10 * abs(candidate.hyperparameters["x"])}

    run = nas.search(space, parabola, trials=15, costs=costs, cluster=inline, run=tmp_path / "run")
    drawn = [trial.proposal for trial in run.history.trials.values()]
    given = [proposal.candidate["hyperparameters"] for proposal in drawn]
    assert all((one["x"] >= 0 or one["sign"] == 1) and abs(one["x"]) < 0.4 for one in given)
    assert sum(proposal.rejected for proposal in drawn) > 0
    with pytest.raises(InputError, match=r"'flops < 4' needs costs, which are not known here"):
        nas.search(space, parabola, trials=15, cluster=inline, run=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_run_argument_goes_on_with_a_run_and_refuses_another_search(tmp_path: Path) -> None:
    def again(trials: int, seed: int = 0) -> nas.Run:
        inline = {"kind": "inline"}
        return nas.search(SPACE, parabola, trials=trials, seed=seed, cluster=inline, run=tmp_path / "run")

    first = again(5)
    longer = again(9)
    assert [row.hash for row in longer.leaderboard if row.trial < 5] == [
        row.hash for row in sorted(first.leaderboard, key=lambda row: longer_rank(longer, row.hash))
    ]
    assert len(longer.leaderboard) == 9
    with pytest.raises(InputError, match=r"seed: the run was started with 0, not 1"):
        again(9, seed=1)


def longer_rank(run: nas.Run, hash: str) -> int:
    return next(row.rank or 0 for row in run.leaderboard if row.hash == hash)


def test_the_default_folder_is_a_new_one_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two searches in a notebook may have different objectives: the second must not go on with the first."""
    monkeypatch.chdir(tmp_path)
    folders = [nas.search(SPACE, parabola, trials=2, cluster={"kind": "inline"}).folder for _ in range(2)]
    assert folders == [Path("runs/parabola"), Path("runs/parabola-2")]


def test_a_command_line_resume_of_such_a_run_says_to_go_on_from_python(tmp_path: Path) -> None:
    nas.search(SPACE, parabola, trials=3, cluster={"kind": "inline"}, run=tmp_path / "run")
    (segment,) = (tmp_path / "run/journal").glob("*.jsonl")
    segment.write_bytes(b"".join(segment.read_bytes().splitlines(keepends=True)[:-1]))  # as if killed before its end
    said = subprocess.run(
        [sys.executable, "-m", "nas", "resume", str(tmp_path / "run")], capture_output=True, text=True, timeout=60
    )
    assert said.returncode == 2
    assert "nas.search(" in said.stderr
    assert "Traceback" not in said.stderr


def test_a_second_driver_is_refused_with_exit_code_4(tmp_path: Path) -> None:
    writer, _ = store.Journal.claim(tmp_path / "run/journal", now=1.0)
    said = subprocess.run(
        [sys.executable, "-m", "nas", "search", "digits", "--run", str(tmp_path / "run")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    writer.close()
    assert said.returncode == 4
    assert f"held by process {os.getpid()} on {os.uname().nodename}" in said.stderr


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"trials": 0}, "trials"),
        ({"time": "soon"}, "soon"),
        ({"controller": "rll"}, "rl"),
        ({"reward": {"maximise": "x"}}, "maximize"),
        ({"cluster": {"worker": 2}}, "workers"),
        ({"space": {"hyperparameters": {"x": {"float": [1.0]}}}}, "x"),
    ],
)
def test_wrong_arguments_are_named_before_a_folder_is_made(wrong: dict, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        nas.search(**{"space": SPACE, "objective": parabola, "run": tmp_path / "run"} | wrong)
    assert not (tmp_path / "run").exists()


def test_an_objective_that_cannot_be_called_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"objective: 3, a int, cannot be called"):
        nas.search(SPACE, 3, run=tmp_path / "run", cluster={"kind": "inline"})  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


def test_a_search_in_which_nothing_succeeded_warns_with_the_first_failure(tmp_path: Path) -> None:
    def objective(candidate: nas.Candidate, context: nas.Context) -> float:
        raise KeyError("no such column")

    with pytest.warns(RuntimeWarning, match=r"no trial succeeded; trial 0 failed first .*no such column.* at File "):
        run = nas.search(SPACE, objective, trials=3, cluster={"kind": "inline"}, run=tmp_path / "run")
    assert (
        repr(run) == f"<Run {str(tmp_path / 'run')!r}: {run.reason}, {len(run.history.trials)} trials, none succeeded>"
    )


def test_a_run_shows_in_one_line(tmp_path: Path) -> None:
    run = nas.search(SPACE, lambda candidate, context: 0.5, trials=2, cluster={"kind": "inline"}, run=tmp_path / "run")
    assert repr(run) == f"<Run {str(tmp_path / 'run')!r}: budget, 2 trials, best reward 0.5>"


def test_a_finished_run_with_a_smaller_budget_is_shown_and_its_journal_left_alone(tmp_path: Path) -> None:
    run = nas.search(SPACE, parabola, trials=4, cluster={"kind": "inline"}, run=tmp_path / "run")
    before = {file: file.read_bytes() for file in sorted((tmp_path / "run/journal").iterdir())}
    again = nas.search(SPACE, parabola, trials=2, cluster={"kind": "inline"}, run=tmp_path / "run")
    assert {file: file.read_bytes() for file in sorted((tmp_path / "run/journal").iterdir())} == before
    assert again.best == run.best and again.reason == "budget" and len(again.history.trials) == 4
