"""A benchmark ready to be searched: space, table and one protocol on one data set, joined.

Every answer is recorded, so an evaluation is a look-up. Noise is a function of (seed, row, visit), the same for every
controller: whoever evaluates a row for the first time in the run of a seed is told the same of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.bench.spec import (
    DATASET,
    Cell,
    Constant,
    LogNormal,
    MeanOf,
    Objectives,
    OfColumn,
    OneOf,
    Protocol,
    Spec,
    Values,
    space_document,
)
from nas.bench.table import Numbers, Table
from nas.controllers.proposals import is_settled
from nas.documents import Document, KeyPath, hint
from nas.errors import InputError, Problem
from nas.pareto import Vector, hypervolume, worst
from nas.records import Failed, Outcome, Succeeded
from nas.reward import RewardSettings, oriented
from nas.seeds import derive
from nas.space import Decision, Index, Integer, Space

QUALITY = "quality"  # the metric of an evaluation that has one reward, higher is better

MOST_VALUES = 1_000_000  # of one decision
MOST_SHOWN = 20  # of the values that a cell can hold

Decisions = Mapping[str, int | float]
Place = tuple[
    str, int, dict[int | float | None, int]
]  # a decision's path, weight of its digit, and digit of each value


class Rows:
    """Which row of the table a draw of the space is.

    A draw is a number of mixed radix, a digit for each decision; a last digit stands for "not active".
    """

    def __init__(self, places: list[Place], rows: dict[int, int]) -> None:
        self._places = places
        self._rows = rows

    def of(self, decisions: Decisions) -> int | None:
        """The row, from 0; None where the table has none."""
        key = 0
        for path, weight, digits in self._places:
            digit = digits.get(decisions.get(path))
            if digit is None:
                return None
            key += weight * digit
        return self._rows.get(key)


@dataclass(frozen=True)
class Recorded:
    """See ``join``. Arrays have an entry for each row of the table."""

    name: str  # of the benchmark
    dataset: str
    protocol_name: str
    protocol: Protocol
    space: Space
    rows: Rows
    wish: RewardSettings  # over the metrics that an evaluation tells
    rewards: Numbers  # (rows, trainings): what one evaluation may tell; NaN where a training was not done
    # ... or (rows, objectives), in the order of ``wish``, of which it tells all
    final: Numbers | None  # what a pick is judged by, as the table has it; None: with several objectives there is none
    goal: NDArray[np.bool_] | None  # the rows that are the goal
    higher: bool
    log: bool
    seconds: Numbers | None  # of an evaluation; None: from a distribution
    budget_seconds: float | None
    identity: Mapping[str, Any]  # all that a run depends on, beside controller and seed

    def evaluate(self, seed: int, row: int | None, visit: int) -> Outcome:
        """What the search is told of the ``visit``-th evaluation of a row."""
        if row is None:
            return Failed("invalid", "the table has no such candidate")
        if self.wish.objectives:
            metrics = dict(zip(self.wish.objectives, self.rewards[row].tolist(), strict=True))
            sound = all(map(math.isfinite, metrics.values()))
            return Succeeded(metrics) if sound else Failed("diverged", f"recorded: {metrics}")
        told = self._one(seed, row, visit)
        quality = self.quality(told)
        return Succeeded({QUALITY: quality}) if math.isfinite(quality) else Failed("diverged", f"recorded: {told}")

    def _one(self, seed: int, row: int, visit: int) -> float:
        told = self.rewards[row]
        if len(told) > 1:
            told = told[~np.isnan(told)]
        if len(told) > 1:
            return float(told[int(Random(derive(seed, "noise", row, visit)).random() * len(told))])
        return float(told[0]) if len(told) else math.nan

    def quality(self, told: float) -> float:
        """A number of the table, made higher-is-better and brought to the benchmark's scale; NaN where it has none."""
        if self.log:
            told = math.log(told) if told > 0 else math.nan
        return told if self.higher else -told

    @cached_property
    def qualities(self) -> Numbers:
        """(rows,): of what picks are judged by."""
        assert self.final is not None
        with np.errstate(divide="ignore", invalid="ignore"):
            told = np.log(self.final) if self.log else self.final
        return told if self.higher else -told

    @cached_property
    def best(self) -> int:
        """The row that is judged best."""
        return int(np.nanargmax(self.qualities))

    @cached_property
    def highest(self) -> float:
        """The most that an evaluation can tell, as a quality; infinite where rows were trained several times."""
        if self.rewards.shape[1] != 1:
            return math.inf
        told = self.rewards[:, 0]
        return self.quality(float(np.nanmax(told) if self.higher else np.nanmin(told)))

    @cached_property
    def vectors(self) -> list[Vector]:
        """Of each row, with several objectives: higher is better; NaN where the table has none."""
        ways = [-1.0 if way == "minimize" else 1.0 for way in self.wish.objectives.values()]
        return [tuple(row) for row in (self.rewards * ways).tolist()]

    @cached_property
    def reference(self) -> Vector:
        """Where hypervolumes are measured from: as the protocol says, else the worst of each objective."""
        if self.wish.reference:
            return oriented(self.wish, self.wish.reference)
        return worst(self.whole)

    @cached_property
    def volume(self) -> float:
        """Of the whole table."""
        return hypervolume(self.whole, self.reference)

    @property
    def whole(self) -> list[Vector]:
        """Of the rows that have every objective."""
        return [vector for vector in self.vectors if all(map(math.isfinite, vector))]

    def duration(self, seed: int, row: int | None, trial: int, attempt: int) -> float:
        """Virtual seconds of one attempt."""
        match self.protocol.duration:
            case Constant(constant=constant):
                return constant
            case LogNormal(log_normal=law):
                # E[exp(m + s Z)] = exp(m + s^2 / 2)
                middle = math.log(law.mean) - law.sigma**2 / 2
                return Random(derive(seed, "duration", trial, attempt)).lognormvariate(middle, law.sigma)
        assert self.seconds is not None
        return float(self.seconds[row]) if row is not None else 0.0


def read_space(spec: Spec, document: Document) -> Space:
    """The space of a benchmark. Raises InputError with every problem of it."""
    return Space.read(space_document(spec, document), spec.task)


def join(
    spec: Spec, document: Document, space: Space, table: Table, dataset: str, protocol_name: str, protocol: Protocol
) -> Recorded:
    """The benchmark that is played. ``protocol`` is that of this name, perhaps with a flag's changes.

    Raises:
        InputError: decisions, columns or values do not go together; with the place in the YAML or the table.
    """
    columns = _Columns(document, table, spec.datasets[dataset], spec.scale == "log")
    at: KeyPath = ("protocols", protocol_name)
    wish = RewardSettings(maximize=QUALITY)
    if isinstance(protocol.reward, Objectives):
        wish = RewardSettings(objectives=protocol.reward.objectives, reference=protocol.reward.reference)
        reward = columns.stacked(list(wish.objectives), (*at, "reward", "objectives"))
    else:
        reward = columns.numbers(protocol.reward, (*at, "reward"))
    final = None if protocol.final is None else columns.one(protocol.final, (*at, "final"))
    higher = spec.better == "higher"
    goal = None
    if protocol.goal is not None:
        reached = columns.one(protocol.goal, (*at, "goal"))
        goal = _with_equals(reached == (np.nanmax(reached) if higher else np.nanmin(reached)), spec, columns)
    seconds = None
    if isinstance(protocol.duration, OfColumn):
        seconds = _seconds(protocol.duration, columns, (*at, "duration", "column"))
    budget = protocol.seconds[dataset] if isinstance(protocol.seconds, dict) else protocol.seconds
    running = protocol.model_dump(exclude={"final", "at", "report"}) | {"seconds": budget}
    identity = {
        "space": space.source,
        "task": space.task,
        "table": table.checksum,
        "dataset": spec.datasets[dataset],
        "protocol": running,
        **spec.model_dump(include={"cells", "values", "equals", "better", "scale"}),  # equals: what ends a run early
    }
    rows = _rows(spec, document, space, columns)
    log = spec.scale == "log"
    found = Recorded(
        name=spec.name,
        dataset=dataset,
        protocol_name=protocol_name,
        protocol=protocol,
        space=space,
        rows=rows,
        wish=wish,
        rewards=reward,
        final=final,
        goal=goal,
        higher=higher,
        log=log,
        seconds=seconds,
        budget_seconds=budget,
        identity=identity,
    )
    _judgeable(found, document, at)
    return found


def _seconds(duration: OfColumn, columns: _Columns, at: KeyPath) -> Numbers:
    """(rows,). Raises InputError where one is not recorded."""
    recorded = columns.single(columns.stacked(duration.column, at), duration.column, at)
    with np.errstate(over="ignore"):
        seconds = recorded * duration.times
    wrong = np.flatnonzero(~(np.isfinite(seconds) & (seconds >= 0)))
    if len(wrong):
        row = int(wrong[0])
        told = "missing or infinite" if np.isnan(seconds[row]) else f"{seconds[row]:g}"
        message = f"{_row(columns, row)}: the duration is {told}; every row needs one, of 0 or more"
        raise InputError(columns.document.problem(at, message))
    return seconds


def _with_equals(best: NDArray[np.bool_], spec: Spec, columns: _Columns) -> NDArray[np.bool_]:
    """These rows, and those that are one with any of them: an empty cell is one with nothing."""
    if spec.equals is None:
        return best
    group = columns.cells(spec.equals, ("equals",))
    named = group[best]
    return np.asarray(best | np.isin(group, named[named != ""] if group.dtype.kind == "U" else named))


def _judgeable(recorded: Recorded, document: Document, at: KeyPath) -> None:
    """Refuses a table of which a measure would be a division by zero. Raises InputError."""
    if recorded.wish.objectives:
        if not (recorded.whole and recorded.volume > 0):
            than = "the reference" if recorded.wish.reference else "the worst of each; give a reference"
            wrong = f"there is no hypervolume: no row is better in every objective than {than}"
            raise InputError(document.problem((*at, "reward"), wrong))
        return
    assert recorded.final is not None
    if "log_regret" in recorded.protocol.report and not np.ptp(recorded.final[np.isfinite(recorded.final)]) > 0:
        raise InputError(document.problem((*at, "report"), "log_regret: all rows have the same final score"))


@dataclass(frozen=True, slots=True)
class _Columns:
    """The table as the YAML's names see it: problems are told at the name's place."""

    document: Document
    table: Table
    dataset: str
    log: bool  # whether the benchmark takes logarithms

    def cells(self, name: str, at: KeyPath) -> NDArray[Any]:
        """(rows,): as they stand."""
        try:
            found = self.table.cells(name.replace(DATASET, self.dataset))
        except InputError as error:
            raise self._placed(error, at) from None
        if found.ndim != 1:
            wrong = f"'{name}' has {found.shape[1]} columns; name one, {name}[0]"
            raise InputError(self.document.problem(at, wrong))
        return found

    def one(self, named: OneOf | MeanOf | str, at: KeyPath) -> Numbers:
        """(rows,)"""
        return self.single(self.numbers(named, at), named, at)

    def single(self, found: Numbers, named: object, at: KeyPath) -> Numbers:
        """(rows,): of one column. Raises InputError where there are several."""
        if found.shape[1] != 1:
            wrong = f"'{named}' has {found.shape[1]} columns; name one, {named}[0], or mean_of"
            raise InputError(self.document.problem(at, wrong))
        return found[:, 0]

    def numbers(self, named: OneOf | MeanOf | str, at: KeyPath) -> Numbers:
        """(rows, trainings): NaN where a training was not done, or failed."""
        match named:
            case OneOf(one_of=names):
                return self._positive(self.stacked(names, (*at, "one_of")), (*at, "one_of"))
            case MeanOf(mean_of=names):
                trainings = self._positive(self.stacked(names, (*at, "mean_of")), (*at, "mean_of"))
                done = np.isfinite(trainings).sum(axis=1, keepdims=True)
                return np.where(done, np.nansum(trainings, axis=1, keepdims=True) / np.maximum(done, 1), np.nan)
        return self._positive(self.stacked(named, at), at)

    def _positive(self, found: Numbers, at: KeyPath) -> Numbers:
        """The same; refuses what has no logarithm where one is to be taken."""
        wrong = np.flatnonzero((found <= 0).any(axis=1))
        if self.log and len(wrong):
            told = f"{np.nanmin(found[wrong[0]]):g} has no logarithm; leave `scale: log` out, or the cell empty"
            raise InputError(self.document.problem(at, f"{_row(self, int(wrong[0]))}: {told}"))
        return found

    def stacked(self, names: str | list[str], at: KeyPath) -> Numbers:
        """(rows, columns named), as they are; NaN where the table has no finite number."""
        several = [names] if isinstance(names, str) else names
        try:
            found = [self.table.numbers(name.replace(DATASET, self.dataset)) for name in several]
        except InputError as error:
            raise self._placed(error, at) from None
        for name, column in zip(several, found, strict=True):
            if not np.isfinite(column).any():
                raise InputError(
                    self.document.problem(at, f"the column {name.replace(DATASET, self.dataset)} has no number")
                )
        stacked = np.hstack([column.reshape(self.table.rows, -1) for column in found])
        return np.where(
            np.isfinite(stacked), stacked, np.nan
        )  # an infinite one, as a missing one, is a training that failed

    def _placed(self, error: InputError, at: KeyPath) -> InputError:
        """A name that is wrong is the YAML's problem, a cell that is wrong the table's."""
        if any(problem.line for problem in error.problems):
            return error
        return InputError(*(self.document.problem(at, f"{p.file}: {p.message}") for p in error.problems))


# Which row a draw is -------------------------------------------------------------------------------------------------


def _rows(spec: Spec, document: Document, space: Space, columns: _Columns) -> Rows:
    problems = _unmapped(spec, document, space)
    places: list[Place] = []
    keys: list[int] | NDArray[Any] = np.zeros(columns.table.rows, object)
    weight = 1
    for path, said in spec.cells.items():
        if path not in space.by_path:
            continue
        cell = said if isinstance(said, Cell) else Cell(column=said)
        try:
            meant = _meant(space.by_path[path], cell, spec.values, document, ("cells", path))
            held = columns.cells(cell.column, ("cells", path))
            digits = _digits(held, meant, columns, document, ("cells", path))
        except InputError as error:  # of one column that many cells name, ops[0] to ops[5], what is wrong is told once
            told = {problem.message for problem in problems}
            problems.extend(problem for problem in error.problems if problem.message not in told)
            continue
        places.append((path, weight, {value: digit for digit, value in enumerate(meant.values())}))
        keys = keys + digits.astype(object) * weight  # Python's integers: a product of many domains has no bound
        weight *= len(meant)
    if problems:
        raise InputError(*problems)
    rows: dict[int, int] = {}
    for row, key in enumerate(keys):
        if rows.setdefault(key, row) != row:
            again = f"{_row(columns, row)} holds the same candidate as {_row(columns, rows[key])}"
            raise InputError(Problem(f"{again}; several trainings of one are columns of one row (one_of, mean_of)"))
    return Rows(places, rows)


def _row(columns: _Columns, row: int) -> str:
    line = columns.table.line(row)
    return f"{columns.table.file}:{line}" if line else f"{columns.table.file}: row {row}"


def _unmapped(spec: Spec, document: Document, space: Space) -> list[Problem]:
    """Decisions that no cell holds, and cells of no decision."""
    problems = [
        document.problem(("cells", path), f"the space has no decision '{path}'{hint(path, space.by_path)}", key=True)
        for path in spec.cells
        if path not in space.by_path
    ]
    for decision in space.decisions:
        if decision.path not in spec.cells and not is_settled(decision):
            problems.append(document.problem(("cells",), f"no cell for the decision '{decision.path}'", key=True))
    return problems


Meant = dict[str | float, int | None]  # what a cell holds -> the decision's value; None: not active


def _meant(decision: Decision, cell: Cell, otherwise: Values, document: Document, at: KeyPath) -> Meant:
    """What the cells of a decision may hold. Raises InputError."""
    values = otherwise if cell.values is None else cell.values
    meant: Meant = {}
    match decision:
        case Integer(low=low, high=high) if high - low >= MOST_VALUES:
            wrong = f"'{decision.path}' has {high - low + 1:,} values, more than {MOST_VALUES:,}: no table has them all"
            raise InputError(document.problem(at, wrong))
        case Integer(low=low, high=high):
            meant.update((float(number), number) for number in range(low, high + 1))
        case Index() if isinstance(values, dict):
            missing = [label for label in decision.labels if label not in values]
            if missing:
                message = f"values have nothing for {', '.join(missing)}, options of '{decision.path}'"
                raise InputError(document.problem(at, message))
            meant.update((_key(values[label]), index) for index, label in enumerate(decision.labels))
        case Index() if values == "index":
            meant.update((float(index), index) for index in range(decision.size))
        case Index():
            meant.update((_key(label), index) for index, label in enumerate(decision.labels))
        case _:
            raise InputError(document.problem(at, f"'{decision.path}' is a real number: a table has no row for each"))
    if isinstance(decision, Index) and len(meant) < decision.size:
        raise InputError(document.problem(at, f"two options of '{decision.path}' are written alike"))
    if cell.inactive is not None:
        if _key(cell.inactive) in meant:
            wrong = f"inactive: {cell.inactive} is what the cell of an active '{decision.path}' holds too"
            raise InputError(document.problem(at, wrong))
        meant[_key(cell.inactive)] = None
    return meant


def _key(held: Any) -> str | float:
    """Numbers compare as numbers, however they are written: 0.1 of 32 bits is 0.1."""
    if isinstance(held, bool | np.bool_):
        return str(held).lower()  # as YAML writes it
    try:
        return float(str(held))
    except ValueError:
        return str(held)


def _digits(held: NDArray[Any], meant: Meant, columns: _Columns, document: Document, at: KeyPath) -> NDArray[np.int64]:
    """(rows,): which of ``meant`` each row's cell holds. Raises InputError at a cell that holds none."""
    kinds, which = np.unique(held, return_inverse=True)
    digit_of = {key: digit for digit, key in enumerate(meant)}
    digits = []
    for kind in kinds:
        if _key(kind) not in digit_of:
            row = int(np.argmax(held == kind))
            shown = [f"{key:g}" if isinstance(key, float) else key for key in list(meant)[:MOST_SHOWN]]
            known = ", ".join([*shown, "..."] if len(meant) > MOST_SHOWN else shown)
            message = f"{_row(columns, row)}: '{kind}' is none of what a cell can hold here: {known}"
            raise InputError(document.problem(at, message))
        digits.append(digit_of[_key(kind)])
    return np.array(digits, np.int64)[which]
