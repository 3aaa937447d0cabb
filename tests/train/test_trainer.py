"""The trainer: it learns, it says what it did, it repeats itself exactly, and it fails by the right name."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_trials import NETWORK, TIMES

from nas import documents
from nas.config import Override, load
from nas.errors import Diverged, InputError, InvalidCandidate, OutOfMemory
from nas.objective import Context, evaluate
from nas.plan import plan
from nas.records import Failed, Succeeded
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, data, memory


def candidate(architecture: list[Any] = NETWORK, **hyperparameters: Any) -> Candidate:
    return Candidate(architecture, hyperparameters)


def trainer(**settings: Any) -> Trainer:
    return Trainer(TrainSettings(**{"epochs": 2, "batch_size": 64, **settings}), DatasetTask(dataset="digits"), seed=5)


def without_times(metrics: Any) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if name not in TIMES}


def test_digits_are_learned_and_everything_is_recorded() -> None:
    # The product's quickstart in one trial: what is promised of every trial's record stands here.
    reports: list[tuple[int, set[str]]] = []
    context = Context(0, 1, on_report=lambda step, metrics: bool(reports.append((step, set(metrics)))))
    one = candidate(optimizer={"adamw": {"learning_rate": 2e-2}}, batch_size=32)
    metrics = trainer(epochs=8, scale_learning_rate="sqrt")(one, context)
    assert metrics["accuracy"] > 0.95 and metrics["loss"] < 0.3
    assert metrics["epochs"] == 8 and metrics["parameters"] == 4_354 and metrics["flops"] > 0
    assert metrics["rows_per_second"] > 0 and metrics["train_seconds"] > 0 and metrics["peak_memory"] > 1e8
    # Share of peak: three times the forward pass's FLOPs, over what a product of matrices reaches.
    of_peak = 3 * metrics["flops"] * metrics["rows_per_second"] / context.notes["peak_flops"]
    assert metrics["share_of_peak"] == pytest.approx(of_peak) and of_peak > 0
    assert set(context.notes["spent"]) == {"data", "forward", "backward", "optimizer", "evaluation"}
    assert min(context.notes["spent"].values()) > 0
    assert sum(context.notes["spent"].values()) - context.notes["spent"]["evaluation"] == metrics["train_seconds"]
    assert reports == [(epoch, {"accuracy", "top5", "loss", "train_loss"}) for epoch in range(1, 9)]
    assert context.notes["optimizer"] == "adamw" and context.notes["batch_size"] == 32
    assert context.notes["learning_rate"] == pytest.approx(2e-2 * (32 / 256) ** 0.5)
    assert context.notes["dtype"] in ("float32", "bfloat16") and context.notes["dtype_reason"].startswith("auto: ")
    assert context.notes["device"]
    assert context.notes["weight_norm"]["initial"] != context.notes["weight_norm"]["final"] > 0


CHILD = """
import json, pickle, sys
from nas.objective import Context
trainer, candidate = pickle.loads(sys.stdin.buffer.read())
print(json.dumps(trainer(candidate, Context(0, 1, threads=1))))
"""


def in_a_process(*, precision: str) -> dict[str, float]:
    given = pickle.dumps((trainer(precision=precision), candidate()))
    done = subprocess.run([sys.executable, "-c", CHILD], input=given, capture_output=True, check=True)
    return without_times(json.loads(done.stdout))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_reused_process_gives_the_bits_of_a_fresh_one(precision: str) -> None:
    # A warm child is reused for the next candidate; a result must not depend on what it trained before, or on how
    # many threads that had, and an attempt repeated elsewhere must be the same trial.
    fresh = in_a_process(precision=precision)
    other = candidate(NETWORK[:3] + NETWORK[4:], batch_size=48)
    trainer(precision=precision)(other, Context(9, 99, threads=2))
    random = torch.get_rng_state()
    here = trainer(precision=precision)(candidate(), Context(0, 1, threads=1))
    assert without_times(here) == fresh
    assert torch.equal(torch.get_rng_state(), random)


FIRST_TRIAL = """
import importlib, pickle, sys
from nas.plan import PRELOAD
for name in PRELOAD:
    importlib.import_module(name)
before = set(sys.modules)
from nas.objective import Context
trainer, candidate = pickle.loads(sys.stdin.buffer.read())
trainer.one_batch()(candidate, Context(0, 1))
print(*(name for name in set(sys.modules) - before if name.startswith(("torch.", "sympy"))))
"""


def test_a_fresh_childs_first_trial_imports_no_more_of_torch() -> None:
    # Torch imports much of itself late: what a fork server has not, each fresh child pays for, 2 s for its optimizers.
    given = pickle.dumps((trainer(), candidate()))
    done = subprocess.run([sys.executable, "-c", FIRST_TRIAL], input=given, capture_output=True, check=True)
    assert len(done.stdout.split()) < 10, done.stdout


def test_seeds_decide() -> None:
    # The trial's seed draws weights and order, the run's the split; were one ignored, repeating would tell nothing.
    base = without_times(trainer()(candidate(), Context(0, 1)))
    assert without_times(trainer()(candidate(), Context(0, 2))) != base
    images = data.resident(DatasetTask(dataset="digits"), "train", None, "cpu")
    splits = [data.split_resident(images, 0.1, seed)[1].tolist() for seed in (5, 5, 6)]
    assert splits[0] == splits[1] != splits[2]


def test_a_report_may_stop_the_training() -> None:
    # Without it no scheduler could end what will not win.
    metrics = trainer(epochs=5)(candidate(), Context(0, 1, on_report=lambda step, metrics: step == 2))
    assert metrics["epochs"] == 2


def test_reports_hold_what_a_reward_is_made_of_and_is_known_before_training(tmp_path: Path) -> None:
    # What stops trials by their reports would else stop a small network for the accuracy of a large one.
    file, text = tmp_path / "limited.yaml", "space: digits_cnn\ntask: {dataset: digits}\n"
    limits = "{parameters: {at_most: 1000}, synflow: {at_most: 1}}"
    file.write_text(f"{text}reward: {{limits: {limits}}}\ntrain: {{epochs: 2, scores: [synflow]}}\n")
    assert plan(load(file)).objective.reported == ()  # the journal need not hold them then
    planned = plan(load(file, [Override("scheduler", "median", "--scheduler median")])).objective
    reports: list[dict[str, float]] = []
    metrics = planned(candidate(), Context(0, 1, on_report=lambda step, reached: bool(reports.append(dict(reached)))))
    measured = {"accuracy", "top5", "loss", "train_loss"}
    known = {name: metrics[name] for name in ("parameters", "synflow")}
    assert [{n: report[n] for n in report.keys() - measured} for report in reports] == [known] * 2


def test_one_batch_says_whether_a_candidate_trains() -> None:
    # `nas search --smoke` promises an answer in seconds: it must not run the epochs.
    metrics = trainer(epochs=1000).one_batch()(candidate(), Context(0, 1))
    assert metrics["epochs"] == 1
    assert metrics["rows_per_second"] * metrics["train_seconds"] == pytest.approx(64)


def test_a_batch_is_at_most_the_training_data() -> None:
    # A batch larger than the data would otherwise make epochs of no step at all.
    context = Context(0, 1)
    trainer(epochs=1)(candidate(batch_size=100_000), context)
    assert context.notes["batch_size"] == 1296


def test_a_loss_that_leaves_the_numbers_is_divergence() -> None:
    # A controller must never see NaN, and "error" would count as our own bug.
    one = candidate(optimizer={"sgd": {"learning_rate": 1e30}})
    with pytest.raises(Diverged, match="by step"):
        trainer()(one, Context(0, 1))


def test_memory_that_ends_is_called_so() -> None:
    # 2 PB of weights: the allocator refuses at once, as it would on a card that is too small.
    huge = candidate([{"conv": 7_000_000}, {"conv": 7_000_000}, {"global_pool": "average"}, {"linear": 10}])
    with pytest.raises(OutOfMemory, match="allocate"):
        trainer()(huge, Context(0, 1))


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"batchsize": 3}, "hyperparameters.batchsize: unknown key 'batchsize'; did you mean 'batch_size'?"),
    ({"batch_size": 0}, "hyperparameters.batch_size: 0 is wrong here"),
    ({"batch_size": 1.5}, "hyperparameters.batch_size: 1.5 is wrong here"),
    ({"optimizer": "adamv"}, "hyperparameters.optimizer: unknown key 'adamv'; did you mean 'adamw'?"),
    ({"optimizer": {"sgd": {"lr": 1}}}, "hyperparameters.optimizer.sgd.lr: unknown key 'lr'"),
    ({"optimizer": {"sgd": {}, "lars": {}}}, "hyperparameters.optimizer: exactly one optimizer is needed"),
    ({"optimizer": {"sgd": {"learning_rate": -1}}}, "hyperparameters.optimizer.sgd.learning_rate: -1 is wrong here"),
    (
        {"optimizer": {"sgd": {"learning_rate": 1}}, "learning_rate": 2},
        "hyperparameters: learning_rate stands beside the optimizer and within it; say it once",
    ),
]


@pytest.mark.parametrize(("hyperparameters", "message"), WRONG, ids=[str(wrong)[:40] for wrong, _ in WRONG])
def test_wrong_hyperparameters_are_named(hyperparameters: dict[str, Any], message: str) -> None:
    # A misspelt setting that is ignored would be searched over for nothing.
    with pytest.raises(InvalidCandidate) as error:
        trainer()(candidate(**hyperparameters), Context(0, 1))
    assert str(error.value).startswith(message)


def test_hyperparameters_win_over_settings() -> None:
    # What a space searches must reach the optimizer, whether it stands within the optimizer's mapping or beside it.
    context = Context(0, 1)
    trainer(optimizer={"sgd": {"learning_rate": 0.3}}, epochs=1)(
        candidate(learning_rate=0.2, batch_size=128.0), context
    )
    assert context.notes["learning_rate"] == 0.2 and context.notes["optimizer"] == "sgd"
    assert context.notes["batch_size"] == 128


def test_settings_read_as_a_config_writes_them() -> None:
    # DESIGN's own example of a config, and its errors at their place.
    text = "{epochs: 6, precision: auto, scale_learning_rate: linear, warmup_epochs: 1, deadline: 10m, optimizer: lamb}"
    settings = documents.validate(TrainSettings, documents.parse(text, "config.yaml"))
    assert settings.deadline == 600.0 and settings.optimizer.name == "lamb"
    again = documents.validate(TrainSettings, documents.plain(settings.model_dump(mode="json")))
    assert again == settings
    with pytest.raises(InputError, match=r"config.yaml:1:13: .*did you mean 'bf16'"):
        documents.validate(TrainSettings, documents.parse("{precision: bf61}", "config.yaml"))
    with pytest.raises(InputError, match=r"unknown key 'momentun'; did you mean 'momentum'"):
        documents.validate(TrainSettings, documents.parse("{optimizer: {sgd: {momentun: 0.9}}}", "config.yaml"))


def test_peak_memory_is_the_trials_own() -> None:
    # A lifetime's maximum would charge every candidate with the largest one before it.
    cpu = torch.device("cpu")
    block = torch.ones(100_000_000)
    high = memory.peak(cpu)
    del block
    memory.forget_peak(cpu)
    assert memory.peak(cpu) < high - 300_000_000
    # Small blocks malloc keeps, where something above them is still in use.
    blocks = [torch.ones(25_000) for _ in range(3_000)]
    high, last = memory.peak(cpu), blocks[-1]
    del blocks
    memory.forget_peak(cpu)
    assert memory.peak(cpu) < high - 200_000_000 and last.numel()


def test_what_is_tried_before_training_is_no_part_of_its_peak() -> None:
    # A limit on peak_memory would judge 64 samples of a score, or every size that batch_size: fit tried, instead of the
    # batches trained on; slots_per_gpu: auto would divide a GPU by them.
    wide = candidate([{"conv": {"filters": 1_024, "kernel": 1}}, *[{"activation": "gelu"}] * 12, *NETWORK[-3:]])
    peaks = []
    for scores in ([], ["grad_norm"]):
        one = replace(trainer(batch_size=2, precision="fp32", scores=scores), steps=1)
        peaks.append(one(wide, Context(0, 1))["peak_memory"])
    assert peaks[1] < peaks[0] + 60_000_000  # the score's maps alone take 200 MB


def test_outcomes_name_the_failure() -> None:
    # The trainer through the door that every executor uses.
    good = evaluate(trainer(epochs=1), candidate(), Context(0, 1))
    assert isinstance(good, Succeeded) and good.notes["dtype_reason"]
    bad = evaluate(trainer(), candidate([{"conv": 3}]), Context(0, 1))
    assert isinstance(bad, Failed) and bad.kind == "invalid"
