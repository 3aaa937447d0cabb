"""What a run is made of: from a config, or from the journal of a run that is to go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas import provenance, replication, seeds, store
from nas.cluster import Executor
from nas.cluster.connect import connect, no_gpus
from nas.config import CallableConfig, Config, Override, RunConfig, changes, from_plain
from nas.controllers import Controller
from nas.errors import InputError, InvalidCandidate
from nas.history import History
from nas.objective import Objective
from nas.reward import compute
from nas.schedulers.settings import Watching
from nas.space import Costs, Space
from nas.space.survey import require_some
from nas.train.plugin_files import Plugin, again
from nas.train.settings import ONLY_ON_GPUS

if TYPE_CHECKING:
    from nas.train.pricing import Pricing

LATENCY_DRAWS = 100  # that are looked up in a latency table before a run
# What the shipped objective's children find imported. torch._dynamo is rarely used, but torch's optimizers import it,
# and SymPy with it: 2 s of each fresh child's first trial.
PRELOAD = ("torch", "torch._dynamo", "nas.train.trainer")


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run needs, checked before its folder is made."""

    config: RunConfig
    space: Space
    objective: Objective
    connect: Callable[[Path], Executor]  # given the run's folder
    deadline: float | None = None  # seconds for one attempt
    epochs: int | None = None  # that a whole attempt trains and reports, where that is known
    controller: Callable[[], Controller] | None = None  # makes one that is not of a search; else the config names it


def plan(config: Config, plugins: Sequence[Plugin] = ()) -> Plan:
    """The plan of a run of ``config``, which was loaded with these plugins.

    Raises:
        InputError: the space has errors, its constraints leave nothing, or the data cannot be found, or would all be
            validated on.
    """
    from nas.train import describe
    from nas.train.hyperparameters import SECTION, unsuited
    from nas.train.plugins import load
    from nas.train.sources import require_training

    parts = load(tuple(plugins))
    _require_precision(config)
    with config.blaming("task"):
        task = describe(config.task, config.data, parts.datasets)
    pricing = _pricing(config, task, parts.layers)
    costs = Costs(pricing, pricing.names)
    for setting, value in config.train.regularisation().items():
        if message := unsuited(setting, value, task):
            with config.blaming("train", setting):
                raise InputError(message)
    section = replace(SECTION, task=task)
    space = Space.read(config.space_document(), task, layers=parts.layers, hyperparameters=section, costs=costs)
    with config.blaming("latency_table"):
        _require_latencies(space, pricing)
    with config.blaming("space"):
        require_some(space)
    planned = _plan(config, space, tuple(plugins))
    with config.blaming("task", "validation"):
        require_training(config.task, config.data, parts.datasets)
    return planned


def recorded_plan(
    folder: Path,
    data: str | None = None,
    plugins: Sequence[Plugin] = (),
    *,
    history: History | None = None,
    overrides: Sequence[Override] = (),
    changed: Callable[[Config], Config] = lambda config: config,
    keep_jobs: bool = False,
) -> Plan:
    """The plan of a run as its journal has it, with the changes recorded since, and ``overrides``.

    ``data``: where data sets lie now. ``plugins``: those of the run that lie elsewhere now. ``history``: of the
    journal, where the caller has read it. ``changed``: makes of the config that of another run on the same space.
    ``keep_jobs``: see connect.

    Raises:
        InputError: there is no run in ``folder``, its journal is damaged, its objective is a Python callable, or a
            plugin is gone or has changed.
    """
    from nas.train.plugins import load

    history = history or store.opening(folder, provenance.code())
    if history.started is None:
        raise InputError(f"{folder}: killed before the run began; start it with: nas search CONFIG --run {folder}")
    config = from_plain(history.config, overrides)
    if isinstance(config, CallableConfig):
        raise InputError(
            f"{folder}: this run's objective is the Python callable {config.objective}; "
            f"go on with it from Python: nas.search(..., run={str(folder)!r})"
        )
    if data is not None:
        config = config.model_copy(update={"data": data})
    config = changed(config)
    found, task = again(config.plugins, plugins), history.started.task
    pricing = _pricing(config, task, load(found).layers)
    space = Space.read(history.started.space, task, costs=Costs(pricing, pricing.names))
    return _plan(config, space, found, keep_jobs)


def _pricing(config: Config, task: Mapping[str, Any], layers: Mapping[str, Any]) -> Pricing:
    """What candidates of the shipped trainer cost, for a space to ask: it knows no layers."""
    from nas.train.pricing import Pricing

    return Pricing(task, config.train, config.latency_table, layers)


def _require_latencies(space: Space, pricing: Pricing) -> None:
    """Nothing where some draws find a latency for each of their layers. Raises InputError that names all they lack."""
    from nas.train.pricing import no_line

    if pricing.latency_table is None:
        return
    lacking: set[str] = set()
    unpriced = replace(space, costs=None)
    for number in range(LATENCY_DRAWS):
        draw = unpriced.prior(random.Random(seeds.derive(0, "latency", number)))
        with suppress(InvalidCandidate):
            lacking |= pricing.unlisted(draw.candidate)
    if lacking:
        raise InputError(*map(no_line, sorted(lacking)))


def _require_precision(config: Config) -> None:
    """Raises InputError where no slot can have the precision; a GPU that is too old for it is found by the trainer."""
    wanted = config.train.precision
    if wanted in ONLY_ON_GPUS and no_gpus(config.cluster):
        with config.blaming("train", "precision"):
            raise InputError(f"{wanted} needs an NVIDIA GPU, and no slot has one here; write fp32, bf16 or auto")


def _connected(config: Config, objective: Objective, folder: Path, keep_jobs: bool) -> Executor:
    _require_precision(config)  # once more: a run may go on where there is no GPU
    return connect(config.cluster, objective, folder=folder, preload=PRELOAD, name=config.name, keep_jobs=keep_jobs)


def _plan(config: Config, space: Space, plugins: tuple[Plugin, ...], keep_jobs: bool = False) -> Plan:
    from nas.train import prepare
    from nas.train.plugins import load
    from nas.train.trainer import Trainer

    with config.blaming("task"):
        prepare(config.task, config.data, load(plugins).datasets)
    reported = tuple(config.reward.names) if isinstance(config.scheduler, Watching) else ()
    objective = Trainer(config.train, config.task, config.seed, config.data, plugins=plugins, reported=reported)
    return Plan(
        config=config,
        space=space,
        objective=objective,
        connect=lambda folder: _connected(config, objective, folder, keep_jobs),
        deadline=config.train.deadline,
        epochs=config.train.epochs or None,
    )


# Which run a folder holds --------------------------------------------------------------------------------------------


def going_on(plan: Plan, history: History, folder: Path) -> dict[str, Any]:
    """What ``plan`` changes about the recorded run: dotted key -> new value. Empty for one that has not begun.

    Raises:
        InputError: the plan is another search than the recorded one; every difference is named.
    """
    if plan.config.warm_start is not None and Path(plan.config.warm_start).resolve() == folder.resolve():
        raise InputError(f"--warm-start {folder} is this run itself; --fresh starts a new one that learns from it")
    if history.started is None:
        return {}
    recorded = from_plain(history.config)
    if type(recorded) is not type(plan.config):
        how = "from Python" if isinstance(recorded, CallableConfig) else "with a config"
        raise InputError(f"{folder} was started {how}; give another run, or --fresh for a new one beside it")
    if plan.space.source != history.started.space:
        raise InputError(
            f"space: {plan.config.space} is not what it was when {folder} was started (its space.yaml has that); "
            "give another run, or --fresh for a new one beside it"
        )
    return changes(history.config, plan.config)


def finished(history: History, config: RunConfig | None = None) -> bool:
    """Whether nothing is left to do under the limits of ``config``; None: under the recorded ones."""
    if history.ended is None or history.ended.reason not in ("budget", "stopped", "exhausted"):
        return False
    recorded = from_plain(history.config)
    config = config or recorded
    budget = config.budget
    used = (
        (budget.time, history.active_seconds()),
        (budget.device_seconds, history.device_seconds()),
        (budget.epochs, history.epochs_trained),
    )
    if any(limit is not None and spent >= limit for limit, spent in used):
        return True  # also for replicates
    if not replicated(history, config):
        return False
    if history.ended.reason == "exhausted":
        return True
    if config.stop == recorded.stop and (history.ended.reason == "stopped" or budget == recorded.budget):
        return True
    trained, open_ = sum(history.tally[state] for state in ("completed", "failed", "paused")), history.open.values()
    return budget.trials is not None and trained >= budget.trials and all(t.duplicate_of is not None for t in open_)


def replicated(history: History, config: RunConfig) -> bool:
    """Whether the best trials have been trained with as many other seeds as ``config`` wants."""
    wanted = config.replicate
    if not wanted.seeds:
        return True
    trials = replication.best(history, lambda one: compute(config.reward, one.metrics, one.seconds), wanted.top)
    return not replication.lacking(history, trials, wanted.seeds)


def fresh_folder(wanted: Path) -> Path:
    """``wanted``, or the first of <name>-2, <name>-3, ... that is not there."""
    folder, number = wanted, 1
    while folder.exists():
        number += 1
        folder = wanted.with_name(f"{wanted.name}-{number}")
    return folder
