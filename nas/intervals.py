"""Intervals of means, by Student's t. SciPy has the quantile, but reading a leaderboard needs no SciPy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev

LEVEL = 0.95  # of every interval that nas reports


def mean(values: Sequence[float], level: float = LEVEL) -> tuple[float, float | None]:
    """The mean, and half the width of its interval: t s / sqrt(n), with n - 1 degrees of freedom; None for one value.

    >>> centre, half = mean([0.90, 0.92, 0.94])
    >>> round(centre, 4), round(half, 4)              # 4.3027 * 0.02 / sqrt(3)
    (0.92, 0.0497)
    """
    if len(values) < 2:
        return fmean(values), None
    return fmean(values), t_quantile(0.5 + level / 2, len(values) - 1) * stdev(values) / math.sqrt(len(values))


def t_quantile(probability: float, degrees: int) -> float:
    """The quantile of Student's t, for probabilities from 0.5 below 1, to 12 digits: bisection over t_within.

    >>> round(t_quantile(0.975, 2), 4)
    4.3027
    """
    low, high = 0.0, math.pi / 2
    while high - low > 1e-14 * high:
        middle = (low + high) / 2
        if t_within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan((low + high) / 2)


def t_within(angle: float, degrees: int) -> float:
    """P(|T| <= t) for t = sqrt(degrees) tan(angle): a finite sum (Abramowitz and Stegun, 26.7.3 and 26.7.4)."""
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    term, total = (cosine if odd else 1.0), 0.0
    for power in range(1 + odd, degrees, 2):
        total += term
        term *= cosine * cosine * power / (power + 1)
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
