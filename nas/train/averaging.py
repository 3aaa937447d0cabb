"""An exponential moving average of a network's weights, judged and kept in their place (Polyak and Juditsky 1992).

The running statistics of batch norms belong to the weights that made them, and are averaged with them at the same rate.
torch.optim.swa_utils.AveragedModel is left out: it copies the network, and the copy of a module whose ``forward`` was
replaced (Precision.adapt) would compute with the weights of the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Average:
    """``update`` after each step; ``with average.in_place():`` the network has the averaged weights."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.current: list[Tensor] = [p.data for p in network.parameters()]
        for module in network.modules():
            if isinstance(module, _BatchNorm) and module.running_mean is not None and module.running_var is not None:
                self.current += [module.running_mean, module.running_var]
        self.averaged = [tensor.clone() for tensor in self.current]

    def update(self) -> None:
        """The decay begins small, as TensorFlow's does: the first weights are random, and would weigh for long."""
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 9))
        torch._foreach_lerp_(self.averaged, self.current, 1 - decay)

    def save(self) -> dict[str, Any]:
        return {"steps": self.steps, "averaged": self.averaged}

    def load(self, saved: Mapping[str, Any]) -> None:
        self.steps = saved["steps"]
        torch._foreach_copy_(self.averaged, saved["averaged"])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def exchange(self) -> None:
        kept = [tensor.clone() for tensor in self.current]
        torch._foreach_copy_(self.current, self.averaged)
        torch._foreach_copy_(self.averaged, kept)
