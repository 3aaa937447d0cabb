"""Compiled passes: the same training, decided by what it costs, and none where a compiler fails."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import NETWORK, TIMES

from nas.cluster import environment
from nas.cluster.slot import Slot, pickled
from nas.objective import Context
from nas.records import Attempt, Succeeded
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, compiling
from nas.train.compiling import TYPICAL, VAIN, Cost, vain

EXPERTS: list[Any] = [
    {"flatten": {}},
    {"linear": 8},
    {"mixture_of_experts": {"experts": 2, "top_k": 1, "hidden": 8}},
    {"linear": 10},
]
PARTS = {"micro_batch": 100, "noise_scale": True, "average": 0.9, "mixup": 0.2, "flip": True}


def trained(
    network: list[Any], context: Context | None = None, epochs: int = 2, **settings: Any
) -> tuple[dict[str, float], Context]:
    context = context or Context(0, 3)
    train = TrainSettings(epochs=epochs, batch_size=256, **settings)
    metrics = Trainer(train, DatasetTask(dataset="digits"))(Candidate(network, {}), context)
    return {name: value for name, value in metrics.items() if name not in TIMES}, context


@pytest.mark.parametrize(
    ("network", "settings"),
    [(NETWORK, {}), (NETWORK, {"precision": "bf16", **PARTS}), pytest.param(EXPERTS, {}, marks=pytest.mark.slow)],
)
def test_what_is_compiled_trains_as_what_is_not(monkeypatch, network, settings):
    """Weights, statistics, parts, averages, modules' own losses: to the last bit, with a backend that changes none."""
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    plain, _ = trained(network, compile="off", **settings)
    fast, context = trained(network, compile="on", **settings)
    assert fast == plain
    assert context.notes["compiled"] is True
    assert "compiling" in context.notes["compile_reason"]


def test_a_compiled_training_that_pauses_goes_on_to_the_last_bit(monkeypatch, tmp_path: Path):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    whole, _ = trained(NETWORK, compile="on", average=0.9)
    paused = Context(0, 3, until=1, folder=tmp_path)
    trained(NETWORK, paused, compile="on", average=0.9)
    rest, context = trained(NETWORK, Context(0, 3, saved=tmp_path), compile="on", average=0.9)
    assert context.notes["continued_from_epoch"] == 1
    assert context.notes["compiled"] is True
    assert rest == whole


def test_a_compiler_that_raises_costs_no_trial(monkeypatch):
    """Most machines without a GPU's toolkit, or without g++, are such."""
    monkeypatch.setattr(compiling, "BACKEND", "nobody's")
    plain, _ = trained(NETWORK, compile="off")
    fallen, context = trained(NETWORK, compile="on")
    assert fallen == plain
    assert context.notes["compiled"] is False
    assert context.notes["compile_reason"].startswith("on: compiling raised InvalidBackend: ")


def test_auto_leaves_a_cpu_alone():
    """There compiling takes longer than the trial, and saves nothing."""
    _, context = trained(NETWORK, epochs=1)
    assert "compiled" not in context.notes


def test_a_recorded_trial_is_repeated_as_it_was_compiled(monkeypatch):
    monkeypatch.setattr(compiling, "BACKEND", "eager")
    trainer = Trainer(TrainSettings(epochs=1, compile="on"), DatasetTask(dataset="digits"))
    for recorded in ({"compiled": True}, {"compiled": False, "compile_reason": "auto: ..."}, {}):
        context = Context(0, 3)
        trainer.repeating({"dtype": "float32", **recorded})(Candidate(NETWORK, {}), context)
        assert context.notes.get("compiled", False) is recorded.get("compiled", False)


def test_it_pays_where_the_steps_save_more_than_it_costs():
    cost = Cost(compiling=10.0, plain=0.010, compiled=0.008)
    assert [cost.pays(steps) for steps in (1_000, 9_999, 10_001)] == [False, False, True]
    assert not Cost(10.0, 0.010, 0.010).pays(10**9)
    assert not Cost(10.0, 0.010, 0.012).pays(10**9)


def test_it_is_tried_where_trying_in_vain_would_cost_little():
    """As long as nobody knows what compiling takes here, a short trial is not to pay for finding out."""
    assert "compiling about 40 s" in vain(VAIN * TYPICAL - 1, [])
    assert vain(VAIN * TYPICAL, []) == ""
    assert vain(VAIN * 5.0, [1.0, 5.0, 90.0]) == ""
    assert vain(float("inf"), []) == "no step could be timed"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_torch_s_own_compiler_trains_to_the_same_accuracy_or_is_said_to_be_missing():
    """That what torch offers is still called as it wants to be."""
    network: list[Any] = [{"flatten": {}}, {"linear": 16}, {"activation": "relu"}, {"linear": 10}]
    plain, _ = trained(network, compile="off", precision="fp32", epochs=3)
    fast, context = trained(network, compile="on", precision="fp32", epochs=3)
    assert context.notes["compiled"] or "compiling raised" in context.notes["compile_reason"]
    assert fast["accuracy"] == pytest.approx(plain["accuracy"], abs=0.02)
    assert torch.isfinite(torch.tensor(fast["loss"]))


def compiles(candidate: Candidate, context: Context) -> Mapping[str, float]:
    """How much of it was found in torch's cache."""
    from torch._dynamo.utils import counters

    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
    compiling.compiled(network)(torch.ones(4, 8)).sum().backward()
    counts = {name: count for group in ("inductor", "aot_autograd") for name, count in counters[group].items()}
    return {
        ending: sum(count for name, count in counts.items() if name.endswith(f"cache_{ending}"))
        for ending in ("hit", "miss")
    }


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("g++"), reason="torch's compiler for CPUs wants g++")
def test_what_one_worker_compiled_the_one_beside_it_takes_from_it(monkeypatch, tmp_path):
    """Else each slot of a host compiles every shape anew, for as long as a trial may take."""
    monkeypatch.setattr(environment, "HERE", tmp_path)
    monkeypatch.delenv(environment.COMPILED, raising=False)
    found = []
    for number in range(2):
        own = tmp_path / f"tmpdir-{number}"
        own.mkdir()
        monkeypatch.setenv("TMPDIR", str(own))
        slot = Slot(pickled(compiles), preload=["nas.train.compiling"])
        try:
            outcome = slot.run(Attempt("run", number, 0, {"architecture": []}, "hash", 7, str(tmp_path / f"{number}")))
        finally:
            slot.close()
        assert isinstance(outcome, Succeeded), outcome
        found.append((outcome.metrics["hit"] > 0, outcome.metrics["miss"] > 0))
    assert found == [(False, True), (True, False)]
