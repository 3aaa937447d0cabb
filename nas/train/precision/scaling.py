"""fp16's loss scaling (Micikevicius et al. 2018): gradients under 6e-8 would vanish, so a multiple is computed.

torch.amp.GradScaler does it: a step whose gradients overflowed is left out and the scale halved, and after 2,000 good
ones it is doubled. In other precisions it passes everything through.

Left out: torch's fused handling of overflows. Its SGD leaves the weights alone, but not the momentum, which after a
first step that overflowed is whatever was in memory (torch 2.13 on a CPU: weights of 10^8 after the second step; others
report inf on GPUs). The price is that each step waits for a GPU to say whether there was an overflow.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

from nas.errors import Diverged
from nas.train.precision.policy import Precision

INITIAL = 2.0**16
BACKOFF = 0.5  # after a step whose gradients overflowed


class LossScaling:
    """One training's. Gradients stand scaled between ``backward`` and ``step``."""

    def __init__(self, precision: Precision, device: torch.device, initial: float = INITIAL) -> None:
        self._initial = initial
        self._scaler = torch.amp.GradScaler(
            device.type, init_scale=initial, backoff_factor=BACKOFF, enabled=precision.scaled
        )

    @property
    def scale(self) -> float:
        """What the loss is multiplied with; 1 in other precisions. Reading it makes a GPU wait."""
        return float(self._scaler.get_scale())

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of the scaled loss."""
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, optimizer: Optimizer) -> None:
        """Step with the gradients unscaled, or leave the step out where they overflowed."""
        if self._scaler.is_enabled():
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]  # see above
        self._scaler.step(optimizer)
        self._scaler.update()

    def save(self) -> dict[str, float]:
        """Nothing in precisions without scaling."""
        return self._scaler.state_dict()

    def load(self, saved: dict[str, float]) -> None:
        self._scaler.load_state_dict(saved)

    def require_progress(self, step: int, total: int) -> None:
        """Nothing while some steps are taken. A single one left out is how the scale is found, and no complaint.

        Raises:
            Diverged: all steps so far were left out, or so many that gradients must overflow whatever the scale.
        """
        if not self._scaler.is_enabled():
            return
        scale = self.scale
        if scale < 1 or (step > 1 and scale <= self._initial * BACKOFF**step):
            raise Diverged(f"gradients overflowed fp16 even at a loss scale of {scale:g}, by step {step} of {total}")
