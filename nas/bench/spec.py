"""What a benchmark's YAML says: space, table, which cell of a row holds which decision, and the protocols.

In names of columns and of the table ``<dataset>`` stands for what ``datasets`` has. A column's name with a place behind
it, ``ops[2]``, is one character of a text, or one column of a matrix in an NPZ file.

Every column of a benchmark is better the same way (``better``), and read on the same ``scale``: with ``log`` a reward
is plus or minus the natural logarithm of what the table has, and a regret a difference of logarithms. Only objectives
say themselves which way they are better, and are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from nas import documents, shipped
from nas.amounts import Seconds
from nas.documents import Document, KeyPath, hint
from nas.errors import InputError, Problem
from nas.reward import MOST_OBJECTIVES, Direction

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
Column = Annotated[str, Field(min_length=1)]
Report = Literal["reached", "score", "regret", "log_regret", "hypervolume"]
Values = Literal["label", "index"] | dict[str, str | int | float]

DATASET = "<dataset>"


class Part(BaseModel):
    """A part of the YAML: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class OneOf(Part):
    """One training's result, at random; empty cells are trainings that were not done."""

    one_of: Column | Annotated[list[Column], Field(min_length=1)]


class MeanOf(Part):
    """The mean over trainings."""

    mean_of: Column | Annotated[list[Column], Field(min_length=1)]


class Objectives(Part):
    """Several columns, each an objective; see nas.reward."""

    objectives: Annotated[dict[Column, Direction], Field(min_length=2, max_length=MOST_OBJECTIVES)]
    reference: dict[Column, float] = {}  # where hypervolumes are measured from; none: from the worst of each column

    @model_validator(mode="after")
    def _whole(self) -> Objectives:
        if self.reference and self.reference.keys() != self.objectives.keys():
            raise ValueError(f"reference needs a number for each of the objectives, {', '.join(self.objectives)}")
        return self


class Cell(Part):
    """Where a row holds one decision."""

    column: Column
    values: Values | None = None  # otherwise than the benchmark's
    inactive: str | int | float | None = None  # what the cell holds where the decision is not active


class OfColumn(Part):
    """Seconds of an evaluation, as the table has them."""

    column: Column
    times: Annotated[float, Field(gt=0, le=1e12)] = 1.0


class Constant(Part):
    constant: Seconds


class LogNormalSettings(Part):
    mean: Annotated[float, Field(gt=0, le=1e12)]  # of the durations, in seconds
    sigma: Annotated[float, Field(ge=0, le=20)]  # standard deviation of their logarithm


class LogNormal(Part):
    log_normal: LogNormalSettings


def _one_of(what: str, *parts: type[Part]) -> Discriminator:
    """Which of these parts is written is known by its first key, so that one message says what is wrong, not one for
    each of them; a text is a column. Branches are tagged by their names, as nas.documents expects."""
    first = {next(iter(part.model_fields)): part.__name__ for part in parts}

    def which(value: Any) -> str | None:
        if isinstance(value, str | Part):
            return "Column" if isinstance(value, str) else type(value).__name__
        return next((first[key] for key in first if isinstance(value, Mapping) and key in value), None)

    return Discriminator(which, custom_error_type="shape", custom_error_message=what)


_AColumn = Annotated[Column, Tag("Column")]
_OneOf = Annotated[OneOf, Tag("OneOf")]
_MeanOf = Annotated[MeanOf, Tag("MeanOf")]
Rewarded = Annotated[
    _OneOf | _MeanOf | Annotated[Objectives, Tag("Objectives")] | _AColumn,
    _one_of("a column, {mean_of: ...}, {one_of: ...} or {objectives: ...}", OneOf, MeanOf, Objectives),
]
Judged = Annotated[_OneOf | _MeanOf | _AColumn, _one_of("a column or {mean_of: ...}", OneOf, MeanOf)]
Goal = Annotated[_MeanOf | _AColumn, _one_of("a column or {mean_of: ...}", MeanOf)]
Duration = Annotated[
    Annotated[OfColumn, Tag("OfColumn")]
    | Annotated[Constant, Tag("Constant")]
    | Annotated[LogNormal, Tag("LogNormal")],
    _one_of("{column: ...}, {constant: ...} or {log_normal: ...}", OfColumn, Constant, LogNormal),
]


class Deaths(Part):
    """Workers that die at work: the attempt is lost, and after ``replaced_after`` another worker is there."""

    share: Annotated[float, Field(ge=0, lt=1)]  # of attempts that end so, at a moment that is uniform within them
    replaced_after: Seconds = 60.0


class Protocol(Part):
    """How searches are run and what is told of them."""

    reward: Rewarded  # what the controller is told of
    final: Judged | None = None  # what its pick, the row with the best reward so far, is judged by
    goal: Goal | None = None  # `reached` counts evaluations up to a best row of it, or an equal
    evaluations: Annotated[int, Field(ge=1)] | None = None
    seconds: Seconds | dict[str, Seconds] | None = None  # of virtual time; by data set where they differ
    at: list[Annotated[int, Field(ge=1)]] = []  # evaluations after which is looked; none: at the end
    report: Annotated[list[Report], Field(min_length=1)] = ["score"]
    workers: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    duration: Duration = Constant(constant=60.0)
    deaths: Deaths | None = None
    decision: Seconds = 0.01  # what every decision takes: the same always, so that a run can be repeated exactly

    @model_validator(mode="after")
    def _makes_sense(self) -> Protocol:
        if self.evaluations is None and self.seconds is None:
            raise ValueError("give evaluations or seconds: else a search never ends")
        if "reached" in self.report and self.goal is None:
            raise ValueError("report says reached; give the column whose best row is the goal")
        if self.evaluations is not None and self.at and max(self.at) > self.evaluations:
            raise ValueError(f"at says {max(self.at)}, and a search has {self.evaluations} evaluations")
        several = isinstance(self.reward, Objectives)
        if any((report == "hypervolume") != several for report in self.report):
            raise ValueError("hypervolume is what is reported of several objectives, and of no others")
        if (self.final is None) != several:
            raise ValueError("final is what picks are judged by: one reward needs it, several objectives have no pick")
        if several and self.goal is not None:
            raise ValueError("goal is the best row of one column; several objectives have none")
        if isinstance(self.final, OneOf):
            raise ValueError("final says one_of; what a pick is judged by can not be drawn at random: mean_of")
        return self


class Spec(Part):
    """A whole benchmark."""

    name: Name
    space: str | dict[str, Any]  # a shipped space, a path, or the space itself
    task: dict[str, int | float | str] = {}  # what `task.*` is in the space's expressions
    table: str
    datasets: Annotated[dict[Name, str], Field(min_length=1)] = {"all": ""}
    cells: dict[str, Column | Cell]
    values: Values = "label"
    equals: Column | None = None  # rows that have the same value here are one and the same
    better: Literal["higher", "lower"] = "higher"
    scale: Literal["linear", "log"] = "linear"
    protocols: Annotated[dict[Name, Protocol], Field(min_length=1)]


def load(name: str) -> tuple[Spec, Document]:
    """The benchmark of a shipped name or a path, and its document, which knows the place of everything.

    Raises:
        InputError: there is no such file, or something in it is wrong; every problem with its line and column.
    """
    document = documents.read(shipped.find("configs/bench", name))
    spec = documents.validate(Spec, document)
    problems = []
    for key, protocol in spec.protocols.items():
        if isinstance(protocol.seconds, dict):
            problems += _seconds_by_dataset(spec, document, protocol.seconds, ("protocols", key, "seconds"))
    if problems:
        raise InputError(*problems)
    return spec, document


def _seconds_by_dataset(spec: Spec, document: Document, seconds: Mapping[str, float], at: KeyPath) -> list[Problem]:
    return [
        *(
            document.problem(at, f"no seconds for the data set '{name}'")
            for name in spec.datasets
            if name not in seconds
        ),
        *(
            document.problem((*at, name), f"there is no data set '{name}'{hint(name, spec.datasets)}", key=True)
            for name in seconds
            if name not in spec.datasets
        ),
    ]


def space_document(spec: Spec, document: Document) -> Document:
    """The space's document: the part of the benchmark's, or the file that it names. Raises InputError."""
    if isinstance(spec.space, dict):
        marks = document.marks.held.get("space") if document.marks and isinstance(document.marks.held, dict) else None
        return Document(document.file, spec.space, marks)
    beside = Path(document.file).parent
    try:
        path = shipped.find("search_spaces", spec.space, beside)
    except InputError as error:
        raise InputError(*(document.problem(("space",), problem.message) for problem in error.problems)) from None
    return documents.read(path)
