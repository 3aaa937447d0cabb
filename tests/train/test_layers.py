"""Layers: what they compute, what shapes they give, what they cost, and how wrong entries are answered."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sequence_layers import SEQUENCE_LAYERS
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import InvalidCandidate
from nas.train.layers import LAYERS, read
from nas.train.network import build, costs

TASK = {"channels": 3, "height": 11, "width": 9, "classes": 10}
HEAD = [{"global_pool": "average"}, {"linear": 10}]


def candidate(*entries: Any) -> Any:
    return SimpleNamespace(architecture=list(entries), hyperparameters={})


def measured(network: nn.Module) -> dict[str, int]:
    """Parameters and FLOPs of one sample as torch itself counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 11, 9))
    return {"parameters": sum(p.numel() for p in network.parameters()), "flops": counter.get_total_flops()}


EVERY_LAYER = {
    "activation": "silu",
    "avg_pool": {"kernel": 2, "stride": 1},
    "batch_norm": {},
    "bottleneck": {
        "filters": 16,
        "stride": 2,
        "kernel": 5,
        "groups": 2,
        "squeeze_excite": True,
        "stochastic_depth": 0.1,
    },
    "conv": {"filters": 12, "kernel": 5, "stride": 2, "groups": 3, "dilation": 2},
    "dense_block": {"depth": 3, "growth": 5, "dropout": 0.1},
    "depthwise_conv": {"kernel": 4, "stride": 3},
    "dilated_conv": {"filters": 7, "stride": 2},
    "dropout": 0.2,
    "flatten": {},
    "global_pool": "max",
    "graph": {
        "nodes": [{"from": [0], "ops": [[{"conv": 8}]]}, {"from": [0, 1], "op": [{"conv": 4}]}],
        "match": "project",
    },
    "group_norm": 3,
    "grouped_conv": {"filters": 9, "groups": 3},
    "identity": {},
    "inverted_residual": {"expand": 2.5, "kernel": 5, "squeeze_excite": 0.25},
    "layer_norm": {},
    "linear": 7,
    "max_pool": {"kernel": 3, "stride": 2},
    "norm": "group",
    "residual": {"layers": [{"conv": {"filters": 8, "stride": 2}}, {"norm": "batch"}], "shortcut": "norm"},
    "rms_norm": {},
    "separable_conv": {"filters": 8, "kernel": 4, "stride": 2, "dilation": 2},
    "shuffle": 3,
    "skip": [{"max_pool": 2}, {"conv": 4}, {"upsample": 2}],
    "squeeze_excite": {"ratio": 0.5},
    "stochastic_depth": 0.5,
    "upsample": {"scale": 3, "mode": "bilinear"},
}


def test_every_layer_is_in_the_table_of_costs() -> None:
    # A layer added without a cost test would make `parameters <= N` a guess.
    assert sorted([*EVERY_LAYER, *SEQUENCE_LAYERS.keys() - EVERY_LAYER.keys()]) == sorted(LAYERS)


@pytest.mark.parametrize("kernel", [[1, 7], [7, 1], [3, 5], [2, 4], [1, 2], [4, 3]])
@pytest.mark.parametrize("settings", [{}, {"stride": 2}, {"dilation": 2, "stride": 2}, {"groups": 3, "bias": False}])
def test_a_kernel_that_is_no_square_costs_what_torch_counts(kernel: list[int], settings: dict[str, Any]) -> None:
    # Height and width mixed up, or padded alike, would still pass wherever kernel and map are squares.
    one = candidate({"conv": {"filters": 6, "kernel": kernel, **settings}}, *HEAD)
    network = build(one, TASK)
    assert costs(one, TASK) == measured(network)
    (conv,) = (part for part in network.modules() if isinstance(part, nn.Conv2d))
    assert list(conv.weight.shape[2:]) == kernel
    stride = settings.get("stride", 1)
    assert network[0](torch.zeros(1, 3, 11, 9)).shape == (1, 6, -(-11 // stride), -(-9 // stride))


def test_a_wide_and_a_high_kernel_see_a_row_and_a_column() -> None:
    # [height, width], as torch has it; the other way round every written cell would be another one.
    image = torch.zeros(1, 3, 11, 9)
    image[0, :, 5, 4] = 1.0
    for kernel, rows, columns in (([1, 7], {5}, set(range(1, 8))), ([4, 1], {3, 4, 5, 6}, {4})):
        layer = build(candidate({"conv": {"filters": 1, "kernel": kernel, "bias": False}}, *HEAD), TASK)[0]
        _, _, seen_rows, seen_columns = layer(image).nonzero(as_tuple=True)
        assert (set(seen_rows.tolist()), set(seen_columns.tolist())) == (rows, columns)


@pytest.mark.parametrize("name", EVERY_LAYER)
def test_closed_forms_equal_torchs_count(name: str) -> None:
    # Limits and rewards on parameters and FLOPs are decided by the formulas, before anything is built.
    one = candidate({name: EVERY_LAYER[name]}, {"linear": 10})
    assert costs(one, TASK) == measured(build(one, TASK))


MAP_LAYERS = st.deferred(
    lambda: st.one_of(
        st.fixed_dictionaries(
            {
                "conv": st.fixed_dictionaries(
                    {"filters": st.sampled_from([4, 8, 12])},
                    optional={
                        "kernel": st.integers(1, 5) | st.lists(st.integers(1, 5), min_size=2, max_size=2),
                        "stride": st.integers(1, 3),
                        "groups": st.just(1),
                        "dilation": st.integers(1, 2),
                    },
                )
            }
        ),
        st.fixed_dictionaries({"depthwise_conv": st.integers(1, 5)}),
        st.fixed_dictionaries({"norm": st.sampled_from(["batch", "layer", "group", "none"])}),
        st.fixed_dictionaries({"activation": st.sampled_from(["relu", "gelu", "identity"])}),
        st.fixed_dictionaries({"max_pool": st.integers(1, 4)}),
        st.fixed_dictionaries(
            {"avg_pool": st.fixed_dictionaries({"kernel": st.integers(1, 4), "stride": st.integers(1, 3)})}
        ),
        st.fixed_dictionaries({"residual": st.lists(MAP_LAYERS, max_size=3)}),
    )
)


@settings(max_examples=25, deadline=None)
@given(st.lists(MAP_LAYERS, max_size=6))
def test_costs_of_whole_networks_equal_torchs_count(entries: list[Any]) -> None:
    # Shapes flow through nested blocks, so a formula may be right alone and wrong within a network.
    one = candidate(*entries, *HEAD)
    network = build(one, TASK)
    assert costs(one, TASK) == measured(network)
    assert network.eval()(torch.zeros(2, 3, 11, 9)).shape == (2, 10)


def test_costs_allocate_nothing() -> None:
    # A candidate beyond any memory must be refused by its count, not by killing the process that counts.
    huge = candidate({"conv": {"filters": 4_000_000}}, {"conv": {"filters": 4_000_000}}, *HEAD)
    assert costs(huge, TASK)["parameters"] > 1e14


@pytest.mark.parametrize("layer", ["conv", "depthwise_conv", "max_pool", "avg_pool"])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_windows_keep_the_padding_rule(layer: str, kernel: int, stride: int) -> None:
    # ceil(n / stride) for every kernel is what lets a space mix kernels without invalid candidates.
    given = {"kernel": kernel, "stride": stride} | ({"filters": 3} if layer == "conv" else {})
    for height, width in ((11, 9), (8, 8), (1, 1)):
        network = build(
            candidate({layer: given}, {"flatten": {}}, {"linear": 10}), TASK | {"height": height, "width": width}
        )
        assert network[0](torch.zeros(1, 3, height, width)).shape[2:] == (-(-height // stride), -(-width // stride))


def test_padding_enters_neither_maximum_nor_mean() -> None:
    # Zeros at the border would lower every mean there, and lift every maximum of negative numbers.
    image = -torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    task = TASK | {"channels": 1, "height": 3, "width": 3}
    for kernel in (2, 3):
        tail = [{"flatten": {}}, {"linear": 10}]
        largest = build(candidate({"max_pool": {"kernel": kernel, "stride": 1}}, *tail), task)[0](image)
        mean = build(candidate({"avg_pool": {"kernel": kernel, "stride": 1}}, *tail), task)[0](image)
        for row in range(3):
            for column in range(3):
                start_row, start_column = max(0, row - (kernel - 1) // 2), max(0, column - (kernel - 1) // 2)
                window = image[0, 0, start_row : row + kernel // 2 + 1, start_column : column + kernel // 2 + 1]
                assert largest[0, 0, row, column] == window.max()
                assert mean[0, 0, row, column] == pytest.approx(window.mean().item())


def test_a_relu_in_place_changes_nothing() -> None:
    # It saves a map's memory and the time to fill it, where nobody else reads what it overwrites. In the second
    # residual its input is also the shortcut's, by way of what only passes it through: overwritten, the sum were wrong.
    first = {"residual": [{"conv": 3}, {"norm": "batch"}, {"activation": "relu"}, {"conv": 3}, {"activation": "relu"}]}
    second = {"residual": [{"norm": "none"}, {"dropout": 0.0}, {"activation": "relu"}, {"conv": 3}]}
    torch.manual_seed(1)
    network = build(candidate(first, second, *HEAD), TASK)
    relus = [module for module in network.modules() if isinstance(module, nn.ReLU)]
    assert [relu.inplace for relu in relus] == [True, True, False]
    x = torch.randn(4, 3, 11, 9)
    found = []
    for _ in range(2):
        network.zero_grad()
        outputs = network(x)
        outputs.square().sum().backward()
        found.append([outputs, *(p.grad for p in network.parameters())])
        for relu in relus:
            relu.inplace = False
    assert all(torch.equal(mine, other) for mine, other in zip(*found, strict=True))


def test_residual_adds_its_input_or_a_projection_of_it() -> None:
    # Without the sum a "residual" block would be a plain one, and nothing else here would notice.
    image = torch.randn(2, 3, 11, 9)
    same = build(candidate({"residual": [{"activation": "tanh"}]}, *HEAD), TASK)[0]
    assert torch.equal(same(image), image.tanh() + image)
    empty = build(candidate({"residual": []}, *HEAD), TASK)[0]
    assert torch.equal(empty(image), image)
    other = build(candidate({"residual": [{"conv": {"filters": 5, "stride": 2}}]}, *HEAD), TASK)[0]
    assert torch.equal(other(image), other.body(image) + other.shortcut(image))
    assert other.shortcut.weight.shape == (5, 3, 1, 1)


def test_equal_settings_mean_equal_layers_whatever_their_spelling() -> None:
    # Shapes are remembered by layer: two that differ must not be one, and a main value is only a shorter spelling.
    assert read([{"conv": 8}]) == read([{"conv": {"filters": 8}}]) == read([{"conv": {"filters": 8.0, "kernel": 3}}])
    assert read([{"conv": 8}]) == read([{"conv": {"filters": 8, "kernel": [3, 3.0]}}])
    assert read([{"conv": 8}]) != read([{"conv": 9}])
    assert read(["flatten", "norm"]) == read([{"flatten": {}}, {"norm": "batch"}])


WRONG = [
    ([], "architecture: there is no layer"),
    ([3], "architecture.0: one layer is needed, such as {conv: {filters: 32}}, not 3"),
    ([{"cnov": 3}], "architecture.0: no layer is called 'cnov'; did you mean 'conv'?"),
    ([{"conv": {"filters": 3, "kernal": 3}}], "architecture.0.conv: has no setting 'kernal'; did you mean 'kernel'?"),
    ([{"conv": {}}], "architecture.0.conv: the setting 'filters' is missing"),
    ([{"conv": 0}], "architecture.0.conv.filters: 0: input should be greater than or equal to 1"),
    ([{"conv": True}], "architecture.0.conv.filters: True: input should be a valid integer"),
    ([{"conv": "8"}], "architecture.0.conv.filters: '8': input should be a valid integer"),
    ([{"conv": {"filters": 8, "kernel": [1, 0]}}], "architecture.0.conv.kernel: [1, 0]: a kernel is a size from 1, or"),
    (
        [{"conv": {"filters": 8, "kernel": [3]}}],
        "architecture.0.conv.kernel: [3]: a kernel is a size from 1, or two of",
    ),
    (
        [{"conv": {"filters": 8, "kernel": "3x3"}}],
        "architecture.0.conv.kernel: '3x3': a kernel is a size from 1, or two",
    ),
    ([{"activation": "rleu"}], "architecture.0.activation.function: 'rleu' is not allowed; did you mean 'relu'?"),
    ([{"flatten": 3}], "architecture.0.flatten: takes no bare value (3); its settings: none"),
    ([{"residual": [{"conv": 3}, {"nrom": "batch"}]}], "architecture.0.residual.layers.1: no layer is called 'nrom'"),
    ([{"conv": {"filters": 4, "groups": 3}}], "architecture.0.conv: 3 channels and 4 filters do not both divide into"),
    ([{"flatten": {}}, {"conv": 3}], "architecture.1.conv: a map (channels, height, width) is needed, and what comes"),
    ([{"residual": [{"linear": 3}]}], "architecture.0.residual: no shortcut leads from (3, 11, 9) to (3,)"),
    ([{"conv": 3}], "architecture.0.conv: ends in (3, 11, 9), and the task needs (10,), one for each class"),
    ([{"conv": 10**17}], "architecture.0.conv.filters: 100000000000000000: input should be less than or equal to 2147"),
    ([{"upsample": 2**30}, {"linear": 10}], "architecture.0.upsample: an input of shape (3, 11, 9) is impossible here"),
]


@pytest.mark.parametrize(("architecture", "message"), WRONG, ids=[str(a)[:40] for a, _ in WRONG])
def test_wrong_entries_are_named_with_what_is_allowed(architecture: list[Any], message: str) -> None:
    # The message is all that a person sees of a trial that could not be built.
    with pytest.raises(InvalidCandidate) as error:
        costs(candidate(*architecture), TASK)
    assert str(error.value).startswith(message)
