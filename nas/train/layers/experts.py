"""Mixture of experts: each token goes through a few of many feed-forward networks, chosen by a learned router.

Shazeer et al. 2017 (the sparsely-gated layer), Lepikhin et al. 2020 (GShard), Fedus et al. 2021 (Switch).

**Routing.** A token's gates are softmax(router(token)); it goes to the ``top_k`` experts with the largest. Of
several, the gates are divided by their sum (GShard); a single one stays as it is (Switch), else the router would have
no gradient. The router computes in fp32 whatever the rest does (Fedus et al. 2021, sec. 2.4).

**Capacity.** In training an expert takes at most ceil(capacity * tokens * top_k / experts) assignments of a batch. They
are given out from the first positions to the last, so that in text nothing depends on what follows it (GShard gives
them to all first choices before any second one, which does). What does not fit adds nothing: its token passes on by the
residual connection. In evaluation everything fits, so that what becomes of a sample does not depend on its batch.

**Balance.** ``switch``: loss = balance * experts * sum_i f_i P_i, with f_i the share of assignments that chose expert i
(before capacity) and P_i the mean gate (Fedus et al. 2021, eq. 4 to 6; f has no gradient). ``importance``: loss =
balance * CV(sum over tokens of the gates in use)^2 (Shazeer et al. 2017, eq. 6 and 7). Smallest, for either, when all
experts are used alike.

Left out: noise on the router (Shazeer's eq. 4; later work does without), and experts on different devices.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from nas.errors import InvalidCandidate
from nas.train.layers.auxiliary import Auxiliary
from nas.train.layers.dense import Activations
from nas.train.layers.feedforward import (
    TokenResidual,
    feed_forward,
    feed_forward_flops,
    feed_forward_parameters,
    hidden,
)
from nas.train.layers.layer import Layer, PositiveReal, Shape
from nas.train.layers.tokens import OnTokens, tokens
from nas.train.settings import Positive


class MixtureOfExperts(Layer):
    """x + experts(layer_norm(x)) for each token (see tokens.py): an ``mlp_block`` of which only a part is computed.

    ``hidden``: numbers within each expert; None: 4 times as many as features. FLOPs: the router's, and ``top_k``
    experts for each token, which is what is computed when nothing overflows.
    """

    name, main = "mixture_of_experts", "experts"
    keeps_shape = True
    experts: Positive = 4
    top_k: Positive = 1
    capacity: PositiveReal = 1.25
    hidden: Positive | None = None
    activation: Activations = "gelu"
    balancing: Literal["switch", "importance"] = "switch"
    balance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.01

    def build(self, shape: Shape) -> nn.Module:
        if self.top_k > self.experts:
            raise InvalidCandidate(f"top_k is {self.top_k}, and there are {self.experts} experts")
        width = tokens(shape)[1]
        return TokenResidual(OnTokens(Experts(self, width, self.inside(width))), width, "pre", 0.0)

    def inside(self, width: int) -> int:
        return self.hidden or hidden(width, 4.0)

    def parameters(self, before: Shape, after: Shape) -> int:
        width = tokens(before)[1]
        return self.experts * (width + feed_forward_parameters(width, self.inside(width))) + 2 * width

    def flops(self, before: Shape, after: Shape) -> int:
        length, width = tokens(before)
        router = 2 * length * width * self.experts
        return router + self.top_k * feed_forward_flops(length, width, self.inside(width))

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2  # of an expert; the router stands beside


class Experts(Auxiliary):
    """(batch, tokens, width) to the same. In training it observes how much each expert is used, and what overflows."""

    used: Tensor
    overflowed: Tensor

    def __init__(self, settings: MixtureOfExperts, width: int, inside: int) -> None:
        super().__init__()
        self.settings = settings
        self.router = nn.Linear(width, settings.experts, bias=False)
        self.experts = nn.ModuleList(feed_forward(width, inside, settings.activation) for _ in range(settings.experts))
        self.register_buffer("used", torch.zeros(settings.experts), persistent=False)  # assignments, before capacity
        self.register_buffer("overflowed", torch.zeros(()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.transpose(0, 1).flatten(0, 1)  # all samples' first positions, then all second ones, ...
        gates, chosen, share = self._route(flat)
        experts = chosen.flatten()
        order = torch.sort(experts, stable=True).indices
        counts = (experts[:, None] == torch.arange(self.settings.experts, device=x.device)).sum(0)
        if self.training:
            self.auxiliary_loss = self._balance(gates, counts, share, chosen)
            order, sizes = self._within_capacity(order, counts)
            self._observe(counts, len(order))
        else:
            sizes = self._sizes(counts, len(order))
        # Copies first, then picked without repetition: the gradient is a sum in a fixed order, also on a GPU.
        copies = flat[:, None].expand(-1, self.settings.top_k, -1).flatten(0, 1)
        parts = torch.split(copies.index_select(0, order), sizes)
        answers = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        weighted = answers * share.flatten().index_select(0, order)[:, None].to(answers.dtype)
        placed = weighted.new_zeros(copies.shape).index_copy(0, order, weighted)
        total = placed.view(x.shape[1], x.shape[0], self.settings.top_k, -1).sum(2)
        return total.transpose(0, 1)

    def observed(self) -> dict[str, Any]:
        """``use``: each expert's share of the assignments; ``overflow``: the share of them that did not fit."""
        total = float(self.used.sum())
        if not total:
            return {}
        use = [round(float(n) / total, 4) for n in self.used]
        return {"use": use, "overflow": round(float(self.overflowed) / total, 4)}

    def forget(self) -> None:
        self.used.zero_()
        self.overflowed.zero_()

    def _route(self, flat: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gates (tokens, experts), the experts chosen (tokens, top_k), and the share of each in a token's answer."""
        with torch.autocast("cpu" if flat.is_meta else flat.device.type, enabled=False):  # meta has no autocast
            gates = self.router(flat.float()).softmax(1)
        share, chosen = gates.topk(self.settings.top_k)
        return gates, chosen, share / share.sum(1, keepdim=True) if self.settings.top_k > 1 else share

    def _within_capacity(self, order: Tensor, counts: Tensor) -> tuple[Tensor, list[int]]:
        """Of assignments sorted by expert, those that fit, and how many each expert gets."""
        capacity = math.ceil(self.settings.capacity * len(order) / self.settings.experts)
        sizes = self._sizes(counts, len(order))
        if max(sizes) <= capacity:
            return order, sizes
        fitting = [min(size, capacity) for size in sizes]
        parts = [part[:fits] for part, fits in zip(torch.split(order, sizes), fitting, strict=True)]
        return torch.cat(parts), fitting

    def _sizes(self, counts: Tensor, total: int) -> list[int]:
        """How many assignments each expert gets. On the meta device, where nobody knows, as evenly as can be."""
        if counts.is_meta:
            number = self.settings.experts
            return [(total + i) // number for i in range(number)]
        sizes: list[int] = counts.tolist()
        return sizes

    def _balance(self, gates: Tensor, counts: Tensor, share: Tensor, chosen: Tensor) -> Tensor:
        number = self.settings.experts
        if self.settings.balancing == "switch":
            loss = number * (counts / counts.sum() * gates.mean(0)).sum()
        else:
            in_use = torch.zeros_like(gates).scatter(1, chosen, share).sum(0)
            loss = in_use.var(unbiased=False) / in_use.mean() ** 2
        return self.settings.balance * loss

    @torch.no_grad()
    def _observe(self, counts: Tensor, fitted: int) -> None:
        self.used += counts
        self.overflowed += counts.sum() - fitted
