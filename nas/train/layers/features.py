"""Layers on channels or features alone: norms by their own names, squeeze-and-excitation, the shuffle of groups.

The norms see tokens (tokens.py): the positions of a sequence, the pixels of a map, or one vector. ``norm`` (dense.py)
differs in that its ``layer`` takes a map as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nas.errors import InvalidCandidate
from nas.train.layers.dense import Norm, group_count, group_norm
from nas.train.layers.layer import Layer, Shape, needs_map
from nas.train.layers.tokens import tokens
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class BatchNorm(Layer):
    """Each channel over the batch and all positions (Ioffe and Szegedy 2015), with a learned scale and shift."""

    name = "batch_norm"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
        return Norm(kind="batch").build(shape)

    def parameters(self, before: Shape, after: Shape) -> int:
        return 2 * tokens(before)[1]


class LayerNorm(Layer):
    """The features of each token (Ba et al. 2016; of a map's pixels: Liu et al. 2022), with learned scale and shift."""

    name = "layer_norm"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.tokens import OnTokens

        return OnTokens(nn.LayerNorm(tokens(shape)[1]))

    def parameters(self, before: Shape, after: Shape) -> int:
        return 2 * tokens(before)[1]


class RmsNorm(Layer):
    """The features of each token divided by their root mean square, with a learned scale (Zhang and Sennrich 2019)."""

    name = "rms_norm"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.tokens import OnTokens

        return OnTokens(nn.RMSNorm(tokens(shape)[1]))

    def parameters(self, before: Shape, after: Shape) -> int:
        return tokens(before)[1]


class GroupNorm(Layer):
    """Groups of one sample's channels, over the whole map (Wu and He 2018); of a sequence, at each position.

    As many of ``groups`` as divide the channels (dense.group_norm). One group is ``norm: layer``.
    """

    name, main = "group_norm", "groups"
    keeps_shape = True
    groups: Positive = 8

    def infer(self, before: Shape) -> Shape:
        group_count(before[1:] if len(before) == 2 else before, self.groups)
        return before

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.tokens import EachPosition

        return group_norm(shape, self.groups) if len(shape) != 2 else EachPosition(group_norm(shape[1:], self.groups))

    def parameters(self, before: Shape, after: Shape) -> int:
        return 2 * tokens(before)[1]


class SqueezeExcite(Layer):
    """Scales each channel by a gate in [0, 1] that a small network computes from the means of all of them (Hu et al.
    2018): to ``ratio`` of them, ReLU, back, gate. Both its matrices have biases.
    """

    name, main = "squeeze_excite", "ratio"
    ratio: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25
    gate: Literal["sigmoid", "hard_sigmoid"] = "sigmoid"

    def infer(self, before: Shape) -> Shape:
        return needs_map(before)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.features import Excite

        channels = shape[0]
        inside = self.inside(channels)
        return Excite(
            nn.Sequential(
                nn.AdaptiveAvgPool2d(1),
                nn.Conv2d(channels, inside, 1),
                nn.ReLU(),
                nn.Conv2d(inside, channels, 1),
                nn.Sigmoid() if self.gate == "sigmoid" else nn.Hardsigmoid(),
            )
        )

    def parameters(self, before: Shape, after: Shape) -> int:
        inside = self.inside(before[0])
        return (before[0] + 1) * inside + (inside + 1) * before[0]

    def flops(self, before: Shape, after: Shape) -> int:
        return 4 * before[0] * self.inside(before[0])

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2

    def inside(self, channels: int) -> int:
        return max(1, round(channels * self.ratio))


class Shuffle(Layer):
    """The channel shuffle of ShuffleNet (Zhang et al. 2018, fig. 1c), not its unit: channel i of group g becomes
    channel g of group i, so that the next grouped convolution sees all groups. The unit is written as a residual of
    ``grouped_conv, norm, activation, shuffle, depthwise_conv, norm, grouped_conv, norm``.
    """

    name, main = "shuffle", "groups"
    groups: Positive = 2

    def infer(self, before: Shape) -> Shape:
        if needs_map(before)[0] % self.groups:
            raise InvalidCandidate(f"{before[0]} channels do not divide into {self.groups} groups")
        return before

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.features import ShuffleChannels

        return ShuffleChannels(self.groups)
