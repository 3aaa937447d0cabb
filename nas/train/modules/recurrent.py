"""Torch's recurrent networks, of which the outputs are wanted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RecurrentModule(nn.Module):
    """The outputs of a recurrent network, or its last ones."""

    def __init__(self, cell: nn.RNNBase, last: bool) -> None:
        super().__init__()
        self.cell, self.last = cell, last

    def forward(self, x: Tensor) -> Tensor:
        outputs: Tensor = self.cell(x)[0]
        if not self.last:
            return outputs
        if not self.cell.bidirectional:
            return outputs[:, -1]
        forth, back = outputs.chunk(2, -1)
        return torch.cat([forth[:, -1], back[:, 0]], -1)
