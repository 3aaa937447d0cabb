"""Self-attention (Vaswani et al. 2017), on sequences and on maps (see tokens.py).

FLOPs are of what is computed: ``causal`` saves none, as the scores behind the present are computed and masked; a
``window`` saves what lies outside of the blocks that it touches. As everywhere (layer.py), softmax and norms count
nothing.

Left out: Swin's shift of windows (put a convolution or an unwindowed block between two windowed ones), axial rotary
positions for maps (their pixels are turned by raster index), and key-value caches: nothing is generated here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Shape
from nas.train.layers.tokens import tokens
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class Attention(Layer):
    """Multi-head scaled dot-product self-attention, with biases (Vaswani et al. 2017, sec. 3.2).

    A ``window`` of w lets a position of a sequence see those fewer than w away (Beltagy et al. 2020), and divides a
    map into squares of w times w that see themselves alone (Liu et al. 2021, without its shift). ``causal``: no
    position sees a later one. ``rotary`` positions turn queries and keys by their index (Su et al. 2021, eq. 34).
    """

    name, main = "attention", "heads"
    keeps_shape = True
    heads: Positive = 4
    window: Positive | None = None
    causal: bool = False
    positions: Literal["none", "rotary"] = "none"

    def infer(self, before: Shape) -> Shape:
        return attended(before, self.heads, self.window, self.causal, self.positions == "rotary")

    def build(self, shape: Shape) -> nn.Module:
        return self_attention(shape, self.heads, self.window, self.causal, self.positions == "rotary")

    def parameters(self, before: Shape, after: Shape) -> int:
        return attention_parameters(tokens(before)[1])

    def flops(self, before: Shape, after: Shape) -> int:
        return attention_flops(before, self.window, self.causal)

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2  # into the heads, and out of them


# Costs ---------------------------------------------------------------------------------------------------------------


def attention_parameters(width: int) -> int:
    """Of queries, keys, values, and of what joins the heads."""
    return 4 * width * (width + 1)


def attention_flops(shape: Shape, window: int | None, causal: bool) -> int:
    """Projections of every token; scores and sums for each query that is computed, with each key that it meets."""
    length, width = tokens(shape)
    queries, keys = length, length
    if window is not None and len(shape) == 3 and window < max(shape[1:]):
        keys = window**2
        queries = -(-shape[1] // window) * -(-shape[2] // window) * keys
    elif window is not None and window < length and len(shape) != 3:
        queries = -(-length // window) * window
        keys = window * (2 if causal else 3)
    return 8 * length * width**2 + 4 * queries * keys * width


# Shapes and modules --------------------------------------------------------------------------------------------------


def attended(shape: Shape, heads: int, window: int | None, causal: bool, rotary: bool) -> Shape:
    """The shape itself. Raises InvalidCandidate where heads or window do not fit it."""
    if len(shape) == 1:
        raise InvalidCandidate(f"a sequence or a map is needed, and what comes is {shape}")
    width = tokens(shape)[1]
    if width % heads:
        raise InvalidCandidate(f"{width} features do not divide into {heads} heads")
    if rotary and width // heads % 2:
        raise InvalidCandidate(f"rotary positions turn pairs, and a head of {width // heads} features has an odd one")
    if causal and len(shape) == 3 and window is not None and window < max(shape[1:]):
        raise InvalidCandidate("a windowed map has no order that could be causal; leave out window or causal")
    return shape


def self_attention(shape: Shape, heads: int, window: int | None, causal: bool, rotary: bool) -> nn.Module:
    """The module for a shape that ``attended`` lets pass, whose windows are those of the shape."""
    from nas.train.modules.attention import Band, Everything, SelfAttention, Squares
    from nas.train.modules.tokens import OnTokens

    length, width = tokens(shape)
    if len(shape) == 3 and window is not None and window < max(shape[1:]):
        squares = Squares(shape[1], shape[2], window)
        return OnTokens(SelfAttention(width, heads, squares, length if rotary else 0))
    narrow = window is not None and window < length and len(shape) == 2
    reach = Band(length, window, causal) if window is not None and narrow else Everything(causal)
    return OnTokens(SelfAttention(width, heads, reach, length if rotary else 0))
