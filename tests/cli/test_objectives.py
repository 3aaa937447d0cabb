"""A search with two objectives, from its YAML to the leaderboard, the status and a resume; the front of any run."""

from __future__ import annotations

import csv
import io
import json
import shutil

import pytest
from test_cli import CONFIG, SPACE, nas, write_run

from nas import cli
from nas.cli import reading
from nas.errors import InputError

REWARD = "reward: {objectives: {accuracy: maximize, parameters: minimize}}\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A folder with a finished search of 10 trials by RL, which learns after 4."""
    folder = tmp_path_factory.mktemp("objectives")
    config = CONFIG.replace("random", "{rl: {warmup: 4, update_every: 2}}").replace("trials: 3", "trials: 10")
    config = config.replace("epochs: 1", "epochs: 3")
    (folder / "tiny.yaml").write_text(config + REWARD)
    (folder / "space.yaml").write_text(SPACE.replace("global_pool: average", "flatten"))
    done = nas("search", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    (folder / "end.txt").write_text(done.stdout)
    return folder


def board(project, *words):
    done = nas("leaderboard", "runs/tiny", *words, "--format", "json", cwd=project)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def told(project):
    return board(project)


def dominated(row, rows):
    def ahead(other):
        more, less = row["metrics"]["accuracy"], row["parameters"]
        one, two = other["metrics"]["accuracy"] >= more, other["parameters"] <= less
        return one and two and (other["metrics"]["accuracy"] > more or other["parameters"] < less)

    return any(map(ahead, rows))


def test_the_first_front_is_what_no_trial_dominates(project, told):
    ranked = [row for row in told["rows"] if row["rank"]]
    assert len(ranked) == 10
    for row in ranked:
        assert (row["front"] == 1) == (not dominated(row, ranked))
        assert row["reward"] is None
    assert [row["front"] for row in ranked] == sorted(row["front"] for row in ranked)
    first = [row for row in ranked if row["front"] == 1]
    assert told["front"]["trials"] == len({row["rank"] for row in first})
    assert told["front"]["of"] == 10
    assert told["front"]["reference"] == {
        "accuracy": min(row["metrics"]["accuracy"] for row in ranked),
        "parameters": max(row["parameters"] for row in ranked),
    }
    assert board(project, "--pareto")["rows"] == first
    assert 1 < len(first) < 10
    best = board(project, "--top", "2")["rows"]
    assert best == [row for row in ranked if row["rank"] <= 2]


def test_every_format_and_the_end_of_a_search_tell_the_same(project, told):
    rows, front = told["rows"], told["front"]
    table = nas("leaderboard", "runs/tiny", cwd=project).stdout
    assert table.splitlines()[0].split()[:4] == ["rank", "front", "trial", "accuracy"]
    said = f"Front 1: {front['trials']} of 10 trials; hypervolume "
    for text in (table, (project / "end.txt").read_text()):
        assert said in text
        assert "(the worst of each so far)" in text
    assert said in nas("leaderboard", "runs/tiny", "--format", "markdown", cwd=project).stdout
    lines = list(csv.DictReader(io.StringIO(nas("leaderboard", "runs/tiny", "--format", "csv", cwd=project).stdout)))
    assert [(line["rank"], line["front"]) for line in lines] == [(str(row["rank"]), str(row["front"])) for row in rows]


def test_the_status_tells_the_front_and_who_is_best_by_each(project, told):
    status = json.loads(nas("status", "runs/tiny", "--json", cwd=project).stdout)
    assert status["front"] == told["front"]
    assert status["best"] is None
    least = min(row["parameters"] for row in told["rows"])
    assert status["best_by"]["parameters"]["metrics"]["parameters"] == least
    screen = nas("status", "runs/tiny", cwd=project).stdout
    assert "best accuracy: trial" in screen
    assert f"{told['front']['trials']} of 10 trials; hypervolume" in screen
    page = nas("trial", "runs/tiny", "0", cwd=project)
    assert page.returncode == 0, page.stderr
    assert "reward" not in page.stdout.partition("candidate")[0]


def test_a_resume_comes_to_the_same_and_goes_on(project, told, tmp_path):
    """The run's digest is compared with that of its replay; preferences are drawn again from counts alone."""
    shutil.copytree(project, tmp_path / "copy")
    (segment,) = (tmp_path / "copy/runs/tiny/journal").glob("*.jsonl")
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[: len(lines) * 2 // 3]))
    done = nas("resume", "runs/tiny", cwd=tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    again = board(tmp_path / "copy")["rows"]
    assert [(row["trial"], row["hash"], row["front"]) for row in again] == [
        (row["trial"], row["hash"], row["front"]) for row in told["rows"]
    ]


def test_what_knows_one_objective_is_refused_before_there_is_a_folder(project, tmp_path):
    done = nas("search", "tiny.yaml", "--controller", "optuna:cmaes", "--run", tmp_path / "run", cwd=project)
    assert done.returncode == 2
    assert "optuna:cmaes knows one objective, and the reward has 2" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_front_of_a_run_with_one_objective_is_had_by_naming_metrics(project, tmp_path):
    run = write_run(tmp_path / "run", "run", [0.5, 0.9, None, 0.7])  # seconds are 2 for all of them
    refused = nas("leaderboard", run, "--pareto", cwd=tmp_path)
    assert refused.returncode == 2
    assert "one objective here (maximize accuracy), and no front" in refused.stderr
    assert "--objectives accuracy,parameters" in refused.stderr
    words = ["--objectives", "accuracy,seconds", "--pareto", "--format", "json"]
    told = json.loads(nas("leaderboard", run, *words, cwd=tmp_path).stdout)
    assert [row["trial"] for row in told["rows"]] == [1]
    assert told["front"]["objectives"] == {"accuracy": "maximize", "seconds": "minimize"}
    mixed = nas("leaderboard", run, project / "runs/tiny", cwd=tmp_path)
    assert mixed.returncode == 2
    assert "different objectives" in mixed.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("accuracy", "two objectives or more"),
        ("accuracy,mine", "which way is better? mine:maximize or mine:minimize"),
        ("accuracy,mine:up", "'up'"),
        ("accuracy,,loss", "a name is missing; write accuracy,flops"),
    ],
)
def test_wrong_objectives_are_refused_with_what_to_write(words, message):
    with pytest.raises(InputError) as caught:
        reading._objectives(words)
    assert message in str(caught.value)
    assert "--objectives" in str(caught.value)


def test_a_front_of_no_trial_is_none(tmp_path, capsys):
    run = write_run(tmp_path / "run", "run", [None])
    cli.app(["leaderboard", str(run), "--pareto", "--objectives", "accuracy,loss"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("No trial has completed.\nFailed: 0 (error).")


def test_an_objective_that_no_trial_has_is_one_message(tmp_path):
    run = write_run(tmp_path / "run", "run", [0.5])
    done = nas("leaderboard", run, "--objectives", "accuracy,mine:maximize", cwd=tmp_path)
    assert done.returncode == 2
    assert "no metric is called 'mine'" in done.stderr
    assert "Traceback" not in done.stderr
