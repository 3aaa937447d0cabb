"""How differently a network's activations see the samples of a batch (Mellor et al. 2021, "Neural architecture search
without training", equations 2 and 3).

A sample's code says of each unit on which side of zero it stands. K[i, j] is the number of units in which the codes of
samples i and j agree, and the score is log |K|: large where samples are told apart. The paper's units are ReLUs; here
they are all activations, as GELU, SiLU and tanh too turn at or near zero.

K + I is taken instead of K: a network with fewer units than samples has a singular K, and would have no score. Where
there are thousands of units, one more makes no difference.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.train.modules.activations import ACTIVATIONS
from nas.train.modules.experts import Experts
from nas.train.scores.undefined import Undefined

_UNITS = tuple(kind for kind in ACTIVATIONS.values() if kind is not nn.Identity)


@torch.no_grad()
def naswot(network: nn.Module, inputs: Tensor) -> float:
    """Of inputs (samples, ...).

    Raises:
        Undefined: there are no activations outside of recurrent cells and of experts. Cells are computed as a whole,
            and an expert sees tokens of some samples alone.
    """
    samples = len(inputs)
    agreeing = torch.eye(samples, dtype=torch.float64, device=inputs.device)
    units = 0

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal units
        if len(given[0]) % samples:  # a plugin's own way of taking samples apart
            return
        # In place of x x' + (1 - x)(1 - x)': one product, and what is left of it by counting. Whole numbers below 2^24,
        # so it is exact in fp32.
        code = (given[0].reshape(samples, -1) > 0).float()
        ones, size = code.sum(1), code.shape[1]
        agreeing.add_(2 * (code @ code.T) - ones[:, None] - ones + size)
        units += size

    for module in _outside_of_experts(network):
        if isinstance(module, _UNITS):
            module.register_forward_pre_hook(look)
    network(inputs)
    if not units:
        raise Undefined("naswot looks at activations, and there are none outside of recurrent cells and experts")
    return float(torch.linalg.slogdet(agreeing).logabsdet)


def _outside_of_experts(network: nn.Module) -> list[nn.Module]:
    inside = {id(one) for experts in network.modules() if isinstance(experts, Experts) for one in experts.modules()}
    return [module for module in network.modules() if id(module) not in inside]
