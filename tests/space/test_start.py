"""``start:`` candidates: what is written, and which decisions it means."""

import json

from nas.space import Space

BODY = {
    "define": {"width": {"choice": [16, 32, 64], "default": 32}},
    "architecture": [
        {"conv": {"filters": "=width", "kernel": {"choice": [3, 5], "name": "size"}}},
        {
            "repeat": {
                "times": {"int": [1, 3]},
                "of": {"linear": {"units": {"int": [8, 128], "log": True, "name": "u"}}},
            }
        },
    ],
    "hyperparameters": {
        "tricks": {"subset": ["flip", "crop"]},
        "two": {"subset": ["a", "b", "c"], "size": 2, "default": ["a", "c"]},
        "rate": {"float": [0.01, 1.0], "log": True},
        "optimizer": {"choice": [{"sgd": {"momentum": {"float": [0, 1]}}}, "adam"], "weights": [1, 3]},
    },
}


def started(*starts: object) -> Space:
    return Space.read({**BODY, "start": list(starts)})


def test_what_is_not_said_is_the_default_then_the_likeliest_then_the_middle() -> None:
    (start,) = started({}).start
    assert start == {
        "define.width": 1,
        "size": 0,
        "architecture.1.repeat.times": 2,
        "u[0]": 32,
        "u[1]": 32,
        "hyperparameters.tricks:flip": 0,
        "hyperparameters.tricks:crop": 0,
        "hyperparameters.two": 1,
        "hyperparameters.rate": 0.1,
        "hyperparameters.optimizer": 1,
    }


def test_decisions_are_named_by_path_name_or_define_and_values_as_in_the_space() -> None:
    (start,) = started(
        {
            "width": 64,
            "size": 5,
            "architecture.1.repeat.times": 3,
            "u": 100,
            "hyperparameters.tricks": ["crop"],
            "hyperparameters.two": ["b", "c"],
            "hyperparameters.rate": 1,
            "hyperparameters.optimizer": "sgd",
            "hyperparameters.optimizer:sgd.momentum": 0.9,
        }
    ).start
    assert start == {
        "define.width": 2,
        "size": 1,
        "architecture.1.repeat.times": 3,
        "u[0]": 100,
        "u[1]": 100,
        "u[2]": 100,
        "hyperparameters.tricks:flip": 0,
        "hyperparameters.tricks:crop": 1,
        "hyperparameters.two": 2,
        "hyperparameters.rate": 1.0,
        "hyperparameters.optimizer": 0,
        "hyperparameters.optimizer:sgd.momentum": 0.9,
    }


def test_one_of_several_repetitions_can_be_named_alone() -> None:
    (start,) = started({"u[1]": 8, "u": 100}).start
    assert (start["u[0]"], start["u[1]"]) == (100, 8)


def test_the_cell_of_a_benchmark_can_be_a_start() -> None:
    cell = {"graph": {"nodes": 2, "op": {"choice": ["none", "identity", "=conv"]}}}
    define = {"conv": [{"conv": 3}, "norm"], "cell": cell}
    edges = {"cell.graph.node[1].edge[0].op": "=conv", "cell.graph.node[2].edge[1].op": "identity"}
    space = Space.read({"define": define, "architecture": ["=cell"], "start": [edges]})
    assert list(space.start[0].values()) == [2, 0, 1]


def test_starts_survive_the_journal() -> None:
    """Lost without it: a resumed run that starts with something else."""
    space = started({}, {"width": 16})
    again = Space.read(json.loads(json.dumps(space.source)))
    assert again.start == space.start
    assert all(space.replay(start).decisions == start for start in space.start)


def test_a_start_changes_neither_decisions_nor_their_number() -> None:
    assert started({}).decisions == Space.read(BODY).decisions
    assert started({}).count() == Space.read(BODY).count()
