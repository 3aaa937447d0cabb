"""What a trial is worth, from its recorded metrics: a number, or a vector of one for each objective; higher is better.

Metrics are journaled, rewards are not: they are computed from metrics by these settings, and can be recomputed under
others. With ``objectives`` the reward is their metrics, those to minimize negated, in the order of their names, so that
the order in which a config writes them means nothing.

With one objective let Q be the quality (the metric to maximize, or minus the metric to minimize), T a cost, T0 its
``at_most`` and r = T / T0. Each soft limit changes Q, in the order written:

    mnasnet_hard   Q * min(r^-weight, 1)     Tan et al. 2019 (arXiv:1807.11626), eq. 2 with alpha = 0, beta = -weight:
                                             the default; nothing is earned below the limit, beyond it Q shrinks
    mnasnet        Q * r^-weight             the same with alpha = beta = -weight: soft both ways, not a limit but an
                                             exchange; a small bad network may rank above a better one below T0
    absolute       Q - weight * |r - 1|      Bender et al. 2020 (arXiv:2008.06120), sec. 4, with beta = -weight:
                                             pulls the cost towards T0 from both sides

The papers write their exponents as negative numbers; here ``weight`` says how strongly a limit counts, and is positive.

The MnasNet forms are stated for a quality that is not negative. Multiplying a negative Q by a factor below 1 would
*reward* an exceeded limit, so there the factor divides: Q / r^-weight. With ``minimize: loss`` that is
-(loss * r^weight), a loss inflated by what it costs; at Q = 0 both sides meet.

Left out: hard limits, which belong in a space's ``constraints``, where a candidate is refused before it is trained; and
limits beside several objectives: which of these should pay for a limit is not clear, and a cost can be an objective.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from nas.errors import InputError
from nas.pareto import fronts, hypervolume, worst
from nas.records import Reward

Form = Literal["mnasnet", "mnasnet_hard", "absolute"]
Direction = Literal["maximize", "minimize"]

# A cost of 0 (no parameters at all) would be worth infinitely much under `mnasnet`; it counts as this share of T0.
SMALLEST_RATIO = 1e-3

# Tan et al. 2019, fig. 3 uses -0.07 (soft) and -1 (hard); for the absolute form it is only a place to start.
_DEFAULT_WEIGHT = {"mnasnet": 0.07, "mnasnet_hard": 1.0, "absolute": 0.07}

# Ten times as heavy as anything published; beyond it, twice the cost leaves less than a thousandth of the quality.
MOST_WEIGHT = 10.0

MOST_OBJECTIVES = 6  # beyond these nearly every trial is on the front, and an exact hypervolume takes too long


class Limit(BaseModel):
    """A soft limit on one metric: what it costs to be above ``at_most``; nothing is earned below it by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at_most: Annotated[float, Field(gt=0, allow_inf_nan=False)]  # T0, in the metric's own unit
    weight: Annotated[float, Field(gt=0, le=MOST_WEIGHT)] | None = None  # None: the form's own, see strength
    form: Form = "mnasnet_hard"

    @property
    def strength(self) -> float:
        """The weight in force: the one given, else 0.07, or 1 for mnasnet_hard."""
        return _DEFAULT_WEIGHT[self.form] if self.weight is None else self.weight


class RewardSettings(BaseModel):
    """The ``reward`` part of a config, e.g. ``{maximize: accuracy, limits: {parameters: {at_most: 100_000}}}``, or of
    several objectives ``{objectives: {accuracy: maximize, flops: minimize}}``.

    None of ``maximize``, ``minimize`` and ``objectives`` given: the accuracy is maximized. Limits and objectives may
    name any recorded metric, and ``seconds``, the time that the attempt took.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    maximize: Annotated[str, Field(min_length=1)] | None = None
    minimize: Annotated[str, Field(min_length=1)] | None = None
    limits: dict[str, Limit] = Field(default_factory=dict)
    objectives: Annotated[dict[str, Direction], Field(max_length=MOST_OBJECTIVES)] = Field(
        default_factory=dict, description="Several metrics, each with maximize or minimize; then no limits."
    )
    reference: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=dict,
        description="Where hypervolumes are measured from, a number for each objective; else the worst of each so far.",
    )

    @field_validator("objectives")
    @classmethod
    def _several(cls, objectives: dict[str, Direction]) -> dict[str, Direction]:
        if len(objectives) == 1:
            ((name, direction),) = objectives.items()
            raise ValueError(f"one objective is written `{direction}: {name}`; objectives are two or more")
        return dict(sorted(objectives.items()))

    @model_validator(mode="after")
    def _one_wish(self) -> RewardSettings:
        if self.maximize is not None and self.minimize is not None:
            raise ValueError(
                "give either maximize or minimize, not both; a second wish can be a limit, or both can be objectives: "
                f"{{{self.maximize}: maximize, {self.minimize}: minimize}}"
            )
        if self.objectives and (self.maximize is not None or self.minimize is not None):
            raise ValueError("give either objectives or one metric to maximize or minimize, not both")
        if self.objectives and self.limits:
            limited = next(iter(self.limits))
            raise ValueError(f"limits go with one objective; beside several {limited} can be one: {limited}: minimize")
        if self.reference and self.reference.keys() != self.objectives.keys():
            wanted = ", ".join(self.objectives) or "there are none"
            raise ValueError(f"reference needs a number for each of the objectives, and for no other: {wanted}")
        return self

    @property
    def metric(self) -> str:
        """The name of the metric that the quality is taken from, where there is one objective."""
        return self.minimize or self.maximize or "accuracy"

    @property
    def wishes(self) -> dict[str, Direction]:
        """Which metrics are objectives, and which way each is better."""
        return self.objectives or {self.metric: "minimize" if self.minimize else "maximize"}

    @property
    def names(self) -> list[str]:
        """Every metric that a reward is made of."""
        return [*self.wishes, *self.limits]


def progress(settings: RewardSettings, metrics: Mapping[str, float]) -> float | None:
    """What a report says that a trial is worth so far: by the only objective, and by those limits whose metrics it has.

    None where it says nothing of that. A limit on what is known when training has ended can not count before.

    >>> limits = {"parameters": Limit(at_most=1000.0, weight=1.0), "seconds": Limit(at_most=60.0)}
    >>> progress(RewardSettings(maximize="accuracy", limits=limits), {"accuracy": 0.9, "parameters": 2000})
    0.45
    """
    known = {name: limit for name, limit in settings.limits.items() if name in metrics}
    try:
        return compute(settings.model_copy(update={"limits": known}), metrics).value
    except InputError:  # which the trial's end will be refused for, and a replay must not be
        return None


def compute(settings: RewardSettings, metrics: Mapping[str, float], seconds: float | None = None) -> Reward:
    """The reward of a trial with these metrics; ``seconds`` stands in where no metric has that name.

    >>> limits = {"parameters": Limit(at_most=1000.0, weight=1.0)}
    >>> compute(RewardSettings(maximize="accuracy", limits=limits), {"accuracy": 0.9, "parameters": 2000}).value
    0.45

    Raises:
        InputError: a metric that the settings name is not there, is not finite, or is a negative cost, or the reward
            is beyond the numbers. It names the metric and those that there are.
    """
    known = dict(metrics) if seconds is None else {"seconds": seconds} | dict(metrics)
    if settings.objectives:
        told = {name: _metric(known, name, "objectives") for name in settings.objectives}
        return Reward(oriented(settings, told), metrics)
    ((name, direction),) = settings.wishes.items()
    quality = _metric(known, name, direction)
    if settings.minimize:
        quality = -quality
    for name, limit in settings.limits.items():
        cost = _metric(known, name, "limits")
        if cost < 0:
            raise InputError(f"reward.limits.{name}: the metric is {cost}, and a cost cannot be negative")
        try:
            quality = _limited(quality, cost / limit.at_most, limit)
        except (OverflowError, ZeroDivisionError):  # a factor beyond the floats, or so small that it is 0
            quality = math.inf
        if not math.isfinite(quality):
            wish = f"{settings.metric} = {known[settings.metric]}"
            raise InputError(f"reward.limits.{name}: the reward overflows for {wish} and {name} = {cost}")
    return Reward(quality, metrics)


@dataclass(frozen=True, slots=True)
class Front:
    """How far several objectives were reached together: what is not dominated, and what that dominates."""

    objectives: Mapping[str, Direction]
    trials: int  # on the front; equal ones are one
    of: int  # that were compared
    hypervolume: float  # in the objectives' own units; see nas.pareto
    reference: Mapping[str, float]  # from which it is measured, as metrics
    given: bool  # by the config; else it is the worst of each objective so far


def front_of(
    settings: RewardSettings,
    vectors: Sequence[tuple[float, ...]],
    *,
    of: int | None = None,
    low: tuple[float, ...] | None = None,
) -> Front | None:
    """The front of these rewards; None where there are none, or they are of one objective.

    Where ``vectors`` are the front alone, ``of`` says of how many trials, and ``low`` is the worst of each objective.
    """
    if not settings.objectives or not vectors:
        return None
    origin = reference_of(settings, vectors if low is None else [low])
    return Front(
        objectives=settings.objectives,
        trials=len({vector for vector, number in zip(vectors, fronts(vectors), strict=True) if number == 1}),
        of=len(vectors) if of is None else of,
        hypervolume=hypervolume(vectors, origin),
        reference={
            name: -x if way == "minimize" else x
            for (name, way), x in zip(settings.objectives.items(), origin, strict=True)
        },
        given=bool(settings.reference),
    )


def reference_of(settings: RewardSettings, vectors: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    """Where hypervolumes are measured from: as the settings say, else from the worst of each objective."""
    return oriented(settings, settings.reference) if settings.reference else worst(vectors)


def oriented(settings: RewardSettings, told: Mapping[str, float]) -> tuple[float, ...]:
    """Numbers for each objective as a vector in which higher is better."""
    return tuple(-told[name] if way == "minimize" else told[name] for name, way in settings.objectives.items())


def _limited(quality: float, ratio: float, limit: Limit) -> float:
    """Q after one soft limit; ``ratio`` is T / T0."""
    if limit.form == "absolute":
        return quality - limit.strength * abs(ratio - 1)
    factor: float = max(ratio, SMALLEST_RATIO) ** -limit.strength
    if limit.form == "mnasnet_hard":
        factor = min(factor, 1.0)
    return quality * factor if quality >= 0 else quality / factor


def _metric(metrics: Mapping[str, float], name: str, key: str) -> float:
    if name not in metrics:
        near = get_close_matches(name, metrics, 1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise InputError(f"reward.{key}: no metric is called {name!r}{hint}; there are: {', '.join(sorted(metrics))}")
    if not math.isfinite(metrics[name]):
        raise InputError(f"reward.{key}: the metric {name} is {metrics[name]}, not a finite number")
    return float(metrics[name])
