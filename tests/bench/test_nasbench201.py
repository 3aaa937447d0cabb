"""The shipped nasbench201 space against the recorded table, where the machine has it."""

import csv
import gzip
import itertools
import os
import random
from pathlib import Path

import pytest

from nas import documents
from nas.bench.nasbench201 import decisions, operations
from nas.errors import InputError
from nas.space import Space

FILE = Path(__file__).parents[2] / "search_spaces" / "nasbench201.yaml"
DATA = os.environ.get("NAS_BENCH_DATA", "")
needs_table = pytest.mark.skipif(
    not DATA, reason="set NAS_BENCH_DATA to the folder that holds nasbench201/nb201.csv.gz"
)


def space(**changed: int) -> Space:
    document = documents.read(FILE).data
    document["define"] |= changed
    return Space.read(document, {"classes": 10})


def table() -> list[dict[str, str]]:
    with gzip.open(Path(DATA) / "nasbench201" / "nb201.csv.gz", "rt") as lines:
        return list(csv.DictReader(lines))


def test_every_cell_of_the_table_is_one_draw_of_the_space() -> None:
    """Lost without it: a benchmark that looks up another cell than was proposed."""
    read = space()
    assert read.count().exact == 15_625
    names = {"".join(digits) for digits in itertools.product("01234", repeat=6)}
    assert {operations(read, decisions(read, name)) for name in names} == names


def test_digits_stand_for_edges_in_the_order_of_the_table() -> None:
    read = space()
    draw = read.replay(decisions(read, "043021"))  # 1<-0 none; 2<-0 pool, 2<-1 conv3; 3<-0 none, 3<-1 conv1, 3<-2 skip
    cell = next(entry["graph"] for entry in draw.candidate.architecture or () if "graph" in entry)
    assert [node["from"] for node in cell["nodes"]] == [[], [0, 1], [1, 2]]
    kernels = [[op[0].get("avg_pool", op[1:2] and op[1]["conv"]) for op in node["ops"]] for node in cell["nodes"]]
    assert kernels[1][0] == {"kernel": 3, "stride": 1}
    assert (kernels[1][1]["kernel"], kernels[2][0]["kernel"]) == (3, 1)
    assert cell["nodes"][2]["ops"][1] == [{"identity": {}}]


@pytest.mark.parametrize("name", ["04302", "043025", "0430210"])
def test_what_is_no_name_of_a_cell_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="six digits from 0 to 4"):
        decisions(space(), name)


def test_another_space_has_no_codes() -> None:
    with pytest.raises(InputError, match="no single cell of NAS-Bench-201"):
        operations(Space.read({"hyperparameters": {"a": {"choice": [1, 2]}}}), {})


@needs_table
def test_parameters_and_flops_of_the_networks_are_those_of_the_table() -> None:
    """The strongest proof that graphs are built as the paper means them: 50 cells at full size, to the last digit.

    The table counts a multiply-add once, and the ten biases of the last layer, which our counter and torch's leave out.
    """
    from nas.train.network import costs

    read = space(width=16, cells=5)
    task = {"channels": 3, "height": 32, "width": 32, "classes": 10}
    for row in random.Random(1).sample(table(), 50):
        cost = costs(read.replay(decisions(read, row["ops"])).candidate, task)
        assert cost["parameters"] == round(float(row["c10_params_M"]) * 1e6), row["ops"]
        assert cost["flops"] / 2 + 10 == round(float(row["c10_flops_M"]) * 1e6), row["ops"]


@needs_table
def test_the_digits_mean_the_operations_that_the_table_spells_out() -> None:
    spelt = {"none": "none", "skip_connect": "identity", "nor_conv_1x1": "conv1", "nor_conv_3x3": "conv3"}
    read = space()
    for row in random.Random(2).sample(table(), 50):
        edges = [edge.split("~")[0] for node in row["arch_str"].split("+") for edge in node.strip("|").split("|")]
        labels = [spelt.get(edge, "avg_pool") for edge in edges]
        drawn = decisions(read, row["ops"])
        assert [read.by_path[path].labels[index] for path, index in drawn.items()] == labels  # type: ignore[union-attr]
