"""The router and its experts; layers/experts.py says what is computed, and after whom."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas.train.modules.auxiliary import Auxiliary
from nas.train.modules.tokens import feed_forward

if TYPE_CHECKING:
    from nas.train.layers.experts import MixtureOfExperts


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
            gates = self.router(flat.to(self.router.weight.dtype)).softmax(1)
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
