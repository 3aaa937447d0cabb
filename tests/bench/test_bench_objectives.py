"""A protocol of several objectives: what is told of them, and the hypervolume that a search reached."""

from __future__ import annotations

import pytest
from bench_problems import SPEC, write

from nas.bench import command, ledger
from nas.bench import spec as specs
from nas.bench.measures import curve, measures
from nas.bench.trace import Trace
from nas.errors import InputError

PARETO = """\
  pareto:
    reward: {objectives: {val: maximize, cost: minimize}}
    evaluations: 20
    at: [1, 2, 20]
    report: [hypervolume]
"""
BEST_OF_ONE_LAYER = 32  # the row of (32, deep, 1): val 27 at a cost of 10


def play(folder, **wishes):
    given = {"seeds": 3, "controllers": "random,evolution", "processes": 1, "run": folder / "run"} | wishes
    wanted = command.Wishes(str(folder / "toy.yaml"), folder, protocols="pareto", **given)
    return command.play(wanted, lambda done, total: None)


def test_the_hypervolume_is_a_share_of_the_tables(tmp_path):
    """By hand: the best of 1 to 4 layers are worth 27 to 30 at costs 10 to 40, the worst of the table are 1 and 40."""
    write(tmp_path, SPEC + PARETO)
    recorded = play(tmp_path, seeds=1).benchmarks[0]
    assert recorded.volume == 26 * 30 + 1 * 20 + 1 * 10
    trace = Trace([-1, BEST_OF_ONE_LAYER, 0], [], 0.0, 0.0, "budget")
    assert [(one.name, one.higher) for one in measures(recorded, [trace])] == [
        ("hypervolume@1", True), ("hypervolume@2", True), ("hypervolume@20", True),
    ]  # fmt: skip
    assert [one.values for one in measures(recorded, [trace])] == [(0.0,), (780 / 810,), (780 / 810,)]
    assert curve(recorded, trace, [1, 2]) == [1.0, 1 - 780 / 810]


def test_searches_are_played_compared_and_kept(tmp_path):
    write(tmp_path, SPEC + PARETO)
    played = play(tmp_path)
    assert "hypervolume@20" in played.page()
    assert "mean share of the hypervolume missing" in played.picture()
    assert len((tmp_path / "run" / ledger.FILE).read_bytes().splitlines()) == 6
    last = played.plain()["benchmarks"][0]["measures"]["hypervolume@20"]
    assert all(0.8 < value <= 1 for line in last for value in line["values"].values())


@pytest.mark.parametrize("more", ["", ", reference: {val: 99, one: 1}"])
def test_objectives_without_a_hypervolume_are_refused(tmp_path, more):
    """Lost without it: a division by zero after everything was played."""
    alike = PARETO.replace("cost: minimize}", "one: minimize}" + more)
    write(tmp_path, SPEC + alike)
    with pytest.raises(InputError, match=r"yaml:\d+:\d+: there is no hypervolume: no row is better in every objective"):
        play(tmp_path)


def test_who_knows_one_objective_is_refused_by_name_and_left_out_of_all(tmp_path):
    write(tmp_path, SPEC + PARETO)
    with pytest.raises(InputError, match="local_search knows one objective, and a protocol asked for has 2"):
        play(tmp_path, controllers="random,local_search")
    with pytest.raises(InputError, match="optuna:cmaes knows one objective"):
        play(tmp_path, controllers="optuna:cmaes")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("[hypervolume]", "[regret]"), "hypervolume is what is reported of several objectives"),
        (("    at:", "    final: test\n    at:"), "several objectives have no pick"),
        (("cost: minimize", "costs: minimize"), "costs"),
        (("cost: minimize}", "cost: minimize}, reference: {val: 0}"), "a number for each of the objectives, val, cost"),
    ],
)
def test_a_protocol_that_makes_no_sense_is_refused(tmp_path, wrong, message):
    write(tmp_path, SPEC + PARETO.replace(*wrong))
    with pytest.raises(InputError, match=message):
        play(tmp_path)


def test_one_reward_needs_what_picks_are_judged_by(tmp_path):
    with pytest.raises(InputError, match="one reward needs it"):
        specs.load(str(write(tmp_path, SPEC.replace("    final: test\n", "", 1))))
