"""Convolutions over maps. All of them turn a map of n into ceil(n / stride), whatever the kernel (layer.padding)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import PydanticCustomError

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Shape, needs_map, sides, strided
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


def _kernel(given: Any, read: ValidatorFunctionWrapHandler) -> int | tuple[int, int]:
    """``3`` and ``[3, 3]`` are one layer."""
    try:
        kernel: int | tuple[int, int] = read(tuple(given) if isinstance(given, list) else given)
    except ValidationError:  # one message instead of one for each branch of the union
        message = "a kernel is a size from 1, or two of them, [height, width]"
        raise PydanticCustomError("kernel", message) from None
    height, width = sides(kernel)
    return height if height == width else (height, width)


Kernel = Annotated[Positive | tuple[Positive, Positive], WrapValidator(_kernel)]


class Conv(Layer):
    """A 2-d convolution, with bias unless it says ``bias: false``. ``filters: same`` keeps the channels.

    ``kernel`` is the side of a square, or ``[height, width]``.
    """

    name, main = "conv", "filters"
    filters: Positive | Literal["same"]
    kernel: Kernel = 3
    stride: Positive = 1
    groups: Positive = 1
    dilation: Positive = 1
    bias: bool = True

    def infer(self, before: Shape) -> Shape:
        channels = needs_map(before)[0]
        filters = channels if self.filters == "same" else self.filters
        if channels % self.groups or filters % self.groups:
            both = f"{channels} channels and {filters} filters"
            raise InvalidCandidate(f"{both} do not both divide into {self.groups} groups")
        return strided(before, filters, self.stride)

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.convolution import convolution

        return convolution(
            shape[0],
            shape[0] if self.filters == "same" else self.filters,
            self.kernel,
            stride=self.stride,
            groups=self.groups,
            dilation=self.dilation,
            bias=self.bias,
        )

    def parameters(self, before: Shape, after: Shape) -> int:
        return after[0] * (before[0] // self.groups * prod(sides(self.kernel)) + self.bias)

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * prod(after) * (before[0] // self.groups) * prod(sides(self.kernel))


class DepthwiseConv(Layer):
    """One square filter for each channel, with bias unless it says ``bias: false``."""

    name, main = "depthwise_conv", "kernel"
    kernel: Positive = 3
    stride: Positive = 1
    dilation: Positive = 1
    bias: bool = True

    def infer(self, before: Shape) -> Shape:
        return strided(before, needs_map(before)[0], self.stride)

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.convolution import convolution

        return convolution(
            shape[0],
            shape[0],
            self.kernel,
            stride=self.stride,
            groups=shape[0],
            dilation=self.dilation,
            bias=self.bias,
        )

    def parameters(self, before: Shape, after: Shape) -> int:
        return before[0] * (self.kernel**2 + self.bias)

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * prod(after) * self.kernel**2
