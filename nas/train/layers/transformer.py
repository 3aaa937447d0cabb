"""The block of a transformer (Vaswani et al. 2017)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nas.train.layers.attention import attended, attention_flops, attention_parameters, self_attention
from nas.train.layers.dense import Activations
from nas.train.layers.feedforward import feed_forward_flops, feed_forward_parameters, hidden
from nas.train.layers.layer import Layer, PositiveReal, Rate, Shape
from nas.train.layers.tokens import tokens
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class TransformerBlock(Layer):
    """Attention and a feed-forward network, each within a residual connection and layer-normalised (Vaswani et al.
    2017, sec. 3): before it (``norm: pre``, Xiong et al. 2020), or after the sum (``post``).

    ``mlp_ratio`` times as many hidden numbers as features. ``learned`` positions are added to what comes in, ``rotary``
    ones turn queries and keys. Dropout as in the paper: on what attention and network give. The rest as ``attention``.
    """

    name, main = "transformer_block", "heads"
    keeps_shape = True
    heads: Positive = 4
    mlp_ratio: PositiveReal = 4.0
    norm: Literal["pre", "post"] = "pre"
    positions: Literal["none", "learned", "rotary"] = "none"
    window: Positive | None = None
    causal: bool = False
    activation: Activations = "gelu"
    dropout: Rate = 0.0

    def infer(self, before: Shape) -> Shape:
        return attended(before, self.heads, self.window, self.causal, self.positions == "rotary")

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.tokens import OnTokens, Positions, TokenResidual, feed_forward

        _, width = tokens(shape)
        attention = self_attention(shape, self.heads, self.window, self.causal, self.positions == "rotary")
        mlp = OnTokens(feed_forward(width, hidden(width, self.mlp_ratio), self.activation))
        halves = [TokenResidual(part, width, self.norm, self.dropout) for part in (attention, mlp)]
        return nn.Sequential(*([Positions(shape)] if self.positions == "learned" else []), *halves)

    def parameters(self, before: Shape, after: Shape) -> int:
        length, width = tokens(before)
        learned = length * width if self.positions == "learned" else 0
        mlp = feed_forward_parameters(width, hidden(width, self.mlp_ratio))
        return learned + attention_parameters(width) + mlp + 2 * (2 * width)

    def flops(self, before: Shape, after: Shape) -> int:
        length, width = tokens(before)
        mlp = feed_forward_flops(length, width, hidden(width, self.mlp_ratio))
        return attention_flops(before, self.window, self.causal) + mlp

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 4  # two of attention, two of the feed-forward half
