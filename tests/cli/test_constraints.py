"""Constraints and costs on the command line: what is ruled out is so before any worker is asked."""

import json
from pathlib import Path

from test_cli import CONFIG, nas

SPACE = """\
name: tiny
architecture:
  - conv: {filters: {choice: [2, 4, 6, 8, 10, 12], name: filters}, kernel: {choice: [1, 3], name: kernel}}
  - choice: [null, {residual: [{conv: 2}, {conv: 2}]}]
    name: block
  - global_pool: average
  - linear: {units: {choice: [10, 11], name: units}}
hyperparameters:
  optimizer: {sgd: {learning_rate: {float: [0.01, 0.1]}}}
constraints:
"""


def written(tmp_path: Path, *constraints: str, config: str = "") -> Path:
    lines = "".join(f"  - {constraint}\n" for constraint in constraints)
    (tmp_path / "space.yaml").write_text(SPACE + lines if constraints else SPACE.replace("constraints:\n", ""))
    (tmp_path / "config.yaml").write_text(CONFIG.replace("trials: 3", "trials: 8") + config)
    return tmp_path


def journal(tmp_path: Path) -> list[dict]:
    (segment,) = (tmp_path / "runs" / "config" / "journal").glob("*.jsonl")
    return [json.loads(line)["body"] for line in segment.read_text().splitlines()]


def test_every_trial_keeps_the_constraints_and_status_tells_what_was_rejected(tmp_path):
    written(tmp_path, "parameters <= 150", "filters >= 4", "kernel == 1 or block == none", "units == 10")
    done = nas("search", "config.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    proposals = [event["proposal"] for event in journal(tmp_path) if event["event"] == "proposed"]
    assert len(proposals) == 8
    for proposal in proposals:
        decisions = proposal["decisions"]
        assert decisions["filters"] >= 1
        assert decisions["kernel"] == 0 or decisions["block"] == 0
        assert decisions["units"] == 0
    answers = [event["outcome"]["metrics"] for event in journal(tmp_path) if event["event"] == "attempt_answered"]
    assert all(metrics["parameters"] <= 150 for metrics in answers)
    assert sum(proposal["rejected"] for proposal in proposals) > 0
    assert "draws violated a constraint" in nas("status", "runs/config", cwd=tmp_path).stdout


def test_what_cannot_be_built_is_known_before_any_worker_is_asked(tmp_path):
    """Eleven outputs do not fit ten classes: such a trial ends at once, and the controller is told."""
    assert nas("search", "config.yaml", cwd=written(tmp_path)).returncode == 0
    events = journal(tmp_path)
    broken = {e["proposal"]["number"] for e in events if e["event"] == "proposed" and e["proposal"]["invalid"]}
    assert broken == {
        e["proposal"]["number"] for e in events if e["event"] == "proposed" and e["proposal"]["decisions"]["units"]
    }
    assert broken
    assert not broken & {e["trial"] for e in events if e["event"] == "attempt_started"}
    assert broken == {e["trial"] for e in events if e["event"] == "trial_ended" and e["state"] == "failed"}


def test_a_space_that_leaves_nothing_is_refused_with_the_constraint_to_blame(tmp_path):
    done = nas("search", "config.yaml", cwd=written(tmp_path, "filters >= 2", "parameters <= 20"))
    assert done.returncode == 2
    assert "space.yaml:12:5: none of 2,000 draws satisfies the constraints" in done.stderr
    assert "violate: parameters <= 20 (parameters: 34 to" in done.stderr
    assert not (tmp_path / "runs").exists()


def test_latency_needs_a_table_and_a_table_needs_every_layer(tmp_path):
    done = nas("search", "config.yaml", cwd=written(tmp_path, "latency <= 5"))
    assert done.returncode == 2
    assert "space.yaml:11:5: 'latency' is not known here; it needs a `latency_table` in the config" in done.stderr
    (tmp_path / "latency.yaml").write_text("conv: 1\n'conv 2 @ 4x8x8': 3\nglobal_pool: 0.5\n")
    written(tmp_path, "latency <= 5", config="latency_table: latency.yaml\n")
    done = nas("search", "config.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert "latency_table: there is no line for 'linear 10 @" in done.stderr
    with (tmp_path / "latency.yaml").open("a") as table:
        table.write("linear: 0.5\nprojection: 0\n")
    assert nas("search", "config.yaml", cwd=tmp_path).returncode == 0
    (started,) = (event for event in journal(tmp_path) if event["event"] == "run_started")
    recorded = started["config"]["latency_table"]
    assert recorded == {"conv": 1, "conv 2 @ 4x8x8": 3, "global_pool": 0.5, "linear": 0.5, "projection": 0}
    (tmp_path / "latency.yaml").write_text("conv: fast\n")
    done = nas("search", "config.yaml", "--fresh", cwd=tmp_path)
    assert "latency.yaml:1:7: a latency is a number of milliseconds, 0 or more" in done.stderr
