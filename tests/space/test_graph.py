"""Graph cells: the published spaces as they are written, their counts, and what a draw of them is."""

import json
import math
import random
from typing import Any

import pytest

from nas import documents
from nas.space import Candidate, Space

EDGES = [f"cell.graph.node[{node}].edge[{source}].op" for node in (1, 2, 3) for source in range(node)]
NASBENCH201 = """
define:
  conv1: [{activation: relu}, {conv: {filters: same, kernel: 1}}, {norm: batch}]
  conv3: [{activation: relu}, {conv: {filters: same, kernel: 3}}, {norm: batch}]
  cell: {graph: {nodes: 3, from: every, merge: sum, output: last, op: {choice: [none, identity, =conv1, =conv3, {avg_pool: {kernel: 3, stride: 1}}]}}}
architecture: [{conv: 16}, {repeat: {times: 5, of: =cell}}, {max_pool: 2}, {repeat: {times: 5, of: =cell}}]
"""  # noqa: E501 - as DESIGN has it
DARTS = """
define:
  op: {choice: [identity, pool, mean, sep3, sep5, dil3, dil5]}
  normal: {graph: {inputs: [-2, -1], nodes: 4, from: {pick: 2}, op: {new: op}, merge: sum, output: all, match: project}}
architecture: [stem, =normal, =normal]
"""
NASNET = DARTS.replace("nodes: 4, from: {pick: 2}", "nodes: 5, from: {pick: 2, distinct: false}").replace(
    "all", "loose"
)
ENAS = """
define: {conv3: a, conv5: b, sep3: c, sep5: d, max3: e, avg3: f}
architecture:
  - graph: {nodes: 12, from: previous, skip: subset, merge: concat, output: last, match: project, op: {choice: [=conv3, =conv5, =sep3, =sep5, =max3, =avg3]}}
"""  # noqa: E501


def read(text: str) -> Space:
    return Space.read(documents.parse(text, "space.yaml"), {"classes": 10})


def graph(**settings: Any) -> Space:
    return Space.read({"architecture": [{"graph": {"op": "a", **settings}}]})


def cell(space: Space, decisions: dict[str, int]) -> dict[str, Any]:
    architecture = space.replay(decisions).candidate.architecture
    assert architecture
    return dict(architecture[-1]["graph"])


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (NASBENCH201, 5**6),
        (DARTS, 180 * 7**8),
        (NASNET, math.prod(n**2 for n in range(2, 7)) * 7**10),  # two of n nodes for each of five, and ten operations
        (ENAS, 6**12 * 2**66),
    ],
    ids=["nasbench201", "darts", "nasnet", "enas"],
)
def test_published_spaces_have_the_size_that_their_papers_say(text: str, count: int) -> None:
    assert read(text).count().exact == count


def test_decisions_are_named_by_node_and_edge() -> None:
    """Lost without it: journals and leaderboards whose paths mean another edge after an update."""
    assert [decision.path for decision in read(NASBENCH201).decisions] == [f"define.{path}" for path in EDGES]
    assert [decision.path for decision in read(DARTS).decisions][:5] == [
        "define.normal.graph.node[2].edge[0].op.new.op",
        "define.normal.graph.node[2].edge[1].op.new.op",
        "define.normal.graph.node[3].from",
        "define.normal.graph.node[3].edge[0].op.new.op",
        "define.normal.graph.node[3].edge[1].op.new.op",
    ]
    assert [decision.path for decision in read(NASNET).decisions][:4] == [
        "define.normal.graph.node[2].edge[0].from",
        "define.normal.graph.node[2].edge[1].from",
        "define.normal.graph.node[2].edge[0].op.new.op",
        "define.normal.graph.node[2].edge[1].op.new.op",
    ]
    assert [decision.path.removeprefix("architecture.0.graph.") for decision in read(ENAS).decisions][:6] == [
        "node[1].op", "node[2].skip:0", "node[2].op", "node[3].skip:0", "node[3].skip:1", "node[3].op",
    ]  # fmt: skip


def test_picks_are_labelled_by_their_nodes() -> None:
    space = read(DARTS)
    assert space.by_path["define.normal.graph.node[3].from"].labels == ("0+1", "0+2", "1+2")  # type: ignore[union-attr]


def test_a_cell_that_is_tied_is_the_same_everywhere_and_a_new_one_is_not() -> None:
    text = NASBENCH201.replace("{repeat: {times: 5, of: =cell}}]", "{new: cell}]")
    assert read(text).count().exact == 5**12
    draw = read(NASBENCH201).sample(random.Random(1))
    graphs = [json.dumps(entry) for entry in draw.candidate.architecture or () if "graph" in entry]
    assert len(graphs) == 10 and len(set(graphs)) == 1


def test_operations_are_drawn_for_each_edge_unless_they_are_tied() -> None:
    body = {"define": {"op": {"choice": ["a", "b", "c"]}}}
    fresh = body | {"architecture": [{"graph": {"nodes": 2, "op": {"new": "op"}}}]}
    tied = body | {"architecture": [{"graph": {"nodes": 2, "op": "=op"}}]}
    assert (Space.read(fresh).count().exact, Space.read(tied).count().exact) == (27, 3)


def test_none_removes_an_edge_and_may_leave_a_node_without_any() -> None:
    space = read(NASBENCH201)
    ops = dict(zip((f"define.{path}" for path in EDGES), [0, 1, 0, 4, 0, 1], strict=True))
    assert cell(space, ops) == {
        "nodes": [
            {"from": [], "ops": []},
            {"from": [0], "ops": [[{"identity": {}}]]},
            {"from": [0, 2], "ops": [[{"avg_pool": {"kernel": 3, "stride": 1}}], [{"identity": {}}]]},
        ]
    }


def test_the_order_in_which_the_same_edges_were_picked_leaves_no_trace() -> None:
    """Lost without it: the same network trained twice under two hashes."""
    space = read(NASNET)
    base = {decision.path: 0 for decision in space.decisions}
    node = "define.normal.graph.node[3]"
    one = base | {f"{node}.edge[0].from": 2, f"{node}.edge[0].op.new.op": 5, f"{node}.edge[1].op.new.op": 1}
    two = base | {f"{node}.edge[1].from": 2, f"{node}.edge[1].op.new.op": 5, f"{node}.edge[0].op.new.op": 1}
    assert space.replay(one).candidate == space.replay(two).candidate
    assert cell(space, one)["nodes"][1] == {"from": [0, 2], "ops": [[{"pool": {}}], [{"dil3": {}}]]}
    twice = base | {f"{node}.edge[0].op.new.op": 4}
    assert cell(space, twice)["nodes"][1] == {"from": [0, 0], "ops": [[{"identity": {}}], [{"sep5": {}}]]}


def test_under_previous_a_node_has_one_operation_and_skips_to_what_it_likes() -> None:
    space = graph(nodes=3, **{"from": "previous"}, skip="subset", merge="mean")
    skips = {f"architecture.0.graph.node[{node}].skip:{skip}": 0 for node, skip in ((2, 0), (3, 0), (3, 1))}
    assert cell(space, skips | {"architecture.0.graph.node[3].skip:0": 1}) == {
        "nodes": [{"from": [n], "op": [{"a": {}}]} for n in (0, 1)] + [{"from": [0, 2], "op": [{"a": {}}]}],
        "merge": "mean",
    }


def test_fewer_are_picked_where_there_are_fewer() -> None:
    space = graph(nodes=3, **{"from": {"pick": 2}})
    assert [decision.path[-12:] for decision in space.decisions] == ["node[3].from"]
    assert cell(space, {"architecture.0.graph.node[3].from": 1})["nodes"] == [
        {"from": [0], "ops": [[{"a": {}}]]},
        {"from": [0, 1], "ops": [[{"a": {}}]] * 2},
        {"from": [0, 2], "ops": [[{"a": {}}]] * 2},
    ]


def test_settings_that_are_the_defaults_are_not_written() -> None:
    """Lost without it: one graph with two hashes, by how much was spelt out."""
    plain, spelt = graph(nodes=1), graph(nodes=1, inputs=[-1], merge="sum", output="last", match="none", stride=1)
    assert plain.replay({}).candidate.hash == spelt.replay({}).candidate.hash
    other = graph(nodes=1, inputs=[-2, -1], merge="mean", output="all", match={"project": 8}, stride=2)
    assert cell(other, {}).keys() == {"inputs", "nodes", "merge", "output", "match", "stride"}


def test_settings_may_be_choices() -> None:
    space = graph(nodes=1, output={"choice": ["last", "all"]}, stride={"choice": [1, 2]})
    assert [decision.path for decision in space.decisions] == [
        "architecture.0.graph.output",
        "architecture.0.graph.stride",
    ]
    assert cell(space, {"architecture.0.graph.output": 1, "architecture.0.graph.stride": 0})["output"] == "all"


def test_a_merge_that_is_a_choice_is_drawn_for_each_node() -> None:
    space = graph(nodes=3, merge={"choice": ["sum", "concat"]})
    second, third = (f"architecture.0.graph.node[{node}].merge" for node in (2, 3))
    assert [decision.path for decision in space.decisions] == [second, third], "node 1 has one source"
    drawn = cell(space, {second: 0, third: 1})
    assert "merge" not in drawn
    assert [node.get("merge") for node in drawn["nodes"]] == [None, None, "concat"]
    assert space.replay({second: 0, third: 0}).candidate == graph(nodes=3, merge="sum").replay({}).candidate
    skips = graph(nodes=2, **{"from": "previous"}, skip="subset", merge={"choice": ["mean", "concat"]})
    skip, merge = "architecture.0.graph.node[2].skip:0", "architecture.0.graph.node[2].merge"
    merges = [[node.get("merge") for node in cell(skips, {skip: on, merge: 1})["nodes"]] for on in (0, 1)]
    assert merges == [[None, None], [None, "concat"]], "what merges nothing has one hash"


def test_a_merge_that_is_a_define_is_drawn_once() -> None:
    define = {"how": {"choice": ["sum", "concat"]}}
    space = Space.read({"define": define, "architecture": [{"graph": {"nodes": 3, "op": "a", "merge": "=how"}}]})
    (decision,) = space.decisions
    assert cell(space, {decision.path: 1})["merge"] == "concat"


def test_a_nodes_own_merge_is_read_back_and_is_readable() -> None:
    space = graph(nodes=2, merge={"choice": ["mean", "concat"]})
    candidate = space.replay({"architecture.0.graph.node[2].merge": 1}).candidate
    again = Space.read(candidate.json()).replay({}).candidate
    assert again.hash == candidate.hash
    assert candidate.one_line() == "graph(1 = a @0; 2 = concat(a @0, a @1))"
    nodes = [{"from": [0], "op": [{"a": {}}]}, {"from": [0, 1], "op": [{"b": {}}], "merge": "concat"}]
    assert Candidate([{"graph": {"nodes": nodes}}], {}).one_line() == "graph(1 = a @(0); 2 = b @concat(0, 1))"


def test_a_name_stands_for_one_decision_of_each_edge() -> None:
    space = graph(nodes=2, op={"conv": {"kernel": {"choice": [1, 3], "name": "kernel"}}})
    assert [decision.path for decision in space.decisions] == ["kernel[1][0]", "kernel[2][0]", "kernel[2][1]"]


def test_the_explicit_form_is_read_and_may_hold_choices() -> None:
    nodes = [
        {"from": [0], "op": {"choice": ["a", "b"]}},
        {"from": [0, 1], "ops": [{"choice": ["none", "c"]}, ["d", {"residual": ["e"]}]]},
    ]
    space = Space.read({"architecture": [{"graph": {"nodes": nodes, "merge": "concat"}}]})
    assert [d.path for d in space.decisions] == [
        "architecture.0.graph.node[1].op",
        "architecture.0.graph.node[2].edge[0].op",
    ]
    drawn = cell(space, {"architecture.0.graph.node[1].op": 1, "architecture.0.graph.node[2].edge[0].op": 0})
    assert drawn["nodes"] == [
        {"from": [0], "op": [{"b": {}}]},
        {"from": [1], "ops": [[{"d": {}}, {"residual": [{"e": {}}]}]]},
    ]


@pytest.mark.parametrize("text", [NASBENCH201, DARTS, NASNET, ENAS], ids=["nasbench201", "darts", "nasnet", "enas"])
def test_a_candidate_is_a_space_without_decisions_and_of_the_same_hash(text: str) -> None:
    space = read(text)
    for seed in range(20):
        draw = space.sample(random.Random(seed))
        written = json.loads(json.dumps(draw.candidate.json()))
        again = Space.read(written)
        assert (again.decisions, again.replay({}).candidate.hash) == ((), draw.candidate.hash)
        assert Candidate.of(written) == draw.candidate
        assert space.replay(draw.decisions) == draw


def test_a_graph_inside_other_layers_is_kept_whole() -> None:
    inner = {"graph": {"nodes": 1, "op": {"linear": {"units": {"literal": "=x"}}}}}
    space = Space.read({"architecture": [{"residual": ["a", inner]}, {"graph": {"nodes": 1, "op": ["b", inner]}}]})
    candidate = space.replay({}).candidate
    assert Space.read(candidate.json()).replay({}).candidate == candidate


def test_a_graph_is_readable_in_one_line() -> None:
    space = read(NASBENCH201)
    ops = dict(zip((f"define.{path}" for path in EDGES), [0, 1, 3, 4, 0, 1], strict=True))
    line = space.replay(ops).candidate.one_line()
    graph = (
        "graph(1 = zeros; 2 = identity @0 + [relu > conv same k3 > norm batch] @1; 3 = avg_pool k3 @0 + identity @2)"
    )
    assert line == f"conv 16 > 5x[A={graph}] > max_pool 2 > 5x[A]"
    drawn = read(ENAS).replay({decision.path: 0 for decision in read(ENAS).decisions})
    assert drawn.candidate.one_line().startswith("graph(1 = a @(0); 2 = a @(1); ")
    assert drawn.candidate.one_line().endswith("12 = a @(11); concat, match project)")


def test_a_number_of_nodes_may_come_from_the_task() -> None:
    space = Space.read({"architecture": [{"graph": {"nodes": "=task.classes // 5", "op": "a"}}]}, {"classes": 10})
    assert len(cell(space, {})["nodes"]) == 2
