"""`nas submit --to script | kubernetes`: the shell file is run here, else who would know that it ends a search?"""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nas import cli, store
from nas.errors import InputError

CONFIG = """
space: digits_cnn
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 2}
train: {epochs: 1, precision: fp32}
cluster: {kind: script, workers: 2, memory: 800M}
"""
BROKEN = """
from nas.plugin import loss

@loss
def broken(outputs, targets):
    raise RuntimeError("no such loss")
"""


@pytest.fixture
def written(tmp_path, monkeypatch, capsys):
    """What `nas submit --json` says, with these words more."""
    pytest.importorskip("cryptography")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    (tmp_path / "mine.yaml").write_text(CONFIG)

    def call(*words: str) -> dict:
        cli.app(["submit", "mine.yaml", "--run", "run", *words, "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return call


def processes(run: Path) -> list[int]:
    """Those that have the run's folder in their words."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and os.fsencode(run) in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.mark.timeout(240)
def test_the_shell_file_runs_the_search_to_its_end_and_leaves_no_process(written, tmp_path):
    said = written()
    assert said["start"] == "bash run/cluster/run.sh"
    done = subprocess.run(said["start"].split(), timeout=200, stdin=subprocess.DEVNULL)
    logs = "".join(path.read_text() for path in (tmp_path / "run" / "logs").glob("controller-*.log"))
    assert done.returncode == 0, logs
    history = store.history(tmp_path / "run")
    assert (history.ended.reason, history.tally["completed"]) == ("budget", 2)
    assert len(list((tmp_path / "run" / "logs").glob("workers-*.log"))) == 2
    assert processes(tmp_path / "run") == []
    with pytest.raises(InputError, match=r"no jobs of a batch system.* Ctrl-C"):
        cli.app(["cancel", "run"], standalone_mode=False)
    late = subprocess.run([*said["start"].split(), "worker", "7"], timeout=100, stdin=subprocess.DEVNULL)
    assert late.returncode == 0, "a worker that comes when all is over sees it"


@pytest.mark.timeout(240)
def test_a_diagnosis_stands_in_the_controllers_log_and_lets_the_workers_go(written, tmp_path):
    """Nobody looks at a screen there: the log says what failed and what to do, and no worker waits for a search."""
    (tmp_path / "broken.py").write_text(BROKEN)
    said = written("--plugin", "broken.py", "--set", "train.loss=broken", "--set", "budget.trials=1000")
    done = subprocess.run(said["start"].split(), timeout=200, stdin=subprocess.DEVNULL)
    (log,) = (path.read_text() for path in (tmp_path / "run" / "logs").glob("controller-*.log"))
    assert done.returncode == 3, log
    assert re.search(
        r"nas: stopped: \d of the last \d candidates failed alike \(trials .*\): error: RuntimeError: no such loss\n"
        rf"look closer: nas trial {tmp_path}/run \d+\n",
        log,
    ), log
    assert json.loads((tmp_path / "run/cluster/scheduler.json").read_text()) == {"over": True}
    assert processes(tmp_path / "run") == []


@pytest.mark.timeout(240)
def test_sigterm_ends_all_of_it_and_the_run_can_go_on(written, tmp_path):
    started = subprocess.Popen(written("--set", "budget.trials=1000")["start"].split(), stdin=subprocess.DEVNULL)
    run, until = tmp_path / "run", time.monotonic() + 200
    while not (run / "cluster" / "scheduler.json").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert len(processes(run)) >= 3
    started.send_signal(signal.SIGTERM)
    assert started.wait(60) == 75
    assert processes(run) == []
    assert not (run / "cluster" / "scheduler.json").exists()
    ended = store.history(run).ended  # None, where SIGTERM came before the search was there to hear it
    assert ended is None or ended.reason == "interrupted"


def test_manifests_are_written_with_the_run_and_kubectl_is_named(written, tmp_path, capsys):
    more = ["--to", "kubernetes", "--set", "cluster.container=nas:1", "--set", "cluster.claim=runs"]
    said = written(*more)
    assert said["start"] == "kubectl apply -f run/cluster/manifests.yaml"
    cli.app(["submit", "mine.yaml", "--run", "run", *more, "--dry-run"], standalone_mode=False)
    assert capsys.readouterr().out == (tmp_path / "run/cluster/manifests.yaml").read_text()
    assert store.history(tmp_path / "run").started is not None
    with pytest.raises(InputError, match=r"kubectl delete -f run/cluster/manifests\.yaml"):
        cli.app(["cancel", "run"], standalone_mode=False)
    assert (tmp_path / "run/cluster/tls/key.pem").stat().st_mode & 0o777 == 0o600


def test_a_controller_that_no_start_mends_lets_its_workers_go(written, tmp_path):
    """Else they would hold their GPUs until somebody looked, as pods that end are started again."""
    written("--to", "kubernetes", "--set", "cluster.container=nas:1", "--set", "cluster.claim=runs")
    (segment,) = (tmp_path / "run/journal").glob("*.jsonl")
    first, *rest = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join([first.replace(b"driver", b"DRIVER"), *rest]))
    words = [sys.executable, "-m", "nas.submit.controller", str(tmp_path / "run")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and "Traceback" not in done.stderr + done.stdout
    assert json.loads((tmp_path / "run/cluster/scheduler.json").read_text()) == {"over": True}


def test_a_dry_run_prints_the_file_and_writes_nothing(written, tmp_path, capsys):
    cli.app(["submit", "mine.yaml", "--run", "run", "--dry-run"], standalone_mode=False)
    text = capsys.readouterr().out
    assert text.startswith("#!/bin/bash\n")
    assert subprocess.run([shutil.which("bash"), "-n"], input=text, text=True).returncode == 0
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--time", "01:00:00"], "which knows no time"),
        (["--partition", "gpu", "--nodes", "2"], "which knows no nodes, partition"),
        (["--to", "kubernetes"], "say container and claim, too"),
    ],
)
def test_what_a_shell_file_cannot_mean_is_refused(written, tmp_path, flags, message):
    with pytest.raises(InputError, match=message):
        written(*flags)
    assert not (tmp_path / "run").exists()
