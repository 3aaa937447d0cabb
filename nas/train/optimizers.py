"""Optimizers by their settings: SGD and AdamW are torch's; LARS and LAMB are here. And the learning rate's course.

In all of them weight decay, and in LARS and LAMB the layer-wise rate, are for weights alone: norms' scales and shifts
and all biases (whatever has one dimension) are spared, as is standard since Goyal et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nas.train import settings
from nas.train.settings import REFERENCE_BATCH, OptimizerSettings, Scaling


def make(chosen: OptimizerSettings, network: nn.Module) -> Optimizer:
    """The optimizer of a network's parameters, at the learning rate of its settings."""
    groups = parameter_groups(network, chosen.weight_decay)
    match chosen:
        case settings.SGD(learning_rate=rate, momentum=momentum, nesterov=nesterov):
            # Nesterov without momentum is refused by torch, and means nothing.
            return torch.optim.SGD(groups, rate, momentum, nesterov=nesterov and momentum > 0, fused=True)
        case settings.AdamW(learning_rate=rate, beta1=beta1, beta2=beta2):
            return torch.optim.AdamW(groups, rate, (beta1, beta2), fused=True)
        case settings.LARS(learning_rate=rate, momentum=momentum, trust_coefficient=trust):
            return LARS(groups, rate, momentum, trust)
        case settings.LAMB(learning_rate=rate, beta1=beta1, beta2=beta2):
            return LAMB(groups, rate, (beta1, beta2))


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay and layer-wise rates; biases and norms with neither."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": weight_decay, "layer_wise": True},
        {"params": others, "weight_decay": 0.0, "layer_wise": False},
    ]
    return [group for group in groups if group["params"]]


class LARS(Optimizer):
    """You, Gitman and Ginsburg 2017, "Large batch training of convolutional networks", algorithm 1.

    The rate of each weight tensor is multiplied by trust * |w| / (|g| + decay * |w|); 1 where either norm is 0.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = 0.9, trust: float = 1e-3, weight_decay: float = 0.0
    ) -> None:
        super().__init__(
            params,
            {"lr": lr, "momentum": momentum, "trust": trust, "weight_decay": weight_decay, "layer_wise": True},
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights, gradients = _with_gradients(group)
            if not weights:
                continue
            if group["layer_wise"]:
                sizes = torch.stack(torch._foreach_norm(weights))
                denominator = torch.stack(torch._foreach_norm(gradients)) + group["weight_decay"] * sizes
                rates = torch.where((sizes > 0) & (denominator > 0), group["trust"] * sizes / denominator, 1.0)
                gradients = list(torch._foreach_add(gradients, weights, alpha=group["weight_decay"]))
                torch._foreach_mul_(gradients, rates.unbind())
            velocities = _memory(self, "velocity", weights)
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, gradients)
            torch._foreach_add_(weights, velocities, alpha=-group["lr"])


class LAMB(Optimizer):
    """You et al. 2020, "Large batch optimization for deep learning: training BERT in 76 minutes", algorithm 2.

    The update r = m / (sqrt(v) + eps) + decay * w is scaled for each weight tensor by min(|w|, 10) / (|r| + eps); 1
    where either norm is 0. Without Adam's bias correction, as in the paper's third version: the norm in the
    denominator takes out the scale that it would mend. What is not layer-wise (biases, norms) has no such norm, and its
    first steps are those of Adam without the correction, up to 3 times larger; warm-up covers them.
    """

    CLAMP = 10.0  # phi of the paper

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "layer_wise": True}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            weights, gradients = _with_gradients(group)
            if not weights:
                continue
            (beta1, beta2), eps = group["betas"], group["eps"]
            means = _memory(self, "mean", weights)
            squares = _memory(self, "square", weights)
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
            denominators = torch._foreach_sqrt(squares)
            torch._foreach_add_(denominators, eps)
            updates = torch._foreach_div(means, denominators)
            torch._foreach_add_(updates, weights, alpha=group["weight_decay"])
            if group["layer_wise"]:
                sizes = torch.stack(torch._foreach_norm(weights)).clamp(max=self.CLAMP)
                lengths = torch.stack(torch._foreach_norm(updates))
                ratios = torch.where((sizes > 0) & (lengths > 0), sizes / (lengths + eps), 1.0)
                torch._foreach_mul_(updates, ratios.unbind())
            torch._foreach_add_(weights, updates, alpha=-group["lr"])


def _with_gradients(group: dict[str, Any]) -> tuple[list[Tensor], list[Tensor]]:
    weights = [p for p in group["params"] if p.grad is not None]
    return weights, [p.grad for p in weights]


def _memory(optimizer: Optimizer, name: str, weights: list[Tensor]) -> list[Tensor]:
    """What the optimizer remembers under a name of each weight: zeros at first."""
    for weight in weights:
        if name not in optimizer.state[weight]:
            optimizer.state[weight][name] = torch.zeros_like(weight)
    return [optimizer.state[weight][name] for weight in weights]


# The learning rate ---------------------------------------------------------------------------------------------------


def scaled(learning_rate: float, batch: int, scaling: Scaling) -> float:
    """The rate for this batch, where the one given is meant for a batch of 256.

    linear: Goyal et al. 2017, for SGD. sqrt: Krizhevsky 2014; You et al. 2020 use it for LAMB, and Adam wants it too.
    """
    ratio = batch / REFERENCE_BATCH
    match scaling:
        case "none":
            return learning_rate
        case "linear":
            return learning_rate * ratio
        case "sqrt":
            return learning_rate * math.sqrt(ratio)


def course(step: int, warmup: int, total: int) -> float:
    """The share of the learning rate at a step from 0: a linear rise over ``warmup`` steps, then a cosine to 0.

    The first step has 1 / (warmup + 1), the one after the rise 1, and the end 0 (Loshchilov and Hutter 2017, eq. 5).
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, total - warmup)))
