"""Recurrent layers over sequences, computed by torch's own kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from nas.train.layers.layer import Layer, Shape
from nas.train.layers.tokens import needs_sequence
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class Recurrent(Layer):
    """(length, features) to (length, units), or with ``output: last`` to (units,); ``bidirectional``: twice as many,
    one half from each end, and ``last`` is where each direction ends.
    """

    gates: ClassVar[int]
    main = "units"
    units: Positive
    bidirectional: bool = False
    output: Literal["all", "last"] = "all"

    def infer(self, before: Shape) -> Shape:
        length, _ = needs_sequence(before)
        features = self.units * (1 + self.bidirectional)
        return (features,) if self.output == "last" else (length, features)

    def build(self, shape: Shape) -> nn.Module:
        from torch import nn

        from nas.train.modules.recurrent import RecurrentModule

        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[self.name]
        cell = kind(shape[1], self.units, batch_first=True, bidirectional=self.bidirectional)
        return RecurrentModule(cell, self.output == "last")

    def parameters(self, before: Shape, after: Shape) -> int:
        # torch has two biases for each gate, one of the input's product and one of the state's
        return (1 + self.bidirectional) * self.gates * self.units * (before[1] + self.units + 2)

    def flops(self, before: Shape, after: Shape) -> int:
        length, features = before
        return (1 + self.bidirectional) * 2 * length * self.gates * self.units * (features + self.units)


class Gru(Recurrent):
    """Gated recurrent units (Cho et al. 2014, with torch's reset gate behind the product: Chung et al. 2014)."""

    name, gates = "gru", 3


class Lstm(Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000)."""

    name, gates = "lstm", 4
