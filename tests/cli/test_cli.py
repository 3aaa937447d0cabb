"""The command line as a person or a script meets it: words, exit codes, what goes to stdout and what to stderr."""

import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas.errors import Problem
from nas.records import (
    AttemptAnswered,
    AttemptStarted,
    Failed,
    Proposal,
    Proposed,
    RunEnded,
    RunStarted,
    Succeeded,
    TrialEnded,
    WorkersChanged,
)
from nas.store import Journal

ROOT = Path(__file__).parents[2]
CONFIG = """\
space: space.yaml
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 3}
train: {epochs: 1}
cluster: {kind: inline}
"""
SPACE = """\
name: tiny
architecture:
  - conv: {filters: {choice: [2, 4, 6, 8, 10, 12]}, kernel: 3}
  - global_pool: average
  - linear: {units: =task.classes}
hyperparameters:
  optimizer: {sgd: {learning_rate: {float: [0.01, 0.1]}}}
"""


def nas(*words, cwd, timeout=60, **changes):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | changes
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "nas", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)


def write_run(folder: Path, name: str, accuracies: list[float | None]) -> Path:
    """A finished run whose trials reached these accuracies; None: failed."""
    journal, _ = Journal.claim(folder / "journal", 1000.0)
    config = {"name": name, "reward": {"maximize": "accuracy"}, "budget": {"trials": len(accuracies)}}
    events = [RunStarted("id", name, config, {}, {}, 1), WorkersChanged(2)]
    for number, accuracy in enumerate(accuracies):
        candidate = {"architecture": [{"conv": {"filters": 8, "kernel": 3}}], "hyperparameters": {"batch_size": number}}
        outcome = (
            Succeeded({"accuracy": accuracy}, 2.0)
            if accuracy is not None
            else Failed("error", "ValueError: no", "Trace\n")
        )
        state = "completed" if accuracy is not None else "failed"
        events += [Proposed(Proposal(number, {}, candidate, f"{number:064}")), AttemptStarted(number, 0)]
        events += [AttemptAnswered(number, 0, outcome), TrialEnded(number, state, 0)]
        log = folder / "trials" / str(number) / "0" / "log.txt"
        log.parent.mkdir(parents=True)
        log.write_text(f"hello from {number}\n")
    journal.append((event, 1000.0 + i) for i, event in enumerate([*events, RunEnded("budget")]))
    journal.close()
    return folder


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs" / "digits", "digits", [0.5, 0.9, None, 0.7])


@pytest.fixture
def project(tmp_path):
    (tmp_path / "tiny.yaml").write_text(CONFIG)
    (tmp_path / "space.yaml").write_text(SPACE)
    return tmp_path


# Words and speed -----------------------------------------------------------------------------------------------------


def test_help_answers_in_under_three_tenths_of_a_second(tmp_path):
    # Processor time, which other processes on the machine do not lengthen.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(5):
        assert nas("--help", cwd=tmp_path).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 5 < 0.3


def test_the_commands_are_those_that_are_built(tmp_path):
    text = nas("--help", cwd=tmp_path).stdout
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert listed == [
        "search",
        "resume",
        "submit",
        "cancel",
        "status",
        "leaderboard",
        "trial",
        "audit",
        "bench",
        "schema",
        "space",
    ]


SPACE_COMMANDS = [f"space {command}" for command in ("check", "show", "sample", "count")]


@pytest.mark.parametrize("command", ["search", "resume", "status", "leaderboard", "trial", "schema", *SPACE_COMMANDS])
def test_every_option_is_described(command, tmp_path):
    done = nas(*command.split(), "--help", cwd=tmp_path, COLUMNS="200")
    assert done.returncode == 0
    options = [line.strip() for line in done.stdout.splitlines() if line.strip().startswith("-")]
    assert options
    for line in options:
        assert len(line.split("  ")) > 1, f"{command}: {line} says nothing"


@pytest.mark.parametrize(
    "words",
    [
        ["serch"],
        ["search"],
        ["space", "sample", "digits_cnn", "-n", 10**20],
        ["search", "x", "--trials", "many"],
        ["leaderboard", "--nope"],
    ],
)
def test_wrong_usage_is_exit_code_2(words, tmp_path):
    assert nas(*words, cwd=tmp_path).returncode == 2


def test_the_version_is_printed(tmp_path):
    code = "import sys; sys.argv = ['nas', '--version']; from nas.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 or "PackageNotFoundError" in done.stderr
    assert done.stdout.startswith("nas ") or done.returncode


# Errors --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "nothing.yaml"], "nothing.yaml"),
        (["search", "tiny.yaml", "--controller", "rll"], "--controller rll: "),
        (["search", "tiny.yaml", "--trials", "0"], "--trials 0: "),
        (["search", "tiny.yaml", "--time", "soon"], "--time soon: "),
        (["search", "tiny.yaml", "--set", "train.epocs=2"], "did you mean 'epochs'"),
        (["search", "tiny.yaml", "--set", "train.epochs"], "dotted.key=value"),
        (["search", "tiny.yaml", "--run", "full"], "is no run"),
        (
            ["search", "tiny.yaml", "--set", "task.validation=0.999999"],
            "--set task.validation=0.999999: validation on 0.999999 of the samples leaves 0 of 1438 to train on",
        ),
        (["leaderboard", "nowhere"], "nowhere: no such folder"),
        (["leaderboard", "full"], "full is no run"),
        (["status", "nowhere"], "no such folder"),
        (["resume", "nowhere"], "no such folder"),
        (["resume", "runs/digits", "--to", "slurm", "--cluster", "local"], "both say where"),
        (["trial", "runs/digits", "99"], "trials 0 to 3"),
        (["leaderboard", "runs/digits", "--format", "tabel"], "did you mean 'table'"),
        (["leaderboard", "runs/digits", "--format", "csv", "--json"], "--json and --format csv say different things"),
        (["leaderboard", "runs/digits", "--output", "no/such/file"], "--output"),
    ],
)
def test_a_wrong_input_is_one_clear_message_and_exit_code_2(words, said, project, run):
    (project / "full").mkdir()
    (project / "full" / "thesis.tex").write_text("mine")
    done = nas(*words, cwd=project)
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert [path.name for path in (project / "full").iterdir()] == ["thesis.tex"]


def test_every_problem_of_a_config_is_told_in_one_go(project):
    (project / "wrong.yaml").write_text("space: space.yaml\ntask: {dataset: digts}\nsead: 1\n")
    done = nas("search", "wrong.yaml", cwd=project)
    assert done.returncode == 2
    assert "wrong.yaml:2:17: " in done.stderr
    assert "wrong.yaml:3:1: " in done.stderr
    assert not (project / "runs").exists(), "nothing is made for a config that is wrong"


def test_a_problem_is_written_as_editors_read_it():
    assert str(Problem("is wrong", "a.yaml", 3, 5)) == "a.yaml:3:5: is wrong"


# Leaderboard ---------------------------------------------------------------------------------------------------------


def test_json_and_csv_hold_every_trial(run, tmp_path):
    rows = json.loads(nas("leaderboard", run, "--json", cwd=tmp_path).stdout)
    assert [(row["rank"], row["trial"], row["state"]) for row in rows] == [
        (1, 1, "completed"),
        (2, 3, "completed"),
        (3, 0, "completed"),
        (None, 2, "failed"),
    ]
    table = list(csv.DictReader(io.StringIO(nas("leaderboard", run, "--format", "csv", cwd=tmp_path).stdout)))
    assert [row["trial"] for row in table] == ["1", "3", "0", "2"]
    assert table[0]["hyperparameters.batch_size"] == "1"


def test_top_takes_the_best_and_output_writes_a_file(run, tmp_path):
    done = nas("leaderboard", run, "--top", "2", "--format", "json", "--output", "best.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert [row["trial"] for row in json.loads((tmp_path / "best.json").read_text())] == [1, 3]


def test_several_runs_are_ranked_together_under_their_folders_names(run, tmp_path):
    other = write_run(tmp_path / "runs" / "digits-2", "digits", [0.8])
    rows = json.loads(nas("leaderboard", run, other, "--format", "json", cwd=tmp_path).stdout)
    assert [(row["run"], row["trial"]) for row in rows if row["rank"]][:3] == [
        ("digits", 1),
        ("digits-2", 0),
        ("digits", 3),
    ]


def test_a_reader_that_has_seen_enough_is_no_error(run, tmp_path):
    command = f"{sys.executable} -m nas leaderboard {run} --format csv; echo $? >&2"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"({command}) | true"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stderr.split() == ["0"]


# Status and trial ----------------------------------------------------------------------------------------------------


def test_status_as_json(run, tmp_path):
    status = json.loads(nas("status", run, "--json", cwd=tmp_path).stdout)
    assert status["state"] == "finished"
    assert status["trials"] == {"completed": 3, "failed": 1, "duplicate": 0, "running": 0, "pending": 0, "paused": 0}
    assert (status["best"]["trial"], status["best"]["reward"]) == (1, 0.9)
    assert status["best"]["metrics"] == {"accuracy": 0.9}
    assert status["workers"] == 2
    assert 0 <= status["utilisation"] <= 1
    assert status["elapsed_seconds"] > 0


def test_watching_a_run_that_is_over_ends(run, tmp_path):
    done = nas("status", run, "--watch", cwd=tmp_path)
    assert done.returncode == 0
    assert "finished" in done.stdout


def test_a_trial_shows_its_traceback_its_log_and_how_to_run_it_again(run, tmp_path):
    text = nas("trial", "runs/digits", "2", cwd=tmp_path).stdout
    for part in ("error: ValueError: no", "Trace", "hello from 2", "nas trial runs/digits 2 --run-again"):
        assert part in text
    assert json.loads(nas("trial", run, "1", "--json", cwd=tmp_path).stdout)["reward"] == 0.9


# Searching -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_search_from_nothing_to_a_leaderboard_and_everything_after(project):
    """One run through every command: search, finished, more budget, changed config, --fresh, run again."""
    done = nas("search", "tiny.yaml", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert "a new run in runs/tiny" in done.stderr
    rows = json.loads(nas("leaderboard", "runs/tiny", "--format", "json", cwd=project).stdout)
    assert len(rows) == 3

    again = nas("search", "tiny.yaml", cwd=project)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert "--fresh" in again.stderr

    more = nas("search", "tiny.yaml", "--trials", "4", "--json", cwd=project)
    assert json.loads(more.stdout)["trials"]["completed"] == 4
    assert "going on with runs/tiny" in more.stderr

    refused = nas("search", "tiny.yaml", "--set", "train.epochs=2", cwd=project)
    assert refused.returncode == 2
    assert "train.epochs: the run was started with 1, not 2" in refused.stderr

    (project / "space.yaml").write_text(SPACE.replace("[2, 4,", "[3, 4,"))
    refused = nas("search", "tiny.yaml", "--trials", "4", cwd=project)
    assert refused.returncode == 2
    assert "space" in refused.stderr

    fresh = nas("search", "tiny.yaml", "--fresh", "--trials", "1", cwd=project)
    assert "a new run in runs/tiny-2" in fresh.stderr
    assert fresh.returncode == 0

    best = rows[0]
    trained = json.loads(nas("trial", "runs/tiny", best["trial"], "--run-again", "--json", cwd=project).stdout)
    assert trained["metrics"]["accuracy"] == best["metrics"]["accuracy"], "the same seed gives the same network"
    assert trained["notes"]["dtype_reason"].endswith("is recorded"), "in the precision that it had"


def start(*words, cwd) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *words]
    return subprocess.Popen(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_control_c_ends_gracefully_with_the_line_that_resumes(project):
    process = start(
        "search", "tiny.yaml", "--trials", "10000", "--set", "cluster.kind=local", "--workers", "1", cwd=project
    )
    status = {"trials": {"completed": 0}}
    while process.poll() is None and not status["trials"]["completed"]:
        time.sleep(0.5)
        status = json.loads(nas("status", "runs/tiny", "--json", cwd=project).stdout or '{"trials": {"completed": 0}}')
    assert status["state"] == "running"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75, err
    assert "nas resume runs/tiny" in err
    assert "accuracy" in out
    assert json.loads(nas("status", "runs/tiny", "--json", cwd=project).stdout)["state"] == "interrupted"


def test_control_c_outside_a_search_is_quiet_and_75(tmp_path):
    # While torch is imported, say: no traceback, and not the code of a bug.
    code = "import os, signal; from nas import cli; cli.app = lambda: os.kill(os.getpid(), signal.SIGINT); cli.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (75, "nas: interrupted\n")


def test_watching_a_live_run_shows_it_until_control_c(tmp_path):
    journal, _ = Journal.claim(tmp_path / "run" / "journal", time.time())
    events = [
        RunStarted("id", "live", {"reward": {}}, {}, {}, 1),
        Proposed(Proposal(0, {}, {"hyperparameters": {}}, "0")),
    ]
    events += [AttemptStarted(0, 0), AttemptAnswered(0, 0, Succeeded({"accuracy": 0.5}))]
    journal.append((event, time.time()) for event in [*events, TrialEnded(0, "completed", 0)])
    process = start("status", "run", "--watch", cwd=tmp_path)
    assert process.stderr is not None
    assert "1 completed; best 0.5000 (trial 0)" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert "live: running" in out
    journal.close()


@pytest.mark.slow
def test_smoke_says_whether_a_search_would_work(project):
    done = nas("search", "tiny.yaml", "--smoke", cwd=project)
    assert done.returncode == 0, done.stderr
    assert "smallest" in done.stdout
    assert "largest" in done.stdout
    assert not (project / "runs").exists()
