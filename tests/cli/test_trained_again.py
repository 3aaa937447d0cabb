"""`--replicate` and `nas audit` as commands: on a finished run, and what of them is wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.errors import InputError

SPACE = """
architecture: [{linear: {units: {choice: [4, 8, 16]}}}, {linear: {units: =task.classes}}]
hyperparameters: {batch_size: 256, optimizer: {sgd: {learning_rate: {float: [0.001, 1.0], log: true}}}}
"""
CONFIG = """
space: space.yaml
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 6}
train: {epochs: 1, precision: fp32}
cluster: {kind: inline}
"""


def nas(*words: str) -> Any:
    result = CliRunner().invoke(app, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a project with a finished run."""
    folder = tmp_path_factory.mktemp("searched")
    (folder / "space.yaml").write_text(SPACE)
    (folder / "tiny.yaml").write_text(CONFIG)
    with chdir(folder):
        assert nas("search", "tiny.yaml").exit_code == 0
    return folder


@pytest.fixture
def project(searched: Path, tmp_path: Path) -> Iterator[None]:
    with chdir(shutil.copytree(searched, tmp_path / "project")):
        yield


def journal(run: str) -> list[str]:
    lines = [line for path in sorted(Path(run).glob("journal/*.jsonl")) for line in path.read_text().splitlines()]
    return [json.loads(line)["body"]["event"] for line in lines]


@pytest.mark.usefixtures("project")
def test_a_finished_run_is_replicated_and_audited_by_commands_and_its_board_tells() -> None:
    run = "runs/tiny"
    done = nas("resume", run, "--replicate", "2", "--set", "replicate.top=3")
    assert done.exit_code == 0
    assert "Mean: of trainings with 2 other seeds" in done.stdout
    assert journal(run).count("replicate_ended") == 6 and journal(run).count("proposed") == 6
    status = " ".join(nas("status", run).stdout.split())  # lines are broken where a terminal is narrow
    assert "6 of 6 replicates of the best ended" in status
    assert "nas leaderboard ranks by means over seeds" in status
    before = len(journal(run))
    assert "nothing is left to do" in nas("resume", run).stderr
    assert "is finished" in nas("search", "tiny.yaml", "--replicate", "2", "--set", "replicate.top=3").stderr
    assert len(journal(run)) == before
    page = nas("audit", run, "--sample", "5", "--epochs", "2").stdout
    assert "5 of 6 ranked trials of runs/tiny, trained for 2 epochs with their own seeds; in the search for 1" in page
    assert "Kendall's tau-b" in page and "Intervals: 95 %, by Fisher's z; n = 5." in page
    told = json.loads(nas("audit", run, "--sample", "5", "--epochs", "2", "--json").stdout)
    assert told["low"] == (told["agreement"]["reward"]["kendall"]["estimate"] < told["threshold"] == 0.5)
    (brief,) = {json.dumps(row["audit"]) for row in json.loads(nas("leaderboard", run, "--format", "json").stdout)}
    assert json.loads(brief)["kendall"] == told["agreement"]["reward"]["kendall"]["estimate"]
    assert ("WARNING" in nas("leaderboard", run).stdout) == told["low"]
    assert len(journal(run)) == before


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["resume", "runs/tiny", "--replicate", "1"], "--replicate 1: 1: an interval needs two trainings"),
        (["resume", "runs/tiny", "--replicate", "-2"], "--replicate -2: "),
        (["resume", "runs/tiny", "--set", "train.epochs=9"], "train.epochs: the run was started with 1, not 9"),
        (["resume", "runs/tiny", "--set", "budget.trails=9"], "--set budget.trails=9: "),
        (["search", "tiny.yaml", "--set", "budget={time: 60}", "--replicate", "3", "--fresh"], "give --trials N too"),
        (["search", "tiny.yaml", "--set", "replicate={tops: 3}"], "unknown key 'tops'; did you mean 'top'?"),
        (["audit", "runs/tiny", "--epochs", "2"], "--sample 8: runs/tiny has 6 ranked trials"),
        (["audit", "runs/none"], "runs/none: no such folder"),
    ],
)
def test_what_is_wrong_is_said_in_one_message(words: list[str], message: str) -> None:
    before = journal("runs/tiny")
    with pytest.raises(InputError) as refused:
        nas(*words)
    assert message in str(refused.value), str(refused.value)
    assert journal("runs/tiny") == before
