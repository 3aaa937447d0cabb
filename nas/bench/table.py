"""A recorded table: a CSV file, gzipped or not, or an NPZ file; columns by name.

A column of a CSV file is text, and a number where it is asked for as one; an empty cell is NaN. A column of an NPZ file
has one row for each row of the table, and may be a matrix.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas.documents import hint
from nas.errors import InputError, Problem

Numbers = NDArray[np.float64]

_PLACE = re.compile(r"(.+)\[(\d+)\]")


@dataclass(frozen=True)
class Table:
    """See ``read``."""

    file: str
    rows: int
    columns: dict[str, NDArray[Any]]  # (rows,) or (rows, width); text or numbers
    checksum: str  # SHA-256 of the file
    lines: tuple[int, ...] = ()  # of the file, at which each row ends, where rows are lines

    def cells(self, name: str) -> NDArray[Any]:
        """(rows,): a column as it stands, or one place of it, ``ops[2]``. Raises InputError where there is none."""
        found = None if name in self.columns else _PLACE.fullmatch(name)
        if not found:
            return self._column(name)
        column, place = self._column(found[1]), int(found[2])
        if column.ndim == 2 and place < column.shape[1]:
            return column[:, place]
        if column.ndim == 1 and column.dtype.kind == "U":
            short = np.flatnonzero(np.char.str_len(column) <= place)
            if not len(short):
                return column.view("U1").reshape(self.rows, -1)[:, place]
            raise self._wrong(int(short[0]), f"'{column[short[0]]}' in column {found[1]} has no character {place}")
        raise InputError(Problem(f"the column '{found[1]}' has no place {place}", self.file))

    def numbers(self, name: str) -> Numbers:
        """(rows,) or (rows, width): a column of numbers; NaN is an empty cell.

        Raises:
            InputError: there is no such column, or a cell is no number; it names the line.
        """
        cells = self.cells(name)
        if cells.dtype.kind != "U":
            return cells.astype(np.float64)
        return self._parsed[name] if name in self._parsed else self._parsed.setdefault(name, self._parse(name, cells))

    @cached_property
    def _parsed(self) -> dict[str, Numbers]:
        return {}

    def _parse(self, name: str, cells: NDArray[Any]) -> Numbers:
        try:
            return np.where(np.char.str_len(cells) == 0, "nan", cells).astype(np.float64)
        except ValueError:
            for row, cell in enumerate(cells):
                try:
                    float(cell or "nan")
                except ValueError:
                    raise self._wrong(row, f"'{cell}' in column {name} is no number") from None
            raise

    def line(self, row: int) -> int:
        """The line of the file that a row is, where rows are lines; else 0."""
        return self.lines[row] if self.lines else 0

    def _wrong(self, row: int, message: str) -> InputError:
        return InputError(Problem(message if self.lines else f"row {row}: {message}", self.file, self.line(row)))

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self.columns:
            raise InputError(Problem(f"there is no column '{name}'{_columns_hint(name, self.columns)}", self.file))
        return self.columns[name]


def _columns_hint(name: str, columns: dict[str, Any]) -> str:
    return hint(name, list(columns)) or f"; its columns: {', '.join(columns)}"


def read(path: Path) -> Table:
    """Read a table whole.

    Raises:
        InputError: it cannot be read, is neither CSV nor NPZ, or is not as wide or long throughout.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(Problem("is no ordinary file", str(path)))  # a device may have no end, a pipe no beginning
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(Problem(f"the table cannot be read: {error.strerror or error}", str(path))) from None
    checksum = sha256(raw).hexdigest()
    if raw.startswith(b"PK"):
        columns = _npz(raw, str(path))
        return Table(str(path), _rows_of(columns, str(path)), columns, checksum)
    try:
        text = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(Problem(f"is neither NPZ nor CSV in UTF-8, gzipped or not: {error}", str(path))) from None
    header, rows = _csv(text, str(path))
    columns = {
        name: np.array(cells, dtype=np.str_)
        for name, cells in zip(header, zip(*rows.values(), strict=True), strict=True)
    }
    return Table(str(path), len(rows), columns, checksum, tuple(rows))


def _csv(text: str, file: str) -> tuple[list[str], dict[int, list[str]]]:
    """The names, and the cells of each row by the line at which it ends: a quoted cell may hold line breaks."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        found = [(reader.line_num, cells) for cells in reader if cells]  # without cells: an empty line
    except csv.Error as error:
        raise InputError(Problem(f"not CSV: {error}", file, reader.line_num)) from None
    rows = dict(found)
    if not rows:
        raise InputError(Problem("a table has a line of names and at least one row", file))
    if len(set(header)) < len(header):
        twice = next(name for name in header if header.count(name) > 1)
        raise InputError(Problem(f"two columns are called '{twice}'", file, 1))
    for line, cells in rows.items():
        if len(cells) != len(header):
            raise InputError(Problem(f"{len(cells)} cells, and {len(header)} names of columns", file, line))
    return header, rows


def _npz(raw: bytes, file: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(Problem(f"is no NPZ of plain arrays: {error}", file)) from None  # RuntimeError: encrypted
    strange = [name for name, held in found.items() if not isinstance(held, np.ndarray)]  # bytes: any ZIP opens
    if strange or not found:
        raise InputError(Problem(f"is no NPZ of plain arrays: it holds {', '.join(strange) or 'nothing'}", file))
    return found


def _rows_of(columns: dict[str, NDArray[Any]], file: str) -> int:
    for name, column in columns.items():
        if column.ndim not in (1, 2) or column.dtype.kind not in "biufU":
            shape = "x".join(map(str, column.shape)) or "alone"
            raise InputError(Problem(f"{name}: {column.dtype} {shape}; a column holds text or numbers, by row", file))
    lengths = {len(column) for column in columns.values()}
    if len(lengths) != 1 or not min(lengths):
        told = ", ".join(f"{name}: {len(column)}" for name, column in columns.items())
        raise InputError(Problem(f"columns differ in length, or are empty ({told})", file))
    return lengths.pop()
