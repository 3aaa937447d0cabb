"""Rows for items; layers/embedding.py says how items share them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Rows(nn.Module):
    def __init__(self, vocabulary: int, units: int) -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.randn(vocabulary, units))

    def forward(self, items: Tensor) -> Tensor:
        return F.embedding(items.long(), self.rows)


class HashedRows(nn.Module):
    """Rows 0 to own - 1, then the shared ones."""

    def __init__(self, own: int, shared: int, units: int) -> None:
        super().__init__()
        self.own, self.shared = own, shared
        self.rows = nn.Parameter(torch.randn(own + shared, units))

    def forward(self, items: Tensor) -> Tensor:
        items = items.long()
        row, sign = self.place(items)
        return F.embedding(row, self.rows) * sign[..., None]

    def place(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Each item's row, and its sign (1 or -1). The same in every process."""
        mixed = _mixed(items)
        shares = items >= self.own
        row = torch.where(shares, self.own + (mixed >> 1) % self.shared, items)
        return row, torch.where(shares, 1 - 2 * (mixed & 1), 1)


def _mixed(items: Tensor) -> Tensor:
    """31 well-mixed bits of each item, by multiplications and shifts (Mueller's integer hash)."""
    bits = items & 0x7FFFFFFF
    for _ in range(2):
        bits = ((bits ^ (bits >> 16)) * 0x45D9F3B) & 0x7FFFFFFF
    return bits ^ (bits >> 16)
