"""docs/bench.md, what a person with a table reads, says what the code does: keys, defaults, options, the example."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from nas import documents
from nas.bench import command, spec
from nas.cli.benching import bench

PAGE = (Path(__file__).parents[2] / "docs" / "bench.md").read_text()


def table(first: str) -> dict[str, list[str]]:
    """Cells of the rows of the table whose first column is called so, by the word in their own first cell."""
    (body,) = re.findall(rf"^\| {first} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines()]
    return {row[0].strip("`"): row for row in rows}


def default(cell: str) -> Any:
    return ... if cell == "required" else documents.parse(f"x: {cell.strip('`')}", "page").data["x"]


@pytest.mark.parametrize(("first", "part"), [("benchmark", spec.Spec), ("protocol", spec.Protocol)])
def test_every_key_stands_there_with_its_default(first, part):
    """Lost without it: a key that a person needs is known to the code alone."""

    def plain(value: Any) -> Any:
        return value.model_dump() if isinstance(value, spec.Part) else value

    known = {key: ... if field.is_required() else plain(field.default) for key, field in part.model_fields.items()}
    assert {key: default(row[1]) for key, row in table(first).items()} == known
    inner = [part for part in vars(spec).values() if inspect.isclass(part) and issubclass(part, spec.Part)]
    assert not [key for one in inner for key in one.model_fields if f"`{key}`" not in PAGE and f"{key}: " not in PAGE]


def test_every_option_and_measure_stands_there():
    options = [f"--{name}" for name in inspect.signature(bench).parameters if name != "spec"]
    assert sorted(table("option")) == sorted(options)
    assert list(table("measure")) == list(get_args(spec.Report))


def test_the_example_plays_and_prints_what_the_page_shows(tmp_path):
    """Lost without it: what a person copies is refused, or looks otherwise. Numbers may change with a controller."""
    raw, text, shown = (re.search(rf"^```{kind}\n(.*?)^```", PAGE, re.M | re.S)[1] for kind in ("csv", "yaml", "text"))
    (tmp_path / "mine.csv").write_text(raw)
    (tmp_path / "mine.yaml").write_text(text)
    words = re.search(r"--controllers (\S+) --seeds 20\n", PAGE)[1]
    wishes = command.Wishes(str(tmp_path / "mine.yaml"), controllers=words, seeds=20, processes=1, run=tmp_path / "run")
    page = command.play(wishes, lambda done, total: None).page()

    def blanked(page: str) -> str:
        return re.sub(r" +(inf|[\d.e-]+)(?=,| |\n)", " #", page)

    assert blanked(page) == blanked(shown)
