"""Squeeze-and-excitation, and the shuffle of channels."""

from __future__ import annotations

from torch import Tensor, nn


class Excite(nn.Module):
    """x * gate(x), a gate for each channel."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        gated: Tensor = x * self.gate(x)
        return gated


class ShuffleChannels(nn.Module):
    """See Shuffle."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, *size = x.shape
        return x.view(batch, self.groups, channels // self.groups, *size).transpose(1, 2).flatten(1, 2)
