"""A run's config: the settings of every part in one file, read strictly, with every error at its place.

Each part owns its settings class; this module only composes them. A value may come from the file, from a flag
(`--trials 20`) or from `--set dotted.key=value`; an error about it names where it came from.

Left out: includes and inheritance between configs, and values from the environment. What a run was started with is in
its journal, whole, defaults filled in.
"""

from __future__ import annotations

import dataclasses
import math
import os.path
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    model_validator,
)

from nas import controllers, documents, schedulers, shipped
from nas.amounts import Seconds
from nas.cluster.settings import ClusterSettings
from nas.controllers.settings import RLSettings, Settings
from nas.documents import Document
from nas.errors import InputError, Problem
from nas.pareto import Vector
from nas.reward import Direction, RewardSettings
from nas.schedulers.settings import NoneSettings, Watching
from nas.schedulers.settings import Settings as SchedulerSettings
from nas.space.words import is_number
from nas.train import metrics, sources
from nas.train.plugin_files import Plugin, PluginFile
from nas.train.settings import FILES, Located, ScoreName, TaskSettings, TrainSettings

if TYPE_CHECKING:
    from nas.train.plugins import Parts

MAY_CHANGE = ("budget", "stop", "replicate", "cluster", "data")  # parts that may differ when a run is gone on with
DEFAULT_TRIALS = 100
RETIRED = {"rl": ("dream_weight", "entropy_floor", "entropy_weight")}  # settings that only journals still have
DEVICE_SECONDS = "Time that slots were busy, summed: of several slots that share a GPU, each one's counts."
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class BudgetSettings(BaseModel):
    """When a search ends, over all its workers: at whichever comes first. With none, after 100 trials."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    trials: Annotated[int, Field(ge=1)] | None = None  # that are trained; duplicates are not counted
    time: Annotated[Seconds, Field(gt=0)] | None = None  # summed active time
    device_seconds: Annotated[Seconds, Field(gt=0)] | None = Field(default=None, description=DEVICE_SECONDS)
    epochs: Annotated[int, Field(ge=1)] | None = None  # that all attempts trained, summed

    @model_validator(mode="before")
    @classmethod
    def _some_end(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and all(data.get(name) is None for name in cls.model_fields):
            return {**data, "trials": DEFAULT_TRIALS}
        return data


def _target(value: Any) -> Any:
    numbers = value.values() if isinstance(value, Mapping) and value else [value]
    if value is not None and not all(map(is_number, numbers)):
        raise ValueError("a target is the reward as a number, 0.93, or a metric with its number, {loss: 0.2}")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Target = Annotated[Finite | Annotated[dict[str, Finite], Field(min_length=1)], BeforeValidator(_target)]


class StopSettings(BaseModel):
    """When a search stops before its budget ends: at whichever holds first. Nothing begins then, and what runs may end.

    >>> StopSettings(reward=0.93).target(RewardSettings(maximize="accuracy"))
    (0.93,)
    >>> StopSettings(reward={"loss": 0.2}).target(RewardSettings(objectives={"flops": "minimize", "loss": "minimize"}))
    (-inf, -0.2)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    reward: Target | None = None  # that one trial reaches; by objective, in its metric's own unit
    patience: Annotated[int, Field(ge=1)] | None = None  # trials in a row without a new best, or a growing front
    device_seconds: Annotated[Seconds, Field(gt=0)] | None = Field(default=None, description=DEVICE_SECONDS)

    def target(self, reward: RewardSettings) -> Vector | None:
        """What the vector of a reward is to reach in every place. Raises InputError where ``reward`` has no such."""
        wishes = reward.wishes
        if self.reward is None:
            return None
        if not isinstance(self.reward, Mapping):
            if reward.objectives:
                raise InputError(f"with several objectives say of which: {{{next(iter(wishes))}: {self.reward:g}}}")
            if reward.minimize and not reward.limits:
                raise InputError(f"the reward is minus the {reward.metric}; write {{{reward.metric}: {self.reward:g}}}")
            return (self.reward,)
        if reward.limits:
            raise InputError("with limits a reward is more than its metric; write the reward that is wanted, a number")
        for name in self.reward:
            if name not in wishes:
                raise InputError(f"{name!r} is no objective of this search{documents.hint(name, wishes)}")
        never = {name: -math.inf if way == "maximize" else math.inf for name, way in wishes.items()}
        told = {**never, **self.reward}
        return tuple(told[name] if way == "maximize" else -told[name] for name, way in wishes.items())


def _seeds(value: Any) -> Any:
    if value == 1 and not isinstance(value, bool):
        raise ValueError("an interval needs two trainings with other seeds, or more; 0 is none")
    return value


class ReplicateSettings(BaseModel):
    """Which of the best trials are trained again with other seeds, when the search has ended: none, by default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    top: Annotated[int, Field(ge=1)] = 5  # trials
    seeds: Annotated[int, BeforeValidator(_seeds), Field(ge=0, le=100)] = 0  # of each, beside the search's own


def _run_name(value: Any) -> Any:
    if isinstance(value, str) and not _NAME.fullmatch(value):
        raise ValueError(
            f"'{value[:80]}' is no name for a run: 1 to 64 of a-z, 0-9, '.', '_' and '-', the first a letter or a digit"
        )
    return value


def _controller(value: Any) -> Settings:
    return value if isinstance(value, BaseModel) else controllers.parse(value)  # type: ignore[return-value]


def _named_plain(settings: Settings | SchedulerSettings) -> dict[str, Any]:
    return {settings.kind: settings.model_dump(mode="json")}


def _scheduler(value: Any) -> SchedulerSettings:
    return value if isinstance(value, BaseModel) else schedulers.parse(value)  # type: ignore[return-value]


def _placed(problem: Problem, document: Document | None, path: documents.KeyPath) -> Problem:
    return problem if problem.line or document is None else document.problem(path, str(problem))


Milliseconds = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class RunConfig(BaseModel):
    """What every run has, whatever its objective."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, BeforeValidator(_run_name)]
    space: Annotated[str, Field(min_length=1)]  # the name of a shipped one, or a path (beside the config, or from here)
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    controller: Annotated[Settings, PlainValidator(_controller), PlainSerializer(_named_plain)] = RLSettings()
    scheduler: Annotated[SchedulerSettings, PlainValidator(_scheduler), PlainSerializer(_named_plain)] = NoneSettings()
    reward: RewardSettings = Field(default_factory=RewardSettings)
    budget: BudgetSettings = Field(default_factory=lambda: BudgetSettings(trials=DEFAULT_TRIALS))
    stop: StopSettings = Field(default_factory=StopSettings)
    replicate: ReplicateSettings = Field(default_factory=ReplicateSettings)
    cluster: ClusterSettings = Field(default_factory=ClusterSettings)
    warm_start: Located | None = None  # an earlier run's folder, from which the controller learns; see warm_start.py

    _document: Document | None = PrivateAttr(default=None)  # what it was read from, with the places of its values

    @contextmanager
    def blaming(self, *path: str | int) -> Iterator[None]:
        """Whatever is refused within is put down to the value at ``path``, if it has no place in a file of its own."""
        try:
            yield
        except InputError as error:
            raise InputError(*(_placed(problem, self._document, path) for problem in error.problems)) from None

    def plain(self) -> dict[str, Any]:
        """JSON-like, defaults filled in: what the journal records, and what ``from_plain`` reads again."""
        return self.model_dump(mode="json")


class CallableConfig(RunConfig):
    """A run from Python: its objective is a callable, of which only the name is recorded."""

    objective: str
    deadline: Annotated[Seconds, Field(gt=0)] | None = None  # for one attempt


class Config(RunConfig):
    """A run of the shipped trainer, as a config file says it. Only ``space`` and ``task`` have no default."""

    task: TaskSettings
    data: Located | None = None  # the folder that holds data sets; None: NAS_DATA, ...
    train: TrainSettings = Field(default_factory=TrainSettings)
    latency_table: dict[str, Milliseconds] | None = (
        None  # layer: milliseconds, or a file of these; see train/pricing.py
    )
    plugins: tuple[PluginFile, ...] = ()  # from the command line alone, never from a file

    def space_document(self) -> Document:
        """The search space, read. Raises InputError."""
        with self.blaming("space"):
            beside = Path(self._document.file).parent if self._document else None
            return documents.read(shipped.find("search_spaces", self.space, beside))


def from_plain(recorded: Mapping[str, Any], overrides: Sequence[Override] = ()) -> Config | CallableConfig:
    """The config that a journal recorded, with values from the command line laid over it.

    Keys that are newer than the journal take their defaults, and RETIRED ones go unread. Raises InputError where a
    value of ``overrides`` is wrong.
    """
    document = documents.plain(_without_retired(recorded), "the recorded config")
    if overrides:
        data = documents.copied(document.data)
        flags, problems = _lay_over(data, overrides)
        if problems:
            raise InputError(*problems)
        document = _Overlaid(document.file, data, document.marks, flags)
    context = None if overrides else documents.RECORDED
    if "objective" in recorded:
        return documents.validate(CallableConfig, document, context=context)
    return documents.validate(Config, document, context=context)


def _without_retired(recorded: Mapping[str, Any]) -> dict[str, Any]:
    controller = recorded.get("controller")
    if not isinstance(controller, Mapping):
        return dict(recorded)
    kept = {
        kind: {key: value for key, value in settings.items() if key not in RETIRED.get(kind, ())}
        for kind, settings in controller.items()
        if isinstance(settings, Mapping)
    }
    return {**recorded, "controller": {**controller, **kept}}


# Values from the command line ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Override:
    """One value that stands instead of the file's: ``Override("budget.trials", 5, "--trials 5")``."""

    key: str  # dotted
    value: Any
    flag: str  # as the person wrote it; errors name it


def parse_set(text: str) -> Override:
    """``--set dotted.key=value``; the value is read as YAML: ``1e-3``, ``true``, ``[1, 2]``, ``{sampler: tpe}``.

    Raises:
        InputError: there is no "=", the key is empty, or the value is no YAML.
    """
    flag = f"--set {text}"
    key, equals, value = text.partition("=")
    if not equals or not all(part.strip() for part in key.split(".")):
        raise InputError(Problem("write --set dotted.key=value, e.g. --set train.epochs=3", flag))
    if not value.strip():
        raise InputError(Problem("the value is missing; write null for none", flag))
    return read_as(key.strip(), value, flag)


def read_as(key: str, text: str, flag: str) -> Override:
    """The value of a flag as YAML has it. Raises InputError where it is none."""
    return Override(key, documents.parse(text, flag).data, flag)


def load(name: str | Path, overrides: Sequence[Override] = (), plugins: Sequence[Plugin] = ()) -> Config:
    """Read a config file (a path, or the name of a shipped one), with values from the command line laid over it.

    Raises:
        InputError: with every problem of the file and of the overrides; those of its search space are found when that
            is read (``Config.space_document``).
    """
    file = shipped.find("configs", str(name))
    read = documents.read(file)
    if not isinstance(read.data, dict):
        raise InputError(read.problem((), "a config is a mapping, beginning with e.g. `space: digits_cnn`"))
    if "architecture" in read.data and not {"space", "task"} & read.data.keys():
        message = "this looks like a search space (it has `architecture:`); a config names it, and a task: "
        raise InputError(read.problem((), f"{message}{{space: {file.name}, task: {{dataset: digits}}}}"))
    data = documents.copied(read.data)
    flags, problems = _lay_over(data, overrides)
    if "plugins" in data:
        message = "plugins are code, named on the command line alone: --plugin FILE"
        problems.append(_Overlaid(read.file, data, read.marks, flags).problem(("plugins",), message, key=True))
    data["plugins"] = [plugin.record.model_dump() for plugin in plugins]
    if data.get("name") is None:
        data["name"] = name_from(file.stem)
    _find_files(data.get("task"), file.parent)
    document = _Overlaid(read.file, data, read.marks, flags)
    if isinstance(data.get("latency_table"), str):
        try:
            data["latency_table"] = _latency_table(data["latency_table"], file.parent)
        except InputError as error:
            problems += [_placed(problem, document, ("latency_table",)) for problem in error.problems]
            data["latency_table"] = None
    try:
        if isinstance(data.get("space"), str) and data["space"]:
            shipped.find("search_spaces", data["space"], file.parent)
    except InputError as error:
        problems += [document.problem(("space",), problem.message) for problem in error.problems]
    try:
        config = _validated(document, problems, plugins)
    except InputError as error:
        in_order = sorted(error.problems, key=lambda problem: (problem.line, problem.column))  # flags first
        raise InputError(*dict.fromkeys(in_order)) from None
    config._document = document
    return config


def _latency_table(name: str, folder: Path) -> dict[str, float]:
    """The table in a file, beside the config or from here: the run records it, whatever becomes of the file."""
    places = (folder / name, Path(name))
    exists = os.path.exists  # unlike Path's, it answers for impossible names too
    table = documents.read(next(filter(exists, places), places[1]))
    if not isinstance(table.data, dict):
        raise InputError(table.problem((), "a latency table is a mapping such as `conv 32 kernel=5 @ 16x28x28: 0.31`"))
    bad = [layer for layer, value in table.data.items() if not is_number(value) or value < 0]
    problems = [table.problem((layer,), "a latency is a number of milliseconds, 0 or more") for layer in bad]
    if problems:
        raise InputError(*problems)
    return dict(table.data)


def _find_files(task: Any, folder: Path) -> None:
    """Which file a task's path means: one beside the config, one from here, or a shipped one of that name."""
    for key in FILES if isinstance(task, dict) else ():
        if isinstance(task.get(key), str):
            places = (folder / task[key], Path(task[key]).absolute(), shipped.data(task[key]))
            exists = os.path.exists  # unlike Path's, it answers for impossible names too
            task[key] = next((str(place) for place in places if place and exists(place)), task[key])


def _validated(document: Document, problems: list[Problem], plugins: Sequence[Plugin]) -> Config:
    """The config, or an InputError with ``problems`` and all that are found here."""
    data = dict(document.data)
    # On their own, because their settings depend on their names, and to name the places of their problems.
    for key, parse, default in (("controller", controllers.parse, "rl"), ("scheduler", schedulers.parse, "none")):
        try:
            data[key] = _named_plain(parse(data.get(key, default), document, (key,)))
        except InputError as error:
            problems.extend(error.problems)
            data.pop(key, None)
    try:
        config = documents.validate(Config, dataclasses.replace(document, data=data))
    except InputError as error:
        raise InputError(*problems, *error.problems, *_wishes_of_a_wrong_one(document, plugins)) from None
    try:
        own = parts(plugins)
    except InputError as error:
        raise InputError(*problems, *error.problems) from None
    try:
        config = _with_kind(config, own)
    except InputError as error:
        problems.extend(_placed(problem, document, ("task",)) for problem in error.problems)
    else:
        assert config.task.kind is not None
        problems.extend(_wrong_loss(document, config, own))
        problems.extend(_wrong_wishes(document, config, own))
        problems.extend(_unrecorded_wishes(document, config, own))
        if not config.train.epochs and config.scheduler.kind != "none":
            text = f"with epochs: 0 there is nothing to pause or to stop; leave {config.scheduler.kind} out"
            problems.append(document.problem(("scheduler",), text))
        if isinstance(config.scheduler, Watching):
            problems.extend(_late_wishes(document, config))
        if not config.reward.objectives and config.reward.maximize is None and config.reward.minimize is None:
            wish = metrics.default_reward(config.task.kind, config.train)
            config = config.model_copy(update={"reward": config.reward.model_copy(update=wish)})
        try:
            config.stop.target(config.reward)
        except InputError as error:
            problems.extend(_placed(problem, document, ("stop", "reward")) for problem in error.problems)
    if problems:
        raise InputError(*problems)
    return config


def parts(plugins: Sequence[Plugin]) -> Parts | None:
    """What plugins define; None without any, as a command that has none need not wait for torch. Raises InputError."""
    if not plugins:
        return None
    from nas.train.plugins import load

    return load(tuple(plugins))


def _with_kind(config: Config, own: Parts | None) -> Config:
    """With the kind of task that its data make it, where the config leaves that open. Raises InputError."""
    if config.task.kind is not None:
        return config
    kind = sources.describe(config.task, config.data, own.datasets if own else None)["kind"]
    return config.model_copy(update={"task": config.task.model_copy(update={"kind": kind})})


def _wrong_loss(document: Document, config: Config, own: Parts | None) -> Iterator[Problem]:
    loss = config.train.loss
    if loss is not None and loss not in (own.losses if own else ()):
        known = documents.hint(loss, own.losses) if own else "; it needs a plugin that has it: --plugin FILE"
        yield document.problem(("train", "loss"), f"no plugin has a loss {loss!r}{known}")


def _wrong_wishes(document: Document, config: Config, own: Parts | None) -> Iterator[Problem]:
    """A metric that no trial of this task will have, or that is better the other way."""
    kind = config.task.kind
    assert kind is not None
    known = (*metrics.names(kind, config.train), *(own.metrics if own and config.train.epochs else ()))
    for name, direction, path in _wished(config.reward):
        several = path[1] == "objectives"
        wrong = metrics.wrong_reward(kind, direction, name, several=several) if direction else ""
        if own and name in own.metrics:
            better = own.metrics[name].better
            wrong = f"the plugin says of {name}: better={better!r}" if direction and better != direction else ""
        elif name not in known and not wrong:
            unknown = f"no metric of {kind} is called {name!r}{documents.hint(name, known)}"
            wrong = metrics.lacking(name, config.train) or unknown
        if wrong:
            yield document.problem(path, wrong, key=path[-1] == name)


def _wished(reward: RewardSettings) -> Iterator[tuple[str, Direction | None, documents.KeyPath]]:
    """Every metric that the reward names, which way it is to go (None: it is a limit's), and its place."""
    for direction in metrics.DIRECTIONS:
        if name := getattr(reward, direction):
            yield name, direction, ("reward", direction)
    for name, direction in reward.objectives.items():
        yield name, direction, ("reward", "objectives", name)
    for name in reward.limits:
        yield name, None, ("reward", "limits", name)


def _late_wishes(document: Document, config: Config) -> Iterator[Problem]:
    """Metrics that a training's end alone tells, where the scheduler compares trials before it.

    Of new runs: one that was begun when these were left aside goes on so.
    """
    for name, _, path in _wished(config.reward):
        if name in metrics.AT_THE_END:
            known = f"{name} is known when a training has ended, and {config.scheduler.kind} looks at trials before"
            remedy = "take parameters or flops, or scheduler asha or hyperband"
            yield document.problem(path, f"{known}: {remedy}", key=path[-1] == name)


def _unrecorded_wishes(document: Document, config: Config, own: Parts | None) -> list[Problem]:
    """Metrics of this kind of task that its data are too few classes for: these are looked at if one is wished for."""
    wished = {name: path for name, _, path in _wished(config.reward)}
    named = [name for name in wished if name in metrics.METRICS and metrics.needs_classes(name)]
    if not named or config.task.kind != "classification":
        return []
    try:
        task = sources.describe(config.task, config.data, own.datasets if own else None)
    except InputError:  # which is told, with its place, when the run is planned
        return []
    wrong = {name: metrics.unrecorded(name, int(task["classes"])) for name in named}
    return [document.problem(wished[n], text, key=wished[n][-1] == n) for n, text in wrong.items() if text]


def _wishes_of_a_wrong_one(document: Document, plugins: Sequence[Plugin]) -> list[Problem]:
    """What is wrong with the reward of a config that has other errors too, as far as that can be known."""
    try:
        right = {key: document.data[key] for key in ("task", "reward", "data") if key in document.data}
        # What is wrong may be in `train`: then all scores may have been meant.
        train: Any = {"scores": list(get_args(ScoreName))}
        with suppress(InputError):
            given = dataclasses.replace(document, data={"train": {}, **document.data})
            documents.validate(TrainSettings, given, at=("train",))
            train = given.data["train"]
        alone = dataclasses.replace(document, data={"name": "a", "space": "a", "train": train, **right})
        own = parts(plugins)
        config = _with_kind(documents.validate(Config, alone), own)
    except InputError:
        return []
    if config.task.kind is None:
        return []
    wrong = _wrong_wishes(document, config, own)
    return [*wrong, *_unrecorded_wishes(document, config, own)]


def _lay_over(
    data: dict[str, Any], overrides: Sequence[Override]
) -> tuple[dict[documents.KeyPath, str], list[Problem]]:
    """Put them into ``data``. Returns which flag each value is from, and what was wrong."""
    flags: dict[documents.KeyPath, str] = {}
    problems: list[Problem] = []
    for override in overrides:
        path = tuple(override.key.split("."))
        try:
            _put(data, path, override.value)
            flags[path] = override.flag
        except ValueError as error:
            problems.append(Problem(str(error), override.flag))
    return flags, problems


def _put(data: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    """Set ``data[path[0]][path[1]]...``. A word on the way becomes a mapping of itself: controller: rl -> {rl: {}}."""
    inside = data
    for depth, key in enumerate(path[:-1]):
        held = inside.get(key)
        if held is None:
            held = inside[key] = {}
        elif held == path[depth + 1]:
            held = inside[key] = {held: {}}
        elif not isinstance(held, dict):
            raise ValueError(f"{'.'.join(path[: depth + 1])} is {held!r}, which has no keys")
        inside = held
    inside[path[-1]] = value


def name_from(stem: str) -> str:
    """A name for a run, made of any text."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).lstrip("._-")
    return name[:64] or "run"


@dataclasses.dataclass(frozen=True, slots=True)
class _Overlaid(Document):
    """A document of which some values came from flags: problems with those name the flag instead of a place."""

    flags: dict[documents.KeyPath, str] = dataclasses.field(default_factory=dict)

    def problem(self, path: documents.KeyPath, message: str, *, key: bool = False) -> Problem:
        for overridden, flag in reversed(self.flags.items()):
            if path[: len(overridden)] == overridden:
                return Problem(message, flag)
        return Document.problem(self, path, message, key=key)


# Going on with a run -------------------------------------------------------------------------------------------------


def changes(recorded: Mapping[str, Any], config: RunConfig) -> dict[str, Any]:
    """What ``config`` changes about a run that was started with ``recorded``: dotted key -> new value.

    Raises:
        InputError: more than MAY_CHANGE differs; every key that does is named, with both values.
    """
    before, after = dict(_flat(_compared(from_plain(recorded)))), dict(_flat(_compared(config)))
    absent = object()
    differing = [key for key in before | after if before.get(key, absent) != after.get(key, absent)]
    refused = [key for key in differing if key.partition(".")[0] not in (*MAY_CHANGE, "objective")]
    for part in ("controller", "scheduler"):
        if f"{part}.kind" in refused:  # which the settings of either follow
            refused = [key for key in refused if key == f"{part}.kind" or not key.startswith(f"{part}.")]
    if refused:
        raise InputError(
            *(_difference(key, before, after) for key in refused),
            f"only {', '.join(MAY_CHANGE)} may change when a run goes on; --fresh starts a new one",
        )
    return {key: after.get(key) for key in differing if key != "objective"}  # a lambda has a new name each time


def _difference(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """One line of what may not change.

    >>> _difference("reward.maximize", {"reward.maximize": "accuracy"}, {"reward.minimize": "loss"})
    "reward.maximize: the run was started with 'accuracy', not without"
    """
    if key not in before:
        return f"{key}: the run was started without, not with {after[key]!r}"
    if key not in after:
        return f"{key}: the run was started with {before[key]!r}, not without"
    return f"{key}: the run was started with {before[key]!r}, not {after[key]!r}"


def _compared(config: RunConfig) -> dict[str, Any]:
    """As it is recorded, but plugins by what they say: where they lay may change."""
    plain = config.plain()
    plugins = plain.pop("plugins", ())
    named = {Path(plugin["file"]).name: f"SHA-256 {plugin['sha256'][:12]}" for plugin in plugins}
    kinds = {}
    for key in ("controller", "scheduler"):
        (kind,) = plain[key]
        kinds[key] = {"kind": kind, **plain[key]}
    return plain | {"plugins": named, **kinds}


def _flat(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    elif value is not None and value != {} and value != []:  # which say as much as no key at all
        yield prefix, value
