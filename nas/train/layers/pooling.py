"""Pools over maps, and the way back.

A map of n becomes ceil(n / stride) (layer.padding); padding enters no maximum and no mean.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nas.train.layers.layer import Layer, Shape, needs_map, padding, strided
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class MaxPool(Layer):
    """The maximum of each window. Without a stride, the kernel is the stride."""

    name, main = "max_pool", "kernel"
    kernel: Positive = 2
    stride: Positive | None = None

    def infer(self, before: Shape) -> Shape:
        return strided(before, needs_map(before)[0], self.stride or self.kernel)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.pooling import PaddedMaxPool

        kernel, stride = self.kernel, self.stride or self.kernel
        if _symmetric(shape, kernel, stride):
            return nn.MaxPool2d(kernel, stride, padding(kernel)[0])
        return PaddedMaxPool(kernel, stride)


class AvgPool(Layer):
    """The mean of what lies in each window. Without a stride, the kernel is the stride."""

    name, main = "avg_pool", "kernel"
    kernel: Positive = 2
    stride: Positive | None = None

    def infer(self, before: Shape) -> Shape:
        return strided(before, needs_map(before)[0], self.stride or self.kernel)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.pooling import PaddedAvgPool

        kernel, stride = self.kernel, self.stride or self.kernel
        if _symmetric(shape, kernel, stride):
            return nn.AvgPool2d(kernel, stride, padding(kernel)[0], count_include_pad=False)
        return PaddedAvgPool(kernel, stride)


class GlobalPool(Layer):
    """(channels, height, width) to (channels,), or (length, features) to (features,): the mean or the maximum."""

    name, main = "global_pool", "kind"
    kind: Literal["average", "max"] = "average"

    def infer(self, before: Shape) -> Shape:
        return before[1:] if len(before) == 2 else needs_map(before)[:1]

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.pooling import OverPositions

        if len(shape) == 2:
            return OverPositions(self.kind == "max")
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1) if self.kind == "average" else nn.AdaptiveMaxPool2d(1), nn.Flatten()
        )


class Upsample(Layer):
    """A map ``scale`` times as high and wide: each pixel repeated, or bilinear between pixel centres. It learns
    nothing; a convolution after it makes it U-Net's "up-convolution" (why not transposed: Odena et al. 2016).

    On a GPU the bilinear one adds its gradients in no fixed order, so that training repeats but for the last bits.
    """

    name, main = "upsample", "scale"
    scale: Positive = 2
    mode: Literal["nearest", "bilinear"] = "nearest"

    def infer(self, before: Shape) -> Shape:
        return needs_map(before)[0], *(n * self.scale for n in before[1:])

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        align = None if self.mode == "nearest" else False
        return nn.Upsample(scale_factor=self.scale, mode=self.mode, align_corners=align)


def _symmetric(shape: Shape, kernel: int, stride: int) -> bool:
    """Whether equal padding on both sides, torch's own, already gives ceil(n / stride): all but some even kernels."""
    left, _ = padding(kernel)
    return all((n + 2 * left - kernel) // stride + 1 == -(-n // stride) for n in shape[1:])
