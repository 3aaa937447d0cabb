"""Modules that put others beside a way around them, and the one that leaves them out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DropSamples(nn.Module):
    """See StochasticDepth."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        kept = torch.empty(len(x), *(1 for _ in x.shape[1:]), device=x.device, dtype=x.dtype)
        return x * kept.bernoulli_(1 - self.rate).div_(1 - self.rate)


class Beside(nn.Module):
    """x and body(x), concatenated along their features."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        through = self.body(x)
        if x.ndim == 4:
            through = through[:, :, : x.shape[2], : x.shape[3]]
        return torch.cat([x, through], 2 if x.ndim == 3 else 1)


class Sum(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.body(x) + self.shortcut(x)
        return total
