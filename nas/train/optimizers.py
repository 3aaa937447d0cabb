"""Optimizers by their settings: SGD, AdamW and RMSprop are torch's; LARS, LAMB and Muon are here. And the learning
rate's course.

In all of them weight decay, and in LARS and LAMB the layer-wise rate, are for weights alone: norms' scales and shifts
and all biases (whatever has one dimension) are spared, as is standard since Goyal et al. 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.adamw import adamw

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
        case settings.Muon(learning_rate=rate, momentum=momentum, beta1=beta1, beta2=beta2):
            return Muon(muon_groups(network, chosen.weight_decay), rate, momentum, (beta1, beta2))
        case settings.RMSprop(learning_rate=rate, smoothing=alpha, momentum=momentum):
            return torch.optim.RMSprop(groups, rate, alpha, momentum=momentum, foreach=True)


def parameter_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weights with decay and layer-wise rates; biases and norms with neither."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": weight_decay, "layer_wise": True},
        {"params": others, "weight_decay": 0.0, "layer_wise": False},
    ]
    return [group for group in groups if group["params"]]


def weight_norm(network: nn.Module) -> float:
    """The length of all weights as one vector, without biases and norms. SGD and Adam end far apart in it."""
    weights = [p.detach() for p in network.parameters() if p.ndim > 1]
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(weights)))) if weights else 0.0


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
        for group, weights, gradients in _with_gradients(self):
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
        for group, weights, gradients in _with_gradients(self):
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


class Muon(Optimizer):
    """Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks", where a group is ``orthogonal``;
    AdamW elsewhere.

    A matrix moves along U V^T of its Nesterov momentum U S V^T, found without an SVD by five Newton-Schulz steps, times
    0.2 sqrt(max(rows, columns)): its root mean square is then that of Adam's steps (Liu et al. 2025, "Muon is scalable
    for LLM training", eq. 4), so one rate serves both kinds of group. Filters (out, in, height, width) are matrices
    (out, in * height * width). torch.optim.Muon takes no filters, and computes in bf16 where that is slower.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "orthogonal": True})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group, weights, gradients in _with_gradients(self):
            if group["orthogonal"]:
                self._orthogonal_step(group, weights, gradients)
            else:
                self._adam_step(group, weights, gradients)

    def _orthogonal_step(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        velocities = _memory(self, "velocity", weights)
        torch._foreach_lerp_(velocities, gradients, 1 - group["momentum"])
        directions = torch._foreach_lerp(gradients, velocities, group["momentum"])
        torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
        for weight, direction in zip(weights, directions, strict=True):
            matrix = orthogonalised(direction.flatten(1))
            weight.add_(matrix.view(weight.shape), alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))

    def _adam_step(self, group: dict[str, Any], weights: list[Tensor], gradients: list[Tensor]) -> None:
        means, squares = _memory(self, "mean", weights), _memory(self, "square", weights)
        for weight in weights:
            self.state[weight].setdefault("step", torch.zeros((), device=weight.device))
        (beta1, beta2), lr = group["betas"], group["lr"]
        adamw(
            weights, gradients, means, squares, [], [self.state[weight]["step"] for weight in weights], fused=True,
            amsgrad=False, beta1=beta1, beta2=beta2, lr=lr, weight_decay=group["weight_decay"], eps=group["eps"],
            maximize=False,
        )  # fmt: skip


def muon_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """``parameter_groups``, with the matrices of hidden layers in a group of their own.

    Those are what multiplies features: linear layers, convolutions that mix channels, recurrent cells. The last of them
    gives the outputs and is left to AdamW, as embeddings, depthwise filters and what a plugin may hold are.
    """
    matrices = [
        weight
        for module in network.modules()
        if isinstance(module, nn.Linear | nn.RNNBase) or (isinstance(module, nn.Conv2d) and module.groups == 1)
        for weight in module.parameters(recurse=False)
        if weight.ndim > 1
    ]
    hidden = {id(weight): weight for weight in matrices[:-1] if weight is not matrices[-1]}  # shared ones stand once
    groups = [{"params": list(hidden.values()), "weight_decay": weight_decay, "orthogonal": True}]
    for group in parameter_groups(network, weight_decay):
        others = [p for p in group["params"] if id(p) not in hidden]
        groups.append({"params": others, "weight_decay": group["weight_decay"], "orthogonal": False})
    return [group for group in groups if group["params"]]


QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's: the steepest at 0 that keeps singular values within 0.7 to 1.2


def orthogonalised(matrix: Tensor) -> Tensor:
    """About U V^T of U S V^T: S becomes p(p(...)) of itself, p(s) = a s + b s^3 + c s^5, five times over."""
    a, b, c = QUINTIC
    # Units for bf16 are worth it on GPUs; elsewhere the numbers stay what they are.
    x = matrix.bfloat16() if matrix.is_cuda else matrix
    wide = x if x.shape[0] <= x.shape[1] else x.T  # the smaller Gram matrix
    wide = wide / wide.norm().clamp(min=1e-7)  # singular values at most 1
    for _ in range(5):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)


def _with_gradients(optimizer: Optimizer) -> Iterator[tuple[dict[str, Any], list[Tensor], list[Tensor]]]:
    """Each group with its weights that have a gradient, and the gradients; groups without any are left out."""
    for group in optimizer.param_groups:
        if weights := [p for p in group["params"] if p.grad is not None]:
            yield group, weights, [p.grad for p in weights]


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
