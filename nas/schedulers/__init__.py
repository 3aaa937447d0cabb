"""Schedulers: how long each trial trains. One protocol that the machine asks, and one place that makes them by name.

    first(trial)            -> the step at which a new trial pauses; None: it goes to its end
    promotion(closing)      -> a paused trial that is to go on, and until where; None: there is none
    stops(trial, length)    -> why a trial that has just reported is to end with what it reached; "": it goes on

These three only look. What a scheduler knows is changed by what it is told of the journal's events, in their order:

    paused(trial, until, reward)     it reached the step ``until``, and waits there
    promoted(trial, until, further)  it went on from there, until ``further``; None: to its end
    began(trial)                     an attempt begins: what an earlier one reported does not count any more
    reported(trial, step, value)     to a scheduler that ``watches``: the reward of what it has reached by then
    ended(trial, reward)             None: it failed

So its state is a function of the journal, like a controller's, and nothing waits for anybody: whenever a slot is free,
what can be promoted is; else a new trial begins. ``closing``: no new trial will come and nothing runs. Then a scheduler
that has brought none to its end promotes the best it has, so that a small search has one that was trained in full.

Two kinds, both for any controller, which learns from what a trial reached (``Reward.curve``):

    asha         trials pause at rungs, and the best third of a rung goes on (Li et al. 2020)
    hyperband    several such ladders that begin at other rungs, in case short runs mislead (Li et al. 2018)
    median       what falls behind the median of the others' averages is stopped (Golovin et al. 2017)
    extrapolate  what will hardly beat the best, by its learning curve, is stopped (after Domhan et al. 2015)

The latter two see a report's reward with those limits whose metrics it holds: of the trainer's parameters, flops and
scores. What is measured at a training's end (seconds, peak_memory, ...) is no part of it: a config that limits such is
refused, and of a callable's reports, whose metrics nobody knows before, it is left aside.

>>> settings = parse("asha")            # or {"asha": {"min_resource": 1, "reduction_factor": 4}}
>>> make(settings, seed=1, length=27).first(0)
1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from nas.pareto import Vector

if TYPE_CHECKING:
    from nas.documents import Document
    from nas.schedulers.settings import Settings

NAMES = ("none", "asha", "hyperband", "median", "extrapolate")


@dataclass(frozen=True, slots=True)
class Promotion:
    trial: int
    until: int | None  # the step at which it pauses next; None: it goes to its end


class Scheduler(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def watches(self) -> bool:
        """Whether it looks at reports."""
        ...

    def rungs(self, reached: int) -> Sequence[int]:
        """Steps up to ``reached`` at which trials are compared; empty where all go to their end."""
        ...

    def first(self, trial: int) -> int | None: ...

    def promotion(self, closing: bool) -> Promotion | None: ...

    def stops(self, trial: int, length: int | None) -> str: ...

    def paused(self, trial: int, until: int, reward: Vector) -> None: ...

    def promoted(self, trial: int, until: int, further: int | None) -> None: ...

    def began(self, trial: int) -> None: ...

    def reported(self, trial: int, step: int, value: float) -> None: ...

    def ended(self, trial: int, reward: Vector | None) -> None: ...

    def save(self) -> Any:
        """The whole state as plain JSON: equal states give equal values."""
        ...

    def load(self, state: Any) -> None: ...


class NoScheduler:
    """Every trial goes to its end. What the others are built on: each says only what it does otherwise."""

    name = "none"
    watches = False

    def rungs(self, reached: int) -> Sequence[int]:
        return ()

    def first(self, trial: int) -> int | None:
        return None

    def promotion(self, closing: bool) -> Promotion | None:
        return None

    def stops(self, trial: int, length: int | None) -> str:
        return ""

    def paused(self, trial: int, until: int, reward: Vector) -> None:
        raise AssertionError("it pauses none")

    def promoted(self, trial: int, until: int, further: int | None) -> None:
        raise AssertionError("it promotes none")

    def began(self, trial: int) -> None:
        pass

    def reported(self, trial: int, step: int, value: float) -> None:
        pass

    def ended(self, trial: int, reward: Vector | None) -> None:
        pass

    def save(self) -> Any:
        return None

    def load(self, state: Any) -> None:
        pass


def parse(value: Any, document: Document | None = None, at: tuple[str | int, ...] = ()) -> Settings:
    """The settings that a config's ``scheduler:`` means: a name, or ``{name: {setting: value}}``.

    ``document`` and ``at`` say where ``value`` was read, so that a problem names its file, line and column.

    Raises:
        InputError: with every problem found and the nearest valid words.
    """
    from nas.documents import hint, plain, validate
    from nas.errors import InputError
    from nas.schedulers import settings as s

    document = document or plain({"scheduler": value})
    at = at or ("scheduler",)
    kinds: dict[Any, type[Settings]] = {
        "none": s.NoneSettings,
        "asha": s.AshaSettings,
        "hyperband": s.HyperbandSettings,
        "median": s.MedianSettings,
        "extrapolate": s.ExtrapolateSettings,
    }
    if value is None or isinstance(value, str):
        name = value or "none"
        body, inner = plain({}, document.file), ()
    elif isinstance(value, Mapping) and len(value) == 1:
        name = next(iter(value))
        body, inner = (document, (*at, name)) if value[name] is not None else (plain({}, document.file), ())
    else:
        raise InputError(document.problem(at, "give one scheduler: a name, or {name: {setting: value}}"))
    if name not in kinds:
        raise InputError(document.problem(at, f"no scheduler is named {name!r}{hint(str(name), NAMES)}"))
    return validate(kinds[name], body, at=inner)


def make(settings: Settings, seed: int, length: int | None, objectives: int = 1) -> Scheduler:
    """The scheduler that ``settings`` describe, for one run of so many objectives.

    ``length``: steps of a whole training, where that is known (epochs, of the shipped trainer).

    Raises:
        InputError: the length is not known and must be, or leaves nothing to schedule; or the scheduler compares by
            one number, and there are several objectives.
    """
    from nas.schedulers import settings as s

    match settings:
        case s.AshaSettings() | s.HyperbandSettings():
            from nas.schedulers.asha import AshaScheduler

            return AshaScheduler(settings, seed, settings.whole(length))
        case s.MedianSettings():
            from nas.schedulers.median import MedianScheduler

            settings.require_one_objective(objectives)
            return MedianScheduler(settings)
        case s.ExtrapolateSettings():
            from nas.schedulers.extrapolate import ExtrapolateScheduler

            settings.require_one_objective(objectives)
            return ExtrapolateScheduler(settings, settings.whole(length))
    return NoScheduler()
