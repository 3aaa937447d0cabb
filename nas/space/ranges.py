"""All that a value can still be: a set of scalars where they are few, else an interval of numbers.

Masks are drawn from these: a decision's option is ruled out where a constraint fails for every value that the others
can still have. So a range may be wider than the truth, and never narrower. Endpoints are computed with the same
floating-point operations as values, which are monotone, so no rounding needs to be directed; where an operation is not
monotone (``%``, some powers) its range is wide. An operation without a result counts as one that may have any.
"""

from __future__ import annotations

# Twelve operations on intervals: what they do is their name.
# ruff: noqa: D103
import itertools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from nas.space.words import is_number

Interval = tuple[float, float]  # both ends included
Range = Interval | frozenset[Any]

EVERYTHING: Interval = (-math.inf, math.inf)
FEW = 64  # numbers that are kept apart; more of them become an interval
_SLACK = 1e-9  # of powers, relative: libm promises no monotone rounding


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false in a set: to Python, True and 1 are one member."""

    value: bool

    def __str__(self) -> str:
        return str(self.value).lower()


def point(value: Any) -> Range:
    return frozenset((Flag(value) if isinstance(value, bool) else value,))


def hull(range_: Range) -> Interval:
    """The smallest interval around it; everything, where it holds other things than numbers."""
    if isinstance(range_, tuple):
        return range_
    return (min(range_), max(range_)) if range_ and all(map(is_number, range_)) else EVERYTHING


def union(ranges: Iterable[Range]) -> Range:
    """What one of several can be."""
    found = list(ranges)
    if any(isinstance(range_, tuple) for range_ in found):
        hulls = [hull(range_) for range_ in found]
        return min(low for low, _ in hulls), max(high for _, high in hulls)
    together: frozenset[Any] = frozenset(itertools.chain(*found))
    return hull(together) if len(together) > FEW and all(map(is_number, together)) else together


def single(range_: Range) -> Any:
    """The one number that it is, or None."""
    if isinstance(range_, frozenset):
        (value,) = range_ if len(range_) == 1 else (None,)
        return value if is_number(value) else None
    return range_[0] if range_[0] == range_[1] else None


# Arithmetic ----------------------------------------------------------------------------------------------------------


def add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def multiply(a: Interval, b: Interval) -> Interval:
    return _corners(lambda x, y: 0.0 if x == 0 or y == 0 else x * y, a, b)


def divide(a: Interval, b: Interval) -> Interval:
    return EVERYTHING if b[0] <= 0 <= b[1] else _corners(lambda x, y: x / y, a, b)


def floor_divide(a: Interval, b: Interval) -> Interval:
    if b[0] <= 0 <= b[1]:
        return EVERYTHING
    if all(isinstance(end, int) for end in (*a, *b)):
        return _corners(lambda x, y: x // y, a, b)
    low, high = divide(a, b)
    return _rounded(math.floor, low) - 1, _rounded(math.floor, high) + 1  # floats' // may be one off their quotient


def remainder(a: Interval, b: Interval) -> Interval:
    """Python's, with the sign of the divisor."""
    if b[0] <= 0 <= b[1]:
        return EVERYTHING
    return (0, b[1]) if b[0] > 0 else (b[0], 0)


def power(a: Interval, b: Interval) -> Interval:
    exponent = b[0] if b[0] == b[1] else None
    if a[0] > 0 or (a[0] == 0 and b[0] > 0):
        return _widened(_corners(_power, a, b))
    if exponent is None or exponent != int(exponent) or exponent < 0:
        return EVERYTHING
    ends = _corners(_power, a, b)
    return _widened((0, ends[1]) if exponent % 2 == 0 and a[1] > 0 else ends)


def smallest(*ranges: Interval) -> Interval:
    return min(low for low, _ in ranges), min(high for _, high in ranges)


def largest(*ranges: Interval) -> Interval:
    return max(low for low, _ in ranges), max(high for _, high in ranges)


def absolute(a: Interval) -> Interval:
    ends = sorted((abs(a[0]), abs(a[1])))
    return (0 if a[0] <= 0 <= a[1] else ends[0]), ends[1]


def rounded(function: Callable[..., Any]) -> Callable[..., Interval]:
    """The range of ``floor``, ``ceil``, or ``round`` (with a number of digits, if that is known)."""

    def of(a: Interval, *digits: Interval) -> Interval:
        if digits and digits[0][0] != digits[0][1]:
            return EVERYTHING
        given = [int(digits[0][0])] if digits else []
        return _rounded(function, a[0], *given), _rounded(function, a[1], *given)

    return of


def _rounded(function: Callable[..., Any], x: float, *digits: int) -> float:
    return x if math.isinf(x) else function(x, *digits)


def _power(x: float, y: float) -> float:
    try:
        result = x**y
    except OverflowError:
        return math.inf if x > 0 or y % 2 == 0 else -math.inf
    except ZeroDivisionError:
        return math.inf
    return float(result)


def _widened(a: Interval) -> Interval:
    low, high = (0.0 if math.isinf(end) else abs(end) * _SLACK for end in a)
    return a[0] - low, a[1] + high


def _corners(function: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    """The range of what is monotone in each of its two values, where the other is held."""
    found = [function(x, y) for x in a for y in b]
    return EVERYTHING if any(map(math.isnan, found)) else (min(found), max(found))
