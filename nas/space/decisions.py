"""Decisions: all that a controller sees of a space. One of three kinds, each with one static domain.

    Index     one of ``size`` options: a choice, a stepped range, a sized subset, or one member of an unsized one
    Integer   low..high, both included
    Real      low..high, both included

Only the space turns an index into a value; a controller never computes low + k * step.

While a space with constraints is walked, what has been drawn may rule some values of a decision out. The decision is
then handed out as a *view*: the same path, with ``allowed`` set (Index) or with narrower bounds (Integer, Real). Values
keep their meaning: an index counts all options, allowed or not.
"""

from __future__ import annotations

import math
import operator
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Index:
    path: str
    size: int
    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None  # a prior, normalised; None: all alike
    ordered: bool = False  # neighbours are alike; affects encodings only
    values: tuple[float, ...] | None = None  # where every option is a number
    default: int | None = None
    name: str = ""
    allowed: tuple[int, ...] | None = None  # of a view: the options that are left, rising; None: all

    def accept(self, value: int | float) -> int:
        """The value as a plain int. Raises ValueError where it is outside the domain."""
        index = operator.index(value)  # type: ignore[arg-type]  # a float raises TypeError, which is meant
        if not 0 <= index < self.size:
            raise ValueError(f"{self.path}: {value} is no index below {self.size}")
        if self.allowed is not None and index not in self.allowed:
            raise ValueError(f"{self.path}: {value} is ruled out by what was drawn before")
        return index


@dataclass(frozen=True, slots=True)
class Integer:
    path: str
    low: int
    high: int
    log: bool = False
    default: int | None = None
    name: str = ""

    def accept(self, value: int | float) -> int:
        """The value as a plain int. Raises ValueError where it is outside the domain."""
        number = operator.index(value)  # type: ignore[arg-type]
        if self.low <= number <= self.high:
            return number
        raise ValueError(f"{self.path}: {value} is not within {self.low}..{self.high}")


@dataclass(frozen=True, slots=True)
class Real:
    path: str
    low: float
    high: float
    log: bool = False
    default: float | None = None
    name: str = ""

    def accept(self, value: int | float) -> float:
        """The value as a plain float. Raises ValueError where it is outside the domain, or NaN."""
        number = float(value)
        if self.low <= number <= self.high:
            return number
        raise ValueError(f"{self.path}: {value} is not within {self.low}..{self.high}")


Decision = Index | Integer | Real


def admits(decision: Decision, value: int | float) -> bool:
    """Whether a value of a decision is left in a view of it."""
    if isinstance(decision, Index):
        return decision.allowed is None or value in decision.allowed
    return decision.low <= value <= decision.high


def draw_prior(decision: Decision, rng: random.Random) -> int | float:
    """One draw from the prior: weights, uniform or log-uniform; of a view, from the prior given what is left.

    Only ``rng.random()`` is used: its stream is the one that Python promises to keep from version to version.
    """
    u = rng.random()
    match decision:
        case Index(allowed=allowed) if allowed is not None:
            chances = [decision.weights[index] if decision.weights else 1.0 for index in allowed]
            u *= math.fsum(chances)
            for index, chance in zip(allowed, chances, strict=True):
                u -= chance
                if u < 0:
                    return index
            return allowed[-1]
        case Index(weights=None):
            return int(u * decision.size)
        case Index():
            for index, weight in enumerate(decision.weights or ()):
                u -= weight
                if u < 0:
                    return index
            return decision.size - 1  # the weights may sum to a little less than 1
        case Integer(log=False):
            return decision.low + int(u * (decision.high - decision.low + 1))
        case Integer():
            # Each integer k gets the mass of (k - 0.5, k + 0.5) under a log-uniform density.
            low, high = math.log(decision.low - 0.5), math.log(decision.high + 0.5)
            return min(max(round(math.exp(low + u * (high - low))), decision.low), decision.high)
        case Real(log=False):
            return min(max(decision.low + u * (decision.high - decision.low), decision.low), decision.high)
        case Real():
            low, high = math.log(decision.low), math.log(decision.high)
            return min(max(math.exp(low + u * (high - low)), decision.low), decision.high)
