"""Embeddings: rows of numbers for items (characters, words, categories).

Items come as whole numbers from 0 in whatever type the network's input has (fp32 holds them exactly to 2^24), so that a
text's items and a table's numbers are inputs alike. A row's first numbers are drawn from N(0, 1), as torch does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Layer, Shape
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class Embedding(Layer):
    """(length,) items to (length, units): a learned row for each of ``vocabulary`` items (Bengio et al. 2003)."""

    name, items = "embedding", True
    units: Positive
    vocabulary: Positive

    def infer(self, before: Shape) -> Shape:
        return _needs_items(before)[0], self.units

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.embedding import Rows

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

    def infer(self, before: Shape) -> Shape:
        return _needs_items(before)[0], self.units

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.embedding import HashedRows

        return HashedRows(self.own, self.shared, self.units)

    def parameters(self, before: Shape, after: Shape) -> int:
        return (self.own + self.shared) * self.units


def _needs_items(shape: Shape) -> Shape:
    if len(shape) != 1:
        raise InvalidCandidate(f"items (length,) are needed, and what comes is {shape}")
    return shape
