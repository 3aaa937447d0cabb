"""Tables from CSV: the rules of the module's docstring, one by one; wrong files; thousands of damaged ones."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas.errors import InputError
from nas.train import sources
from nas.train.settings import CsvTask
from nas.train.sources import Arrays

PENGUINS = Path(sources.__file__).parent.parent / "datasets" / "penguins.csv"


def table(folder: Path, text: str | bytes, target: str = "y", **given: Any) -> CsvTask:
    file = folder / "table.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return CsvTask(csv=str(file), target=target, **given)


def rows(number: int, row: str = "{i},{y}") -> str:
    return "".join(row.format(i=i, y=i % 2) + "\n" for i in range(number))


def both(task: CsvTask) -> tuple[Arrays, Arrays]:
    return sources.load(task, "train"), sources.load(task, "test")


def everything(task: CsvTask) -> np.ndarray:
    """Inputs of all rows, whose order the division has changed: sorted."""
    return np.concatenate([part.inputs for part in both(task)])


def test_numbers_are_standardised_by_the_training_part(tmp_path: Path) -> None:
    # Statistics that include the test part would tell the search about it.
    task = table(tmp_path, "x,y\n" + "".join(f"{i * i},{i % 2}\n" for i in range(50)))
    train, test = both(task)
    assert train.inputs.shape == (40, 1) and test.inputs.shape == (10, 1)
    assert train.inputs.mean() == pytest.approx(0, abs=1e-6) and train.inputs.std() == pytest.approx(1, abs=1e-6)
    assert abs(test.inputs.mean()) > 1e-3
    assert train.mean == (0.0,) and train.deviation == (1.0,)


def test_large_numbers_keep_their_digits(tmp_path: Path) -> None:
    # In fp32 seconds since 1970 are all the same.
    task = table(tmp_path, "x,y\n" + "".join(f"{1_700_000_000 + i},{i % 2}\n" for i in range(50)))
    assert len(np.unique(everything(task))) == 50


def test_words_become_a_feature_each_and_missing_ones_none(tmp_path: Path) -> None:
    # One rule for what a network sees of a word; a missing one must be like none of them.
    words = ["b", "a", "", "c"]
    task = table(tmp_path, "x,y\n" + "".join(f"{words[i % 4]},{i // 4 % 2}\n" for i in range(40)))
    assert sources.describe(task)["features"] == 3
    found, counts = np.unique(everything(task), axis=0, return_counts=True)
    assert found.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]] and counts.tolist() == [10] * 4


def test_missing_numbers_are_the_mean_and_are_told(tmp_path: Path) -> None:
    # Without the second feature "missing" and "average" would be the same to the network.
    task = table(tmp_path, "x,y\n" + "".join(f"{'NA' if i % 4 == 0 else i},{i // 2 % 2}\n" for i in range(40)))
    inputs = everything(task)
    assert inputs.shape == (40, 2)
    missing = inputs[:, 1] == 1
    assert missing.sum() == 10 and (inputs[missing, 0] == 0).all() and (inputs[~missing, 0] != 0).all()


@pytest.mark.parametrize("word", ["", "NA", "N/A", "NaN", "nan", "null", "None", "?", "  "])
def test_every_way_to_write_nothing(tmp_path: Path, word: str) -> None:
    # A file that says "NaN" must not make a category of it.
    task = table(tmp_path, "x,y\n" + "".join(f"{word if i == 5 else i},{i % 2}\n" for i in range(40)))
    assert sources.describe(task)["features"] <= 2


def test_numbers_may_be_names(tmp_path: Path) -> None:
    # A postal code is no quantity.
    text = "x,y\n" + "".join(f"{[10, 20, 90][i % 3]},{i % 2}\n" for i in range(60))
    assert sources.describe(table(tmp_path, text))["features"] == 1
    assert sources.describe(table(tmp_path, text, categorical=["x"]))["features"] == 3


def test_columns_that_say_nothing_are_left_out(tmp_path: Path) -> None:
    # A constant column would be divided by its deviation, 0; and an identifier would be learned by heart.
    text = "name,constant,empty,word,x,y\n" + "".join(f"n{i},3,,w,{i},{i % 2}\n" for i in range(40))
    assert sources.describe(table(tmp_path, text, ignore=["name"]))["features"] == 1


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", "b"], "classification"),
        (["0", "1"], "classification"),
        (["0.5", "1"], "regression"),
        ([str(i) for i in range(20)], "classification"),
        ([str(i) for i in range(21)], "regression"),
        (["1e2", "1e3"], "classification"),
    ],
)
def test_the_kind_is_inferred(tmp_path: Path, values: list[str], kind: str) -> None:
    # The rule is documented; a change of it would change what `task: {csv: ...}` means.
    text = "x,y\n" + "".join(f"{i},{values[i % len(values)]}\n" for i in range(210))
    assert sources.describe(table(tmp_path, text))["kind"] == kind


def test_classes_are_numbered_in_order(tmp_path: Path) -> None:
    # As words 10 would come before 9, and a confusion matrix be unreadable.
    train, test = both(
        table(tmp_path, "x,y\n" + "".join(f"{[9, 10, 2][i % 3]},{[9, 10, 2][i % 3]}\n" for i in range(60)))
    )
    for part in (train, test):
        ranks = {float(x): int(y) for x, y in zip(part.inputs[:, 0], part.targets, strict=True)}
        assert [ranks[x] for x in sorted(ranks)] == [0, 1, 2]
    assert np.bincount(test.targets).tolist() == [4, 4, 4]  # a fifth of each


def test_regression_targets_are_standardised_and_lead_back(tmp_path: Path) -> None:
    # A network that starts near 0 would spend its epochs on the way to 4,000 g; rmse is to be in grams.
    task = table(tmp_path, "x,y\n" + "".join(f"{i},{4000 + 10 * i}.5\n" for i in range(100)))
    train, test = both(task)
    assert train.targets.shape == (80, 1) and train.targets.dtype == np.float32
    assert train.targets.mean() == pytest.approx(0, abs=1e-5) and train.targets.std() == pytest.approx(1, abs=1e-5)
    step = np.diff(np.sort(np.concatenate([train.targets, test.targets])[:, 0])) * sources.describe(task)["deviation"]
    assert step == pytest.approx(10, rel=1e-3)


def test_rows_without_a_target_are_left_out(tmp_path: Path) -> None:
    # They can neither teach nor judge.
    task = table(tmp_path, "x,y\n" + "".join(f"{i},{'' if i < 7 else i % 2}\n" for i in range(47)))
    assert len(everything(task)) == 40


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_what_separates_fields_is_seen_from_the_header(tmp_path: Path, delimiter: str) -> None:
    # Half of Europe's spreadsheets write semicolons.
    text = "a,b,y\n" + "".join(f"{i},w{i % 2},{i % 2}\n" for i in range(40))
    assert sources.describe(table(tmp_path, text.replace(",", delimiter)))["features"] == 3


def test_quotes_bom_line_ends_and_empty_lines(tmp_path: Path) -> None:
    # What spreadsheets write, on any system.
    lines = ['"a, b",y'] + [f'"w{i % 2}\nmore, ""quoted""",{i % 2}' for i in range(40)]
    task = table(tmp_path, ("\ufeff" + "\r\n\r\n".join(lines) + "\r\n").encode())
    assert sources.describe(task) == {"kind": "classification", "classes": 2, "features": 2, "outputs": 2}


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    # A warm child must not train on yesterday's table.
    assert sources.describe(table(tmp_path, "x,y\n" + rows(40)))["features"] == 1
    assert sources.describe(table(tmp_path, "x,z,y\n" + rows(40, "{i},{i}.5,{y}")))["features"] == 2


def test_the_shipped_table() -> None:
    # penguins.csv has all there is: numbers, words, missing ones, a column of numbers that are names.
    task = CsvTask(csv=str(PENGUINS), target="body_mass_g", categorical=("year",))
    described = sources.describe(task)
    assert described["kind"] == "regression" and described["features"] == 14
    species = CsvTask(csv=str(PENGUINS), target="species")
    assert sources.describe(species)["classes"] == 3
    assert all(np.isfinite(part.inputs).all() for part in (*both(task), *both(species)))


WRONG: list[tuple[str | bytes, dict[str, Any], str]] = [
    ("", {}, r"table.csv: is empty; its first line must name the columns"),
    ("\n\n", {}, r"table.csv: is empty"),
    ("x,y\n\n", {}, r"table.csv: has no rows below its first line"),
    ("x,y\n" + rows(9), {}, r"9 rows have a 'y'"),
    ("y\n" + "1\n" * 20, {}, r"table.csv:1: the header names one column \('y'\)"),
    ("x,x,y\n" + rows(20, "1,{i},{y}"), {}, r"table.csv:1: the header names two columns 'x'"),
    ("x,,y\n" + rows(20, "1,{i},{y}"), {}, r"table.csv:1: the header has no name for column 2"),
    ("x,y\n" + rows(20), {"target": "z"}, r"`target` names the column 'z', and there is none"),
    ("price,y\n" + rows(20), {"target": "pric"}, r"did you mean 'price'\?"),
    ("x,y\n" + rows(20), {"ignore": ["w"]}, r"`ignore` names the column 'w'"),
    ("x,y\n" + rows(20), {"categorical": ["w"]}, r"`categorical` names the column 'w'"),
    ("x,y\n" + rows(20), {"ignore": ["y"]}, r"the target 'y' can be neither ignored nor listed"),
    ("x,y\n" + rows(20), {"ignore": ["x"]}, r"no column says anything"),
    ("x,y\n" + rows(20, "7,{y}"), {}, r"no column says anything"),
    (
        "x,y\n" + rows(20) + "1,2,3\n" + rows(3) + "4\n",
        {},
        r"table.csv:22: 3 fields, and the header has 2\n.*:26: 1 fi",
    ),
    ("x,y\n" + rows(20) + "oops,1\n", {}, r"table.csv:22: the column 'x' holds numbers, and 'oops' is none; mend it"),
    ("x,y\n" + rows(20) + "1e400,1\n", {}, r"table.csv:22: 1e400 in the column 'x' is larger than any number"),
    ("x,y\n" + rows(400, "w{i},{y}"), {}, r"the column 'x' has \d+ different values, more than 256; .*`ignore: \[x\]`"),
    ("x,y\n" + rows(20, "{i},1"), {}, r"the target 'y' is always '1': nothing to learn"),
    ("x,y\n" + rows(20, "{i},1"), {"kind": "regression"}, r"the target 'y' is always 1: nothing to learn"),
    ("x,y\n" + rows(20) + "5,7\n", {}, r"table.csv:22: 1 row\(s\) have '7' as 'y', and 3 of each class are needed"),
    ("x,y\n" + rows(20, "{i},w{y}"), {"kind": "regression"}, r"table.csv:2: the column 'y' needs a number here"),
    ("x,y\n" + rows(20) + '"5,7\n', {}, r"table.csv:\d+: is no sound CSV: unexpected end of data"),
    ("x,y\n" + rows(20) + '"5"6,7\n', {}, r"table.csv:22: is no sound CSV"),
    (b"x,y\n" + rows(20).encode() + b"\xe9,1\n", {}, r"table.csv:22: is no UTF-8: byte 0xe9; save it as UTF-8"),
    ("x,y\n".encode("utf-16") + rows(20).encode("utf-16-le"), {}, r"table.csv:1: is no UTF-8"),
    (b"x,y\n1,\x00\n", {}, r"table.csv:2: holds a zero byte"),
]


@pytest.mark.parametrize(("text", "given", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_wrong_tables_are_named_with_their_line(
    tmp_path: Path, text: str | bytes, given: dict[str, Any], message: str
) -> None:
    # A person has ten thousand rows, and one of them is wrong.
    with pytest.raises(InputError, match=message):
        sources.describe(table(tmp_path, text, **{"target": "y", **given}))


def test_files_that_are_none(tmp_path: Path) -> None:
    # A traceback would be read as our bug.
    for path in (tmp_path / "absent.csv", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(InputError, match=r"can not be read|is a folder"):
            sources.describe(CsvTask(csv=str(path), target="y"))


# Made up and damaged -------------------------------------------------------------------------------------------------

VALUES = st.sampled_from(["1", "2.5", "-3e2", "a", "b c", "", "NA", '"q,q"', "1e999", "é", "0", "10", "x1"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(VALUES, min_size=3, max_size=3), min_size=10, max_size=40))
def test_any_table_of_such_values_is_finite_or_refused(tmp_path: Path, cells: list[list[str]]) -> None:
    # Whatever stands in a file: numbers that can be trained on, or an error that says what is wrong.
    task = table(tmp_path, "a,b,y\n" + "".join(",".join(row) + "\n" for row in cells))
    try:
        described = sources.describe(task)
    except InputError as error:
        assert str(tmp_path) in str(error)
        return
    for part in both(task):
        assert part.inputs.shape[1] == described["features"] and np.isfinite(part.inputs).all()
        assert np.isfinite(part.targets).all() and len(part.targets) == len(part.inputs)


@pytest.mark.slow
def test_damaged_files_are_refused_quickly_and_never_with_a_traceback(tmp_path: Path) -> None:
    # Bytes lost, doubled, swapped: what a broken download or an editor does.
    rng = random.Random(1)
    whole = PENGUINS.read_bytes()
    answers = set()
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 8)):
            at = rng.randrange(len(damaged))
            match rng.randrange(5):
                case 0:
                    damaged[at] = rng.randrange(256)
                case 1:
                    del damaged[at : at + rng.randrange(1, 200)]
                case 2:
                    damaged[at:at] = damaged[rng.randrange(len(damaged)) :][: rng.randrange(1, 200)]
                case 3:
                    damaged[at:at] = rng.choice([b'"', b"\n", b",", b"\x00", b"\xff", b";;;", b"NaN,inf,", b"\r"])
                case 4:
                    del damaged[at:]
            if not damaged:
                break
        started = time.perf_counter()
        try:
            sources.describe(table(tmp_path, bytes(damaged), "body_mass_g"))
            answers.add("read")
        except InputError as error:
            answers.add("refused")
            assert str(tmp_path) in str(error)
        assert time.perf_counter() - started < 1
    assert answers == {"read", "refused"}
