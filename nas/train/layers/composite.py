"""Layers that stand for a list of others, as the literature names it: what it computes and costs is what they do.

All convolutions before a norm are without bias, which the norm's shift makes useless.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nas.train.layers.blocks import Residual, Skip
from nas.train.layers.convolution import Conv, DepthwiseConv
from nas.train.layers.dense import Activation, Activations, Dropout, Norm
from nas.train.layers.features import SqueezeExcite
from nas.train.layers.layer import (
    Layer,
    Links,
    PositiveReal,
    Rate,
    Shape,
    assemble,
    chain,
    depth_of,
    flops_of,
    needs_map,
    parameters_of,
)
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn

Filters = Positive | Literal["same"]  # same: as many as there are channels
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Composite(Layer):
    """A layer that is a list of others, which ``parts`` gives for the shape that comes in."""

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        raise NotImplementedError

    def infer(self, before: Shape) -> Shape:
        return expanded(self, before)[-1][2]

    def build(self, shape: Shape) -> nn.Module:
        return assemble(expanded(self, shape))

    def parameters(self, before: Shape, after: Shape) -> int:
        return _totals(self, before)[0]

    def flops(self, before: Shape, after: Shape) -> int:
        return _totals(self, before)[1]

    def longest_way(self, before: Shape, after: Shape) -> int:
        return _totals(self, before)[2]

    def chains(self, before: Shape) -> tuple[Links, ...]:
        return (expanded(self, before),)


@lru_cache(maxsize=1 << 14)
def expanded(layer: Composite, shape: Shape) -> Links:
    """The parts of a layer with their shapes. Raises InvalidCandidate naming the part that can not follow."""
    return chain(layer.parts(needs_map(shape)), shape, "part")


@lru_cache(maxsize=1 << 14)
def _totals(layer: Composite, shape: Shape) -> tuple[int, int, int]:
    """Parameters, FLOPs, depth."""
    links = expanded(layer, shape)
    return parameters_of(links), flops_of(links), depth_of(links)


class DilatedConv(Composite):
    """A convolution whose taps are ``dilation`` apart (Yu and Koltun 2016), with bias."""

    name, main = "dilated_conv", "filters"
    filters: Filters = "same"
    kernel: Positive = 3
    dilation: Positive = 2
    stride: Positive = 1

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        return (Conv(filters=self.filters, kernel=self.kernel, dilation=self.dilation, stride=self.stride),)


class GroupedConv(Composite):
    """A convolution within each of ``groups`` groups of channels (Krizhevsky et al. 2012; ResNeXt: Xie et al. 2017),
    with bias. A ``shuffle`` after it lets the groups meet.
    """

    name, main = "grouped_conv", "filters"
    filters: Filters = "same"
    kernel: Positive = 3
    groups: Positive = 2
    stride: Positive = 1

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        return (Conv(filters=self.filters, kernel=self.kernel, groups=self.groups, stride=self.stride),)


class SeparableConv(Composite):
    """A depthwise convolution without bias, then a 1x1 convolution with bias, and nothing between them (Chollet 2017).

    The separable operation of NASNet and DARTS is this twice, each time within activation and norm.
    """

    name, main = "separable_conv", "filters"
    filters: Filters = "same"
    kernel: Positive = 3
    stride: Positive = 1
    dilation: Positive = 1

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        return (
            DepthwiseConv(kernel=self.kernel, stride=self.stride, dilation=self.dilation, bias=False),
            Conv(filters=self.filters, kernel=1),
        )


class InvertedResidual(Composite):
    """MobileNetV2's block (Sandler et al. 2018, table 1): 1x1 convolution to ``expand`` times the channels (none at 1),
    depthwise convolution, 1x1 convolution to ``filters`` without activation; batch norm after each; the input is added
    where nothing changed the shape.

    ``squeeze_excite`` weighs the channels after the depthwise convolution, and says which share of them its bottleneck
    has (MobileNetV3, Howard et al. 2019: a quarter, which ``true`` means; it rounds to eights, which is not done here).
    ``stochastic_depth``: see residual.
    """

    name, main = "inverted_residual", "expand"
    expand: PositiveReal
    kernel: Positive = 3
    stride: Positive = 1
    filters: Filters = "same"
    squeeze_excite: bool | Share = False
    activation: Activations = "relu6"
    stochastic_depth: Rate = 0.0

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        hidden = max(1, round(shape[0] * self.expand))
        activation = Activation(function=self.activation)
        widen = (Conv(filters=hidden, kernel=1, bias=False), Norm(), activation)
        body: tuple[Layer, ...] = (
            *(widen if hidden != shape[0] else ()),
            DepthwiseConv(kernel=self.kernel, stride=self.stride, bias=False),
            Norm(),
            activation,
            *self._attention(),
            Conv(filters=shape[0] if self.filters == "same" else self.filters, kernel=1, bias=False),
            Norm(),
        )
        keeps = self.stride == 1 and self.filters in ("same", shape[0])
        return (Residual(layers=body, stochastic_depth=self.stochastic_depth),) if keeps else body

    def _attention(self) -> tuple[Layer, ...]:
        if not self.squeeze_excite:
            return ()
        share = 0.25 if self.squeeze_excite is True else self.squeeze_excite
        return (SqueezeExcite(ratio=share, gate="hard_sigmoid"),)


class Bottleneck(Composite):
    """ResNet's bottleneck (He et al. 2016, fig. 5 right): 1x1 convolution to ``filters / reduce``, kernel x kernel, 1x1
    to ``filters``, batch norm after each; plus the input or its normed projection; the activation after the sum.

    The stride is the middle convolution's, as in nearly all code since ("v1.5"). ``groups`` makes it a ResNeXt (Xie et
    al. 2017), where ``reduce`` is 2.
    """

    name, main = "bottleneck", "filters"
    filters: Filters = "same"
    kernel: Positive = 3
    stride: Positive = 1
    reduce: PositiveReal = 4.0
    groups: Positive = 1
    squeeze_excite: bool | Share = False  # after the last norm (Hu et al. 2018, fig. 3); true: a sixteenth
    activation: Activations = "relu"
    stochastic_depth: Rate = 0.0

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        filters = shape[0] if self.filters == "same" else self.filters
        inside = max(1, round(filters / self.reduce))
        activation = Activation(function=self.activation)
        share = 1 / 16 if self.squeeze_excite is True else self.squeeze_excite
        body = (
            Conv(filters=inside, kernel=1, bias=False),
            Norm(),
            activation,
            Conv(filters=inside, kernel=self.kernel, stride=self.stride, groups=self.groups, bias=False),
            Norm(),
            activation,
            Conv(filters=filters, kernel=1, bias=False),
            Norm(),
            *((SqueezeExcite(ratio=share),) if share else ()),
        )
        return Residual(layers=body, shortcut="norm", stochastic_depth=self.stochastic_depth), activation


class DenseBlock(Composite):
    """DenseNet's block (Huang et al. 2017): ``depth`` times, ``growth`` new channels beside all that there are, from
    norm, activation and convolution of them; ``bottleneck``: first a 1x1 convolution to 4 growth channels (DenseNet-B).

    The transition between two blocks is ``norm, activation, {conv: {filters: ..., kernel: 1}}, {avg_pool: 2}``.
    """

    name, main = "dense_block", "depth"
    depth: Positive = 4
    growth: Positive = 12
    kernel: Positive = 3
    bottleneck: bool = True
    activation: Activations = "relu"
    dropout: Rate = 0.0

    def parts(self, shape: Shape) -> tuple[Layer, ...]:
        before = (Norm(), Activation(function=self.activation))
        narrow = (Conv(filters=4 * self.growth, kernel=1, bias=False), *before) if self.bottleneck else ()
        drop = (Dropout(rate=self.dropout),) if self.dropout else ()
        conv = Conv(filters=self.growth, kernel=self.kernel, bias=False)
        return (Skip(layers=(*before, *narrow, conv, *drop)),) * self.depth
