"""Batches in parts, batches that are to fit, and the noise of gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, memory
from nas.train.accumulation import Accumulation, NoiseScale
from nas.train.augmentation import Targets
from nas.train.fitting import largest_that_pays, within
from nas.train.plugins import BUILT_IN
from nas.train.precision import LossScaling, Precision
from nas.train.problems import PROBLEMS, UNLABELLED, Problem
from nas.train.trial import Trial

FP32 = Precision("fp32", "for the test")
CPU = torch.device("cpu")
UNSCALED = LossScaling(FP32, CPU)
NETWORK: list[Any] = [{"conv": 8}, {"activation": "relu"}, {"global_pool": "average"}, {"linear": 10}]

WITH_STATISTICS = [{"conv": 4}, {"norm": "batch"}, {"global_pool": "average"}, {"dropout": 0.2}, {"linear": 10}]


def gradient(
    network: nn.Module, problem: Problem, inputs: torch.Tensor, targets: Targets, micro: int
) -> tuple[torch.Tensor, torch.Tensor]:
    loss = Accumulation(network, problem, FP32, UNSCALED, [], micro).gradients(inputs, targets, 1)
    return loss, torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


@pytest.mark.parametrize("micro", [1, 3, 8, 19])
@pytest.mark.parametrize("kind", ["classification", "mixed", "regression", "segmentation", "language_model"])
def test_parts_give_the_gradient_of_the_whole(kind: str, micro: int) -> None:
    # To 1e-6, also where parts are of unequal size, and where masks leave them unequally many pixels to judge.
    torch.manual_seed(1)
    inputs = torch.randn(20, 3, 6)
    network = nn.Sequential(nn.Flatten(), nn.Linear(18, 12), nn.Tanh(), nn.Linear(12, 12))
    labels = torch.randint(0, 12, (20,))
    targets = Targets(labels)
    if kind == "mixed":
        kind, targets = "classification", Targets(labels, labels.flip(0), 0.3)
    elif kind == "regression":
        targets = Targets(torch.randn(20, 12))
    elif kind == "segmentation":
        network.append(nn.Unflatten(1, (3, 2, 2)))
        masks = torch.randint(0, 3, (20, 2, 2))
        masks[torch.rand(20, 2, 2) < 0.5] = UNLABELLED
        targets = Targets(masks)
    elif kind == "language_model":
        network.append(nn.Unflatten(1, (4, 3)))
        targets = Targets(torch.randint(0, 3, (20, 4)))
    whole_loss, whole = gradient(network, PROBLEMS[kind], inputs, targets, 20)
    loss, parts = gradient(network, PROBLEMS[kind], inputs, targets, micro)
    assert torch.allclose(parts, whole, rtol=0, atol=1e-6) and torch.allclose(loss, whole_loss, atol=1e-6)
    assert whole.norm() > 0.01


@pytest.mark.parametrize("looks", [False, True])
def test_no_part_is_a_single_sample(looks: bool) -> None:
    # A batch norm raises on one in training: a sound network would fail for its batch being odd.
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    seen: list[int] = []
    network.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    for batch in (2, 3, 4, 5, 7, 16, 33):
        for micro in (1, 2, 3, 6):
            seen.clear()
            noise = NoiseScale() if looks else None
            accumulation = Accumulation(network, PROBLEMS["classification"], FP32, UNSCALED, [], micro, noise)
            accumulation.gradients(torch.randn(batch, 3), Targets(torch.randint(0, 2, (batch,))), 0)
            assert sum(seen) == batch and min(seen) >= 2 and max(seen) <= max(micro, 3)
            assert noise is None or noise.measured == (batch > 3)  # of two or three there are no two parts


def trained(
    architecture: Any = NETWORK, epochs: int = 2, *, memory: int | None = None, halve: bool = False, **settings: Any
) -> tuple[dict[str, float], dict[str, Any]]:
    context = Context(0, 1, memory=memory, halve=halve)
    given = TrainSettings(**{"epochs": epochs, "batch_size": 128, "precision": "fp32", **settings})
    return Trainer(given, DatasetTask(dataset="digits"), seed=5)(Candidate(architecture, {}), context), context.notes


def test_a_trial_in_parts_is_the_trial_of_the_whole_batch() -> None:
    # Ten times the memory must not be another experiment; and the record says how it was trained.
    whole, notes = trained()
    parts, in_parts = trained(micro_batch=48)
    assert parts["loss"] == pytest.approx(whole["loss"], abs=1e-4) and parts["epochs"] == whole["epochs"]
    assert in_parts["batch_size"] == 128 and in_parts["micro_batch"] == 48
    assert in_parts["micro_batch_reason"] == "micro_batch was asked for" and "micro_batch" not in notes


def test_a_trial_that_was_killed_for_memory_begins_in_halves() -> None:
    # Who is killed hears of no end of memory: as if it had come in the first step, and of a micro-batch that is given.
    whole, _ = trained()
    halves, notes = trained(halve=True)
    assert halves["loss"] == pytest.approx(whole["loss"], abs=1e-4) and notes["batch_size"] == 128
    assert (notes["micro_batch"], notes["micro_batch_reason"]) == (64, "out of memory in an earlier attempt")
    assert trained(halve=True, micro_batch=47)[1]["micro_batch"] == 24


def test_what_is_tried_before_training_takes_no_more_memory_than_training() -> None:
    # A probe of the precision that passed the whole batch would be killed in the place of the training in parts.
    task = DatasetTask(dataset="digits")
    read = (BUILT_IN, None, 0)
    for settings, halve, most in [({}, False, 128), ({}, True, 64), ({"micro_batch": 9}, True, 5)]:
        given = TrainSettings(batch_size=128, **settings)
        trial = Trial.read(Candidate(NETWORK, {}), 1, "cpu", given, task, *read, halve=halve)
        assert (trial.work(128).batch, trial.at_once(1)) == (most, 1)


class Cramped(nn.Linear):
    """Says, as torch does, that memory ended where more than ``room`` samples come at once."""

    room = 16

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.room:
            raise torch.OutOfMemoryError(f"no room for {len(x)}")
        return super().forward(x)


def test_an_end_of_memory_halves_what_passes_at_once_and_once_only() -> None:
    # The batch stays what the candidate says: its gradient is that of a larger card.
    torch.manual_seed(1)
    network = Cramped(4, 3)
    inputs, targets = torch.randn(30, 4), Targets(torch.randint(0, 3, (30,)))
    accumulation = Accumulation(network, PROBLEMS["classification"], FP32, UNSCALED, [], 30)
    loss = accumulation.gradients(inputs, targets, 6)
    assert accumulation.micro == 15 and accumulation.halved == "out of memory with 30 at once, in step 7"
    exact = nn.functional.cross_entropy(nn.functional.linear(inputs, network.weight, network.bias), targets.first)
    assert torch.allclose(loss, exact)
    (expected,) = torch.autograd.grad(exact, network.weight)
    assert torch.allclose(network.weight.grad, expected, atol=1e-6)
    network.room = 8
    with pytest.raises(torch.OutOfMemoryError, match="no room for 15"):
        accumulation.gradients(inputs, targets, 7)


@pytest.mark.parametrize(
    ("speeds", "batch", "reason"),
    [
        ([100, 190, 300, 310, 290], 128, "256 make 1.03 times the samples a second of 128"),
        ([100, 104, 110, 109, 108], 128, "256 make 0.99 times the samples a second of 128"),
        ([100, 104, None], 32, "64 make 1.04 times the samples a second of 32"),
        ([100, 190, None], 64, "128 do not fit in memory"),
        ([None], 32, "not even 32 fit; it goes in parts"),
        ([1, 2, 4, 8, 16], 512, "with 1024 an epoch would have fewer than 16 steps"),
    ],
)
def test_a_batch_is_doubled_while_it_pays(speeds: list[Any], batch: int, reason: str) -> None:
    # Each way to stop, with its reason: "why 128?" is answered by the record or by nobody.
    at = {32 * 2**index: speed for index, speed in enumerate(speeds)}
    assert largest_that_pays(lambda size: at[size], 1000, lambda: 0.0) == (batch, f"fit: {reason}")


def test_the_search_for_a_batch_is_bounded_in_time() -> None:
    ticks = iter([0.0, 1.0, 2.5])
    found = largest_that_pays(lambda size: float(size), 10**6, lambda: next(ticks))
    assert found == (64, "fit: 2 s of looking were up")


def test_a_size_is_passed_only_where_what_half_of_it_took_says_that_it_fits() -> None:
    # A slot kills at its limit: who looks for it by passing it is found dead.
    tried: list[int] = []

    def speed(batch: int) -> float:
        tried.append(batch)
        torch.ones(batch << 18)  # a MB for each sample
        return float(batch)

    memory.give_back(CPU)
    memory.forget_peak(CPU)
    limit = memory.peak(CPU) + (224 << 20)  # of 32, 64 and 128 MB the last is tried, as 3 * 64 are below it
    found = largest_that_pays(within(limit, speed), 10**6, lambda: 0.0)
    assert found == (128, "fit: 256 do not fit in memory") and tried == [32, 64, 128]


def test_a_batch_that_is_to_fit_is_looked_for_within_the_memory_of_the_slot() -> None:
    # And after a kill nothing is looked for: the look may have been what was killed.
    _, notes = trained(epochs=1, batch_size="fit", memory=1 << 20)
    assert (notes["batch_size"], notes["batch_size_reason"]) == (32, "fit: 64 do not fit in memory")
    _, notes = trained(epochs=1, batch_size="fit", halve=True)
    assert (notes["batch_size"], notes["micro_batch"]) == (32, 16)
    assert notes["batch_size_reason"] == "fit: the least, as an earlier attempt ran out of memory"


def test_a_batch_that_is_to_fit_is_found_and_leaves_no_trace() -> None:
    # Weights, batch statistics and random numbers are those of a trial that was given this batch; and a repetition
    # takes what was found, as another look may find another.
    metrics, notes = trained(WITH_STATISTICS, epochs=1, batch_size="fit")
    assert notes["batch_size"] in (32, 64) and notes["batch_size_reason"].startswith("fit: ")  # 128: ten steps
    same, _ = trained(WITH_STATISTICS, epochs=1, batch_size=notes["batch_size"])
    assert same["loss"] == metrics["loss"]
    given = TrainSettings(epochs=1, batch_size="fit", precision="fp32")
    context = Context(0, 1)
    again = Trainer(given, DatasetTask(dataset="digits"), seed=5).repeating({**notes, "batch_size": 48})
    again(Candidate(WITH_STATISTICS, {}), context)
    assert context.notes["batch_size"] == 48 and context.notes["batch_size_reason"] == notes["batch_size_reason"]


def test_the_noise_scale_of_known_noise() -> None:
    # Gradients drawn with |G|^2 = 4 and a covariance of trace 50: the estimate is 12.5 samples, without bias.
    generator = torch.Generator().manual_seed(1)
    mean = torch.zeros(10, dtype=torch.float64)
    mean[0] = 2.0
    noise = NoiseScale(decay=1.0)  # the plain mean
    for _ in range(4000):
        samples = mean + 5**0.5 * torch.randn(16, 10, generator=generator, dtype=torch.float64)
        noise.add(4, float(samples[:4].mean(0).square().sum()), 16, float(samples.mean(0).square().sum()))
    assert noise.squared_gradient == pytest.approx(4, rel=0.05) and noise.variance == pytest.approx(50, rel=0.05)
    assert noise.samples == pytest.approx(12.5, rel=0.1)
    assert noise.note(4)["says"] == f"batches of up to about {noise.samples:.0f} samples would still have helped"
    assert "help little; 512 were" in str(noise.note(512)["says"])
    lost = NoiseScale()
    lost.add(4, 8.0, 16, 2.0)  # as pure noise gives on average: the lengths fall with the batch
    assert lost.samples is None and "noise hid the gradient" in str(lost.note(16)["says"])


def test_where_nothing_was_measured_no_larger_batch_is_recommended() -> None:
    # "The noise hid the gradient" of a batch that nobody looked at sends a person after larger ones for nothing.
    noise = NoiseScale()
    assert noise.note(3)["says"] == "nothing was measured: 3 samples make no two parts to compare"
    noise.add(16, math.inf, 32, 1.0)
    overflowed = "nothing was measured: gradients overflowed at every look"
    assert noise.note(32) == {"samples": None, "measured": 0, "says": overflowed}


def test_a_trial_measures_the_noise_that_its_samples_have() -> None:
    # Against the definition (eq. 2.8): the trace of the samples' own covariance over the squared mean gradient.
    torch.manual_seed(1)
    inputs, labels = torch.randn(64, 5), torch.randint(0, 3, (64,))
    network = nn.Linear(5, 3)
    problem = PROBLEMS["classification"]
    rows = torch.stack(
        [gradient(network, problem, inputs[i : i + 1], Targets(labels[i : i + 1]), 1)[1] for i in range(64)]
    )
    trace = rows.var(0).sum()
    noise = NoiseScale(decay=1.0)
    accumulation = Accumulation(network, problem, FP32, UNSCALED, [], 64, noise)
    for _ in range(300):
        order = torch.randperm(64)
        accumulation.gradients(inputs[order], Targets(labels[order]), 0)
    # All 64 are each batch: halves differ as drawn without replacement, by trace / 64 of the whole's squared length.
    whole = float(rows.mean(0).square().sum())
    assert noise.variance == pytest.approx(float(trace), rel=0.15)
    assert noise.squared_gradient == pytest.approx(whole - float(trace) / 64, rel=0.15)
    _, notes = trained(noise_scale=True)
    assert notes["noise_scale"]["measured"] == 3 and notes["noise_scale"]["says"]
