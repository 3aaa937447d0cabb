"""What stands in the files of a run: nothing that is loaded as code, and nothing of the environment.

Who may read a run (a colleague, for a bug report) must not get a token with it, and who may write in one must not get
to run code as its owner. Runs on SLURM are looked at in tests/slurm.
"""

from __future__ import annotations

import base64
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
from run_files import files, holds_no_pickle, mentions, pickled

import nas
from nas import cli, store
from nas.cluster.environment import settings
from nas.cluster.settings import SUBMITTED, Kind
from nas.config import from_plain
from nas.errors import InputError

SECRET = "correct-horse-battery-staple"
CONFIG = """
name: secretive
space: digits_cnn
task: {dataset: digits, validation: 0.2}
scheduler: asha
budget: {trials: 5}
train: {epochs: 3, precision: fp32}
cluster: {workers: 1}
"""


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_the_look_for_pickles_finds_them(tmp_path: Path, protocol: int) -> None:
    data = pickle.dumps({"weights": [1.0, 2.0], "path": Path("x")}, protocol)
    (tmp_path / "whole").write_bytes(data)
    assert pickled(tmp_path / "whole")
    if protocol >= 4:
        for name, text in (("hex", data.hex().encode()), ("base64", base64.b64encode(data)), ("bytes", data)):
            (tmp_path / name).write_bytes(b'{"state":"' + text + b'"}')
            assert pickled(tmp_path / name)


@pytest.mark.timeout(120)
def test_a_run_with_all_that_may_be_in_its_folder_holds_no_pickle_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logs, results, states of paused trials, a snapshot of a learning controller: of a run of the shipped trainer."""
    monkeypatch.setenv("NAS_TEST_TOKEN", SECRET)
    (tmp_path / "secretive.yaml").write_text(CONFIG)
    run = tmp_path / "run"
    done = subprocess.run(
        [sys.executable, "-m", "nas", "search", str(tmp_path / "secretive.yaml"), "--run", str(run)],
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    kinds = {path.name for path in files(run)}
    assert kinds >= {"000001.jsonl", "result.json", "log.txt", "checkpoint.safetensors", "worker-0.log", "config.yaml"}
    holds_no_pickle(run)
    assert mentions(run, SECRET) == [] and mentions(run, "NAS_TEST_TOKEN") == []
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.filterwarnings("ignore:.*there is no snapshot")
@pytest.mark.parametrize("controller", ["rl", "evolution", "random", "optuna:tpe", "optuna:nsgaii", "optuna:cmaes"])
def test_no_controllers_state_is_a_pickle(controller: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CMA-ES keeps pickles in its trials' attributes, in hexadecimal: they stay in memory."""
    if controller == "optuna:cmaes":
        pytest.importorskip("cmaes")
    monkeypatch.setattr("nas.snapshots.FEW", 0)
    space = {"hyperparameters": {"x": {"float": [0.0, 1.0]}, "y": {"float": [0.0, 1.0]}}}
    nas.search(
        space, lambda candidate, context: candidate.hyperparameters["x"], trials=30, controller=controller,
        cluster={"kind": "inline"}, run=tmp_path / "run",
    )  # fmt: skip
    assert (tmp_path / "run/journal/snapshot").exists()
    holds_no_pickle(tmp_path / "run")


def test_what_is_recorded_of_a_host_is_on_a_list(tmp_path: Path) -> None:
    nas.search({"hyperparameters": {"x": {"float": [0.0, 1.0]}}}, lambda candidate, context: 1.0, trials=1,
               cluster={"kind": "inline"}, run=tmp_path / "run")  # fmt: skip
    started = store.history(tmp_path / "run").started
    assert started is not None
    assert set(started.hardware) == {"host", "cpu", "cores", "memory"}
    assert set(started.versions) <= {"python", "nas-orchestrator", "torch", "optuna", "distributed", "numpy"}


@pytest.mark.parametrize("kind", SUBMITTED)
def test_what_a_script_says_of_the_environment_is_on_a_list(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Threads and malloc, which every worker needs; what its config names itself; and PATH, where jobs get none."""
    for name in ("NAS_TEST_TOKEN", "AWS_SECRET_ACCESS_KEY", "PYTHONSTARTUP"):
        monkeypatch.setenv(name, SECRET)
    where = ", container: nas/nas, claim: runs" if kind == "kubernetes" else ""
    (tmp_path / "secretive.yaml").write_text(CONFIG.replace("{workers: 1}", f"{{environment: {{LANG: C}}{where}}}"))
    words = ["submit", str(tmp_path / "secretive.yaml"), "--to", kind, "--run", str(tmp_path / "new"), "--dry-run"]
    cli.app([*words, "--json"], standalone_mode=False)
    scripts = "\n".join(json.loads(capsys.readouterr().out).values())
    found = set(re.findall(r"^ *(?:export (\w+)=|- name: \"?([A-Z_]+)\"?\n *value:)", scripts, re.MULTILINE))
    named = {shell or manifest for shell, manifest in found}
    assert {"LANG", *settings(1)} <= named
    inherited = {"PATH"} if kind in ("pbs", "sge") else set()
    assert named <= {"LANG", *settings(1), "CUDA_VISIBLE_DEVICES"} | inherited
    assert SECRET not in scripts


@pytest.mark.parametrize("name", ["../outside", "/etc", ".hidden", "a/b", "Upper", "", "x" * 65, "a\nb", "-flag"])
def test_a_name_that_could_lead_elsewhere_is_refused_in_a_config_and_in_a_journal(name: str, tmp_path: Path) -> None:
    """Folders, jobs and files are called by it; a journal may come from somebody else."""
    nas.search({"hyperparameters": {"x": {"float": [0.0, 1.0]}}}, lambda candidate, context: 1.0, trials=1,
               cluster={"kind": "inline"}, run=tmp_path / "run", name="x" * 64)  # fmt: skip
    recorded = dict(store.history(tmp_path / "run").config)
    from_plain(recorded)
    with pytest.raises(InputError, match="is no name for a run"):
        from_plain({**recorded, "name": name})
