"""Convolutions over maps. All of them turn a map of n into ceil(n / stride), whatever the kernel (layer.padding)."""

from __future__ import annotations

from math import prod
from typing import Literal

from torch import nn

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Shape, needs_map, padding, strided
from nas.train.settings import Positive


class Conv(Layer):
    """A square 2-d convolution, with bias unless it says ``bias: false``. ``filters: same`` keeps the channels."""

    name, main = "conv", "filters"
    filters: Positive | Literal["same"]
    kernel: Positive = 3
    stride: Positive = 1
    groups: Positive = 1
    dilation: Positive = 1
    bias: bool = True

    def infer(self, before: Shape) -> Shape:
        return strided(self, before, needs_map(before)[0] if self.filters == "same" else self.filters, self.stride)

    def build(self, shape: Shape) -> nn.Module:
        channels = needs_map(shape)[0]
        filters = channels if self.filters == "same" else self.filters
        if channels % self.groups or filters % self.groups:
            both = f"{channels} channels and {filters} filters"
            raise InvalidCandidate(f"{both} do not both divide into {self.groups} groups")
        return convolution(
            channels,
            filters,
            self.kernel,
            stride=self.stride,
            groups=self.groups,
            dilation=self.dilation,
            bias=self.bias,
        )

    def parameters(self, before: Shape, after: Shape) -> int:
        return after[0] * (before[0] // self.groups * self.kernel**2 + self.bias)

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * prod(after) * (before[0] // self.groups) * self.kernel**2


class DepthwiseConv(Layer):
    """One square filter for each channel, with bias unless it says ``bias: false``."""

    name, main = "depthwise_conv", "kernel"
    kernel: Positive = 3
    stride: Positive = 1
    dilation: Positive = 1
    bias: bool = True

    def infer(self, before: Shape) -> Shape:
        return strided(self, before, needs_map(before)[0], self.stride)

    def build(self, shape: Shape) -> nn.Module:
        channels = needs_map(shape)[0]
        return convolution(
            channels,
            channels,
            self.kernel,
            stride=self.stride,
            groups=channels,
            dilation=self.dilation,
            bias=self.bias,
        )

    def parameters(self, before: Shape, after: Shape) -> int:
        return before[0] * (self.kernel**2 + self.bias)

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * prod(after) * self.kernel**2


def convolution(
    channels: int, filters: int, kernel: int, *, stride: int = 1, groups: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Module:
    """nn.Conv2d under the padding rule; an even total of padding needs no module of its own."""
    left, right = padding(kernel, dilation)
    conv = nn.Conv2d(
        channels,
        filters,
        kernel,
        stride=stride,
        padding=left if left == right else 0,
        groups=groups,
        dilation=dilation,
        bias=bias,
    )
    return conv if left == right else nn.Sequential(nn.ZeroPad2d((left, right, left, right)), conv)
