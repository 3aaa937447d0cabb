"""The convolution under the padding rule (layers/layer.py)."""

from __future__ import annotations

from torch import nn

from nas.train.layers.layer import padding, sides


def convolution(
    channels: int,
    filters: int,
    kernel: int | tuple[int, int],
    *,
    stride: int = 1,
    groups: int = 1,
    dilation: int = 1,
    bias: bool = True,
) -> nn.Module:
    """nn.Conv2d under the padding rule; an even total of padding needs no module of its own."""
    (top, bottom), (left, right) = (padding(side, dilation) for side in sides(kernel))
    even = top == bottom and left == right
    conv = nn.Conv2d(
        channels,
        filters,
        kernel,
        stride=stride,
        padding=(top, left) if even else 0,
        groups=groups,
        dilation=dilation,
        bias=bias,
    )
    return conv if even else nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), conv)
