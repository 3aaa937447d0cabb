"""Modules over tokens and positions (layers/tokens.py), and the half of a transformer block."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from nas.train.modules.activations import ACTIVATIONS


class OnTokens(nn.Module):
    """Applies a module of (batch, tokens, features), which keeps that shape, to whatever has tokens."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            through: Tensor = self.body(x.flatten(2).transpose(1, 2))
            return through.transpose(1, 2).reshape(x.shape)
        through = self.body(x if x.ndim == 3 else x[:, None])
        return through if x.ndim == 3 else through[:, 0]


class EachPosition(nn.Module):
    """Applies a module of vectors to every position of sequences (batch, length, features)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        through: Tensor = self.body(x.flatten(0, 1))
        return through.view(*x.shape[:2], -1)


class TokenResidual(nn.Module):
    """x + body(norm(x)), or norm(x + body(x)), the norm being over each token's features."""

    def __init__(self, body: nn.Module, width: int, norm: Literal["pre", "post"], dropout: float) -> None:
        super().__init__()
        self.body, self.pre = body, norm == "pre"
        self.norm = OnTokens(nn.LayerNorm(width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        through = self.body(self.norm(x) if self.pre else x)
        total: Tensor = x + self.dropout(through)
        return total if self.pre else self.norm(total)


def feed_forward(width: int, inside: int, activation: str) -> nn.Module:
    """Linear, activation, linear: for each token alone."""
    return nn.Sequential(nn.Linear(width, inside), ACTIVATIONS[activation](), nn.Linear(inside, width))


class Positions(nn.Module):
    """Adds a learned number to each feature of each position of a shape."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.table
