"""Layers that mix or reshape features without windows: linear, activation, norm, flatten, dropout, identity."""

from __future__ import annotations

from math import gcd, prod
from typing import Literal

from torch import Tensor, nn

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Rate, Shape
from nas.train.settings import Positive

Activations = Literal[
    "relu", "relu6", "leaky_relu", "elu", "gelu", "silu", "mish", "hardswish", "tanh", "sigmoid", "identity"
]
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
_MOST_GROUPS = 8


class Linear(Layer):
    """A matrix product with bias, at each position of a sequence. A map is flattened first, so that a space may put it
    anywhere.
    """

    name, main = "linear", "units"
    units: Positive

    def infer(self, before: Shape) -> Shape:  # on the meta device its first product takes torch half a second
        return (before[0], self.units) if len(before) == 2 else (self.units,)

    def build(self, shape: Shape) -> nn.Module:
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
        return ACTIVATIONS[self.function]()


class Norm(Layer):
    """Batch: over the batch and the map, for each channel (Ioffe and Szegedy 2015). Layer: over one sample (Ba et al.
    2016). Group: over groups of one sample's channels (Wu and He 2018). All with a learned scale and shift by channel.
    A sequence's positions count as samples, their features as channels.
    """

    name, main = "norm", "kind"
    keeps_shape = True
    kind: Literal["batch", "layer", "group", "none"] = "batch"

    def build(self, shape: Shape) -> nn.Module:
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
    """Group norm of a map or vector in up to ``most`` groups: as many as divide that and the channels, but of more than
    one number each, which would always be zero.

    Raises:
        InvalidCandidate: there is but one number in all.
    """
    size = prod(shape[1:])
    groups = [n for n in range(1, most + 1) if gcd(shape[0], most) % n == 0 and shape[0] // n * size > 1]
    if not groups:
        raise InvalidCandidate(f"the norm of one number, which is all that {shape} has, is always zero")
    return nn.GroupNorm(groups[-1], shape[0])


class EachPosition(nn.Module):
    """Applies a module of vectors to every position of sequences (batch, length, features)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        through: Tensor = self.body(x.flatten(0, 1))
        return through.view(*x.shape[:2], -1)


class Flatten(Layer):
    """(channels, height, width) to (channels * height * width,), and a sequence likewise."""

    name = "flatten"

    def infer(self, before: Shape) -> Shape:
        return (prod(before),)

    def build(self, shape: Shape) -> nn.Module:
        return nn.Flatten()


class Dropout(Layer):
    """Zeroes each number with this probability while training (Srivastava et al. 2014)."""

    name, main = "dropout", "rate"
    keeps_shape = True
    rate: Rate = 0.5

    def build(self, shape: Shape) -> nn.Module:
        return nn.Dropout(self.rate)


class Identity(Layer):
    """What comes in goes out."""

    name = "identity"
    keeps_shape = True

    def build(self, shape: Shape) -> nn.Module:
        return nn.Identity()
