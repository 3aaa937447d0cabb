"""The length of the gradient of the first batch (Abdelfattah et al. 2021, section 3.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.train.scores.undefined import Undefined


def grad_norm(network: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, targets: Tensor) -> float:
    """The sum over weights (not biases and norms) of the Euclidean lengths of their gradients, of any task's loss.

    Raises:
        Undefined: no weight has a gradient, or a gradient is not finite.
    """
    loss(network(inputs), targets).backward()  # type: ignore[no-untyped-call]
    lengths = [torch.linalg.vector_norm(p.grad) for p in network.parameters() if p.ndim > 1 and p.grad is not None]
    total = float(torch.stack(lengths).sum()) if lengths else 0.0
    if not 0 < total < math.inf:
        raise Undefined(f"the gradients' length is {total:g}")
    return total
