"""Leaderboards as people and programs read them."""

import csv
import io
import json

import pytest
from report_golden import assert_golden
from report_rows import LARGE_LINE, ROWS, row

from nas import intervals
from nas.report.tables import render


@pytest.mark.parametrize("width", [80, 120, 140, 200, None])
def test_the_table_is_as_pinned(width):
    assert_golden(render(ROWS, "table", width), f"table_{width or 'pipe'}.txt")


@pytest.mark.parametrize("format", ["csv", "json", "markdown"])
def test_the_other_formats_are_as_pinned(format):
    assert_golden(render(ROWS, format), f"leaderboard.{format}")


@pytest.mark.parametrize("width", range(80, 201))
def test_no_line_is_wider_than_the_terminal_and_no_layer_is_lost(width):
    text = render(ROWS, "table", width)
    assert max(map(len, text.splitlines())) <= width
    if width < 140:
        assert LARGE_LINE in " ".join(text.split())


def test_into_a_pipe_each_trial_is_one_line():
    lines = render(ROWS, "table", None).splitlines()
    assert sum(LARGE_LINE in line for line in lines) == 1
    assert [line.split()[1] for line in lines[1:4]] == ["12", "3", "7"]


def test_a_word_longer_than_the_terminal_is_broken_not_overflowing():
    text = render([row(1, rank=1, reward=1.0, architecture="x" * 300)], "table", 80)
    assert max(map(len, text.splitlines())) <= 80


def test_json_holds_every_row_unrounded():
    assert json.loads(render(ROWS, "json")) == ROWS


def test_csv_holds_every_value_of_json_flattened():
    # A column that is only in some rows (the momentum of sgd) must not shift or lose the others' values.
    table = list(csv.DictReader(io.StringIO(render(ROWS, "csv"))))
    assert len(table) == len(ROWS)
    for read, row_ in zip(table, ROWS, strict=True):
        for column, value in flat(row_):
            written = "" if value in (None, []) else str(value).lower() if isinstance(value, bool) else str(value)
            assert read[column] == written, column
    assert table[1]["hyperparameters.optimizer.sgd.momentum"] == ""


def flat(value, prefix=""):
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{prefix}.{key}" if prefix else key)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from flat(inner, f"{prefix}.{index}")
    elif value == {} and prefix not in ("metrics", "replicates", "audit", "spent", "noise_scale", "weight_norm"):
        yield prefix, "{}"
    elif value != {}:
        yield prefix, value


def test_commas_quotes_and_newlines_survive_csv():
    awkward = row(1, rank=1, reward=0.5, architecture='a, "b"\nc')
    assert next(csv.DictReader(io.StringIO(render([awkward], "csv"))))["architecture"] == 'a, "b"\nc'


def test_a_pipe_in_an_architecture_does_not_end_a_markdown_cell():
    line = render([row(1, rank=1, reward=0.5, architecture="a | b")], "markdown").splitlines()[2]
    assert line.replace("\\|", "").count("|") == 6


def again(*rewards, failures=(), ended=True, dtypes=(), other=False):
    mean, interval = intervals.mean(rewards) if rewards else (None, None)
    told = {"wanted": 3, "ended": ended, "mean": mean, "interval": interval}
    told |= {"rewards": list(rewards), "dtypes": list(dtypes), "other_dtype": other, "failures": list(failures)}
    return {"replicates": told}


REPLICATED = [
    row(12, rank=1, reward=0.98, **again(0.95, 0.96, 0.97)),
    row(3, rank=2, reward=0.97, **again(0.96, 0.98, failures=["diverged"])),
    row(4, rank=3, reward=0.99, **again(0.9, failures=["diverged", "lost"])),
    row(7, rank=4, reward=0.96),
    row(8, rank=5, reward=0.985, **again(failures=["error"] * 3)),
]


@pytest.mark.parametrize("width", [80, None])
def test_means_over_seeds_stand_with_their_intervals_and_what_failed(width):
    # Without the interval and the count a mean of one lucky seed would be read as one of three.
    assert_golden(render(REPLICATED, "table", width), f"replicated_{width or 'pipe'}.txt")


def test_a_mean_over_dtypes_is_marked():
    # A mean of trainings in fp32 beside one in which some fell back from fp16 would be read as of one kind.
    mixed = again(0.95, 0.96, dtypes=["float32", "bfloat16"], other=True)
    alike = again(0.96, 0.97, dtypes=["float32", "float32"])
    text = " ".join(render([row(1, rank=1, **alike), row(2, rank=2, **mixed)], "table", 100).split())
    assert "0.9550 ± 0.0635 (2 of 3)*" in text and "0.9650 ± 0.0635 (2 of 3) " in text
    assert "* is not all in the first mean's dtype: float32 (3), bfloat16 (1)." in text
    assert "dtype" not in render([row(1, rank=1, **alike)])


def test_until_replication_has_ended_it_is_said_that_ranks_are_not_by_it():
    text = render([row(12, rank=1, reward=0.98, **again(0.95, ended=False))], "table", 80)
    assert "0.9500 (1 of 3)" in text
    assert "Replication has not ended: ranks are still by the one training" in text


MIXED = [
    row(1, rank=1, reward=0.5),
    row(
        2,
        rank=2,
        reward=0.4,
        dtype="bfloat16",
        other_dtype=True,
        fallbacks=["fp8 -> bf16: no layer is large", "b -> c"],
        spent={"data": 0.25, "forward": 1.5},
    ),
    row(3, rank=3, reward=0.3, dtype=None),
]


@pytest.mark.parametrize("width", [80, 140, None])
def test_trials_of_different_dtypes_are_marked_in_a_table(width):
    # A rank between numbers of two precisions would else be believed as one between networks.
    text = render(MIXED, "table", width)
    lines = text.splitlines()
    assert "dtype" in lines[0].split() and "bfloat16*" in text and "float32*" not in text
    assert "Compared across dtypes: float32 (1), bfloat16 (1);" in " ".join(text.split())
    alike = render(MIXED[:1], "table", width)
    assert "dtype" not in alike


def test_trials_of_different_dtypes_are_marked_in_the_other_formats():
    # As above, for a page and for programs; and every fallback leaves with them.
    page = render(MIXED, "markdown")
    assert "| bfloat16* |" in page and "Compared across dtypes" in page
    read = list(csv.DictReader(io.StringIO(render(MIXED, "csv"))))
    assert [(one["dtype"], one["other_dtype"]) for one in read] == [
        ("float32", "false"),
        ("bfloat16", "true"),
        ("", "false"),
    ]
    assert read[1]["fallbacks.0"] == "fp8 -> bf16: no layer is large" and read[1]["fallbacks.1"] == "b -> c"
    assert [(one["spent.data"], one["spent.forward"]) for one in read] == [("", ""), ("0.25", "1.5"), ("", "")]
    assert [one["other_dtype"] for one in json.loads(render(MIXED, "json"))] == [False, True, False]


def test_runs_are_named_only_where_there_are_several():
    pair = [row(1, rank=1, reward=0.5, run="one"), row(1, rank=2, reward=0.4, run="two")]
    assert " run " not in render(pair[:1]).splitlines()[0]
    heading, *lines = render(pair).splitlines()
    assert heading.split()[1] == "run"
    assert [line.split()[1] for line in lines] == ["one", "two"]


@pytest.mark.parametrize("format", ["table", "csv", "json", "markdown"])
def test_no_rows_and_only_failures_are_said_not_crashed(format):
    assert render([], format)
    failures = [row(n, state="failed", failure="error") for n in range(25)]
    text = render(failures, format)
    if format in ("table", "markdown"):
        assert "No trial has completed." in text
        assert "and 5 more" in text
