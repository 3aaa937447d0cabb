"""Trials trained again in full: who is chosen, with which seed, and that nothing is trained twice or lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_machine import FLOATS

import nas
from nas import audit, config, driver, plan, store
from nas.cluster.inline import InlineExecutor
from nas.errors import InputError, RunHeld
from nas.objective import Context, evaluate
from nas.records import AttemptStarted, Succeeded
from nas.report import audit as report
from nas.seeds import derive
from nas.space import Candidate
from nas.store import Journal
from nas.train import Trainer

SPACE = """
architecture:
  - linear: {units: {choice: [4, 8, 16]}}
  - activation: {choice: [relu, gelu]}
  - linear: {units: =task.classes}
hyperparameters: {batch_size: 256, optimizer: {sgd: {learning_rate: {float: [0.001, 1.0], log: true}}}}
"""
CONFIG: dict[str, Any] = {
    "name": "audited",
    "space": "space.yaml",
    "task": {"dataset": "digits", "validation": 0.2},
    "seed": 4,
    "controller": "random",
    "budget": {"trials": 10},
    "train": {"epochs": 1, "precision": "fp32", "deadline": 60},
    "cluster": {"kind": "inline"},
}


def searched(folder: Path, changes: Mapping[str, Any] = {}) -> Path:
    (folder / "space.yaml").write_text(SPACE)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    driver.run(plan.plan(config.load(folder / "config.yaml")), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return searched(tmp_path_factory.mktemp("audited"))


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def trained(run: Path) -> list[int]:
    """Trials in the order in which the audits of two epochs began to train them."""
    events = [entry.event for entry in store.read(run / "audit/2/journal")]
    repeats = [event.proposal.repeats for event in events if event.event == "proposed"]
    return [repeats[event.trial] for event in events if isinstance(event, AttemptStarted)]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_sample_over_all_ranks_is_trained_longer_with_its_own_seeds(copied: Path) -> None:
    before = bytes_of(copied / "journal")
    found, _ = audit.run(copied, 5, 2)
    assert found is not None
    ranks = [one.rank for one in found.trials]
    assert [(rank - 1) // 2 for rank in ranks] == [0, 1, 2, 3, 4], "one of each fifth of the ranking"
    assert [one.epochs for one in found.trials] == [1] * 5
    one = found.trials[2]
    settings = config.from_plain(store.history(copied).config)
    trainer = Trainer(settings.train.model_copy(update={"epochs": 2}), settings.task, settings.seed)
    proposal = store.history(copied).trials[one.trial].proposal
    again = evaluate(trainer, Candidate.of(proposal.candidate), Context(0, derive(4, "train", one.trial), "cpu", 1))
    assert isinstance(again, Succeeded)
    assert one.full == {"reward": again.metrics["accuracy"]}
    assert (one.dtype, one.full_dtype) == ("float32", "float32")
    assert bytes_of(copied / "journal") == before, "the search's own journal is only read"
    assert store.history(copied / "audit/2").config["train"]["deadline"] == 120


def test_the_same_command_trains_nothing_more_and_a_larger_sample_what_it_lacks(copied: Path) -> None:
    first, _ = audit.run(copied, 5, 2)
    before = bytes_of(copied / "audit")
    assert audit.run(copied, 5, 2) == (first, None)
    assert bytes_of(copied / "audit") == before
    more, _ = audit.run(copied, 7, 2)
    assert first is not None and more is not None
    chosen = trained(copied)
    assert len(chosen) == len(set(chosen)) == len(more.trials) >= 7
    assert {one.trial: one for one in more.trials}.items() >= {one.trial: one for one in first.trials}.items()


def test_cut_anywhere_an_audit_goes_on_with_what_it_lacks(copied: Path) -> None:
    whole, _ = audit.run(copied, 5, 2)
    journal = copied / "audit/2/journal"
    lines = (journal / "000001.jsonl").read_bytes().splitlines(keepends=True)
    for cut in range(2, len(lines), 5):
        shutil.rmtree(journal)
        journal.mkdir()
        (journal / "000001.jsonl").write_bytes(b"".join(lines[:cut]) + lines[cut][:20])
        (journal / "000001.alive").write_bytes(b"released")
        before = {path: path.stat().st_mtime_ns for path in copied.rglob("result.json")}
        found, _ = audit.run(copied, 5, 2)
        assert found == whole, f"cut after line {cut}"
        assert {path: path.stat().st_mtime_ns for path in copied.rglob("result.json")} == before, "trained again"


def test_an_audit_of_another_run_is_as_if_absent(run: Path, copied: Path, tmp_path: Path) -> None:
    audit.run(copied, 5, 2)
    other = tmp_path / "other"
    other.mkdir()
    other = searched(other)
    shutil.copytree(copied / "audit", other / "audit")
    assert audit.found(copied, store.history(copied)) is not None
    assert audit.found(other, store.history(other)) is None
    with pytest.raises(InputError, match=r"controller\.audit\.run"):
        audit.run(other, 5, 2)


def test_what_fails_in_full_training_is_the_worst_there_and_named(copied: Path) -> None:
    """The objective of an audit of 2 epochs that diverges for one of its trials."""
    found, _ = audit.run(copied, 5, 2)
    assert found is not None
    best = max(found.trials, key=lambda one: one.signal["reward"]).trial
    shutil.rmtree(copied / "audit")

    def drive(planned: plan.Plan, folder: Path) -> driver.Ended:
        def objective(candidate: Candidate, context: Context) -> Any:
            if context.seed == derive(4, "train", best):
                raise nas.Diverged("the loss is infinite")
            return planned.objective(candidate, context)

        executor = InlineExecutor(objective)
        return driver.run(plan.replace(planned, objective=objective, connect=lambda folder: executor), folder)

    failing, _ = audit.run(copied, 5, 2, drive=drive)
    assert failing is not None
    (one,) = [one for one in failing.trials if one.failure]
    assert (one.trial, one.full, one.failure) == (best, None, "diverged")
    before, after = found.agreement["reward"].kendall.estimate, failing.agreement["reward"].kendall.estimate
    assert before is not None and after is not None and after < before
    assert "diverged" in report.page(failing.plain(), "run")


def test_unless_told_otherwise_full_is_four_times_what_the_search_trained_and_that_is_said(copied: Path) -> None:
    """Without a default the plain command would be refused on every run whose trials were trained to their end."""
    told: list[str] = []
    found, _ = audit.run(copied, 5, note=told.append)
    assert found is not None and found.epochs == 4
    assert told == ["a full training is taken to be 4 epochs, 4 times the search's 1; --epochs N says otherwise"]
    assert audit.run(copied, 5) == (found, None), "the same command goes on with the same audit"


def test_a_search_by_a_score_of_untrained_networks_is_compared_with_accuracy(tmp_path: Path) -> None:
    run = searched(tmp_path, {"train": {"epochs": 0, "scores": ["naswot"], "precision": "fp32"}, "reward": {}})
    found, _ = audit.run(run, 5, 1)
    assert found is not None
    assert all(0 < one.full["reward"] <= 1 < one.signal["reward"] for one in found.trials if one.full)
    assert [one.epochs for one in found.trials] == [0] * 5


def test_what_a_scheduler_cut_short_is_trained_to_its_end_and_length_comes_before_reward(tmp_path: Path) -> None:
    run = searched(tmp_path, {"train": {"epochs": 3, "precision": "fp32"}, "scheduler": "asha"})
    told: list[str] = []
    found, _ = audit.run(run, 5, note=told.append)
    assert found is not None
    assert (found.epochs, found.of) == (3, 10)
    assert "taken to be 3 epochs, train.epochs, which the scheduler cut short" in told[0]
    lengths = [one.epochs for one in found.trials]
    assert lengths == sorted(lengths, reverse=True), "the search ranks what it let train longer before"
    assert set(lengths) == {1, 3}
    full = store.history(run / "audit/3")
    assert {trial.reached for trial in full.trials.values()} == {3}
    assert audit.found(run, store.history(run)) == found


@pytest.mark.parametrize(
    ("sample", "epochs", "words"),
    [
        (11, 2, "--sample 11: .* has 10 ranked trials"),
        (5, 1, "--epochs 1: every trial was trained for as many"),
        (5, 10**20, "--epochs 10+: no training is longer than 2,147,483,647 epochs"),
    ],
)
def test_what_cannot_be_audited_is_said(run: Path, sample: int, epochs: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        audit.run(run, sample, epochs)
    assert not (run / "audit").exists()


def test_runs_that_are_none_are_held_or_are_not_ours_are_refused(run: Path, copied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        audit.run(tmp_path / "nothing", 5, 2)
    (tmp_path / "short").mkdir()
    with pytest.raises(InputError, match="--epochs 2: the search trained for 3"):
        audit.run(searched(tmp_path / "short", {"train": {"epochs": 3}, "budget": {"trials": 5}}), 5, 2)
    nas.search(FLOATS, lambda candidate, context: 1.0, trials=5, run=tmp_path / "python", cluster={"kind": "inline"})
    with pytest.raises(InputError, match="started from Python"):
        audit.run(tmp_path / "python", 5, 2)
    journal, _ = Journal.claim(copied / "journal", 1000.0)
    with pytest.raises(RunHeld, match="a driver is at work on this run"):
        audit.run(copied, 5, 2)
    journal.close()
    audit.run(copied, 5, 2)
    with pytest.raises(InputError, match="is itself an audit"):
        audit.run(copied / "audit/2", 5, 3)
    with pytest.raises(InputError, match="gone on with, by: nas audit"):
        driver.machine(plan.recorded_plan(copied / "audit/2"))


def test_a_low_correlation_is_a_warning_and_a_field_of_the_leaderboard(copied: Path) -> None:
    from nas.cli.reading import ranked_rows
    from nas.report import tables

    audit.run(copied, 5, 2)
    history = store.history(copied)
    settings = config.from_plain(history.config).reward
    rows, _ = ranked_rows({copied: history}, {copied: settings})
    found = audit.found(copied, history)
    assert found is not None
    assert {json.dumps(row.audit) for row in rows} == {json.dumps(found.brief())}
    for tau, low in ((0.49, True), (0.51, False), (None, True)):
        plain = [row.plain() | {"audit": found.brief() | {"kendall": tau, "low": low}} for row in rows]
        assert ("WARNING: these ranks are not to be relied on" in tables.render(plain, "table", 100)) == low
        assert ("WARNING" in tables.render(plain, "markdown")) == low
