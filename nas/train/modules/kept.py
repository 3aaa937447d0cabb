"""What a layer keeps for its backward pass, where no rule of pricing.py knows it: found out on the meta device."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any

import torch
from torch import Tensor

from nas.train.layers.layer import Layer, Shape

UNKNOWN = 2  # fp32 numbers for each number of its output, by a layer that can not be run on the meta device


@lru_cache(maxsize=1 << 16)
def measured(layer: Layer, before: Any, after: Shape) -> tuple[bool, bool, float]:
    """Whether it keeps its input and its output, and how many bytes of a sample beside them.

    By autograd's own account, of a batch of two.
    """
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        return saved.setdefault(_storage(tensor), tensor)

    try:
        with torch.device("meta"), torch.random.fork_rng([]):
            module = layer.build(before).train()
            shapes = [before] if layer.inputs_from() is None else before
            inputs = [torch.empty(2, *shape, requires_grad=not layer.items) for shape in shapes]
            own = {_storage(tensor) for tensor in (*module.parameters(), *module.buffers())}
            with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
                output = module(*inputs)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, IndexError):
        return False, True, 4.0 * prod(after) * (UNKNOWN - 1)
    ends = {_storage(tensor) for tensor in (*inputs, output)}
    within = sum(tensor.untyped_storage().nbytes() for key, tensor in saved.items() if key not in own | ends)
    return any(_storage(x) in saved for x in inputs), _storage(output) in saved, within / 2


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
