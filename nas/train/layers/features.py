"""Layers on channels or features alone: norms by their own names, squeeze-and-excitation, the shuffle of groups.

The norms see tokens (tokens.py): the positions of a sequence, the pixels of a map, or one vector. ``norm`` (dense.py)
differs in that its ``layer`` takes a map as a whole.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from nas.errors import InvalidCandidate
from nas.train.layers.dense import EachPosition, Norm, group_norm
from nas.train.layers.layer import Layer, Shape, needs_map
from nas.train.layers.tokens import OnTokens, tokens
from nas.train.settings import Positive


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
        return OnTokens(nn.LayerNorm(tokens(shape)[1]))

    def parameters(self, before: Shape, after: Shape) -> int:
        return 2 * tokens(before)[1]


class RmsNorm(Layer):
    """The features of each token divided by their root mean square, with a learned scale (Zhang and Sennrich 2019)."""

    name = "rms_norm"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
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

    def build(self, shape: Shape) -> nn.Module:
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

    def build(self, shape: Shape) -> nn.Module:
        channels = needs_map(shape)[0]
        inside = self._inside(channels)
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
        inside = self._inside(before[0])
        return (before[0] + 1) * inside + (inside + 1) * before[0]

    def flops(self, before: Shape, after: Shape) -> int:
        return 4 * before[0] * self._inside(before[0])

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2

    def _inside(self, channels: int) -> int:
        return max(1, round(channels * self.ratio))


class Shuffle(Layer):
    """The channel shuffle of ShuffleNet (Zhang et al. 2018, fig. 1c), not its unit: channel i of group g becomes
    channel g of group i, so that the next grouped convolution sees all groups. The unit is written as a residual of
    ``grouped_conv, norm, activation, shuffle, depthwise_conv, norm, grouped_conv, norm``.
    """

    name, main = "shuffle", "groups"
    groups: Positive = 2

    def build(self, shape: Shape) -> nn.Module:
        if needs_map(shape)[0] % self.groups:
            raise InvalidCandidate(f"{shape[0]} channels do not divide into {self.groups} groups")
        return ShuffleChannels(self.groups)


class Excite(nn.Module):
    """x * gate(x), a gate for each channel."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.gate(x)
        return gated


class ShuffleChannels(nn.Module):
    """See Shuffle."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, *size = x.shape
        return x.view(batch, self.groups, channels // self.groups, *size).transpose(1, 2).flatten(1, 2)
