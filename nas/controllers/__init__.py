"""Controllers: which candidate next. One protocol, and one place that makes them by name.

    ask(number)       -> Proposal | Exhausted      reads the state, does not change it; the same number and state give
                                                   the same proposal (randomness is derived from (run seed, number))
    began(proposal)                                the proposal is journaled: it is pending from now on
    tell(proposal, Reward | CandidateFailure)      in whatever order trials end

A controller's state is a function of the sequence of ``began`` and ``tell`` alone. That is what makes resume a replay:
a restarted run feeds the recorded proposals and results through ``began`` and ``tell`` and never asks again.

The one rule for failures: what the candidate did (invalid, out_of_memory, diverged, error, crashed, timeout) is told,
and counts as the worst reward told so far (before any reward was told, as worse than whatever comes first), in each
objective where there are several. What the machines did (lost, preempted) is told to nobody: the trial is repeated, and
says nothing where it is given up.

The one rule for lengths of training: under a scheduler a trial is told when it pauses, and told again, in the place of
what was told (``again``), when it went on. Its reward's ``curve`` says what it was worth at each rung, and nobody takes
a short run for a worse one or a long run for a better one: trials are compared at the longest length that both reached
(see fidelity.py; of Optuna, its own rule for pruned trials).

The one rule for time: where time is all that a budget has, a reward says what its trial took (``seconds``), for who
makes use of it; `rl` does.

Every controller takes rewards of several objectives, or `make` refuses.

A controller may be ``Teachable``: before its first proposal it is handed what an earlier run found out, on the same
space or one like it. Rewards of two runs are of two scales (other data, other epochs), so nobody compares them as
numbers who can help it; and what this run finds out wins over what it was taught. What was taught does not count as
proposed: the same candidate may be tried here, because what it is worth here is what the earlier run can not say.

    rl          its reward model knows them by their ranks among themselves, each until a trial of this run takes its
                place; until the warm-up is over the best of them are edited, and proposed again
    evolution   the best of them are the first population, and are tried again
    optuna      tpe and gp: trials of the study, whose rewards must be of this run's scale; other samplers learn only
                from what they proposed themselves
    random      learns nothing from anything

>>> settings = parse("optuna:tpe")                  # or "rl", {"optuna": {"sampler": "tpe", "n_startup_trials": 5}}
>>> controller = make(settings, space, seed=1)
>>> proposal = controller.ask(0); controller.began(proposal); controller.tell(proposal, Reward(0.9))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from nas.records import CandidateFailure, Exhausted, Lesson, Proposal, Reward

if TYPE_CHECKING:
    from nas.controllers.settings import Settings
    from nas.documents import Document
    from nas.space import Space

NAMES = ("rl", "evolution", "optuna", "random")
AUDIT = "audit"  # stands in the journals of audits, which bring their own controller


class Controller(Protocol):
    def ask(self, number: int) -> Proposal | Exhausted: ...

    def began(self, proposal: Proposal) -> None: ...

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None: ...

    def save(self) -> bytes:
        """The whole state, without pickle: equal states give equal bytes."""
        ...

    def load(self, state: bytes) -> None: ...


Lessons = Sequence[tuple[Lesson, Reward | CandidateFailure]]


@runtime_checkable
class Teachable(Protocol):
    def teach(self, lessons: Lessons) -> None:
        """Once, before the first ``ask``: trials of an earlier run. Part of the state, as what is told."""
        ...


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
    if name not in (*NAMES, AUDIT) or (sampler and name != "optuna"):
        raise InputError(document.problem(at, f"no controller is named {name!r}{hint(name, NAMES)}"))
    from nas.controllers import settings as s

    kinds: dict[str, type[Settings]] = {
        "rl": s.RLSettings,
        "evolution": s.EvolutionSettings,
        "optuna": s.OptunaSettings,
        "random": s.RandomSettings,
        AUDIT: s.AuditSettings,
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
        case s.AuditSettings():
            from nas.errors import InputError

            raise InputError("this is the audit of a run, and no search; it is begun, and gone on with, by: nas audit")
    from nas.controllers.rl import RLController

    return RLController(settings, space, seed, objectives)


def remarks(settings: Settings, space: Space, *, taught: bool = False) -> list[str]:
    """What a person should be told about this controller on this space before the run; mostly nothing.

    ``taught``: it is to learn from an earlier run.
    """
    from nas.controllers import settings as s

    match settings:
        case s.OptunaSettings():
            from nas.controllers import optuna

            return [*optuna.remarks(settings, space), *(optuna.remarks_when_taught(settings) if taught else ())]
        case s.RandomSettings() if taught:
            return ["random search learns nothing, from an earlier run neither"]
    return []
