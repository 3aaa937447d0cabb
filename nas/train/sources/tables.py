"""``task: {csv: FILE, target: COLUMN}``: a table, from which the target is predicted by all other columns.

**The file** is CSV as spreadsheets write it: UTF-8, a header with a name for each column, fields separated by commas,
semicolons, tabs or bars (whichever the header has most of), quoted by ``"`` where need be. Empty lines are passed over.
A field is *missing* where it is empty or one of NA, N/A, NaN, null, None, ?.

**The columns.** One whose values are all numbers is numeric: standardised by mean and deviation over the training part;
a missing number is the mean, and a column that misses some in the training part has a second feature that says so.
Every other column is categorical, and so is each that ``categorical`` lists: a feature of 0 or 1 for each value of the
training part, sorted; a missing or new value is all zeros. A column mostly of numbers, but not wholly, is an error that
names the line, as one slip of the pen would make thousands of features of it. Columns that ``ignore`` lists, and those
that have one value only, are left out.

**The target.** A row without one is left out. ``kind`` says whether it is a regression or a classification; where it
does not, numbers with more than 20 different values, or that are not whole, make a regression. Classes are numbered in
sorted order. A regression's targets are standardised too, and ``deviation`` of the description leads back.

**The test part** is a fifth of the rows (see the package), of each class in a classification.

Left out: dates (they are text, or numbers before they get here), several targets, files larger than memory. A category
of thousands of values needs an embedding of its own, and is refused instead of being made thousands of features.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NoReturn

import numpy as np
import numpy.typing as npt

from nas.documents import hint
from nas.errors import InputError, Problem
from nas.train.settings import CsvTask
from nas.train.sources import Arrays, Part, Splitting, files, splits

MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # in any case
DELIMITERS = ",;\t|"
MOST_CATEGORIES = 256
MOST_CLASSES_OF_NUMBERS = 20  # whole numbers with more values than this are a regression
FEWEST_ROWS = 10
MOST_PROBLEMS = 20  # that are told of one file
LARGEST = 1e150  # whose square is finite

_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def describe(task: CsvTask, data_dir: str | None = None) -> Mapping[str, int | float | str]:
    """See sources.describe. Reads and checks the whole file."""
    return _read(task).description


def prepare(task: CsvTask, data_dir: str | None = None) -> str:
    """See sources.prepare."""
    _read(task)
    return task.csv


def load(task: CsvTask, part: Part, data_dir: str | None = None) -> Arrays:
    """See sources.load. Inputs are standardised already: in fp32 a column of dates would lose its digits."""
    table = _read(task)
    rows = table.test if part == "test" else ~table.test
    features = table.inputs.shape[1]
    return Arrays(table.inputs[rows], table.targets[rows], (0.0,) * features, (1.0,) * features, table.splitting)


@dataclass(frozen=True, slots=True)
class Table:
    """A file, read: all rows that have a target."""

    inputs: npt.NDArray[np.float32]  # (rows, features)
    targets: npt.NDArray[Any]  # classes (rows,) int64, or numbers (rows, 1) fp32
    test: Mask  # (rows,)
    splitting: Splitting
    description: Mapping[str, int | float | str]


def _read(task: CsvTask) -> Table:
    return _read_once(task, *files.stamp(task.csv))


@lru_cache(maxsize=2)
def _read_once(task: CsvTask, modified: int, size: int) -> Table:
    """Read again where the file changed."""
    columns = _columns(task)
    target = columns.pop(task.target)
    kind = task.kind or _likely_kind(target)
    description: dict[str, int | float | str] = {"kind": kind}
    targets: npt.NDArray[Any]
    if kind == "classification":
        targets, classes = _classes(target)
        splitting: Splitting = "stratified"
        description["classes"] = classes
        test = splits.held_out(targets, "test", splitting)
    else:
        splitting = "random"
        numbers = target.numbers()
        test = splits.held_out(numbers, "test", splitting)
        mean, deviation = float(numbers[~test].mean()), float(numbers[~test].std())
        if not deviation > 0:
            raise InputError(f"{task.csv}: the target {task.target!r} is always {target.values[0]}: nothing to learn")
        targets = ((numbers - mean) / deviation).astype(np.float32)[:, None]
        description |= {"targets": 1, "deviation": deviation}
    features = [f for column in columns.values() for f in column.features(~test, column.name in task.categorical)]
    if not features:
        raise InputError(f"{task.csv}: no column says anything: all but {task.target!r} are ignored, empty or constant")
    inputs = np.stack(features, 1).astype(np.float32)
    return Table(inputs, targets, test, splitting, description | {"features": inputs.shape[1]})


# Columns -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """The values of a column, stripped, where there is a target; and the line of the file that each came from."""

    file: str
    name: str
    values: Sequence[str]
    lines: Sequence[int]

    def features(self, train: Mask, categorical: bool) -> list[Floats]:
        """What the network sees of it: see the module. ``train`` marks the rows that statistics are taken of."""
        if categorical or not self.is_numeric():
            return self._categories(train)
        numbers = self.numbers()
        present = ~np.isnan(numbers)
        seen = numbers[train & present]
        found = []
        # A deviation that is rounding alone would blow it up to numbers.
        if len(seen) and seen.std() > 1e-12 * np.abs(seen).max():
            found.append(np.where(present, (numbers - seen.mean()) / seen.std(), 0.0))
        if not present[train].all() and present[train].any():
            found.append((~present).astype(np.float64))
        return found

    def is_numeric(self) -> bool:
        """Whether all values are numbers. Raises InputError where most are, and some are not."""
        present = [value for value in self.values if not missing(value)]
        odd = [value for value in present if not _NUMBER.fullmatch(value)]
        if odd and 2 * len(odd) < len(present):
            first = self.values.index(odd[0])
            remedy = f"mend it, leave it empty, or say `categorical: [{self.name}]`"
            self.wrong(first, f"the column {self.name!r} holds numbers, and {odd[0]!r} is none; {remedy}")
        return not odd and bool(present)

    def numbers(self) -> Floats:
        """All values as numbers, NaN where one is missing. Raises InputError where one is none, or too large."""
        found = np.empty(len(self.values))
        for i, value in enumerate(self.values):
            if missing(value):
                found[i] = np.nan
                continue
            if not _NUMBER.fullmatch(value):
                self.wrong(i, f"the column {self.name!r} needs a number here, not {value!r}")
            found[i] = float(value)
            if abs(found[i]) > LARGEST:
                self.wrong(i, f"{value} in the column {self.name!r} is larger than any number that can be trained on")
        return found

    def wrong(self, row: int, message: str) -> NoReturn:
        raise InputError(Problem(message, self.file, self.lines[row]))

    def _categories(self, train: Mask) -> list[Floats]:
        seen = {value for value, of_train in zip(self.values, train, strict=True) if of_train and not missing(value)}
        if len(seen) > MOST_CATEGORIES:
            raise InputError(
                f"{self.file}: the column {self.name!r} has {len(seen)} different values, more than {MOST_CATEGORIES}; "
                f"if it only names the row, say `ignore: [{self.name}]`"
            )
        if len(seen) == 1 and all(value in seen for value in self.values):
            return []
        values = np.array(self.values)
        return [(values == category).astype(np.float64) for category in sorted(seen)]


def missing(value: str) -> bool:
    """Whether a field says that there is nothing."""
    return value.lower() in MISSING


def _columns(task: CsvTask) -> dict[str, Column]:
    """The columns that are used, the target among them, of all rows that have one."""
    names, rows, lines = read_rows(task.csv)
    for word, wanted in (("target", (task.target,)), ("categorical", task.categorical), ("ignore", task.ignore)):
        for name in wanted:
            if name not in names:
                raise InputError(
                    f"{task.csv}: `{word}` names the column {name!r}, and there is none{hint(name, names)}"
                )
    if task.target in (*task.ignore, *task.categorical):
        raise InputError(f"{task.csv}: the target {task.target!r} can be neither ignored nor listed as categorical")
    at = names.index(task.target)
    kept = [i for i, row in enumerate(rows) if not missing(row[at])]
    if len(kept) < FEWEST_ROWS:
        raise InputError(f"{task.csv}: {len(kept)} rows have a {task.target!r}; at least {FEWEST_ROWS} are needed")
    where = [lines[i] for i in kept]
    return {
        name: Column(task.csv, name, [rows[i][c] for i in kept], where)
        for c, name in enumerate(names)
        if name not in task.ignore
    }


def _likely_kind(target: Column) -> Literal["classification", "regression"]:
    if not all(_NUMBER.fullmatch(value) for value in target.values):
        return "classification"
    numbers = target.numbers()
    whole = bool((numbers == np.floor(numbers)).all())
    return "classification" if whole and len(np.unique(numbers)) <= MOST_CLASSES_OF_NUMBERS else "regression"


def _classes(target: Column) -> tuple[npt.NDArray[np.int64], int]:
    """The class of each row, and how many classes. Raises InputError where one has too few rows to be divided."""
    are_numbers = all(_NUMBER.fullmatch(value) for value in target.values)
    counts = Counter(target.values)
    order = sorted(counts, key=lambda value: (float(value), value) if are_numbers else value)
    if len(order) < 2:
        raise InputError(f"{target.file}: the target {target.name!r} is always {order[0]!r}: nothing to learn")
    rarest = min(order, key=lambda value: counts[value])
    if counts[rarest] < 3:
        message = (
            f"{counts[rarest]} row(s) have {rarest!r} as {target.name!r}, and 3 of each class are needed (one to train "
            "on, one to validate, one to test); if these are quantities, say `kind: regression`"
        )
        target.wrong(target.values.index(rarest), message)
    numbered = {value: number for number, value in enumerate(order)}
    return np.array([numbered[value] for value in target.values], np.int64), len(order)


# The file ------------------------------------------------------------------------------------------------------------


def read_rows(file: str) -> tuple[list[str], list[list[str]], list[int]]:
    """The names of the header, the rows (fields stripped), and the line that each row begins at.

    Raises:
        InputError: it can not be read, is no UTF-8, or a row has not as many fields as the header: all such rows.
    """
    text = files.text(file)
    header = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    problems: list[Problem] = []
    try:
        for line, row in _numbered(reader):
            if not any(map(str.strip, row)):
                continue
            rows.append([field.strip() for field in row])
            lines.append(line)
            if len(row) != len(rows[0]):
                problems.append(Problem(f"{len(row)} fields, and the header has {len(rows[0])}", file, line))
    except csv.Error as error:
        problems.append(Problem(f"is no sound CSV: {error}", file, reader.line_num))
    if not rows:
        raise InputError(f"{file}: is empty; its first line must name the columns")
    names = rows.pop(0)
    if not rows:
        raise InputError(f"{file}: has no rows below its first line, which names the columns")
    problems += [Problem(wrong, file, lines[0]) for wrong in _wrong_names(names)]
    if problems:
        more = [f"{file}: and {len(problems) - MOST_PROBLEMS} more"] if len(problems) > MOST_PROBLEMS else []
        raise InputError(*problems[:MOST_PROBLEMS], *more)
    return names, rows, lines[1:]


def _numbered(reader: Any) -> Iterator[tuple[int, list[str]]]:
    """Each row with the line that it begins at; a quoted field may hold several lines."""
    before = 0
    for row in reader:
        yield before + 1, row
        before = reader.line_num


def _wrong_names(names: list[str]) -> Iterator[str]:
    if len(names) < 2:
        yield f"the header names one column ({names[0]!r}); a target and something to predict it from are needed"
    for number, name in enumerate(names, 1):
        if not name:
            yield f"the header has no name for column {number}"
        elif name in names[: number - 1]:
            yield f"the header names two columns {name!r}"
