"""The training loop, and the judging of a network. Nothing else knows how a network is trained.

Left out: a DataLoader (the data is on the device, see data.Resident), torch.compile (6 to 22 s cold, which the short
trials of a search never earn back), gradient clipping.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.errors import Diverged
from nas.train.accumulation import Accumulation, NoiseScale
from nas.train.augmentation import Augmentation, Targets
from nas.train.averaging import Average
from nas.train.data import Resident
from nas.train.modules.auxiliary import auxiliaries
from nas.train.optimizers import course
from nas.train.precision import LossScaling, Precision
from nas.train.problems import Judgement, Problem

EVALUATION_BATCH = 512  # at most, and at most 4 training batches: what fits in training is to fit here
CHECK_EVERY = 16  # steps between looks at the loss: each makes a GPU wait


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train, with everything decided."""

    epochs: int
    batch: int
    learning_rate: float  # at the top of its course
    warmup_epochs: float
    precision: Precision
    steps: int | None = None  # an end before the epochs' (one batch, to see whether anything works)
    micro_batch: int | None = None  # samples that pass at once; None: the batch
    noise_scale: bool = False  # whether to estimate it; batches are then halved now and then


@dataclass(frozen=True, slots=True)
class Result:
    metrics: Mapping[str, float]  # of the validation samples, after the last epoch
    epochs: int
    images_per_second: float  # of training alone
    train_seconds: float  # without evaluation
    micro_batch: int  # samples that passed at once, at the end
    halved: str = ""  # why that is less than the recipe says
    noise_scale: NoiseScale | None = None

    def notes(self, batch: int) -> dict[str, Any]:
        """What a trial's record says of how its batches went through."""
        said: dict[str, Any] = {}
        if self.micro_batch < batch:
            why = self.halved or "micro_batch was asked for"
            said = {"micro_batch": self.micro_batch, "micro_batch_reason": why}
        return {**said, "noise_scale": self.noise_scale.note(batch)} if self.noise_scale else said


Report = Callable[[int, Mapping[str, float]], bool]


def fit(
    network: nn.Module,
    problem: Problem,
    judged: Callable[[], Judgement],
    optimizer: Optimizer,
    data: Resident,
    train: Tensor,
    validation: Tensor,
    recipe: Recipe,
    shuffle: torch.Generator,
    report: Report,
    *,
    augmentation: Augmentation | None = None,
    average: Average | None = None,
) -> Result:
    """Train on the samples at ``train`` (indices) and judge on those at ``validation`` after each epoch.

    Each epoch is a fresh shuffle cut into whole batches; what does not fill the last one is left to other epochs. What
    is trained on is the problem's loss and those that modules have of their own (layers/auxiliary.py).
    ``report(epoch, metrics)`` is called with epochs from 1, and says whether to stop. With an ``average`` its weights
    are judged, and stand in the network at the end.

    Raises:
        Diverged: the loss left the finite numbers, or in fp16 gradients did at every scale.
    """
    device = data.device
    auxiliary = list(auxiliaries(network).values())
    scaling = LossScaling(recipe.precision, device)
    micro = min(recipe.micro_batch or recipe.batch, recipe.batch)
    noise = NoiseScale() if recipe.noise_scale else None
    accumulation = Accumulation(network, problem, recipe.precision, scaling, auxiliary, micro, noise)
    batches = max(1, len(train) // recipe.batch)
    total = recipe.epochs * batches if recipe.steps is None else recipe.steps
    warmup = min(round(recipe.warmup_epochs * batches), total // 2)
    step, images, seconds, epoch = 0, 0, 0.0, 0
    metrics: dict[str, float] = {}
    while step < total:
        network.train()
        for module in auxiliary:
            module.forget()
        started = time.perf_counter()
        order = train[torch.randperm(len(train), generator=shuffle, device=device)]
        losses = torch.zeros((), device=device)
        epoch_start = step
        for indices in torch.split(order, recipe.batch)[: min(batches, total - step)]:
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * course(step, warmup, total)
            inputs, labels = data.batch(indices)
            targets = Targets(labels)
            if augmentation:
                inputs, targets = augmentation(inputs, labels, step)
            batch_loss = accumulation.gradients(inputs, targets, step)
            scaling.step(optimizer)
            if average:
                average.update()
            losses += batch_loss
            step, images = step + 1, images + len(indices)
            if step % CHECK_EVERY == 0:
                _require_finite(losses, step, total)
        train_loss = _require_finite(losses, step, total) / (step - epoch_start)
        scaling.require_progress(step, total)
        seconds += time.perf_counter() - started
        epoch += 1
        parts = torch.split(validation, min(EVALUATION_BATCH, 4 * accumulation.micro))
        with average.in_place() if average else nullcontext():
            metrics = evaluate(network, judged(), data, parts, recipe.precision)
        _require_finite(metrics["loss"], step, total)
        if report(epoch, {**metrics, "train_loss": train_loss}):
            break
    if average:
        average.exchange()
    return Result(metrics, epoch, images / seconds, seconds, accumulation.micro, accumulation.halved, noise)


@torch.no_grad()
def evaluate(
    network: nn.Module, judgement: Judgement, data: Resident, parts: Iterable[Tensor], precision: Precision
) -> dict[str, float]:
    """The metrics of the samples at the indices of all ``parts``, a batch each; ``judgement`` is a fresh one."""
    network.eval()
    for part in parts:
        inputs, targets = data.batch(part)
        judgement.add(precision.outputs(network, inputs).float(), targets)
    return judgement.result()


def _require_finite(losses: Tensor | float, step: int, total: int) -> float:
    value = float(losses)
    if not abs(value) < float("inf"):
        raise Diverged(f"the loss became {value} by step {step} of {total}")
    return value
