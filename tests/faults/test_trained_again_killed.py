"""kill -9 of the real commands while they train chosen trials again on real Dask workers: replicates, an audit."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aftermath import half_written, sound
from test_kill import CONFIG, SPACE, kill, start

from nas import store
from nas.records import AttemptStarted, ReplicateEnded, Succeeded


def ended(run: Path) -> list[tuple[int, int]]:
    found = (entry.event for entry in store.read(run / "journal"))
    return [(event.trial, event.replicate) for event in found if isinstance(event, ReplicateEnded)]


def audited(run: Path) -> dict[int, float]:
    """What the audit of six epochs has brought so far: the loss, by the audited trial."""
    place = run / "audit/6"
    trials = store.history(place).trials.values() if store.exists(place / "journal") else ()
    found = {trial.proposal.repeats: trial.outcome for trial in trials}
    return {number or 0: one.metrics["loss"] for number, one in found.items() if isinstance(one, Succeeded)}


def board(run: Path) -> list[dict[str, object]]:
    words = [sys.executable, "-m", "nas", "leaderboard", str(run), "--format", "json"]
    rows: list[dict[str, object]] = json.loads(subprocess.run(words, capture_output=True, check=True).stdout)
    return rows


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_amid_replicates_and_amid_its_audit_a_run_loses_none_and_trains_none_twice(tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(SPACE)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(space=tmp_path / "space.yaml", trials=6))
    run = tmp_path / "run"
    process = start("search", str(config), "--run", str(run), "--replicate", "3", "--set", "replicate.top=4")
    until = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < until:
        if store.exists(run / "journal") and len(ended(run)) >= 3:
            break
        time.sleep(0.01)
    kill(process, "everything")
    before = ended(run)
    assert 3 <= len(before) < 12, "the kill was meant to come amid the replicates"
    outcomes = {one: store.history(run).trials[one[0]].replicates[one[1] - 1] for one in before}
    resumed = start("resume", str(run))
    assert resumed.wait(timeout=150) == 0, resumed.stderr.read().decode() if resumed.stderr else ""
    history = sound(run)
    assert half_written(run) == []
    assert sorted(ended(run)) == sorted({*ended(run)}), "a replicate ended twice"
    assert len(ended(run)) == 12 and not history.replicates_left
    for (trial, replicate), outcome in outcomes.items():
        assert history.trials[trial].replicates[replicate - 1] == outcome
    launched = [e.event for e in store.read(run / "journal") if isinstance(e.event, AttemptStarted)]
    again = [(e.trial, e.replicate) for e in launched if e.replicate]
    assert len(again) - len({*again}) <= 2, "only what ran when the kill came is trained again"
    found = board(run)
    told = [row["replicates"] for row in found if row["replicates"]]
    assert len(told) == 4
    means = [one["mean"] for one in told]
    assert means == sorted(means, reverse=True)
    losses = {
        outcome.metrics["loss"]
        for trial in history.trials.values()
        for outcome in [trial.outcome, *trial.replicates]
        if isinstance(outcome, Succeeded)
    }
    assert len(losses) == 6 + 12, "trainings with other seeds were meant to differ"

    words = ("audit", str(run), "--sample", "6", "--epochs", "6")
    journal = {path.name: path.read_bytes() for path in (run / "journal").iterdir()}
    process = start(*words)
    until = time.monotonic() + 120
    while process.poll() is None and not audited(run) and time.monotonic() < until:
        time.sleep(0.01)
    kill(process, "everything")
    before = audited(run)
    assert 1 <= len(before) < 6, "the kill was meant to come amid the audit"
    done = subprocess.run([sys.executable, "-m", "nas", *words, "--json"], capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["trials"]) == 6
    assert len(audited(run)) == 6 and audited(run).items() >= before.items()
    assert half_written(run) == []
    entries = store.read(run / "audit/6/journal")
    again = [(e.event.trial, e.event.attempt) for e in entries if isinstance(e.event, AttemptStarted)]
    assert len(again) <= 6 + 2, "only what ran when the kill came is trained again"
    assert {path.name: path.read_bytes() for path in (run / "journal").iterdir()} == journal
    assert {json.dumps(row["audit"]) for row in board(run)} != {"{}"}
