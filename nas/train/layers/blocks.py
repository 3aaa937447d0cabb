"""Layers made of layers."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Literal

from nas.errors import InvalidCandidate
from nas.train.layers.dense import Norm
from nas.train.layers.layer import Layer, Layers, Links, Rate, Shape, assemble, chain, depth_of, flops_of, parameters_of

if TYPE_CHECKING:
    from torch import nn


class Residual(Layer):
    """f(x) + shortcut(x) (He et al. 2016). The shortcut is x itself; where f changes the shape of a map, a 1x1
    convolution without bias, with the stride that gives f's size; where it changes the features of a vector or a
    sequence, a matrix. Without layers it is the identity.

    ``shortcut: norm`` has batch norm after that convolution or matrix, as He et al. have it. ``stochastic_depth`` is
    the rate at which f is left out of a sample (StochasticDepth), and may as well be the last of the layers.
    """

    name, main = "residual", "layers"
    layers: Layers
    shortcut: Literal["plain", "norm"] = "plain"
    stochastic_depth: Rate = 0.0

    def infer(self, before: Shape) -> Shape:
        links, projections = self.chains(before)
        for projection, *_ in projections:
            projection.infer(before)
        return links[-1][2] if links else before

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.blocks import Sum

        links = chain(self._body(), shape, "layers")
        if not links:
            return nn.Identity()
        projections = [projection.build(shape) for projection, *_ in self._shortcut(shape, links)]
        return Sum(assemble(links), *(projections or [nn.Identity()]))

    def parameters(self, before: Shape, after: Shape) -> int:
        links = chain(self._body(), before, "layers")
        return parameters_of(links) + parameters_of(self._shortcut(before, links))

    def flops(self, before: Shape, after: Shape) -> int:
        links = chain(self._body(), before, "layers")
        return flops_of(links) + flops_of(self._shortcut(before, links))

    def longest_way(self, before: Shape, after: Shape) -> int:
        return max(map(depth_of, self.chains(before)))

    def chains(self, before: Shape) -> tuple[Links, ...]:
        links = chain(self._body(), before, "layers")
        return links, self._shortcut(before, links)

    def _body(self) -> tuple[Layer, ...]:
        drop = (StochasticDepth(rate=self.stochastic_depth),) if self.layers and self.stochastic_depth else ()
        return self.layers + drop

    def _shortcut(self, shape: Shape, links: Links) -> Links:
        after = links[-1][2] if links else shape
        if after == shape:
            return []
        return [(Projection(shape=after, norm=self.shortcut == "norm"), shape, after)]


class Projection(Layer):
    """From whatever shape to ``shape``: a 1x1 convolution (a matrix) without bias, and batch norm where ``norm``."""

    name = "projection"
    shape: Shape
    norm: bool = True

    def infer(self, before: Shape) -> Shape:
        shortcut_stride(before, self.shape)
        return self.shape

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        if len(shape) < 3:
            projection: nn.Module = nn.Linear(shape[-1], self.shape[-1], bias=False)
        else:
            stride = shortcut_stride(shape, self.shape)
            projection = nn.Conv2d(shape[0], self.shape[0], 1, stride=stride, bias=False)
        return nn.Sequential(projection, Norm().build(self.shape)) if self.norm else projection

    def parameters(self, before: Shape, after: Shape) -> int:
        axis = len(before) == 2  # of features: a sequence's second
        return before[axis] * after[axis] + 2 * after[axis] * self.norm

    def flops(self, before: Shape, after: Shape) -> int:
        return 2 * before[len(before) == 2] * prod(after)


class StochasticDepth(Layer):
    """While training, zeroes a whole sample with this probability, and scales the others by 1 / (1 - rate), so that
    nothing is left to do afterwards (Huang et al. 2016, who scale then, by 1 - rate). The last of a residual block's
    layers, it leaves that block out for the sample.
    """

    name, main = "stochastic_depth", "rate"
    keeps_shape = True
    rate: Rate

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.blocks import DropSamples

        return DropSamples(self.rate)


class Skip(Layer):
    """x beside f(x): their channels (features) concatenated, x first. Nested, it is a U-Net (Ronneberger et al. 2015):

        skip: [{max_pool: 2}, {conv: 32}, {skip: [...]}, {conv: 16}, {upsample: 2}]

    A map that comes back larger (an odd size, halved and doubled) is cropped at its right and lower edge.
    """

    name, main = "skip", "layers"
    layers: Layers

    def infer(self, before: Shape) -> Shape:
        (links,) = self.chains(before)
        after = self._after(before, links)
        features = len(before) == 2  # is the axis of what is put side by side
        return tuple(n + after[axis] if axis == features else n for axis, n in enumerate(before))

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.blocks import Beside

        return Beside(assemble(chain(self.layers, shape, "layers")))

    def _after(self, shape: Shape, links: Links) -> Shape:
        """What comes back. Raises InvalidCandidate where it can not be put beside what went in."""
        after = links[-1][2] if links else shape
        maps = len(shape) == len(after) == 3 and after[1] >= shape[1] and after[2] >= shape[2]
        if not maps and (len(shape) == 3 or after[:-1] != shape[:-1]):
            raise InvalidCandidate(f"{shape} goes in and {after} comes back, which can not be put beside it")
        return after

    def parameters(self, before: Shape, after: Shape) -> int:
        return parameters_of(chain(self.layers, before, "layers"))

    def flops(self, before: Shape, after: Shape) -> int:
        return flops_of(chain(self.layers, before, "layers"))

    def longest_way(self, before: Shape, after: Shape) -> int:
        return depth_of(chain(self.layers, before, "layers"))

    def chains(self, before: Shape) -> tuple[Links, ...]:
        return (chain(self.layers, before, "layers"),)


def shortcut_stride(before: Shape, after: Shape) -> int:
    """Of the 1x1 convolution that leads from one shape to the other; 1 for a matrix, which leads between features.

    Raises:
        InvalidCandidate: none leads from one shape to the other.
    """
    if len(before) != len(after) or (len(before) == 2 and before[0] != after[0]):
        raise InvalidCandidate(f"no shortcut leads from {before} to {after}")
    if len(before) <= 2:
        return 1
    # Windowed layers turn n into ceil(n / stride), and ceil(ceil(n / a) / b) is ceil(n / ab): a chain of them has one.
    strides = (s for s in range(1, max(before[1:]) + 1) if tuple(-(-n // s) for n in before[1:]) == after[1:])
    stride = next(strides, None)
    if stride is None:
        raise InvalidCandidate(f"no stride of a 1x1 convolution leads from {before} to {after}")
    return stride
