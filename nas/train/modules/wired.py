"""Chains of modules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from nas.train.layers.layer import reached


class Wired(nn.Sequential):
    """A chain in which some modules read other outputs than that of the one before them (``Layer.inputs_from``)."""

    def __init__(self, modules: Sequence[nn.Module], wanted: Sequence[tuple[int, ...]]) -> None:
        super().__init__(*modules)
        self.wanted = tuple(wanted)
        self.reach = max((-min(entries) for entries in wanted), default=1)  # outputs that are kept

    def __getitem__(self, index: Any) -> Any:
        """A module, or for a slice a network of these modules, wired among themselves as here."""
        if not isinstance(index, slice):
            return super().__getitem__(index)
        return Wired(list(self)[index], self.wanted[index])

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for module, entries in zip(self, self.wanted, strict=True):
            outputs.append(module(*(reached(outputs, entry) for entry in entries)))
            del outputs[: -self.reach]
        return outputs[-1]
