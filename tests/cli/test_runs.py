"""What is said of runs: begun, gone on with, finished, failed; several of them; trials whose driver went away."""

import json

import pytest
from test_cli import CONFIG, SPACE, nas, write_run

from nas.records import (
    AttemptStarted,
    Proposal,
    Proposed,
    RunStarted,
    WorkersChanged,
)
from nas.report import tables
from nas.store import Journal


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


def segments(run):
    return sorted(path.name for path in (run / "journal").glob("*.jsonl"))


def test_a_finished_run_is_left_alone_by_a_budget_that_it_has_used_up(project):
    """A search asked for again with less must neither write `4 of 2 completed` nor a word of the journal."""
    first = nas("search", "tiny.yaml", cwd=project)
    assert first.returncode == 0, first.stderr
    assert "a new run in runs/tiny" in first.stderr
    before = segments(project / "runs" / "tiny")
    for fewer in ("1", "3"):
        done = nas("search", "tiny.yaml", "--trials", fewer, cwd=project)
        assert (done.returncode, done.stdout) == (0, first.stdout)
        assert "is finished" in done.stderr
    done = nas("submit", "tiny.yaml", "--to", "script", "--json", cwd=project)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (0, "finished"), done.stderr
    assert segments(project / "runs" / "tiny") == before
    more = nas("search", "tiny.yaml", "--trials", "4", cwd=project)
    assert "going on with runs/tiny: 3 finished, 0 to be run again" in more.stderr


def test_a_budget_of_epochs_is_kept_and_a_larger_one_goes_on_with_what_it_cut_off(project):
    words = ("search", "tiny.yaml", "--set", "train.epochs=2", "--patience", "50")
    done = nas(*words, "--set", "budget={epochs: 5}", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "5 epochs are trained (budget.epochs): 1 trial was cut off, and not counted; a larger" in done.stderr
    status = json.loads(nas("status", "runs/tiny", "--json", cwd=project).stdout)
    assert (status["epochs"], status["trials"]["completed"], status["trials"]["pending"]) == (5, 2, 1)
    done = nas(*words, "--set", "budget={epochs: 50}", "--target", "0.0", cwd=project)
    assert "going on with runs/tiny: 2 finished, 1 to be run again" in done.stderr
    assert "stopped before its budget: trial 1 reached the target (stop.reward)" in done.stderr
    assert json.loads(nas("status", "runs/tiny", "--json", cwd=project).stdout)["epochs"] == 7


def test_nothing_is_said_of_a_run_that_another_driver_holds(project):
    journal, _ = Journal.claim(project / "held" / "journal", 1000.0)
    done = nas("search", "tiny.yaml", "--run", "held", cwd=project)
    journal.close()
    assert done.returncode == 4
    assert "going on" not in done.stderr
    assert "new run" not in done.stderr


def test_nothing_is_said_of_a_new_run_whose_folder_cannot_be_made(project):
    (project / "file").write_text("")
    done = nas("search", "tiny.yaml", "--run", "file/run", cwd=project)
    assert done.returncode in (2, 74), done.stderr
    assert "new run" not in done.stderr


def test_a_controller_that_refuses_the_space_leaves_no_folder(project):
    done = nas("search", "tiny.yaml", "--controller", "optuna:bruteforce", cwd=project)
    assert done.returncode == 2
    assert "learning_rate is a real number" in done.stderr
    assert not (project / "runs").exists()


def test_the_most_frequent_failure_is_told_with_the_command_that_shows_it(tmp_path):
    run = write_run(tmp_path / "runs" / "digits", "digits", [0.5, None, None])
    text = nas("status", "runs/digits", cwd=tmp_path).stdout
    assert "2 times error: ValueError: no (nas trial runs/digits 1)" in text
    assert json.loads(nas("status", run, "--json", cwd=tmp_path).stdout)["failure"] == {
        "kind": "error",
        "message": "ValueError: no",
        "trials": 2,
        "trial": 1,
    }


def interrupted(folder):
    """Trial 0: its first attempt's driver went away, the second attempt ran when the second driver did, too."""
    events = [RunStarted("id", "digits", {"reward": {}, "budget": {"trials": 3}}, {}, {}, 1), WorkersChanged(2)]
    events += [Proposed(Proposal(0, {}, {"hyperparameters": {}}, "0")), AttemptStarted(0, 0)]
    for epoch, more in enumerate([events, [WorkersChanged(2), AttemptStarted(0, 1)]]):
        journal, _ = Journal.claim(folder / "journal", 1000.0 + 100 * epoch)
        journal.append((event, 1010.0 + 100 * epoch + i) for i, event in enumerate(more))
        journal.close()
        log = folder / "trials" / "0" / str(epoch) / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text(f"hello from attempt {epoch}\n")
    return folder


def test_an_interrupted_runs_status_says_how_to_go_on(tmp_path):
    interrupted(tmp_path / "runs" / "digits")
    assert "nas resume runs/digits" in nas("status", "runs/digits", cwd=tmp_path).stdout


def test_a_trials_log_is_that_of_its_running_attempt(tmp_path):
    run = interrupted(tmp_path / "run")
    text = nas("trial", run, "0", cwd=tmp_path).stdout
    assert "hello from attempt 1" in text
    assert "hello from attempt 0" not in text


def test_runs_whose_folders_have_one_name_are_told_apart_in_every_format(tmp_path):
    for place in ("a", "b"):
        write_run(tmp_path / place / "digits", "digits", [0.5])
    for words in (["a/digits", "b/digits"], [tmp_path / "a" / "digits", "b/digits/", "a/digits"]):
        rows = json.loads(nas("leaderboard", *words, "--format", "json", cwd=tmp_path).stdout)
        assert sorted(row["run"] for row in rows) == ["a/digits", "b/digits"]


@pytest.mark.parametrize("format", ["table", "markdown"])
def test_the_column_of_runs_stays_where_one_runs_trials_are_the_best(tmp_path, format):
    for name, accuracy in (("good", 0.9), ("bad", 0.1)):
        write_run(tmp_path / name, name, [accuracy])
    text = nas("leaderboard", "good", "bad", "--top", "1", "--format", format, cwd=tmp_path).stdout
    assert "run" in text.splitlines()[0]
    assert "good" in text


def test_a_table_of_forty_columns_keeps_the_metric_that_ranks(tmp_path):
    run = write_run(tmp_path / "run", "run", [0.9, 0.8])
    rows = json.loads(nas("leaderboard", run, "--format", "json", cwd=tmp_path).stdout)
    for row in rows:
        row |= {"metrics": {"accuracy": 0.5, "top5": 0.9, "loss": 0.25}, "parameters": 10**6, "flops": 10**9}
    text = tables.render(rows, "table", 40, kept=["loss"])
    assert "loss" in text.splitlines()[0]
    assert all(len(line) <= 40 for line in text.splitlines()), text


def test_help_is_not_cut(tmp_path):
    for words in ([], ["space"]):
        assert "..." not in nas(*words, "--help", cwd=tmp_path).stdout.partition("Commands:")[2]


def test_smoke_answers_programs_too(project):
    done = nas("search", "tiny.yaml", "--smoke", "--json", cwd=project)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["works"] is True
    assert [one["which"] for one in found["tried"]] == ["smallest", "largest"]
    assert found["tried"][0]["outcome"]["metrics"]
