"""The feed-forward half of a transformer, and how any half is put into one: residual, normalised, dropped out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nas.train.layers.dense import Activations
from nas.train.layers.layer import Layer, PositiveReal, Rate, Shape
from nas.train.layers.tokens import tokens

if TYPE_CHECKING:
    from torch import nn


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
        from nas.train.modules.tokens import OnTokens, TokenResidual, feed_forward

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
