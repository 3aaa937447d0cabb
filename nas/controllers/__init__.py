"""Controllers: which candidate next. One protocol, and one place that makes them by name.

    ask(number)       -> Proposal | Exhausted      reads the state, does not change it; the same number and state give
                                                   the same proposal (randomness is derived from (run seed, number))
    began(proposal)                                the proposal is journaled: it is pending from now on
    tell(proposal, Reward | CandidateFailure)      in whatever order trials end

A controller's state is a function of the sequence of ``began`` and ``tell`` alone. That is what makes resume a replay:
a restarted run feeds the recorded proposals and results through ``began`` and ``tell`` and never asks again.

A candidate's failure counts as the worst reward told so far (before any reward was told, as worse than whatever comes
first), in each objective where there are several. Failures of machines are never told.

Every controller takes rewards of several objectives, or `make` refuses.

>>> settings = parse("optuna:tpe")                  # or "rl", {"optuna": {"sampler": "tpe", "n_startup_trials": 5}}
>>> controller = make(settings, space, seed=1)
>>> proposal = controller.ask(0); controller.began(proposal); controller.tell(proposal, Reward(0.9))
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from nas.records import CandidateFailure, Exhausted, Proposal, Reward

if TYPE_CHECKING:
    from nas.controllers.settings import Settings
    from nas.documents import Document
    from nas.space import Space

NAMES = ("rl", "evolution", "optuna", "random")


class Controller(Protocol):
    def ask(self, number: int) -> Proposal | Exhausted: ...

    def began(self, proposal: Proposal) -> None: ...

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None: ...

    def save(self) -> bytes:
        """The whole state, without pickle: equal states give equal bytes."""
        ...

    def load(self, state: bytes) -> None: ...


def parse(value: Any, document: Document | None = None, at: tuple[str | int, ...] = ()) -> Settings:
    """The settings that a config's ``controller:`` means: a name, ``optuna:SAMPLER``, or ``{name: {setting: value}}``.

    ``document`` and ``at`` say where ``value`` was read, so that a problem names its file, line and column.

    Raises:
        InputError: with every problem found and the nearest valid words.
    """
    from nas.documents import hint, plain, validate
    from nas.errors import InputError

    document = document or plain({"controller": value})
    at = at or ("controller",)
    if isinstance(value, str):
        name, _, sampler = value.partition(":")
        body, inner = plain({"sampler": sampler} if sampler else {}, document.file), ()
    elif isinstance(value, Mapping) and len(value) == 1:
        name, sampler = next(iter(value)), ""
        body, inner = (document, (*at, name)) if value[name] is not None else (plain({}, document.file), ())
    else:
        raise InputError(document.problem(at, "give one controller: a name, or {name: {setting: value}}"))
    if name not in NAMES or (sampler and name != "optuna"):
        raise InputError(document.problem(at, f"no controller is named {name!r}{hint(name, NAMES)}"))
    from nas.controllers import settings as s

    kinds: dict[str, type[Settings]] = {
        "rl": s.RLSettings,
        "evolution": s.EvolutionSettings,
        "optuna": s.OptunaSettings,
        "random": s.RandomSettings,
    }
    settings = validate(kinds[name], body, at=inner)
    if isinstance(settings, s.OptunaSettings):
        from nas.controllers.optuna import problems

        found = [document.problem((*inner, *key) if inner else at, message) for key, message in problems(settings)]
        if found:
            raise InputError(*found)
    return settings


def make(settings: Settings, space: Space, seed: int, objectives: int = 1) -> Controller:
    """The controller that ``settings`` describe, for one run of so many objectives; the space's ``start`` candidates
    come before its own.

    Raises:
        InputError: the controller can not search this space or for several objectives, or a library it needs is not
            installed.
    """
    controller = _made(settings, space, seed, objectives)
    if not space.start:
        return controller
    from nas.controllers.start import StartController

    return StartController(controller, space)


def _made(settings: Settings, space: Space, seed: int, objectives: int) -> Controller:
    from nas.controllers import settings as s

    match settings:
        case s.RandomSettings():
            from nas.controllers.random import RandomController

            return RandomController(space, seed)
        case s.EvolutionSettings():
            from nas.controllers.evolution import EvolutionController

            return EvolutionController(settings, space, seed)
        case s.OptunaSettings():
            from nas.controllers.optuna import OptunaController

            return OptunaController(settings, space, seed, objectives)
    from nas.controllers.rl import RLController

    return RLController(settings, space, seed)


def remarks(settings: Settings, space: Space) -> list[str]:
    """What a person should be told about this controller on this space before the run; mostly nothing."""
    from nas.controllers.settings import OptunaSettings

    if not isinstance(settings, OptunaSettings):
        return []
    from nas.controllers.optuna import remarks as of_optuna

    return of_optuna(settings, space)
