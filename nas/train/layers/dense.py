"""Layers that mix or reshape features without windows: linear, activation, norm, flatten, dropout, identity."""

from __future__ import annotations

from math import gcd, prod
from typing import TYPE_CHECKING, Literal

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Rate, Shape
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn

Activations = Literal[
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "tanh", "sigmoid", "identity"
]
_MOST_GROUPS = 8


class Linear(Layer):
    """A matrix product with bias, at each position of a sequence. A map is flattened first, so that a space may put it
    anywhere.
    """

    name, main = "linear", "units"
    units: Positive

    def infer(self, before: Shape) -> Shape:
        return (before[0], self.units) if len(before) == 2 else (self.units,)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        if len(shape) == 2:
            return nn.Linear(shape[1], self.units)
        linear = nn.Linear(prod(shape), self.units)
        return linear if len(shape) == 1 else nn.Sequential(nn.Flatten(), linear)

    def parameters(self, before: Shape, after: Shape) -> int:
        features = before[1] if len(before) == 2 else prod(before)
        return (features + 1) * self.units

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * prod(before) * self.units


class Activation(Layer):
    """A function of each number, by its usual name."""

    name, main = "activation", "function"
    keeps_shape = True
    function: Activations = "relu"

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.activations import ACTIVATIONS

        return ACTIVATIONS[self.function]()


class Norm(Layer):
    """Batch: over the batch and the map, for each channel (Ioffe and Szegedy 2015). Layer: over one sample (Ba et al.
    2016). Group: over groups of one sample's channels (Wu and He 2018). All with a learned scale and shift by channel.
    A sequence's positions count as samples, their features as channels.
    """

    name, main = "norm", "kind"
    keeps_shape = True
    kind: Literal["batch", "layer", "group", "none"] = "batch"

    def infer(self, before: Shape) -> Shape:
        if self.kind in ("layer", "group"):
            group_count(before[1:] if len(before) == 2 else before, 1 if self.kind == "layer" else _MOST_GROUPS)
        return before

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.tokens import EachPosition

        if len(shape) == 2:
            return EachPosition(self.build(shape[1:]))
        match self.kind:
            case "batch":
                return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
            case "layer":
                return group_norm(shape, 1)
            case "group":
                return group_norm(shape, _MOST_GROUPS)
        return nn.Identity()

    def parameters(self, before: Shape, after: Shape) -> int:
        return 0 if self.kind == "none" else 2 * (before[1] if len(before) == 2 else before[0])


def group_norm(shape: Shape, most: int) -> nn.Module:
    """Group norm of a map or vector. Raises as ``group_count``."""
    from torch import nn

    return nn.GroupNorm(group_count(shape, most), shape[0])


def group_count(shape: Shape, most: int) -> int:
    """In how many groups a map or vector is normalised, up to ``most``: as many as divide that and the channels, but of
    more than one number each, which would always be zero.

    Raises:
        InvalidCandidate: there is but one number in all.
    """
    size = prod(shape[1:])
    groups = [n for n in range(1, most + 1) if gcd(shape[0], most) % n == 0 and shape[0] // n * size > 1]
    if not groups:
        raise InvalidCandidate(f"the norm of one number, which is all that {shape} has, is always zero")
    return groups[-1]


class Flatten(Layer):
    """(channels, height, width) to (channels * height * width,), and a sequence likewise."""

    name = "flatten"

    def infer(self, before: Shape) -> Shape:
        return (prod(before),)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Flatten()


class Dropout(Layer):
    """Zeroes each number with this probability while training (Srivastava et al. 2014)."""

    name, main = "dropout", "rate"
    keeps_shape = True
    rate: Rate = 0.5

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Dropout(self.rate)


class Identity(Layer):
    """What comes in goes out."""

    name = "identity"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        return nn.Identity()
