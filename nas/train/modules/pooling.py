"""Pools that torch has not: over positions, and with one-sided padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.train.layers.layer import padding


class OverPositions(nn.Module):
    """The mean or maximum over the positions of sequences (batch, length, features)."""

    def __init__(self, maximum: bool) -> None:
        super().__init__()
        self.maximum = maximum

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(1) if self.maximum else x.mean(1)


class PaddedMaxPool(nn.Module):
    """A maximum whose window reaches one further to the right than to the left."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.pad = kernel, stride, padding(kernel) * 2

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(F.pad(x, self.pad, value=float("-inf")), self.kernel, self.stride)


class PaddedAvgPool(nn.Module):
    """A mean whose window reaches one further to the right than to the left; it divides by the pixels it saw."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride, self.pad = kernel, stride, padding(kernel) * 2

    def forward(self, x: Tensor) -> Tensor:
        seen = F.avg_pool2d(F.pad(torch.ones_like(x[:1, :1]), self.pad), self.kernel, self.stride)
        return F.avg_pool2d(F.pad(x, self.pad), self.kernel, self.stride) / seen
