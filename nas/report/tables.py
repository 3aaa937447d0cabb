"""Leaderboard rows as text: a table for people, Markdown for a page, CSV and JSON for programs.

JSON and CSV hold everything, at full precision. Table and Markdown hold what is read: the ranked trials, and below them
the numbers of those without a rank. Where the metrics do not all fit a table, the last ones are left out and named.

The table has three layouts. Into a pipe (width None): one line for each trial, whatever its length, which grep and
awk can work on. On a wide terminal: one row for each trial, architecture and hyperparameters folded in their columns.
On one of less than 140 columns: the architecture and the hyperparameters stand on their own lines below the numbers,
because a column of 20 characters is no place to read an architecture.

Left out: rich. Its tables cannot span columns, take 50 ms to import, and draw differently from version to version.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import orjson

from nas.report import text
from nas.report.audit import warning

if TYPE_CHECKING:
    from nas.reward import Front

Format = Literal["table", "csv", "json", "markdown"]
FORMATS: tuple[Format, ...] = get_args(Format)
Row = Mapping[str, Any]  # leaderboard.Row.plain()

WIDE = 140  # columns from which on architecture and hyperparameters get columns of their own
_GAP = "  "
_INDENT = 6
_NAMED = 20  # trials without a rank that are named; the rest are counted
_LEFT_ALIGNED = frozenset({"run", "architecture", "hyperparameters"})
_SHOWN_ELSEWHERE = frozenset({"parameters", "flops", "seconds"})  # metrics that are columns already
_COLUMNS = (
    "rank", "front", "run", "trial", "state", "failure", "reward", "replicates", "metrics", "parameters", "flops",
    "seconds", "reached", "whole", "dtype", "other_dtype", "fallbacks", "spent", "noise_scale", "weight_norm",
    "architecture", "hyperparameters", "candidate", "decisions", "hash", "attempts", "audit",
)  # fmt: skip


def render(
    rows: Sequence[Row],
    format: Format = "table",
    width: int | None = None,
    *,
    several: bool | None = None,
    kept: Collection[str] = (),
    front: Front | None = None,
) -> str:
    """Rows in one of the formats, ending in a newline. ``width`` (columns) concerns the table alone.

    ``several``: whether rows are told apart by their run, in table and Markdown; None: where they are of several.
    ``kept``: metrics that a narrow table leaves out last, because the ranking comes from them.
    ``front``: what several objectives reached together; CSV, which has nothing but rows, leaves it out.
    """
    if several is None:
        several = len({row["run"] for row in rows}) > 1
    match format:
        case "table":
            return as_table(rows, width, several=several, kept=kept, front=front)
        case "csv":
            return as_csv(rows)
        case "json":
            return as_json(rows, front)
        case "markdown":
            return as_markdown(rows, several=several, front=front)


def as_json(rows: Sequence[Row], front: Front | None = None) -> str:
    """A list of objects; with several objectives it is the ``rows`` of an object that holds the ``front``, too."""
    told: Any = [dict(row) for row in rows]
    if front is not None:
        told = {"front": dataclasses.asdict(front), "rows": told}
    return orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_csv(rows: Sequence[Row]) -> str:
    """One line for each row; nested values are flattened, e.g. ``hyperparameters.optimizer.sgd.momentum``.

    A cell is empty where the row has no such value or it is null; an empty mapping or list is ``{}`` or ``[]``.
    """
    flat = [dict(_flatten(row)) for row in rows]
    out = io.StringIO()
    writer = csv.DictWriter(out, _csv_columns(flat), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(flat)
    return out.getvalue()


def as_markdown(rows: Sequence[Row], *, several: bool = False, front: Front | None = None) -> str:
    """A table as GitHub reads it."""
    rows, notes = _ranked(rows, several, front)
    if not rows:
        return "\n\n".join(notes) + "\n"
    columns = [*_number_columns(rows, several), "architecture", "hyperparameters"]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(row: Row, column: str) -> str:
        content = _cell(row, column).replace("|", "\\|")
        return f"`{content}`" if content and column in ("architecture", "hyperparameters") else content

    rule = [":--" if column in _LEFT_ALIGNED else "--:" for column in columns]
    lines = [line([_heading(column) for column in columns]), line(rule)]
    lines += [line([cell(row, column) for column in columns]) for row in rows]
    return "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in notes)


def as_table(
    rows: Sequence[Row],
    width: int | None = None,
    *,
    several: bool = False,
    kept: Collection[str] = (),
    front: Front | None = None,
) -> str:
    """The table for people; None: as wide as it needs, one line for each trial."""
    rows, notes = _ranked(rows, several, front)
    lines: list[str] = []
    if rows:
        columns, left_out = _fitting(rows, width, several, kept)
        if width is None or width >= WIDE:
            lines = [*_one_row_each(rows, columns, width), ""]
        else:
            lines = [*_lines_below(rows, columns, width), ""]
        if left_out:
            notes.append(f"Not shown for lack of room: {', '.join(left_out)} (all of it: --format json or csv).")
    lines += [part for note in notes for part in textwrap.wrap(note, width or 1000)]
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def _ranked(rows: Sequence[Row], several: bool, front: Front | None) -> tuple[list[Row], list[str]]:
    """The rows with a rank, and what to say of the others."""
    if not rows:
        return [], ["No trial has ended yet."]
    ranked = [row for row in rows if row["rank"] is not None]
    notes = [] if ranked else ["No trial has completed."]
    if front:
        notes.append(f"Front 1: {text.front(front)}. Ranked by front, then by the hypervolume that a trial alone adds.")
    if ranked and (told := warning([row["audit"] for row in ranked])):
        notes.append(told)
    if any(row["replicates"] for row in ranked):
        notes.append(_replication(ranked))
    if cut := sum(not row["whole"] for row in ranked):
        notes.append(
            f"{cut} of {len(ranked)} were paused or stopped by the scheduler at the step that they reached (*); they "
            "rank after those that were trained for longer."
        )
    if any(row["other_dtype"] for row in ranked):
        notes.append(_dtypes(ranked))
    for title, state in (("Failed", "failed"), ("Duplicates, not trained again", "duplicate")):
        names = [
            (f"{row['run']} " if several else "")
            + str(row["trial"])
            + (f" ({row['failure']})" if row["failure"] else "")
            for row in rows
            if row["state"] == state
        ]
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            notes.append(f"{title}: {', '.join(names[:_NAMED])}{more}.")
    return ranked, notes


def _replication(ranked: Sequence[Row]) -> str:
    again = [row["replicates"] for row in ranked if row["replicates"]]
    if not all(one["ended"] for one in again):
        return "Replication has not ended: ranks are still by the one training of each trial that the search did."
    seeds = " or ".join(map(str, sorted({one["wanted"] for one in again})))
    dtypes = Counter(dtype for one in again for dtype in one["dtypes"] if dtype is not None)
    marked = f" * is not all in the first mean's dtype: {_counted(dtypes)}." if len(dtypes) > 1 else ""
    return (
        f"Mean: of trainings with {seeds} other seeds, ± half its 95 % interval (Student's t); the training that a "
        "trial was chosen by is not in it. What has one is ranked by it, before the others; what failed with a seed, "
        f"below what did not.{marked}"
    )


def _dtypes(ranked: Sequence[Row]) -> str:
    counts = Counter(row["dtype"] for row in ranked if row["dtype"] is not None)
    return (
        f"Compared across dtypes: {_counted(counts)}; * is another than the first's. Between two of them a small "
        "difference may be the dtype's. `nas trial RUN N` says why a trial has its own."
    )


def _counted(dtypes: Counter[str]) -> str:
    return ", ".join(f"{dtype} ({count})" for dtype, count in dtypes.most_common())


# Layouts -------------------------------------------------------------------------------------------------------------


def _one_row_each(rows: Sequence[Row], columns: Sequence[str], width: int | None) -> list[str]:
    """Architecture and hyperparameters in columns; folded to share what room is left where the width is bounded."""
    sizes = _sizes(rows, columns)
    long = [c for c in ("architecture", "hyperparameters") if any(_cell(row, c) for row in rows)]
    wanted = _sizes(rows, long)
    if width is not None and long:
        room = width - sum(sizes.values()) - len(_GAP) * (len(columns) + len(long) - 1)
        wanted = _share(wanted, room)
    sizes |= wanted
    all_columns = [*columns, *long]
    lines = [_line([_heading(c) for c in all_columns], all_columns, sizes)]
    for row in rows:
        folded = [_fold(_cell(row, c), sizes[c]) if c in long else [_cell(row, c)] for c in all_columns]
        for i in range(max(map(len, folded))):
            lines.append(_line([parts[i] if i < len(parts) else "" for parts in folded], all_columns, sizes))
    return lines


def _lines_below(rows: Sequence[Row], columns: Sequence[str], width: int) -> list[str]:
    """Numbers in columns, then architecture and hyperparameters indented below them."""
    sizes = _sizes(rows, columns)
    lines = [_line([_heading(c) for c in columns], columns, sizes)]
    for row in rows:
        lines.append(_line([_cell(row, c) for c in columns], columns, sizes))
        for column in ("architecture", "hyperparameters"):
            folded = _fold(_cell(row, column), max(20, width - _INDENT))
            lines += [" " * _INDENT + part for part in folded]
    return lines


def _fold(cell: str, width: int) -> list[str]:
    """Lines of at most ``width``, broken after a layer's ">" or a hyperparameter's comma where that is possible."""
    glued = re.sub(r"(?<![>,]) (?!\w+\()", "\N{NO-BREAK SPACE}", cell)  # textwrap breaks at ordinary spaces only
    lines = textwrap.wrap(glued, width, break_on_hyphens=False, break_long_words=False, subsequent_indent="  ")
    if any(len(line) > width for line in lines):
        lines = textwrap.wrap(cell, width, break_on_hyphens=False, subsequent_indent="  ")
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines] or [""]


def _line(cells: Sequence[str], columns: Sequence[str], sizes: Mapping[str, int]) -> str:
    pairs = zip(cells, columns, strict=True)
    return _GAP.join(t.ljust(sizes[c]) if c in _LEFT_ALIGNED else t.rjust(sizes[c]) for t, c in pairs)


def _sizes(rows: Sequence[Row], columns: Sequence[str]) -> dict[str, int]:
    return {c: max(len(_heading(c)), *(len(_cell(row, c)) for row in rows)) for c in columns}


def _share(wanted: dict[str, int], room: int) -> dict[str, int]:
    """Divide ``room`` so that a column that needs little gets that, and a long one the rest."""
    if sum(wanted.values()) <= room or len(wanted) == 1:
        return {column: max(20, min(size, room)) for column, size in wanted.items()}
    first, second = wanted
    small = min(wanted[second], room * 2 // 5)
    return {first: max(20, min(wanted[first], room - small)), second: max(20, small)}


def _fitting(
    rows: Sequence[Row], width: int | None, several: bool, kept: Collection[str]
) -> tuple[list[str], list[str]]:
    """The columns of numbers that fit, and those that were left out for it: the last metrics first, ``kept`` never."""
    columns = _number_columns(rows, several)
    left_out: list[str] = []
    if width is None:
        return columns, []
    room = width if width < WIDE else width * 55 // 100
    sizes = _sizes(rows, columns)
    metrics = [c for c in columns if c.startswith("metrics.") and c.removeprefix("metrics.") not in kept]
    costs = [c for c in ("parameters", "flops", "seconds") if c in columns and c not in kept]
    spare = [*costs, *metrics]
    while spare and sum(sizes[c] for c in columns) + len(_GAP) * (len(columns) - 1) > room:
        left_out.insert(0, _heading(spare[-1]))
        columns.remove(spare.pop())
    return columns, left_out


# Columns and cells ---------------------------------------------------------------------------------------------------


def _number_columns(rows: Sequence[Row], several: bool) -> list[str]:
    metrics = list(dict.fromkeys(name for row in rows for name in row["metrics"] if name not in _SHOWN_ELSEWHERE))
    fronts = any(row["front"] is not None for row in rows)
    return [
        "rank",
        *(["front"] if fronts else []),
        *(["run"] if several else []),
        "trial",
        *([] if fronts else ["reward"]),
        *(["replicates"] if any(row["replicates"] for row in rows) else []),
        *(f"metrics.{name}" for name in metrics),
        *(c for c in ("parameters", "flops", "seconds") if any(row[c] is not None for row in rows)),
        *(["reached"] if any(not row["whole"] for row in rows) else []),
        *(["dtype"] if any(row["other_dtype"] for row in rows) else []),
    ]


def _heading(column: str) -> str:
    return {"parameters": "params", "flops": "FLOPs", "replicates": "mean"}.get(column, column.removeprefix("metrics."))


_CELLS: dict[str, Callable[[Row], str]] = {
    "reward": lambda row: text.number(row["reward"]),
    "replicates": lambda row: _mean(row["replicates"]),
    "parameters": lambda row: text.count(row["parameters"]),
    "flops": lambda row: text.count(row["flops"]),
    "seconds": lambda row: "-" if row["seconds"] is None else f"{row['seconds']:.1f}",
    "reached": lambda row: "-" if row["reached"] is None else f"{row['reached']}{' ' if row['whole'] else '*'}",
    "dtype": lambda row: "-" if row["dtype"] is None else row["dtype"] + ("*" if row["other_dtype"] else " "),
    "hyperparameters": lambda row: text.hyperparameters(row["hyperparameters"]),
}


def _mean(again: Mapping[str, Any]) -> str:
    """0.9713 ± 0.0042 (2 of 3)*: how many trainings succeeded, where that is not all; * where not all in one dtype."""
    if not again:
        return ""
    interval = "" if again["interval"] is None else f" ± {text.number(again['interval'])}"
    count, wanted = len(again["rewards"]), again["wanted"]
    mark = "*" if again["other_dtype"] else ""
    return f"{text.number(again['mean'])}{interval}{f' ({count} of {wanted})' if count < wanted else ''}{mark}"


def _cell(row: Row, column: str) -> str:
    if column.startswith("metrics."):
        return text.number(row["metrics"].get(column.removeprefix("metrics.")))
    return _CELLS[column](row) if column in _CELLS else str(row[column])


# CSV -----------------------------------------------------------------------------------------------------------------


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    match value:
        case Mapping() if value:
            for key, inner in value.items():
                yield from _flatten(inner, f"{prefix}.{key}" if prefix else str(key))
        case list() | tuple() if value:
            for index, inner in enumerate(value):
                yield from _flatten(inner, f"{prefix}.{index}")
        case Mapping() | list() | tuple():
            if prefix in _COLUMNS:
                return  # no metric, no decision, no replicate, no audit: no column
            yield prefix, "{}" if isinstance(value, Mapping) else "[]"
        case bool():
            yield prefix, "true" if value else "false"
        case _:
            yield prefix, value


_AS_NOTED = frozenset({"metrics", "spent", "noise_scale", "weight_norm"})
_NESTED = _AS_NOTED | {"audit", "replicates", "hyperparameters", "candidate", "decisions"}


def _csv_columns(flat: Sequence[Mapping[str, Any]]) -> list[str]:
    """Groups in the order of the row's fields; metrics and notes as recorded, the rest in natural order (2, 10)."""
    seen = dict.fromkeys(column for row in flat for column in row)
    columns: list[str] = []
    for group in _COLUMNS:
        nested = [column for column in seen if column.startswith(f"{group}.")]
        if group not in _AS_NOTED:
            nested.sort(key=_natural)
        columns += nested or ([] if group in _NESTED else [group])
    return columns


def _natural(column: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", column)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts]
