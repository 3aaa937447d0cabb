"""Levels: trials of several lengths in one order, by hand and against what they are to mean."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from nas.controllers.fidelity import Curve, Levels


def levels_of(curves: list[Curve]) -> list[tuple[float, ...]]:
    levels = Levels()
    for curve in curves:
        levels.add(curve)
    return [levels.of(curve) for curve in curves]


def test_who_went_on_shares_out_the_levels_anew() -> None:
    short: Curve = [(1, (0.5,))]
    first: Curve = [(1, (0.6,)), (3, (0.8,))]
    second: Curve = [(1, (0.4,)), (3, (0.9,)), (9, (0.92,))]
    third: Curve = [(1, (0.7,)), (3, (0.7,)), (9, (0.95,))]
    # At rung 3 the levels 0.4, 0.6, 0.7 go to third, first, second; at rung 9 third and second change theirs.
    assert levels_of([short, first, second, third]) == [(0.5,), (0.6,), (0.4,), (0.7,)]


def test_those_that_reached_a_rung_are_in_its_order_and_the_levels_stay_the_same() -> None:
    rng = Random(1)
    rungs = (1, 3, 9)
    curves: list[Curve] = [
        [(rung, (rng.random(), rng.random())) for rung in rungs[: rng.randint(1, 3)]] for _ in range(40)
    ]
    found = levels_of(curves)
    for place in range(2):
        both = zip(curves, found, strict=True)
        top = sorted((curve[-1][1][place], level[place]) for curve, level in both if len(curve) == 3)
        assert all(a[1] <= b[1] for a, b in pairwise(top))
        assert sorted(level[place] for level in found) == sorted(curve[0][1][place] for curve in curves)


def test_what_is_told_again_is_as_if_told_at_once() -> None:
    curves: list[Curve] = [[(1, (0.1,)), (3, (0.3,))], [(1, (0.2,)), (3, (0.2,))]]
    levels = Levels()
    for curve in curves:
        levels.add(curve[:1])
    for curve in curves:
        levels.add(curve, again=True)
    assert [levels.of(curve) for curve in curves] == levels_of(curves) == [(0.2,), (0.1,)]
    other = Levels()
    other.load(levels.save())
    assert other.save() == levels.save()
