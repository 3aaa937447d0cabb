"""Any Optuna sampler, by name, behind the controller protocol.

One in-memory study lives here; our journal stays the only truth. Each ask builds the sampler anew, with a seed derived
from (run seed, ask number), draws a trial and takes it out of the study again: an ask leaves no trace. ``began`` puts
the trial back from what the proposal records (decisions, and the sampler's attributes in ``notes``), live and on
resume alike. CMA-ES keeps pickles in its attributes; a pickle is never journaled, so its asks are replayed instead.

Decisions become parameters named by their paths, suggested while the space is walked, so that only active ones exist.
An ordered choice (numbers, increasing) is an integer parameter, its index: neighbours are alike, which TPE's and the
GP's kernels then know, and CMA-ES models nothing else. Any other choice is categorical.

A parameter's distribution never changes (a categorical of Optuna cannot shrink), so a constraint cannot mask it: where
a suggestion is ruled out by what was drawn before, the prior draws another value from what is left, and the trial is
recorded with that. Where a whole draw violates a constraint, the sampler is asked again with another seed; within that
ask it sees its rejected draws as running trials, so that one which lists or numbers its suggestions comes to the next,
and after it nobody knows of them. After 20 of them the prior draws: a sampler may have settled on what is not allowed.

Several objectives are a study with several directions; a sampler that knows only one is refused.

Under a scheduler the study holds what Optuna's own pruners would leave there: intermediate values at the rungs, and
the state PRUNED until a trial comes to its end, which makes it COMPLETE. TPE ranks pruned trials after complete ones,
by how far they came; most other samplers learn from complete ones alone. Pruned trials have one value in Optuna, so of
several objectives trials are told by their levels (see fidelity.py), as complete.

Left out: weights of choices (Optuna has no prior over values) and pruners (rungs belong to the search).
"""

from __future__ import annotations

import inspect
import logging
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from copy import copy
from functools import cache
from importlib.util import find_spec
from random import Random
from typing import Any

import optuna
import orjson
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import TrialState

from nas.controllers import Lessons
from nas.controllers.fidelity import WHOLE, Curve, Levels
from nas.controllers.proposals import REDRAWS, Rejections, redraw_seed, to_proposal
from nas.controllers.settings import OptunaSettings
from nas.controllers.start import START
from nas.documents import hint
from nas.errors import InputError, NasError
from nas.pareto import Vector, worst
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.seeds import derive
from nas.space import Decision, Draw, Index, Integer, Real, Space, admits, draw_prior

# Conditional spaces are the rule here, and only group=True models parameters jointly that are not in every trial.
DEFAULTS: dict[str, dict[str, Any]] = {"tpe": {"multivariate": True, "group": True, "constant_liar": True}}

LIBRARIES = {"cmaes": ("cmaes",), "gp": ("scipy", "torch"), "qmc": ("scipy",)}
SUGGESTED = 20  # draws of one ask, before the prior draws: some samplers take a tenth of a second for each
REPLAYED = frozenset({"cmaes"})  # attributes hold pickles: asks are replayed, not restored
ONE_OBJECTIVE = frozenset({"cmaes"})
TAUGHT = frozenset({"tpe", "gp"})  # learn from any finished trial; the others from those of their own, or from none
ENUMERATED = frozenset({"grid", "bruteforce"})  # try every candidate of a space that has finitely many
MOST_GRID = 100_000  # points, which Optuna holds in a list
ONE_SEQUENCE = frozenset({"qmc", "grid"})  # their seed names one sequence, of which each ask takes the next member
EVERY_TRIAL = frozenset({"cmaes", "gp", "nsgaii", "nsgaiii", "qmc"})  # jointly model what is in all trials, no more

_PLAIN: dict[str, tuple[type, ...]] = {  # what a config can write, by the word in an annotation
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "None": (type(None),),
    "dict": (dict,),
    "Mapping": (dict,),
}


class OptunaController:
    def __init__(self, settings: OptunaSettings, space: Space, seed: int, objectives: int = 1) -> None:
        self._settings = settings
        self._objectives = objectives
        self._space = space
        self._seed = seed
        self._name = canonical(settings.sampler)
        self._kind = samplers()[self._name]
        if objectives > 1 and self._name in ONE_OBJECTIVE:
            others = ", ".join(f"optuna:{name}" for name in ("tpe", "nsgaii", "gp"))
            raise InputError(
                f"controller optuna:{self._name} knows one objective, and the reward has {objectives}: take rl, "
                f"evolution, random, or {others}; or give one metric to maximize, with limits on others"
            )
        self._distributions = {decision.path: distribution(decision) for decision in space.decisions}
        self._grid = _grid(settings, space) if self._name in ENUMERATED else {}
        self._forget()
        self._try_once()

    def _forget(self) -> None:
        # ["began", number, decisions, notes] | ["tell", number, vector | None, curve, again]; what was taught has
        # numbers below 0
        self._events: list[list[Any]] = []
        self._storage = _Storage()
        with self._work():
            self._study_id = self._storage.create_new_study([StudyDirection.MAXIMIZE] * self._objectives, "nas")
        self._trial_ids: dict[int, int] = {}  # our number -> Optuna's trial id
        self._worst: Vector | None = None  # of each objective
        self._failed_first: list[int] = []  # failures that wait for the first reward
        self._levels = Levels()
        self._scheduled = False  # rewards come with curves
        self._finished = ""  # the sampler's word that everything was tried
        self._live: tuple[int, Proposal, dict[str, Any]] | None = None  # (events so far, what was asked, attributes)

    def _try_once(self) -> None:
        """An ask leaves no trace, so one shows whether sampler, options and space go together."""
        try:
            self.ask(0)
        except (ValueError, TypeError, ImportError, NotImplementedError) as error:
            raise InputError(f"controller optuna:{self._name} can not search this space: {error}") from error

    # The protocol ----------------------------------------------------------------------------------------------------

    def ask(self, number: int) -> Proposal | Exhausted:
        if self._finished:
            return Exhausted(self._finished)
        rejections = Rejections(self._space)
        attributes: dict[str, Any] = {}
        with self._work():
            before = self._storage.get_study_system_attrs(self._study_id)
            with self._storage.sketch(self._study_id):
                for redraw in range(REDRAWS + 1):
                    rng = Random(derive(self._seed, "instead", number, redraw))
                    if redraw < SUGGESTED:
                        draw, attributes = self._sampled(redraw_seed(self._seed, number, redraw), rng, before)
                    else:
                        draw = self._space.prior(rng)
                    if not rejections.takes(draw):
                        break
                else:
                    return rejections.exhausted()
        notes = {} if self._name in REPLAYED else attributes
        proposal = to_proposal(number, draw, notes=notes, rejected=len(rejections))
        self._live = (len(self._events), proposal, attributes)
        return proposal

    def _sampled(self, seed: int, rng: Random, before: Mapping[str, Any]) -> tuple[Draw, dict[str, Any]]:
        """The sampler's draw, and the attributes that it gave the trial and, since ``before``, the study."""
        trial = self._study(seed).ask()

        def choose(decision: Decision) -> int | float:
            value = self._suggest(trial, decision)
            return value if admits(decision, value) else draw_prior(decision, rng)

        draw = self._space.walk(choose)
        return draw, {
            "trial": dict(self._storage.get_trial(trial._trial_id).system_attrs),
            "study": _changed(before, self._storage.get_study_system_attrs(self._study_id)),
        }

    def began(self, proposal: Proposal) -> None:
        attributes = self._attributes(proposal)
        with self._work():
            for key, value in attributes.get("study", {}).items():
                self._storage.set_study_system_attr(self._study_id, key, value)
            self._trial_ids[proposal.number] = self._storage.create_new_trial(
                self._study_id,
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=dict(proposal.decisions),
                    distributions={path: self._distributions[path] for path in proposal.decisions},
                    system_attrs=dict(attributes.get("trial", {})),
                ),
            )
        self._events.append(["began", proposal.number, dict(proposal.decisions), dict(proposal.notes)])

    def teach(self, lessons: Lessons) -> None:
        """Each as a trial of the study."""
        for at, (lesson, result) in enumerate(lessons if self._name in TAUGHT else ()):
            draw = self._space.replay(lesson.decisions)
            self.began(to_proposal(-1 - at, draw))
            self._told(-1 - at, result.vector if isinstance(result, Reward) else None)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        vector, curve = (result.vector, result.curve) if isinstance(result, Reward) else (None, ())
        self._told(proposal.number, vector, curve, result.again)

    def save(self) -> bytes:
        """The events: Optuna's own state holds pickles and clock times, and is rebuilt from them."""
        return orjson.dumps(self._events)

    def load(self, state: bytes) -> None:
        self._forget()
        for kind, number, *rest in orjson.loads(state):
            if kind == "began":
                decisions, notes = rest
                self.began(Proposal(number, decisions, candidate={}, hash="", notes=notes))  # all that began looks at
            else:
                self._told(number, *rest)

    # Their parts -----------------------------------------------------------------------------------------------------

    def _attributes(self, proposal: Proposal) -> Mapping[str, Any]:
        """The sampler's attributes of a trial: from its notes, or by asking once more where these may not hold them."""
        if self._name not in REPLAYED:
            return proposal.notes
        if START in proposal.notes:
            return {}  # not asked of this controller
        if self._live is None or self._live[0] != len(self._events) or self._live[1].number != proposal.number:
            self.ask(proposal.number)
        if self._live is None or self._live[1].decisions != proposal.decisions:
            raise NasError(
                f"trial {proposal.number} can not be replayed: optuna:{self._name} proposes other decisions than those "
                "recorded. Was the run made with other versions of optuna, cmaes or numpy?"
            )
        return self._live[2]

    def _told(self, number: int, vector: Vector | None, curve: Curve = (), again: bool = False) -> None:
        """Complete the trials whose values are known by now; the rule for failures stands in nas.controllers."""
        self._events.append(["tell", number, vector, curve, again])
        if again and number in self._failed_first:
            return
        if again:
            self._storage.reopen(self._trial_ids[number])
        if curve and self._objectives > 1:
            self._levels.add(curve, again=again)
            vector, curve = self._levels.of(curve), ()
        if curve or self._scheduled:
            self._scheduled = True
            self._tell_as_pruned_or_complete(number, vector, curve)
            return
        if vector is None and self._worst is None:
            self._failed_first.append(number)
            return
        if vector is not None and self._worst is None:
            for failed in self._failed_first:
                self._complete(failed, tuple(math.nextafter(value, -math.inf) for value in vector))
            self._failed_first.clear()
        if vector is not None:
            self._worst = vector if self._worst is None else worst([self._worst, vector])
        assert self._worst is not None
        self._complete(number, self._worst if vector is None else vector)

    def _tell_as_pruned_or_complete(self, number: int, vector: Vector | None, curve: Curve) -> None:
        """Of one objective. A failure is pruned before its first rung: worse than whatever reached one."""
        for failed in self._failed_first:
            self._prune(failed, ())
        self._failed_first.clear()
        if vector is not None and curve and curve[-1][0] == WHOLE:
            self._report(number, curve[:-1])
            self._complete(number, vector)
        else:
            self._prune(number, curve)

    def _prune(self, number: int, curve: Curve) -> None:
        self._report(number, curve)
        with self._work():
            study = self._study(derive(self._seed, "tell", number))
            study.tell(self._storage.get_trial_number_from_id(self._trial_ids[number]), state=TrialState.PRUNED)

    def _report(self, number: int, curve: Curve) -> None:
        for rung, (value,) in curve:
            self._storage.set_trial_intermediate_value(self._trial_ids[number], rung, value)

    def _complete(self, number: int, vector: Vector) -> None:
        study = self._study(derive(self._seed, "tell", number))
        with self._work():
            study.tell(self._storage.get_trial_number_from_id(self._trial_ids[number]), list(vector))
        self._finished = self._finished or study.finished

    def _study(self, seed: int) -> _Study:
        with self._work():
            return _Study("nas", self._storage, self._sampler(seed), optuna.pruners.NopPruner())

    def _sampler(self, seed: int) -> BaseSampler:
        """A fresh sampler. NumPy's RandomState takes 32 bits of seed."""
        options = with_defaults(self._settings)
        if self._name == "grid":
            options["search_space"] = self._grid
        accepted = inspect.signature(self._kind).parameters
        seed %= 2**32
        if "independent_sampler" in accepted:
            options["independent_sampler"] = RandomSampler(seed=seed)
        if "seed" in accepted:
            options["seed"] = derive(self._seed, self._name) % 2**32 if self._name in ONE_SEQUENCE else seed
        return self._kind(**options)

    def _suggest(self, trial: optuna.Trial, decision: Decision) -> int | float:
        match self._distributions[decision.path]:
            case CategoricalDistribution(choices=choices):
                return int(trial.suggest_categorical(decision.path, choices))
            case IntDistribution(low=low, high=high, log=log):
                return int(trial.suggest_int(decision.path, low, high, log=log))
            case FloatDistribution(low=low, high=high, log=log):
                return float(trial.suggest_float(decision.path, low, high, log=log))
        raise AssertionError(decision)

    @contextmanager
    def _work(self) -> Iterator[None]:
        """Optuna at work: its log lines and warnings do not reach the terminal, and the GP's torch runs one thread."""
        logger = logging.getLogger("optuna")
        level = logger.level
        with warnings.catch_warnings(), _one_torch_thread() if self._name == "gp" else nullcontext():
            warnings.simplefilter("ignore")
            logger.setLevel(logging.CRITICAL + 1)
            try:
                yield
            finally:
                logger.setLevel(level)


class _Storage(InMemoryStorage):  # type: ignore[misc]  # optuna is not typed for mypy here
    """Optuna's in-memory storage, where a trial can be sketched and taken out again.

    It replaces trials and attribute dictionaries instead of changing them, so holding the old ones is enough.
    """

    @contextmanager
    def sketch(self, study_id: int) -> Iterator[None]:
        """Within, one trial may be created and sampled; afterwards the study is as it was before."""
        info = self._studies[study_id]
        last_id = self._last_id()
        trials, attributes = list(info.trials), info.system_attrs
        waiting = self._prev_waiting_trial_number[study_id]
        try:
            yield
        finally:
            for trial_id in range(last_id + 1, self._last_id() + 1):
                del self._trial_id_to_study_id_and_number[trial_id]
            info.trials, info.system_attrs, self._max_trial_id = trials, attributes, last_id
            self._prev_waiting_trial_number[study_id] = waiting

    def reopen(self, trial_id: int) -> None:
        """Make a finished trial a running one again, which can be told anew."""
        study_id, number = self._trial_id_to_study_id_and_number[trial_id]
        trial = copy(self._studies[study_id].trials[number])
        trial.state, trial.values, trial.datetime_complete, trial.intermediate_values = (
            TrialState.RUNNING,
            None,
            None,
            {},
        )
        self._studies[study_id].trials[number] = trial

    def _last_id(self) -> int:
        return int(self._max_trial_id)


class _Study(optuna.Study):  # type: ignore[misc]
    """A study that a sampler may stop outside of ``optimize``: the grid and brute-force samplers do, at their end."""

    finished = ""

    def stop(self) -> None:
        self.finished = f"{type(self.sampler).__name__} has tried everything"


def _one_torch_thread() -> AbstractContextManager[None]:
    from nas.controllers.threads import one_thread  # imports torch, which only the GP needs

    return one_thread()


def distribution(decision: Decision) -> BaseDistribution:
    """The one distribution of a decision's path, for the whole study."""
    match decision:
        case Index(size=size, ordered=True):
            return IntDistribution(0, size - 1)
        case Index(size=size):
            return CategoricalDistribution(tuple(range(size)))
        case Integer(low=low, high=high, log=log):
            return IntDistribution(low, high, log=log)
    return FloatDistribution(decision.low, decision.high, log=decision.log)


def _grid(settings: OptunaSettings, space: Space) -> dict[str, list[Any]]:
    """The values of each decision: those given as the option ``search_space``, else all that it has.

    Raises:
        InputError: a decision without given values is a real number, or the points are too many.
    """
    name = canonical(settings.sampler)
    grid: dict[str, list[Any]] = dict(settings.options.get("search_space") or {})
    paths = [decision.path for decision in space.decisions]
    if unknown := [path for path in grid if path not in paths]:
        raise InputError(f"controller optuna:grid: no decision has the path {unknown[0]!r}{hint(unknown[0], paths)}")
    for decision in space.decisions:
        match decision:
            case _ if decision.path in grid:
                continue
            case Index(size=size):
                grid[decision.path] = list(range(size))
            case Integer(low=low, high=high):
                grid[decision.path] = list(range(low, min(high, low + MOST_GRID) + 1))
            case Real(path=path, low=low, high=high):
                given = f"{{optuna: {{sampler: grid, search_space: {{'{path}': [{low:g}, {high:g}]}}}}}}"
                remedy = f", or write controller: {given}" if name == "grid" else ""
                raise InputError(
                    f"controller optuna:{name} tries every candidate, and {path} is a real number: make it a choice "
                    f"in the space{remedy}"
                )
    points = math.prod(map(len, grid.values()))
    if name == "grid" and points > MOST_GRID:
        raise InputError(
            f"controller optuna:grid: the grid of this space has {points:,} points, and at most {MOST_GRID:,} can be "
            "had; give fewer values with the option search_space, or take optuna:bruteforce, which needs no list"
        )
    return grid


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in after.items() if key not in before or before[key] != value}


# Names and options, checked before anything runs ---------------------------------------------------------------------


@cache
def samplers() -> dict[str, type[BaseSampler]]:
    """Every sampler that optuna.samplers has (``TPESampler`` is tpe) and that plain values can make."""
    return {
        canonical(name): kind
        for name, kind in vars(optuna.samplers).items()
        if inspect.isclass(kind) and issubclass(kind, BaseSampler) and not inspect.isabstract(kind)
        if all(_types(p) for p in inspect.signature(kind).parameters.values() if p.default is p.empty)
    }


def canonical(name: str) -> str:
    """``CmaEsSampler``, ``cma-es`` and ``cmaes`` are one sampler."""
    return name.lower().replace("-", "").replace("_", "").removesuffix("sampler")


def with_defaults(settings: OptunaSettings) -> dict[str, Any]:
    """The sampler's options: ours where the person gave none."""
    options = {**DEFAULTS.get(canonical(settings.sampler), {}), **settings.options}
    if options.get("multivariate") is False and "group" not in settings.options:
        options.pop("group", None)  # which only the multivariate TPE has
    return options


def problems(settings: OptunaSettings) -> list[tuple[tuple[str, ...], str]]:
    """What is wrong with the settings: the key it is about (none: the controller as a whole), and a message."""
    name = canonical(settings.sampler)
    if name not in samplers():
        return [(("sampler",), f"no Optuna sampler is named {settings.sampler!r}{hint(name, samplers())}")]
    missing = [library for library in LIBRARIES.get(name, ()) if find_spec(library) is None]
    if missing:
        remedy = "pip install 'nas-orchestrator[baselines]'"
        return [(("sampler",), f"optuna:{name} needs {' and '.join(missing)}, not installed here: {remedy}")]
    parameters = inspect.signature(samplers()[name]).parameters
    found: list[tuple[tuple[str, ...], str]] = []
    for key, parameter in parameters.items():
        made_of_the_space = (name, key) == ("grid", "search_space")
        if parameter.default is parameter.empty and key not in settings.options and not made_of_the_space:
            found.append(((), f"optuna:{name} needs the option {key}"))
    for key, value in settings.options.items():
        if wrong := _wrong(key, value, parameters):
            found.append(((key,), wrong))
    return found


def _wrong(key: str, value: Any, parameters: Mapping[str, inspect.Parameter]) -> str:
    """What is wrong with one option; empty where nothing is."""
    if key == "seed":
        return "seed is no option of the sampler: the run's own `seed` decides it"
    settable = [k for k, p in parameters.items() if _types(p) and k != "seed"]
    if key not in settable:
        why = "takes objects that a config can not hold" if key in parameters else "is no option of this sampler"
        return f"'{key}' {why}{hint(key, settable)}"
    allowed = _types(parameters[key])
    if isinstance(value, allowed) and (not isinstance(value, bool) or bool in allowed):
        return ""
    return f"{value!r} is not allowed for {key}, which is {parameters[key].annotation}"


def _types(parameter: inspect.Parameter) -> tuple[type, ...]:
    """The plain types that a parameter's annotation allows; empty where it takes none that YAML can write."""
    words = [word.strip().partition("[")[0] for word in str(parameter.annotation).split("|")]
    plain = tuple(kind for word in words for kind in _PLAIN.get(word, ()))
    return () if set(plain) <= {type(None)} else plain


def remarks(settings: OptunaSettings, space: Space) -> list[str]:
    """What a person should know of this sampler on this space, for the screen."""
    name, options = canonical(settings.sampler), with_defaults(settings)
    ungrouped = bool(options.get("multivariate")) and not options.get("group")
    found = []
    conditional = _sometimes_inactive(space)
    if conditional and (name in EVERY_TRIAL or ungrouped):
        found.append(
            f"optuna:{name} models only decisions that are part of every candidate; {len(conditional)} of this space's "
            f"{len(space.decisions)} are conditional (e.g. {conditional[0]}) and are drawn at random"
        )
    unordered = [d.path for d in space.decisions if isinstance(distribution(d), CategoricalDistribution)]
    if name == "cmaes" and unordered:
        found.append(f"optuna:cmaes models only numbers; {len(unordered)} unordered choices are drawn at random")
    weighted = [d.path for d in space.decisions if isinstance(d, Index) and d.weights and len(set(d.weights)) > 1]
    if weighted:
        found.append(f"Optuna has no prior over choices: the weights of {', '.join(weighted[:3])} are not used")
    return found


def remarks_when_taught(settings: OptunaSettings) -> list[str]:
    """The same, for a run that is to learn from an earlier one."""
    name = canonical(settings.sampler)
    if name not in TAUGHT:
        return [f"optuna:{name} learns only from trials of its own; the earlier run teaches it nothing"]
    return [f"optuna:{name} takes the earlier run's rewards for its own: they should be of the same data and epochs"]


def _sometimes_inactive(space: Space, draws: int = 64) -> list[str]:
    """Paths that were missing in one of some prior draws: enough for a remark, not a proof."""
    seen: list[Draw] = [space.sample(Random(seed)) for seed in range(draws)]
    return [d.path for d in space.decisions if any(d.path not in draw.decisions for draw in seen)]
