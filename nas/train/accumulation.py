"""The gradient of a batch in parts, for batches that do not fit whole; and what the parts' differences tell.

The parts' gradients are summed, weighted by what each has of the terms that the loss is the mean of, so the sum is the
whole batch's gradient. Networks with batch statistics (batch norm) are the exception: they see a part at a time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from nas.train import memory
from nas.train.augmentation import Targets
from nas.train.modules.auxiliary import Auxiliary
from nas.train.precision import LossScaling, Precision
from nas.train.problems import Problem
from nas.train.spent import Spent

MEASURE_EVERY = 8  # steps between looks at the noise: a look costs two passes over the gradients
FEWEST = 4  # samples of a batch that is looked at: two parts, as parts are of two samples or more
EVALUATION_BATCH = 512  # at most, and at most 4 training batches: what fits in training is to fit here


@dataclass(slots=True)
class NoiseScale:
    """The gradient noise scale S / |G|^2 (McCandlish et al. 2018, "An empirical model of large-batch training").

    Batches far below it learn about as much from each sample; far above it, more samples in a batch are wasted.
    Appendix A.1: S and |G|^2 are estimated without bias from the lengths of gradients of a small and a large batch, and
    are averaged apart, as the mean of a ratio is biased. The moving averages forget the first, wild steps.
    """

    decay: float = 0.95
    measured: int = 0
    squared_gradient: float = 0.0  # |G|^2
    variance: float = 0.0  # S, the trace of the covariance of a single sample's gradient

    def add(self, small: int, small_squared: float, large: int, large_squared: float) -> None:
        """Squared lengths of the gradients of two batches with so many samples (appendix A.1).

        Those that overflowed, as fp16's do at first, say nothing.
        """
        if not math.isfinite(small_squared + large_squared):
            return
        signal = (large * large_squared - small * small_squared) / (large - small)
        noise = (small_squared - large_squared) / (1 / small - 1 / large)
        self.measured += 1
        share = max(1 - self.decay, 1 / self.measured)
        self.squared_gradient += share * (signal - self.squared_gradient)
        self.variance += share * (noise - self.variance)

    @property
    def samples(self) -> float | None:
        """The noise scale in samples; None where the noise hides the gradient, or nothing was measured."""
        return max(self.variance, 0.0) / self.squared_gradient if self.squared_gradient > 0 else None

    def note(self, batch: int) -> dict[str, float | int | str | None]:
        """For the trial's record, with what it says of the batch that was trained with."""
        found = self.samples
        if not self.measured:
            overflowed = "gradients overflowed at every look"
            why = f"{batch} samples make no two parts to compare" if batch < FEWEST else overflowed
            says = f"nothing was measured: {why}"
        elif found is None:
            says = f"the noise hid the gradient at {batch} samples: larger batches would have helped"
        elif found > 2 * batch:
            says = f"batches of up to about {found:.0f} samples would still have helped"
        else:
            says = f"batches beyond about {max(found, 1):.0f} samples help little; {batch} were trained with"
        return {"samples": found, "measured": self.measured, "says": says}


@dataclass(slots=True)
class Accumulation:
    """``gradients(inputs, targets, step)`` leaves the batch's gradient in the network (scaled), and gives its loss."""

    network: nn.Module
    problem: Problem
    precision: Precision
    scaling: LossScaling
    auxiliary: Sequence[Auxiliary]
    micro: int  # samples that pass at once, at most; but two at least, and three where one would be left over
    noise: NoiseScale | None = None
    halved: str = ""  # why parts became smaller than what was asked for
    note: Callable[..., None] = lambda **facts: None  # the context's, which hears of it when it happens
    compiled: Callable[[Tensor], Tensor] | None = None  # what passes go through instead of the network itself
    spent: Spent = field(default_factory=lambda: Spent(torch.device("cpu")))
    _parameters: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self._parameters = list(self.network.parameters())

    def gradients(self, inputs: Tensor, targets: Targets, step: int) -> Tensor:
        """Out of memory halves ``micro`` once, and the batch begins anew; a second time it is raised as torch did."""
        while True:
            self.spent.begin("forward")
            for parameter in self._parameters:  # Module.zero_grad looks for them again: 5 % of a small network's step
                parameter.grad = None
            try:
                return self._summed(inputs, targets, step)
            except RuntimeError as error:
                if not self.may_halve(error):
                    raise
            self.halve(min(self.micro, len(inputs)), f"in step {step + 1}", inputs.device)

    @property
    def judged(self) -> int:
        """Samples to judge at once, at most: without gradients more than are trained on, unless memory ended."""
        return min(EVALUATION_BATCH, self.micro if self.halved else 4 * self.micro)

    def may_halve(self, error: RuntimeError) -> bool:
        """Whether memory ended, and for the first time."""
        return not self.halved and self.micro > 1 and memory.is_ended(error)

    def halve(self, samples: int, when: str, device: torch.device) -> None:
        """After so many at once were too many. To be called when the except clause is left: until then the error holds
        the tensors of what failed.
        """
        memory.give_back(device)
        self.micro = (min(samples, self.micro) + 1) // 2
        self.halved = f"out of memory with {samples} at once, {when}"
        self.note(**self.parts())

    def parts(self) -> dict[str, Any]:
        """What a record says of parts that are smaller than the batch."""
        return {"micro_batch": self.micro, "micro_batch_reason": self.halved or "micro_batch was asked for"}

    def save(self) -> dict[str, Any]:
        """What training changed of it, the network's own apart."""
        noise = asdict(self.noise) if self.noise else None
        return {"micro": self.micro, "halved": self.halved, "noise": noise, "scaling": self.scaling.save()}

    def load(self, saved: Mapping[str, Any]) -> None:
        if not self.halved:  # what begins with half stays so: an attempt that went on from here was killed
            self.micro, self.halved = saved["micro"], saved["halved"]
        self.noise = NoiseScale(**saved["noise"]) if saved["noise"] else None
        self.scaling.load(saved["scaling"])

    def _summed(self, inputs: Tensor, targets: Targets, step: int) -> Tensor:
        most = max(1, len(inputs) // 2)  # parts: of one sample a batch norm has no variance, and raises
        looks = self.noise is not None and step % MEASURE_EVERY == 0 and len(inputs) >= FEWEST
        count = min(max(math.ceil(len(inputs) / self.micro), 2 if looks else 1), most)
        if count == 1:
            loss = self._loss(inputs, targets)
            self.spent.begin("backward")
            self.scaling.backward(loss)
            return loss.detach()
        total = torch.zeros((), device=inputs.device)
        terms = self.problem.terms(targets.first)
        first_squared = 0.0
        parts = zip(torch.tensor_split(inputs, count), targets.split(count), strict=True)
        for index, (some, theirs) in enumerate(parts):
            share = self.problem.terms(theirs.first) / terms
            self.spent.begin("forward")
            loss = self._loss(some, theirs) * share
            self.spent.begin("backward")
            self.scaling.backward(loss)
            total += loss.detach()
            if looks and index == 0:
                first_squared = self._squared() / float(share) ** 2
        if looks and self.noise:
            self.noise.add(math.ceil(len(inputs) / count), first_squared, len(inputs), self._squared())
        return total

    def _loss(self, inputs: Tensor, targets: Targets) -> Tensor:
        forward = self.network if self.compiled is None else self.compiled
        loss = targets.loss(self.problem.loss, self.precision.outputs(forward, inputs))
        for own in (module.auxiliary_loss for module in self.auxiliary):
            loss = loss if own is None else loss + own
        return loss

    def _squared(self) -> float:
        """The squared length of the gradient that stands in the network, without the loss's scale."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return (float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))) / self.scaling.scale) ** 2
