"""Synaptic flow (Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving synaptic
flow", equation 2), summed over the weights as a score of the whole network (Abdelfattah et al. 2021).

    R = 1' |W_L| ... |W_1| 1        score = log of the sum over weights of |w * dR/dw|

A flow goes through a *linear* network: norms and activations let everything pass (activations of all kinds, as a space
may offer several; ReLUs do so of themselves), gates are open, attention sees all that it may see alike (what queries
and keys make of it is a gate too), an embedding is the linear layer of one-hot items that it stands for, and all
weights are positive. The flow of a deep network is a product of many numbers, so it is computed in double precision,
and its logarithm is the score: ranks are the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas.train.modules.activations import ACTIVATIONS
from nas.train.modules.attention import Band, Everything, Squares
from nas.train.modules.embedding import HashedRows, Rows
from nas.train.modules.features import Excite
from nas.train.scores.undefined import Undefined

_PASSING = (*ACTIVATIONS.values(), _BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, Excite)


def synflow(network: nn.Module, sample: Tensor) -> float:
    """Of a network, which is not to be used any more. ``sample``: an input of it (1, ...), for its shape and type.

    Raises:
        Undefined: there is a recurrent cell, whose gates are no product of weights; or no flow gets through, or more
            than a double can hold.
    """
    network.double()
    for module in network.modules():
        if isinstance(module, nn.RNNBase):
            raise Undefined(f"synflow is of linear flows, and the gates of {type(module).__name__} are not linear")
        if isinstance(module, _PASSING):
            module.forward = _unchanged
        elif isinstance(module, Everything | Squares | Band):
            module.forward = _seeing_alike(module.forward)  # type: ignore[assignment, method-assign]
        elif isinstance(module, Rows | HashedRows):
            module.forward = _of_all_items(module)  # type: ignore[assignment, method-assign]
    for parameter in network.parameters():
        parameter.data.abs_()
    ones = torch.ones_like(sample, dtype=torch.float64) if sample.is_floating_point() else sample
    network(ones).sum().backward()
    flows = [(p.detach() * p.grad).abs().sum() for p in network.parameters() if p.ndim > 1 and p.grad is not None]
    total = float(torch.stack(flows).sum()) if flows else 0.0
    if not 0 < total < math.inf:
        raise Undefined(f"the flow through the network is {total:g}")
    return math.log(total)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _seeing_alike(attending: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    def forward(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attending(torch.zeros_like(q), torch.zeros_like(k), v)

    return forward


def _of_all_items(embedding: Rows | HashedRows) -> Callable[[Tensor], Tensor]:
    """What it gives where every item is there once, at each position: (batch, length) to (batch, length, units)."""

    def forward(items: Tensor) -> Tensor:
        return embedding.rows.sum(0).expand(*items.shape, -1)

    return forward
