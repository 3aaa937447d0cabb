"""Embeddings: rows of numbers for items (characters, words, categories).

Items come as whole numbers from 0 in whatever type the network's input has (fp32 holds them exactly to 2^24), so that a
text's items and a table's numbers are inputs alike. A row's first numbers are drawn from N(0, 1), as torch does.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Shape
from nas.train.settings import Positive


class Embedding(Layer):
    """(length,) items to (length, units): a learned row for each of ``vocabulary`` items (Bengio et al. 2003)."""

    name, items = "embedding", True
    units: Positive
    vocabulary: Positive

    def build(self, shape: Shape) -> nn.Module:
        _needs_items(shape)
        return Rows(self.vocabulary, self.units)

    def parameters(self, before: Shape, after: Shape) -> int:
        return self.vocabulary * self.units


class HashedEmbedding(Layer):
    """Like ``embedding``, for any number of items: the first ``own`` have rows of their own, all others share
    ``shared`` rows, each taking the row and the sign that a hash gives it (Weinberger et al. 2009: with signs, the rows
    of two items are uncorrelated on average).

    Items that are numbered by falling frequency, as those of a text task, let the rare ones share.
    """

    name, items = "hashed_embedding", True
    units: Positive
    shared: Positive
    own: Annotated[int, Field(ge=0)] = 0

    def build(self, shape: Shape) -> nn.Module:
        _needs_items(shape)
        return HashedRows(self.own, self.shared, self.units)

    def parameters(self, before: Shape, after: Shape) -> int:
        return (self.own + self.shared) * self.units


def _needs_items(shape: Shape) -> None:
    if len(shape) != 1:
        raise InvalidCandidate(f"items (length,) are needed, and what comes is {shape}")


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
