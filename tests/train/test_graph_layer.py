"""Graph cells as networks: what they compute, how shapes meet, what they cost, and what is refused."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nas import documents
from nas.errors import InvalidCandidate
from nas.space import Space
from nas.train.layers import LAYERS, read
from nas.train.network import build, costs

SPACES = Path(__file__).parents[2] / "search_spaces"
TASK = {"channels": 3, "height": 8, "width": 6, "classes": 10}
HEAD = [{"global_pool": "average"}, {"linear": 10}]
CONV = [{"conv": {"filters": 4, "kernel": 1}}]


def network(*entries: Any) -> Any:
    return build(SimpleNamespace(architecture=[*entries, *HEAD], hyperparameters={}), TASK)


def cost(*entries: Any) -> dict[str, int]:
    return costs(SimpleNamespace(architecture=[*entries, *HEAD], hyperparameters={}), TASK)


def measured(built: nn.Module, channels: int = 3, height: int = 8, width: int = 6) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.device("meta"), torch.no_grad():
        built.to("meta").eval()(torch.empty(1, channels, height, width))
    return {"parameters": sum(p.numel() for p in built.parameters()), "flops": counter.get_total_flops()}


def node(*edges: tuple[int, list[Any]]) -> dict[str, Any]:
    return {"from": [source for source, _ in edges], "ops": [op for _, op in edges]}


def shape_of(*entries: Any) -> tuple[int, ...]:
    """The shape after all but the head."""
    return tuple(network(*entries)[: len(entries)](torch.zeros(2, 3, 8, 6)).shape[1:])


TANH, DOUBLE = [{"activation": "tanh"}], [{"activation": "relu"}]


@pytest.mark.parametrize(
    ("merge", "expected"),
    [
        ("sum", lambda x: x.tanh() + x.relu()),
        ("mean", lambda x: (x.tanh() + x.relu()) / 2),
        ("concat", lambda x: torch.cat([x.tanh(), x.relu()], 1)),
    ],
)
def test_an_operation_for_each_edge_is_merged(merge: str, expected: Any) -> None:
    graph = {"nodes": [node((0, TANH)), node((1, []), (0, DOUBLE))], "merge": merge}
    x = torch.randn(2, 3, 8, 6)
    assert torch.allclose(network({"graph": graph})[0](x), expected(x))


def test_a_node_merges_as_it_says_itself() -> None:
    nodes = [node((0, TANH)), node((0, []), (1, DOUBLE)) | {"merge": "concat"}, node((0, []), (1, []))]
    x = torch.randn(2, 3, 8, 6)
    both = network({"graph": {"nodes": nodes, "output": "loose", "merge": "mean"}})[0](x)
    assert torch.allclose(both, torch.cat([x, x.tanh().relu(), (x + x.tanh()) / 2], 1))


@pytest.mark.parametrize("stride", [1, 2])
def test_what_a_node_concatenates_is_projected_to_the_width(stride: int) -> None:
    """Lost without it: cells that are wider, and cost more, the more of their nodes concatenate."""
    concat = {"merge": "concat"}
    nodes = [node((0, TANH), (0, [])) | concat, {"from": [0, 1], "op": CONV} | concat, node((2, []), (1, [])) | concat]
    for chosen in (nodes[:1], nodes[:2], nodes):
        graph = {"graph": {"nodes": chosen, "match": {"project": 5}, "stride": stride}}
        last_is_conv = len(chosen) == 2
        assert shape_of(graph) == (4 if last_is_conv else 5, 8 // stride, 6 // stride)
        assert cost(graph) == measured(network(graph))


def test_an_operation_of_the_node_comes_after_the_merge() -> None:
    graph = {"nodes": [{"from": [0], "op": TANH}, {"from": [0, 1], "op": [{"activation": "relu"}]}]}
    x = torch.randn(2, 3, 8, 6)
    assert torch.allclose(network({"graph": graph})[0](x), (x + x.tanh()).relu())


def test_all_and_loose_outputs_are_concatenated() -> None:
    nodes = [node((0, TANH)), node((1, DOUBLE)), node((0, DOUBLE))]
    x = torch.randn(2, 3, 8, 6)
    one, two, three = x.tanh(), x.tanh().relu(), x.relu()
    assert torch.equal(network({"graph": {"nodes": nodes, "output": "last"}})[0](x), three)
    assert torch.equal(network({"graph": {"nodes": nodes, "output": "all"}})[0](x), torch.cat([one, two, three], 1))
    assert torch.equal(network({"graph": {"nodes": nodes, "output": "loose"}})[0](x), torch.cat([two, three], 1))


def test_a_node_without_edges_is_zeros() -> None:
    x = torch.randn(2, 3, 8, 6)
    assert torch.equal(network({"graph": {"nodes": [node()]}})[0](x), torch.zeros(2, 3, 8, 6))
    graph = {"nodes": [node(), node((1, [{"conv": {"filters": 3, "kernel": 1}}]), (0, []))]}
    built = network({"graph": graph})[0]
    conv = built.edges[1][0][0]
    assert torch.allclose(built(x), x + conv.bias.reshape(1, 3, 1, 1), atol=1e-6)


def test_two_inputs_are_the_outputs_of_the_two_entries_before() -> None:
    """Lost without it: a DARTS cell that reads its predecessor twice."""
    pair = {"graph": {"inputs": [-2, -1], "nodes": [node((0, []), (1, []))], "output": "last"}}
    x = torch.randn(2, 3, 8, 6)
    built = network({"activation": "tanh"}, {"activation": "relu"}, pair, pair)
    a, b = x.tanh(), x.tanh().relu()
    assert torch.allclose(built[:3](x), a + b)  # a slice of the network is wired like the whole
    outputs: list[torch.Tensor] = []
    for module in built:
        module.register_forward_hook(lambda *args: outputs.append(args[-1]))
    built.eval()(x)
    assert torch.allclose(outputs[3], b + (a + b))


def test_the_input_of_a_list_stands_before_its_first_entry() -> None:
    pair = {"graph": {"inputs": [-2, -1], "nodes": [node((0, []), (1, []))]}}
    x = torch.randn(2, 3, 8, 6)
    assert torch.allclose(network(pair)[0](x, x), x + x)
    inside = network({"residual": [{"activation": "tanh"}, pair]})
    assert torch.allclose(inside[0](x), x + (x + x.tanh()))


# Shapes --------------------------------------------------------------------------------------------------------------


def test_projections_keep_the_channels_of_what_comes_in() -> None:
    """As DARTS has it: four nodes of a quarter each; twice that, at half the size, where there is a stride of 2."""
    nodes = [node((0, []), (1, [{"conv": {"filters": "same"}}])), *(node((0, []), (i, [])) for i in (2, 3, 4))]
    cell = {"inputs": [-2, -1], "nodes": nodes, "output": "all", "match": "project"}
    assert shape_of({"conv": 16}, {"graph": cell}) == (16, 8, 6)
    assert shape_of({"conv": 16}, {"graph": cell | {"stride": 2}}) == (32, 4, 3)
    assert shape_of({"conv": 16}, {"graph": cell | {"stride": 2}}, {"graph": cell}) == (32, 4, 3)
    assert shape_of({"conv": 16}, {"graph": cell | {"match": {"project": 5}}}) == (20, 8, 6)


def test_inputs_of_another_size_are_projected_to_the_smaller() -> None:
    pair = {"inputs": [-2, -1], "nodes": [node((0, []), (1, []))], "match": "project"}
    built = network({"conv": 8}, {"conv": {"filters": 12, "stride": 2}}, {"graph": pair})
    first, second = built[2].inputs
    assert (len(first), len(second)) == (1, 0)
    assert (first[0][0].stride, first[0][0].weight.shape) == ((2, 2), (12, 8, 1, 1))
    assert isinstance(first[0][1], nn.BatchNorm2d) and first[0][0].bias is None


def test_shapes_that_agree_are_left_as_they_are() -> None:
    graph = {"nodes": [node((0, [])), node((0, []), (1, []))], "match": "project"}
    assert sum(p.numel() for p in network({"graph": graph})[0].parameters()) == 0


def test_where_sums_differ_they_are_projected_to_the_graphs_width() -> None:
    graph = {"nodes": [node((0, CONV)), node((0, []), (1, []))], "match": "project"}
    built = network({"graph": graph})[0]
    assert [len(edge) for edge in built.edges[1]] == [0, 1]
    assert built.edges[1][1][0][0].weight.shape == (3, 4, 1, 1)


def test_concatenation_needs_one_size_and_not_one_width() -> None:
    nodes = [node((0, CONV)), node((0, []), (1, []))]
    assert shape_of({"graph": {"nodes": nodes, "merge": "concat"}}) == (7, 8, 6)
    nodes = [node((0, [{"max_pool": 2}])), node((0, []), (1, CONV))]
    assert shape_of({"graph": {"nodes": nodes, "merge": "concat", "match": "project"}}) == (7, 4, 3)


def test_stride_goes_to_the_first_layer_that_can_take_it() -> None:
    op = [{"activation": "relu"}, {"conv": {"filters": 4, "kernel": 3}}, {"max_pool": {"kernel": 3, "stride": 1}}]
    built = network({"graph": {"nodes": [node((0, op)), node((1, op))], "stride": 2}})[0]
    assert [built.edges[i][0][1].stride for i in (0, 1)] == [(2, 2), (1, 1)]
    assert shape_of({"graph": {"nodes": [node((0, [{"avg_pool": 2}]))], "stride": 2}}) == (3, 2, 2)
    on_merge = {"nodes": [{"from": [0], "op": op}, {"from": [0, 1], "op": CONV}], "stride": 2, "match": "project"}
    assert shape_of({"graph": on_merge}) == (4, 4, 3)


def test_an_identity_that_leaves_the_inputs_is_projected_to_the_stride() -> None:
    graph = {"nodes": [node((0, [{"identity": {}}]))], "stride": 2, "match": "project"}
    assert shape_of({"graph": graph}) == (6, 4, 3)


def test_vectors_and_sequences_have_graphs_too() -> None:
    nodes = [node((0, [{"linear": 5}])), node((0, [{"linear": 7}]), (1, []))]
    graph = {"graph": {"nodes": nodes, "match": "project", "merge": "sum"}}
    vector = build(SimpleNamespace(architecture=[{"flatten": {}}, graph, {"linear": 10}]), TASK)
    assert vector[:2](torch.zeros(2, 3, 8, 6)).shape == (2, 144)
    recurrent = [{"linear": 5}]
    joined = {"nodes": [node((0, recurrent)), node((0, recurrent))], "output": "all"}
    layer = read([{"graph": joined}])[0]
    assert layer.infer(((9, 4),)) == (9, 10)
    assert layer.build(((9, 4),))(torch.zeros(2, 9, 4)).shape == (2, 9, 10)


WRONG = [
    ({"nodes": [node((0, CONV)), node((0, []), (1, []))]}, "node 2: (3, 8, 6) and (4, 8, 6) can not be added"),
    (
        {"nodes": [node((0, [{"max_pool": 2}])), node((0, []), (1, []))], "merge": "concat"},
        "node 2: (3, 4, 3) and (3, 8, 6) can not be concatenated; `match: project` makes them alike",
    ),
    ({"nodes": [node((0, []))], "stride": 2}, "nodes.0.ops.0: no layer of it can take the stride 2; `match: project`"),
    ({"nodes": [node((0, [{"flatten": {}}])), node((0, []), (1, []))], "match": "project"}, "no shortcut leads from"),
    ({"nodes": [node((0, [{"conv": 0}]))]}, "architecture.0.graph.nodes.0.ops.0.0.conv.filters: 0: input should be"),
    ({"nodes": [node((1, []))]}, "node 1: it can read nodes 0 to 0, not [1]"),
    ({"nodes": [{"from": [0], "ops": []}]}, "architecture.0.graph.nodes.0: 1 sources and 0 operations"),
    ({"nodes": [{"from": [0]}]}, "architecture.0.graph.nodes.0: {from: [...], ops: [...]}"),
    ({"nodes": [node((0, [])) | {"merge": "add"}]}, "architecture.0.graph.nodes.0.merge: 'add' is not allowed"),
    ({"nodes": [node((0, []))], "merge": "add"}, "architecture.0.graph.merge: 'add' is not allowed"),
    ({"nodes": [node((0, []))], "match": {"project": 0}}, "architecture.0.graph.match"),
    ({"nodes": [node((0, [{"conv": {"filters": 3, "groups": 2}}]))]}, "architecture.0.graph: nodes.0.ops.0.0.conv"),
]


@pytest.mark.parametrize(("graph", "message"), WRONG, ids=[message[-30:] for _, message in WRONG])
def test_graphs_that_can_not_be_built_say_where_and_why(graph: dict[str, Any], message: str) -> None:
    """Lost without it: a trial that ends in a traceback of torch, or trains something else than was proposed."""
    with pytest.raises(InvalidCandidate) as error:
        cost({"graph": graph})
    assert message in str(error.value)


# Costs ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["nasbench201", "darts_cell", "nasnet_cell", "enas_macro"])
def test_pricing_of_published_cells_equal_torchs_count_and_they_train(file: str) -> None:
    """Lost without it: limits on parameters and FLOPs that are decided by a wrong formula."""
    space = Space.read(documents.read(SPACES / f"{file}.yaml"), {"classes": 10}, layers=LAYERS)
    task = {"channels": 3, "height": 16, "width": 16, "classes": 10}
    for seed in range(4):
        candidate = space.sample(random.Random(seed)).candidate
        built = build(candidate, task)
        built.train()(torch.randn(2, 3, 16, 16)).square().sum().backward()
        assert costs(candidate, task) == measured(built, 3, 16, 16)


def test_an_even_deeper_graph_of_graphs_costs_what_it_should() -> None:
    inner = {"graph": {"nodes": [node((0, CONV)), node((0, []), (1, CONV))], "match": "project"}}
    outer = {"graph": {"nodes": [node((0, [inner])), node((0, [inner]), (1, [inner]))], "output": "all"}}
    assert cost(outer) == measured(network(outer))
