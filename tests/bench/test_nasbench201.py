"""The shipped benchmark of NAS-Bench-201: its YAML against its space, and against the recorded table where that is."""

import os
import random
from pathlib import Path

import pytest

from nas import documents
from nas.bench import spec as specs
from nas.bench import table as tables
from nas.bench.contenders import parse
from nas.bench.measures import reached
from nas.bench.recorded import Recorded, join, read_space
from nas.bench.trace import play
from nas.space import Space

SPACE = Path(__file__).parents[2] / "search_spaces" / "nasbench201.yaml"
DATA = os.environ.get("NAS_BENCH_DATA", "")
needs_table = pytest.mark.skipif(
    not DATA, reason="set NAS_BENCH_DATA to the folder that holds nasbench201/nb201.csv.gz"
)


def official() -> Space:
    """The shipped space at the benchmark's own width and depth."""
    document = documents.read(SPACE).data
    document["define"] |= {"width": 16, "cells": 5}
    return Space.read(document, {"classes": 10})


@pytest.fixture(scope="module")
def table() -> tables.Table:
    said, _ = specs.load("nasbench201")
    return tables.read(Path(DATA) / said.table)


@pytest.fixture(scope="module")
def recorded(table: tables.Table) -> Recorded:
    said, document = specs.load("nasbench201")
    return join(said, document, read_space(said, document), table, "cifar10", "query", said.protocols["query"])


def test_the_yaml_names_every_decision_of_the_shipped_space_in_its_order():
    """Lost without it: a benchmark that looks up another cell than was proposed."""
    said, document = specs.load("nasbench201")
    read = read_space(said, document)
    assert read.count().exact == 15_625
    assert [decision.path for decision in read.decisions] == list(said.cells)
    assert list(said.cells.values()) == [f"ops[{place}]" for place in range(6)]
    assert all(said.values == {label: i for i, label in enumerate(d.labels)} for d in read.decisions)


def test_digits_stand_for_edges_in_the_order_of_the_table():
    said, document = specs.load("nasbench201")
    read = read_space(said, document)
    # 043021: 1<-0 none; 2<-0 pool, 2<-1 conv3; 3<-0 none, 3<-1 conv1, 3<-2 skip
    draw = read.replay(dict(zip(said.cells, map(int, "043021"), strict=True)))
    cell = next(entry["graph"] for entry in draw.candidate.architecture or () if "graph" in entry)
    assert [node["from"] for node in cell["nodes"]] == [[], [0, 1], [1, 2]]
    kernels = [[op[0].get("avg_pool", op[1:2] and op[1]["conv"]) for op in node["ops"]] for node in cell["nodes"]]
    assert kernels[1][0] == {"kernel": 3, "stride": 1}
    assert (kernels[1][1]["kernel"], kernels[2][0]["kernel"]) == (3, 1)
    assert cell["nodes"][2]["ops"][1] == [{"identity": {}}]


@needs_table
def test_every_row_of_the_table_is_one_draw_of_the_space(table, recorded):
    paths = [decision.path for decision in recorded.space.decisions]
    for row, ops in enumerate(table.columns["ops"]):
        assert recorded.rows.of(dict(zip(paths, map(int, ops), strict=True))) == row


@needs_table
def test_the_optima_are_those_that_are_published(recorded):
    assert recorded.goal is not None
    assert recorded.goal.nonzero()[0].tolist() == [6111]
    assert recorded.rewards[6111, 0] == 91.6067
    assert recorded.final[recorded.best] == 94.3733


@needs_table
def test_parameters_and_flops_of_the_networks_are_those_of_the_table(table):
    """The strongest proof that graphs are built as the paper means them: 50 cells at full size, to the last digit.

    The table counts a multiply-add once, and the ten biases of the last layer, which our counter and torch's leave out.
    """
    from nas.train.network import costs

    read = official()
    task = {"channels": 3, "height": 32, "width": 32, "classes": 10}
    parameters, flops = table.numbers("c10_params_M"), table.numbers("c10_flops_M")
    for row in random.Random(1).sample(range(table.rows), 50):
        ops = table.columns["ops"][row]
        draw = read.replay({d.path: int(digit) for d, digit in zip(read.decisions, ops, strict=True)})
        cost = costs(draw.candidate, task)
        assert cost["parameters"] == round(parameters[row] * 1e6), ops
        assert cost["flops"] / 2 + 10 == round(flops[row] * 1e6), ops


@needs_table
def test_the_digits_mean_the_operations_that_the_table_spells_out(table, recorded):
    spelt = {"none": "none", "skip_connect": "identity", "nor_conv_1x1": "conv1", "nor_conv_3x3": "conv3"}
    decisions = recorded.space.decisions
    for row in random.Random(2).sample(range(table.rows), 50):
        text = str(table.columns["arch_str"][row])
        edges = [edge.split("~")[0] for node in text.split("+") for edge in node.strip("|").split("|")]
        labels = [spelt.get(edge, "avg_pool") for edge in edges]
        drawn = {d.path: d.labels.index(label) for d, label in zip(decisions, labels, strict=True)}  # type: ignore[union-attr]
        assert recorded.rows.of(drawn) == row


@needs_table
def test_the_rl_controller_finds_the_best_cell_early_in_every_search(recorded):
    """What the product stands on. Random search finds the best of 15,625 cells in one of fifty searches of 300."""
    traces = [play(recorded, parse("rl")[0].make(recorded.space, seed), seed) for seed in range(4)]
    assert max(reached(recorded, trace) for trace in traces) <= 150
    again = play(recorded, parse("rl")[0].make(recorded.space, 3), 3)
    assert again.rows == traces[3].rows
