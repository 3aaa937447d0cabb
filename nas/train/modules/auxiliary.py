"""What a module wants to say to the training loop beside its output: a loss to add, and notes for the trial's record.

    class Gate(Auxiliary):
        def forward(self, x):
            ...
            if self.training:
                self.auxiliary_loss = 0.01 * penalty     # a scalar with a gradient; of this forward pass
            return y

``fit`` adds the losses of all such modules to the task's own, and the trainer records their notes. Modules within
modules are found wherever they stand; layers and loop need not know of each other.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class Auxiliary(nn.Module):
    """A module with a loss of its own. Each forward pass in training sets it; None adds nothing."""

    auxiliary_loss: Tensor | None = None

    def observed(self) -> dict[str, Any]:
        """What it saw since its last ``forget``, as plain JSON: it goes to the trial's notes. Nothing by default."""
        return {}

    def forget(self) -> None:
        """Begin to observe anew."""


def auxiliaries(network: nn.Module) -> dict[str, Auxiliary]:
    """All of a network's, by the names that its modules have."""
    return {name: module for name, module in network.named_modules() if isinstance(module, Auxiliary)}
