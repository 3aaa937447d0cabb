"""The convolution under the padding rule (layers/layer.py)."""

from __future__ import annotations

from torch import nn

from nas.train.layers.layer import padding


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
