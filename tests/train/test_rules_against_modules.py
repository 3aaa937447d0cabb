"""What layers say of themselves without torch, against the modules that they build: shape, parameters, that it works.

A rule that disagreed with its module would call an impossible network possible, or let a constraint pass it by.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from nas.errors import InvalidCandidate
from nas.train.layers import LAYERS, read, shape_after
from nas.train.layers.blocks import Projection
from nas.train.layers.layer import Layer, Shape, assemble, chain

SHAPES: list[Shape] = [(1, 1, 1), (4, 6, 6), (6, 5, 7), (8, 1, 4), (3, 8, 2), (1, 1), (5, 8), (7, 6), (1,), (6,), (9,)]
KERNELS, STRIDES, BOOLEANS, ACTIVATIONS = [1, 2, 3, 4, 7], [1, 2, 3], [False, True], ["relu", "gelu", "hardswish"]
BODIES: list[list[Any]] = [
    [],
    [{"conv": 4}],
    [{"conv": {"filters": 3, "stride": 2}}],
    [{"linear": 6}],
    [{"max_pool": 2}, {"upsample": 2}],
    [{"norm": "batch"}, {"activation": "relu"}],
    [{"gru": 8}],
    ["flatten"],
]
CELL = [{"from": [0], "ops": [[{"conv": 4}]]}, {"from": [0, 1], "ops": [["identity"], [{"max_pool": 3}]]}]
SETTINGS: dict[str, dict[str, list[Any]]] = {
    "activation": {"function": ACTIVATIONS},
    "attention": {"heads": [1, 2, 3], "window": [None, 2, 3], "causal": BOOLEANS, "positions": ["none", "rotary"]},
    "avg_pool": {"kernel": KERNELS, "stride": [None, *STRIDES]},
    "batch_norm": {},
    "bottleneck": {"filters": ["same", 4, 8], "stride": STRIDES, "groups": [1, 2], "squeeze_excite": [False, 0.5]},
    "conv": {
        "filters": ["same", 4, 6],
        "kernel": [*KERNELS, [1, 3], [3, 1], [2, 5], [7, 4]],
        "stride": STRIDES,
        "groups": [1, 2, 3],
        "dilation": [1, 2],
    },
    "dense_block": {"depth": [1, 3], "growth": [2, 5], "bottleneck": BOOLEANS},
    "depthwise_conv": {"kernel": KERNELS, "stride": STRIDES, "dilation": [1, 2], "bias": BOOLEANS},
    "dilated_conv": {"filters": ["same", 4], "kernel": KERNELS, "dilation": [1, 2, 3], "stride": STRIDES},
    "dropout": {"rate": [0.0, 0.5]},
    "embedding": {"units": [1, 8], "vocabulary": [3]},
    "flatten": {},
    "global_pool": {"kind": ["average", "max"]},
    "graph": {"nodes": [CELL], "merge": ["sum", "mean", "concat"], "match": ["none", "project"], "stride": [1, 2]},
    "group_norm": {"groups": [1, 2, 8]},
    "grouped_conv": {"filters": ["same", 4, 6], "groups": [1, 2, 3], "stride": STRIDES},
    "gru": {"units": [1, 4], "bidirectional": BOOLEANS, "output": ["all", "last"]},
    "hashed_embedding": {"units": [1, 8], "shared": [2], "own": [0, 3]},
    "identity": {},
    "inverted_residual": {"expand": [1.0, 2.5], "filters": ["same", 4], "stride": [1, 2], "squeeze_excite": BOOLEANS},
    "layer_norm": {},
    "linear": {"units": [1, 5]},
    "lstm": {"units": [1, 4], "bidirectional": BOOLEANS, "output": ["all", "last"]},
    "max_pool": {"kernel": KERNELS, "stride": [None, *STRIDES]},
    "mixture_of_experts": {"experts": [1, 3], "top_k": [1, 2], "hidden": [None, 4], "balancing": ["switch"]},
    "mlp_block": {"ratio": [0.1, 2.0]},
    "norm": {"kind": ["batch", "layer", "group", "none"]},
    "residual": {"layers": BODIES, "shortcut": ["plain", "norm"], "stochastic_depth": [0.0, 0.5]},
    "rms_norm": {},
    "separable_conv": {"filters": ["same", 4], "kernel": KERNELS, "stride": STRIDES, "dilation": [1, 2]},
    "shuffle": {"groups": [1, 2, 3]},
    "skip": {"layers": BODIES},
    "squeeze_excite": {"ratio": [0.1, 1.0], "gate": ["sigmoid", "hard_sigmoid"]},
    "stochastic_depth": {"rate": [0.0, 0.5]},
    "transformer_block": {"heads": [1, 2], "norm": ["pre", "post"], "positions": ["none", "learned", "rotary"]},
    "upsample": {"scale": [1, 3], "mode": ["nearest", "bilinear"]},
}


def holds(layer: Layer, shape: Shape) -> bool:
    """Whether the layer can follow the shape; if so, what it says of itself is what its module does."""
    try:
        links = chain([layer], shape, "here")
    except InvalidCandidate:
        return False
    network = assemble(links)
    inputs = torch.zeros(2, *shape) if layer.items else torch.randn(2, *shape)
    with torch.no_grad():
        output = network.eval()(inputs)
    assert output.shape[1:] == links[-1][2]
    assert sum(p.numel() for p in network.parameters()) == layer.parameters(links[0][1], links[0][2])
    return True


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_does_what_it_says(name: str) -> None:
    rng = random.Random(name)
    possible = 0
    for shape in SHAPES:
        for _ in range(6):
            settings = {key: rng.choice(values) for key, values in SETTINGS[name].items()}
            possible += holds(read([{name: settings}])[0], shape)
    assert possible >= 6, "the test tries settings that work"


@pytest.mark.parametrize(
    ("before", "after", "leads"),
    [
        ((4, 6, 6), (8, 3, 3), True),
        ((4, 6, 6), (8, 4, 4), False),
        ((4, 7, 5), (2, 3, 2), True),
        ((5, 8), (5, 3), True),
        ((5, 8), (4, 8), False),
        ((6,), (3,), True),
        ((6,), (3, 1, 1), False),
    ],
)
def test_a_projection_leads_where_a_stride_does(before: Shape, after: Shape, leads: bool) -> None:
    assert all(holds(Projection(shape=after, norm=norm), before) is leads for norm in (False, True))


@pytest.mark.parametrize(
    "entry",
    [
        {"conv": {"filters": 2**30, "kernel": [2**10, 2**30]}},
        {"upsample": 2**30},
        {"embedding": {"units": 2**31 - 1, "vocabulary": 2**31 - 1}},
    ],
)
def test_more_numbers_than_any_machine_holds_are_no_candidate(entry: Any) -> None:
    """Formulas, unlike torch, compute with anything; what comes out must not end in an overflow far from its cause."""
    (layer,) = read([entry])
    with pytest.raises(InvalidCandidate, match="impossible here"):
        shape_after(layer, (3,) if layer.items else (4, 8, 8))
