"""Mixture of experts: each token goes through a few of many feed-forward networks, chosen by a learned router.

Shazeer et al. 2017 (the sparsely-gated layer), Lepikhin et al. 2020 (GShard), Fedus et al. 2021 (Switch).

**Routing.** A token's gates are softmax(router(token)); it goes to the ``top_k`` experts with the largest. Of
several, the gates are divided by their sum (GShard); a single one stays as it is (Switch), else the router would have
no gradient. The router computes in fp32 whatever the rest does (Fedus et al. 2021, sec. 2.4).

**Capacity.** In training an expert takes at most ceil(capacity * tokens * top_k / experts) assignments of a batch. They
are given out from the first positions to the last, so that in text nothing depends on what follows it (GShard gives
them to all first choices before any second one, which does). What does not fit adds nothing: its token passes on by the
residual connection. In evaluation everything fits, so that what becomes of a sample does not depend on its batch.

**Balance.** ``switch``: loss = balance * experts * sum_i f_i P_i, with f_i the share of assignments that chose expert i
(before capacity) and P_i the mean gate (Fedus et al. 2021, eq. 4 to 6; f has no gradient). ``importance``: loss =
balance * CV(sum over tokens of the gates in use)^2 (Shazeer et al. 2017, eq. 6 and 7). Smallest, for either, when all
experts are used alike.

Left out: noise on the router (Shazeer's eq. 4; later work does without), and experts on different devices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from nas.errors import InvalidCandidate
from nas.train.layers.dense import Activations
from nas.train.layers.feedforward import feed_forward_flops, feed_forward_parameters, hidden
from nas.train.layers.layer import Layer, PositiveReal, Shape
from nas.train.layers.tokens import tokens
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn


class MixtureOfExperts(Layer):
    """x + experts(layer_norm(x)) for each token (see tokens.py): an ``mlp_block`` of which only a part is computed.

    ``hidden``: numbers within each expert; None: 4 times as many as features. FLOPs: the router's, and ``top_k``
    experts for each token, which is what is computed when nothing overflows.
    """

    name, main = "mixture_of_experts", "experts"
    keeps_shape = True
    experts: Positive = 4
    top_k: Positive = 1
    capacity: PositiveReal = 1.25
    hidden: Positive | None = None
    activation: Activations = "gelu"
    balancing: Literal["switch", "importance"] = "switch"
    balance: Annotated[float, Field(ge=0.0, allow_inf_nan=False)] = 0.01

    def infer(self, before: Shape) -> Shape:
        if self.top_k > self.experts:
            raise InvalidCandidate(f"top_k is {self.top_k}, and there are {self.experts} experts")
        return before

    def build(self, shape: Shape) -> nn.Module:
        from nas.train.modules.experts import Experts
        from nas.train.modules.tokens import OnTokens, TokenResidual

        width = tokens(shape)[1]
        return TokenResidual(OnTokens(Experts(self, width, self.inside(width))), width, "pre", 0.0)

    def inside(self, width: int) -> int:
        return self.hidden or hidden(width, 4.0)

    def parameters(self, before: Shape, after: Shape) -> int:
        width = tokens(before)[1]
        return self.experts * (width + feed_forward_parameters(width, self.inside(width))) + 2 * width

    def flops(self, before: Shape, after: Shape) -> int:
        length, width = tokens(before)
        router = 2 * length * width * self.experts
        return router + self.top_k * feed_forward_flops(length, width, self.inside(width))

    def longest_way(self, before: Shape, after: Shape) -> int:
        return 2  # of an expert; the router stands beside
