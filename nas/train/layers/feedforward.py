"""The feed-forward half of a transformer, and how any half is put into one: residual, normalised, dropped out."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from nas.train.layers.dense import ACTIVATIONS, Activations
from nas.train.layers.layer import Layer, PositiveReal, Rate, Shape
from nas.train.layers.tokens import OnTokens, tokens


class MlpBlock(Layer):
    """x + mlp(layer_norm(x)) for each token: linear, activation, linear, with ``ratio`` times as many hidden numbers as
    features. A transformer's feed-forward half, alone (Vaswani et al. 2017, eq. 2; for tables, Gorishniy et al. 2021).
    """

    name, main = "mlp_block", "ratio"
    keeps_shape = True
    ratio: PositiveReal = 4.0
    activation: Activations = "gelu"
    dropout: Rate = 0.0

    def build(self, shape: Shape) -> nn.Module:
        width = tokens(shape)[1]
        mlp = OnTokens(feed_forward(width, hidden(width, self.ratio), self.activation))
        return TokenResidual(mlp, width, "pre", self.dropout)

    def parameters(self, before: Shape, after: Shape) -> int:
        width = tokens(before)[1]
        return feed_forward_parameters(width, hidden(width, self.ratio)) + 2 * width

    def flops(self, before: Shape, after: Shape) -> int:
        length, width = tokens(before)
        return feed_forward_flops(length, width, hidden(width, self.ratio))

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2


# Costs, of tokens of so many features (width) with so many hidden numbers (inside) ------------------------------------


def hidden(width: int, ratio: float) -> int:
    """Of a feed-forward network, how many numbers lie within."""
    return max(1, round(width * ratio))


def feed_forward_parameters(width: int, inside: int) -> int:
    """Of both matrices, with their biases."""
    return (width + 1) * inside + (inside + 1) * width


def feed_forward_flops(length: int, width: int, inside: int) -> int:
    """Of both products, for so many tokens."""
    return 4 * length * width * inside


# Modules -------------------------------------------------------------------------------------------------------------


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
