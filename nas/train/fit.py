"""The training loop, and the judging of a network. Nothing else knows how a network is trained.

Left out: a DataLoader (the data is on the device, see data.Resident), gradient clipping.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.errors import Diverged
from nas.train.accumulation import Accumulation
from nas.train.augmentation import Augmentation, Targets
from nas.train.averaging import Average
from nas.train.data import Resident
from nas.train.optimizers import course, weight_norm
from nas.train.precision import Precision
from nas.train.problems import Judgement
from nas.train.spent import Spent

CHECK_EVERY = 16  # steps between looks at the loss: each makes a GPU wait


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train, with everything decided but what a Training holds."""

    epochs: int
    batch: int
    learning_rate: float  # at the top of its course
    warmup_epochs: float
    steps: int | None = None  # an end before the epochs' (one batch, to see whether anything works)

    def batches(self, samples: int) -> int:
        """Of an epoch: whole ones."""
        return max(1, samples // self.batch)

    def total(self, samples: int) -> int:
        """Steps of the whole training."""
        return self.epochs * self.batches(samples) if self.steps is None else self.steps


@dataclass(slots=True)
class Training:
    """All that training changes, torch's own generators apart: what a training is, and could go on from."""

    accumulation: Accumulation  # with the network, how it computes, and what was found out about its batches
    optimizer: Optimizer
    shuffle: torch.Generator
    average: Average | None
    initial_norm: float  # of the weights
    total: int  # steps
    step: int = 0
    epoch: int = 0  # ended ones

    @property
    def spent(self) -> Spent:
        return self.accumulation.spent

    @property
    def network(self) -> nn.Module:
        return self.accumulation.network

    @property
    def ended(self) -> bool:
        return self.step >= self.total

    def save(self) -> dict[str, Any]:
        """What ``load`` puts another training of the same kind where this one stands: numbers, texts and tensors. The
        tensors are its own, no copies.
        """
        network = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        return {
            "counts": {name: getattr(self, name) for name in _COUNTS},
            "spent": {"seconds": self.spent.seconds, "rows": self.spent.rows},
            "network": network,
            "optimizer": {index: self.optimizer.state[p] for index, p in self._stepped() if p in self.optimizer.state},
            "shuffle": self.shuffle.get_state(),
            "accumulation": self.accumulation.save(),
            "average": self.average.save() if self.average else None,
        }

    @torch.no_grad()
    def load(self, saved: Mapping[str, Any]) -> None:
        for name in _COUNTS:
            setattr(self, name, saved["counts"][name])
        self.spent.seconds, self.spent.rows = dict(saved["spent"]["seconds"]), saved["spent"]["rows"]
        network = {**dict(self.network.named_parameters()), **dict(self.network.named_buffers())}
        for name, tensor in network.items():
            tensor.copy_(saved["network"][name])
        for index, parameter in self._stepped():
            if (remembered := saved["optimizer"].get(str(index))) is not None:
                self.optimizer.state[parameter] = remembered
        self.shuffle.set_state(saved["shuffle"])
        self.accumulation.load(saved["accumulation"])
        if self.average:
            self.average.load(saved["average"])

    def _stepped(self) -> Iterator[tuple[int, Tensor]]:
        """The optimizer's parameters, numbered."""
        return enumerate(p for group in self.optimizer.param_groups for p in group["params"])

    def finish(self) -> None:
        """With an average, its weights stand in the network from here on."""
        if self.average:
            self.average.exchange()

    def measured(self) -> dict[str, float]:
        """Of training alone."""
        return {
            "epochs": self.epoch,
            "rows_per_second": self.spent.rows_per_second,
            "train_seconds": self.spent.training,
        }

    def notes(self, batch: int) -> dict[str, Any]:
        """What a trial's record says of a training with batches of this size, and of the weights as they stand."""
        noise = self.accumulation.noise
        said = {"noise_scale": noise.note(batch)} if noise else {}
        norms = {"initial": self.initial_norm, "final": weight_norm(self.network)}
        return {**said, "weight_norm": norms, "spent": self.spent.seconds}


_COUNTS = ("step", "epoch", "initial_norm")
Report = Callable[[int, Mapping[str, float]], bool]


def fit(
    training: Training,
    judged: Callable[[], Judgement],
    data: Resident,
    train: Tensor,
    validation: Tensor,
    recipe: Recipe,
    report: Report,
    *,
    augmentation: Augmentation | None = None,
) -> dict[str, float]:
    """Train on the samples at ``train`` (indices) and judge on those at ``validation`` after each epoch, from where
    ``training`` stands to its end. Returns the metrics of the last epoch.

    Each epoch is a fresh shuffle cut into whole batches; what does not fill the last one is left to other epochs. What
    is trained on is the problem's loss and those that modules have of their own (layers/auxiliary.py).
    ``report(epoch, metrics)`` is called with epochs from 1, and says whether to stop. With an average its weights are
    judged.

    Raises:
        Diverged: the loss or a last metric left the finite numbers, or in fp16 gradients did at every scale.
    """
    device = data.device
    accumulation, optimizer, average, total, spent = (
        training.accumulation,
        training.optimizer,
        training.average,
        training.total,
        training.spent,
    )
    network, scaling = accumulation.network, accumulation.scaling
    batches = recipe.batches(len(train))
    warmup = round(min(recipe.warmup_epochs * batches, total // 2))
    metrics: dict[str, float] = {}
    while not training.ended:
        spent.begin("data")
        network.train()
        for module in accumulation.auxiliary:
            module.forget()
        order = train[torch.randperm(len(train), generator=training.shuffle, device=device)]
        losses = torch.zeros((), device=device)
        epoch_start = step = training.step
        for inputs, labels in data.batches(order[: min(batches, total - step) * recipe.batch], recipe.batch):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * course(step, warmup, total)
            targets = Targets(labels)
            if augmentation:
                inputs, targets = augmentation(inputs, labels, step)
            batch_loss = accumulation.gradients(inputs, targets, step)
            spent.begin("optimizer")
            scaling.step(optimizer)
            if average:
                average.update()
            losses += batch_loss
            step += 1
            spent.rows += len(labels)
            if step % CHECK_EVERY == 0:
                _require_finite(losses, step, total)
            spent.begin("data")
        train_loss = _require_finite(losses, step, total) / (step - epoch_start)
        scaling.require_progress(step, total)
        spent.begin("evaluation")
        training.step, training.epoch = step, training.epoch + 1
        metrics = _judged(training, judged, data, validation)
        _require_finite(metrics["loss"], step, total)
        spent.end()
        if report(training.epoch, {**metrics, "train_loss": train_loss}):
            break
    for name, value in metrics.items():  # of the last epoch alone: a person's own may not be defined at first
        _require_finite(value, training.step, total, name)
    return metrics


def _judged(
    training: Training, judged: Callable[[], Judgement], data: Resident, validation: Tensor
) -> dict[str, float]:
    """``evaluate``, with the averaged weights where there are any; out of memory halves what passes at once, once."""
    accumulation, average = training.accumulation, training.average
    while True:
        parts = torch.split(validation, accumulation.judged)
        try:
            with average.in_place() if average else nullcontext():
                return evaluate(training.network, judged(), data, parts, accumulation.precision)
        except RuntimeError as error:
            if not accumulation.may_halve(error):
                raise
        accumulation.halve(len(parts[0]), f"judged after epoch {training.epoch}", data.device)


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


def _require_finite(found: Tensor | float, step: int, total: int, name: str = "loss") -> float:
    value = float(found)
    if not abs(value) < float("inf"):
        raise Diverged(f"the {name} became {value} by step {step} of {total}")
    return value
