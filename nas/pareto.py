"""Several objectives at once: who dominates whom, fronts, crowding, hypervolume.

Vectors are tuples of one length, finite, and higher is better in each place. Equal vectors are one point here: they
share front, crowding and contribution.

>>> fronts([(1.0, 3.0), (2.0, 2.0), (1.0, 2.0)])
[1, 1, 2]
>>> hypervolume([(1.0, 3.0), (2.0, 2.0)], (0.0, 0.0))
5.0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import ge, itemgetter

Vector = tuple[float, ...]


def dominates(one: Vector, other: Vector) -> bool:
    """At least as good in every objective, and better in one."""
    return one != other and all(map(ge, one, other))


def fronts(vectors: Sequence[Vector]) -> list[int]:
    """Of each the number of its front, from 1: the first is dominated by none, the second by the first alone, ...

    By efficient non-dominated sorting with binary search (Zhang et al. 2015, doi:10.1109/TEVC.2014.2308305): in
    descending order a vector can be dominated by earlier ones only, and by one of each front before its own. With two
    objectives the last one of a front speaks for all of it: O(n log n).
    """
    found: list[list[Vector]] = []
    number: dict[Vector, int] = {}
    for vector in sorted(set(vectors), reverse=True):
        low, high = 0, len(found)
        while low < high:
            middle = (low + high) // 2
            front = found[middle]
            # None is equal to the vector, so being at least as good everywhere is to dominate it.
            if any(all(map(ge, one, vector)) for one in (front[-1:] if len(vector) == 2 else reversed(front))):
                low = middle + 1
            else:
                high = middle
        if low == len(found):
            found.append([])
        found[low].append(vector)
        number[vector] = low + 1
    return [number[vector] for vector in vectors]


def crowding(front: Sequence[Vector]) -> list[float]:
    """Crowding distance (Deb et al. 2002, sec. III-B): how far apart the neighbours are, summed over the objectives.

    Infinite for the best and the worst of an objective, so for all of a front of two.
    """
    distance = dict.fromkeys(front, 0.0)
    for place in range(len(front[0]) if front else 0):
        order = sorted(distance, key=itemgetter(place))
        span = order[-1][place] - order[0][place]
        distance[order[0]] = distance[order[-1]] = math.inf
        for before, vector, after in zip(order, order[1:], order[2:], strict=False):
            distance[vector] += (after[place] - before[place]) / span if span else 0.0
    return [distance[vector] for vector in front]


def crowded(vectors: Sequence[Vector]) -> list[tuple[int, float]]:
    """What to compare by, higher is better: minus the front, then the crowding distance within it (NSGA-II)."""
    numbers = fronts(vectors)
    members: dict[int, list[Vector]] = {}
    for vector, number in zip(vectors, numbers, strict=True):
        members.setdefault(number, []).append(vector)
    apart = {number: dict(zip(front, crowding(front), strict=True)) for number, front in members.items()}
    return [(-number, apart[number][vector]) for vector, number in zip(vectors, numbers, strict=True)]


def best_first(vectors: Sequence[Vector]) -> list[int]:
    """Their places in the list: by the only objective, or by front and then crowding; equals as they stand."""
    several = bool(vectors) and len(vectors[0]) > 1
    keys: Sequence[tuple[float, ...]] = crowded(vectors) if several else vectors
    return sorted(range(len(vectors)), key=lambda at: keys[at], reverse=True)


def worst(vectors: Sequence[Vector]) -> Vector:
    """The worst of each objective, as one vector."""
    return tuple(min(column) for column in zip(*vectors, strict=True))


def hypervolume(vectors: Sequence[Vector], reference: Vector) -> float:
    """The volume that they dominate beyond ``reference`` (Zitzler and Thiele 1998), in the objectives' own units.

    What is not better than the reference in every objective adds nothing. Exact, by slices as in WFG (While et al.
    2012, doi:10.1109/TEVC.2010.2077298); two objectives take one sweep.
    """
    return _volume(_beyond(vectors, reference))


def contributions(front: Sequence[Vector], reference: Vector) -> list[float]:
    """Of each of a front the volume that it alone dominates beyond ``reference``."""
    order = sorted(set(_beyond(front, reference)))
    reach = 1 if len(reference) == 2 else len(order)  # of two objectives only the neighbours limit what is one's own
    alone: dict[Vector, float] = {}
    for place, vector in enumerate(order):
        others = [*order[max(0, place - reach) : place], *order[place + 1 : place + 1 + reach]]
        alone[vector] = math.prod(vector) - _volume([_within(other, vector) for other in others])
    return [alone.get(_from(reference, vector), 0.0) for vector in front]


def _beyond(vectors: Sequence[Vector], reference: Vector) -> list[Vector]:
    return [one for one in (_from(reference, vector) for vector in vectors) if min(one) > 0]


def _from(reference: Vector, vector: Vector) -> Vector:
    return tuple(a - b for a, b in zip(vector, reference, strict=True))


def _within(vector: Vector, bound: Vector) -> Vector:
    return tuple(map(min, vector, bound))


def _volume(points: Sequence[Vector]) -> float:
    """Of the union of the boxes from the origin to each point, all of whose coordinates are positive."""
    if not points:
        return 0.0
    if len(points[0]) == 1:
        return max(points)[0]
    if len(points[0]) == 2:
        area = top = 0.0
        for x, y in sorted(points, reverse=True):
            area += x * max(0.0, y - top)
            top = max(top, y)
        return area
    first = {point for point, front in zip(points, fronts(points), strict=True) if front == 1}
    order = sorted(first, key=lambda point: (point[-1], point))
    # What a point adds to those above it has its own height throughout, so one dimension less is enough.
    return math.fsum(
        point[-1] * (math.prod(point[:-1]) - _volume([_within(other[:-1], point[:-1]) for other in order[at + 1 :]]))
        for at, point in enumerate(order)
    )
