"""Dominance, fronts, crowding and hypervolume, against what the definitions say when they are counted out."""

from __future__ import annotations

import math
from itertools import combinations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.pareto import contributions, crowded, crowding, dominates, fronts, hypervolume, worst

# Few whole numbers: ties in single objectives, equal vectors and dominance all happen, and volumes are exact.
VECTORS = st.integers(1, 4).flatmap(lambda size: st.lists(st.tuples(*[st.integers(0, 4)] * size), max_size=9))


def counted_fronts(vectors):
    """By the definition: take away what none of the rest dominates, again and again."""
    found, left, number = {}, set(vectors), 0
    while left:
        number += 1
        first = {one for one in left if not any(all(map(ge, other, one)) and other != one for other in left)}
        found |= dict.fromkeys(first, number)
        left -= first
    return [found[vector] for vector in vectors]


def ge(a, b):
    return a >= b


def counted_volume(vectors, reference):
    """Unit cubes between the reference and 5 that some vector reaches."""
    cubes = product(*(range(low, 5) for low in reference))
    return sum(any(all(x > corner for x, corner in zip(one, cube, strict=True)) for one in vectors) for cube in cubes)


@given(VECTORS)
def test_fronts_are_those_of_the_definition(vectors):
    assert fronts(vectors) == counted_fronts(vectors)
    for one, other in combinations(vectors, 2):
        assert dominates(one, other) == (one != other and all(map(ge, one, other)))


@given(VECTORS, st.integers(-1, 2))
def test_hypervolume_is_what_counting_cubes_gives(vectors, low):
    reference = (low,) * (len(vectors[0]) if vectors else 2)
    assert hypervolume(vectors, reference) == pytest.approx(counted_volume(vectors, reference))


@given(VECTORS)
def test_a_contribution_is_what_is_lost_without_it(vectors):
    front = sorted({vector for vector, number in zip(vectors, fronts(vectors), strict=True) if number == 1})
    reference = (0,) * (len(vectors[0]) if vectors else 2)
    whole = hypervolume(front, reference)
    without = [hypervolume([other for other in front if other != one], reference) for one in front]
    assert contributions(front, reference) == pytest.approx([whole - rest for rest in without])


def test_hypervolume_of_a_sphere():
    """Many points of three objectives that none dominates: an eighth of the unit ball, from below."""
    steps = [math.pi / 2 * at / 24 for at in range(25)]
    points = [(math.cos(a) * math.cos(b), math.sin(a) * math.cos(b), math.sin(b)) for a in steps for b in steps]
    assert math.pi / 6 - 0.05 < hypervolume(points, (0.0, 0.0, 0.0)) < math.pi / 6


def test_what_is_not_beyond_the_reference_adds_nothing():
    assert hypervolume([(3.0, 1.0), (1.0, 9.0)], (1.0, 0.0)) == 2.0
    assert hypervolume([(1.0, 1.0)], (1.0, 1.0)) == hypervolume([], (1.0, 1.0)) == 0.0
    assert worst([(3, 1), (1, 9)]) == (1, 1)


def test_crowding_is_that_of_the_paper_and_equal_ones_share_it():
    assert crowding([(0.0, 4.0), (1.0, 3.0), (4.0, 0.0), (1.0, 3.0)]) == [math.inf, 2.0, math.inf, 2.0]
    assert crowding([(1.0, 1.0)]) == [math.inf]
    assert crowding([]) == []
    assert crowded([(1.0, 1.0), (2.0, 2.0)]) == [(-2, math.inf), (-1, math.inf)]
