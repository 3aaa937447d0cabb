"""`nas space`: what a search space is, before a second is spent on it.

    open_space(name, ...)   -> Opened     read, with the task that its `=task.*` mean
    check(opened, ...)      -> Check      counted and sampled: what is rejected, what cannot be built, what it costs
    candidates(opened, ...) -> Draws      as `nas space sample` and `nas space show --svg` take them

Spaces know nothing of data sets, so a space that mentions `task.*` needs a config, or the values themselves. Where
neither is given, a config that searches this very space is looked for: beside it, in a `configs` folder beside its own,
and among those that are shipped.

torch takes more than a second to import, so it is asked for what a network costs only where that matters: by `check`,
and by constraints over costs.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from nas import config as configs
from nas import documents, seeds, shipped
from nas.errors import InputError, NasError, Problem
from nas.space import Count, Draw, Space, survey
from nas.space.blame import tally, unmasked, verdict
from nas.space.constraints import Costs
from nas.space.grammar.settings import with_usual_ranges
from nas.train.settings import Kind, TrainSettings

if TYPE_CHECKING:
    from nas.train.network import Table
    from nas.train.plugin_files import Plugin
    from nas.train.plugins import Parts

SAMPLES = 200
EXACT_SAMPLES = 50  # networks that --exact builds
QUANTILES = (0.05, 0.5, 0.95)
SIZES = (
    "classes",
    "targets",
    "outputs",
    "channels",
    "height",
    "width",
    "features",
    "length",
    "vocabulary",
)  # of a task
_NAMES_A_SPACE = re.compile(r"^space:\s*[\"']?([^\s\"'#]+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Opened:
    """A space as the commands take it. ``task_from`` says where the task is from; "" where there is none."""

    space: Space
    file: Path
    task_from: str
    parts: Parts | None = None  # of plugins


def open_space(
    name: str,
    config: str | None = None,
    task: Sequence[str] = (),
    plugins: Sequence[Plugin] = (),
    *,
    costs: bool | None = None,
) -> Opened:
    """Read a space by path or shipped name. ``costs``: whether draws are priced; None: where a constraint needs it.

    Raises:
        InputError: with every problem of the space; or of the config, or of ``task`` (``["classes=10", ...]``).
    """
    file = shipped.find("search_spaces", name)
    document = documents.read(file)
    given = _task(file, config, task, plugins)
    if task:
        _refuse_unread(given.task, document)
    parts = configs.parts(plugins)
    try:
        space = _read(document, given, parts, priced=bool(costs))
        if costs is None and any(constraint.costs for constraint in space.constraints):
            space = _read(document, given, parts, priced=True)
    except InputError as error:
        if given.place or not any("the task has no" in problem.message for problem in error.problems):
            raise
        remedy = f"{file} needs a task: give --config CONFIG, or its values: --task classes=10 channels=3 ..."
        raise InputError(*error.problems, remedy) from None
    return Opened(space, file, given.place, parts)


@dataclass(frozen=True, slots=True)
class _Given:
    """What a space does not say itself: the task, and how candidates are trained where they do not say so either."""

    task: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""  # where it is from
    train: TrainSettings = field(default_factory=TrainSettings)
    latency_table: Mapping[str, float] | None = None


def _read(document: documents.Document, given: _Given, parts: Parts | None, *, priced: bool) -> Space:
    task = given.task
    from nas.train.hyperparameters import SECTION

    if not priced:  # an objective of one's own may take any hyperparameters
        return Space.read(replace(document, data=with_usual_ranges(document.data, SECTION)), task)
    from nas.train.layers import LAYERS

    layers = parts.layers if parts else LAYERS
    is_network = isinstance(document.data, dict) and "architecture" in document.data
    costs = _costs(given, layers) if is_network and task else None
    return Space.read(document, task, layers=layers, hyperparameters=SECTION, costs=costs)


def _costs(given: _Given, layers: Table) -> Costs:
    from nas.train.kinds import input_shape, output_shape
    from nas.train.pricing import Pricing

    try:
        input_shape(given.task)
        output_shape(given.task)
    except KeyError as error:
        raise InputError(f"what a network costs depends on task.{error.args[0]}; --task must say it, too") from None
    pricing = Pricing(given.task, given.train, given.latency_table, layers)
    return Costs(pricing, pricing.names)


# The task ------------------------------------------------------------------------------------------------------------


def _task(file: Path, config: str | None, given: Sequence[str], plugins: Sequence[Plugin]) -> _Given:
    if given and config:
        raise InputError("give --config or --task, not both")
    if given:
        return _Given(dict(map(_pair, given)), "--task")
    found = shipped.find("configs", config) if config else _config_of(file)
    if found is None:
        return _Given()
    from nas.train import describe

    read = configs.load(found, plugins=plugins)
    parts = configs.parts(plugins)
    task = dict(describe(read.task, read.data, parts.datasets if parts else None))
    return _Given(task, str(found), read.train, read.latency_table)


def _pair(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier() or not value:
        raise InputError(Problem("write --task name=value, e.g. --task classes=10 height=28", f"--task {text}"))
    read = documents.parse(value, f"--task {text}").data
    if isinstance(read, bool | dict | list) or read is None:
        raise InputError(Problem("a value of the task is a number or a word", f"--task {text}"))
    kinds = get_args(Kind)
    if name == "kind" and read not in kinds:
        raise InputError(Problem(f"there is no such kind of task{documents.hint(str(read), kinds)}", f"--task {text}"))
    if name in SIZES and not (isinstance(read, int) and read > 0):
        raise InputError(Problem(f"{name} is a whole number from 1", f"--task {text}"))
    return name, read


def _refuse_unread(task: Mapping[str, Any], document: documents.Document) -> None:
    """Values that neither the trainer nor this space reads are slips of the pen. Raises InputError, naming all."""
    known = ("kind", "deviation", *SIZES)
    text = json.dumps(document.data)
    unread = [name for name in task if name not in known and not re.search(rf"\btask\.{name}\b", text)]
    wrong = (Problem(f"a task has no {name!r}{documents.hint(name, known)}", f"--task {name}") for name in unread)
    if unread:
        raise InputError(*wrong)


def _config_of(file: Path) -> Path | None:
    """A config that searches this space; one of its name before all others."""
    beside = [*_yaml_in(file.parent), *_yaml_in(file.parent.parent / "configs")]
    known = dict.fromkeys([*beside, *shipped.names("configs").values()])
    for path in sorted(known, key=lambda path: path.stem != file.stem):
        try:
            with path.open(encoding="utf-8") as stream:
                named = _NAMES_A_SPACE.search(stream.read(documents.MOST_BYTES))
            if named and shipped.find("search_spaces", named[1], path.parent).resolve() == file.resolve():
                return path
        except (NasError, OSError, ValueError):
            continue  # a file that is not ours to complain about
    return None


def _yaml_in(folder: Path) -> list[Path]:
    try:
        return sorted(folder.glob("*.yaml"))
    except OSError:
        return []


# Checking ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """What is known of a space. Shares are of ``samples`` drawn from the prior, constraints aside."""

    name: str
    file: str
    task: Mapping[str, Any]
    task_from: str
    decisions: int
    count: Count | None
    uncounted: str  # why there is no count
    samples: int
    constraints: int
    rejected: int  # violate any constraint
    violated: Mapping[str, int]  # constraint -> how many violate it, whatever the others say
    violated_alone: Mapping[str, int]  # constraint -> how many violate it and no other
    invalid: Mapping[str, int]  # reason -> how many cannot be built
    costs: Mapping[str, Sequence[float]]  # at QUANTILES of the others
    costs_from: str = ""  # how they were found, or why they were not
    active: tuple[int, int] = (0, 0)  # the fewest and most decisions of a sample
    nothing: Problem | None = None  # why no candidate can be trained

    @property
    def works(self) -> bool:
        """Whether any candidate was found that can be trained."""
        return self.nothing is None

    def plain(self) -> dict[str, Any]:
        """JSON-like; integers of a count may be beyond 64 bits."""
        return {
            "name": self.name,
            "file": self.file,
            "task": dict(self.task),
            "task_from": self.task_from or None,
            "decisions": self.decisions,
            "active_decisions": list(self.active),
            "count": count_plain(self.count),
            "uncounted": self.uncounted or None,
            "samples": self.samples,
            "constraints": self.constraints,
            "rejected": self.rejected,
            "violated": dict(self.violated),
            "violated_alone": dict(self.violated_alone),
            "invalid": dict(self.invalid),
            "costs": {
                name: {f"{q:.0%}": value for q, value in zip(QUANTILES, values, strict=True)}
                for name, values in self.costs.items()
            },
            "costs_from": self.costs_from,
            "works": self.works,
            "nothing": str(self.nothing) if self.nothing else None,
        }


def count_plain(count: Count | None) -> dict[str, Any] | None:
    """For programs: exact integers, as long as they are."""
    if count is None:
        return None
    return {"assignments": count.exact, "by_free_floats": list(count.coefficients), "text": str(count)}


@dataclass(slots=True)
class _Findings:
    rejected: int = 0
    violated: Counter[str] = field(default_factory=Counter)
    violated_alone: Counter[str] = field(default_factory=Counter)
    invalid: list[str] = field(default_factory=list)
    costs: dict[str, list[float]] = field(default_factory=dict)
    active: list[int] = field(default_factory=list)


def check(opened: Opened, *, samples: int | None = None, seed: int = 0, exact: bool = False) -> Check:
    """Count and sample a space. ``exact``: costs as torch counts them in networks built on the meta device."""
    space = opened.space
    exact = exact and space.costs is not None
    samples = samples or (EXACT_SAMPLES if exact else SAMPLES)
    found = _Findings()
    for number in range(samples):
        draw = unmasked(space, random.Random(seeds.derive(seed, "check", number)))
        found.active.append(len(draw.decisions))
        judged = verdict(space, draw)
        if judged.invalid and all(constraint.costs for constraint in judged.violated):
            found.invalid.append(judged.invalid)
        elif judged.violated:
            found.rejected += 1
            found.violated.update(constraint.text for constraint in judged.violated)
            if len(judged.violated) == 1:
                found.violated_alone[judged.violated[0].text] += 1
        else:
            for name, value in (_measured(draw, opened) if exact else draw.costs).items():
                found.costs.setdefault(name, []).append(value)
    count, uncounted = _counted(space)
    return Check(
        name=space.name,
        file=str(opened.file),
        task=space.task,
        task_from=opened.task_from,
        decisions=len(space.decisions),
        count=count,
        uncounted=uncounted,
        samples=samples,
        constraints=len(space.constraints),
        rejected=found.rejected,
        violated=dict(found.violated.most_common()),
        violated_alone=dict(found.violated_alone),
        invalid=tally(found.invalid),
        costs={name: _quantiles(values) for name, values in found.costs.items()},
        costs_from=_costs_from(opened, exact),
        active=(min(found.active), max(found.active)),
        nothing=_nothing(opened, samples) if found.rejected + len(found.invalid) == samples else None,
    )


def _nothing(opened: Opened, samples: int) -> Problem | None:
    """As a search would say before it begins, at the file where it has no place of its own."""
    problem = survey.nothing(opened.space, min(survey.DRAWS, 10 * samples))
    return replace(problem, file=str(opened.file)) if problem and not problem.file else problem


def _counted(space: Space) -> tuple[Count | None, str]:
    try:
        return space.count(), ""
    except InputError as error:
        return None, str(error)


def _measured(draw: Draw, opened: Opened) -> Mapping[str, float]:
    from nas.train.layers import LAYERS
    from nas.train.network import measured

    layers = opened.parts.layers if opened.parts else LAYERS
    return {**draw.costs, **measured(draw.candidate, opened.space.task, layers)}


def _costs_from(opened: Opened, exact: bool) -> str:
    if opened.space.architecture is None:
        return "without an architecture there is no network to cost anything"
    if opened.space.costs is None:
        return "what networks cost depends on the task: give --config CONFIG, or --task classes=10 channels=3 ..."
    return "torch's own counters, on networks built without memory" if exact else "closed forms"


def _quantiles(values: Sequence[float]) -> list[float]:
    """The values at QUANTILES, each one that was sampled."""
    ordered = sorted(values)
    return [ordered[round(q * (len(ordered) - 1))] for q in QUANTILES]


# Candidates ----------------------------------------------------------------------------------------------------------


def candidates(opened: Opened, number: int, seed: int) -> Iterator[Draw]:
    """Draws from the prior that satisfy the constraints. The first n of more are the same.

    Raises:
        InputError: constraints leave (almost) nothing; names the one to blame.
    """
    for index in range(number):
        yield opened.space.sample(random.Random(seeds.derive(seed, "sample", index)))


def picture(name: str, config: str | None, task: Sequence[str], plugins: Sequence[Plugin] = (), *, seed: int) -> str:
    """One candidate as SVG, with shapes and costs where the task says what comes in.

    Raises:
        InputError: as ``open_space`` and ``candidates``; or the space has no architecture.
    """
    from nas.report import drawing
    from nas.report.space import size
    from nas.report.text import count, hyperparameters

    opened = open_space(name, config, task, plugins, costs=True)
    (draw,) = candidates(opened, 1, seed)
    if draw.candidate.architecture is None:
        raise InputError(f"{opened.file} has no architecture to draw")
    costs = ", ".join(
        f"{name} {size(value) if name == 'memory' else count(value)}" for name, value in draw.costs.items()
    )
    said = [costs, hyperparameters(draw.candidate.hyperparameters), draw.invalid]
    shapes: list[str] = []
    if draw.costs:
        from nas.train.layers import LAYERS
        from nas.train.network import shapes as through

        layers = opened.parts.layers if opened.parts else LAYERS
        shapes = [" × ".join(map(str, shape)) for shape in through(draw.candidate, opened.space.task, layers)]
    title = f"{opened.space.name}, seed {seed}"
    return drawing.svg(title, draw.candidate.architecture, notes=list(filter(None, said)), shapes=shapes)
