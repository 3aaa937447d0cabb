"""Whatever a file holds, a person gets one clear message: no traceback, in a second, in 200 MB, with line and column.

Mutants of the shipped files (mutants.py) are read in processes of their own (read_mutants.py): one that took all memory
would else take the tests along. What they found, once mended, is kept here and in tests/space/wrong by itself.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from nas import config, documents, driver, inspect, plan
from nas.errors import MOST_PROBLEMS, InputError
from nas.space import Space

HERE = Path(__file__).parent
EVERY_RUN, ALL, SHARDS = 300, 10_000, 10
TODAY = str(int(time.time() // 86_400) % SHARDS)
SECONDS, MEMORY = 1.0, 200 * 2**20  # that one file may take

Reading = dict[str, Any]  # see read_mutants.Reading


# Mutants -------------------------------------------------------------------------------------------------------------


def readings(first: int, end: int, folder: Path) -> list[Reading]:
    program = [sys.executable, str(HERE / "read_mutants.py"), str(first), str(end), str(folder)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=170)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"ended at mutant {first + len(found)}: {done.stderr[-2000:]}"
    return found


def assert_all_are_bearable(found: list[Reading], folder: Path) -> None:
    def named(reading: Reading) -> str:
        return f"mutant {reading['number']} ({reading['what']})"

    assert [f"{named(one)}:\n{one['traceback']}" for one in found if one["traceback"]] == []
    assert [(named(one), problem) for one in found for problem in one["problems"] or () if not is_placed(problem)] == []
    assert [named(one) for one in found if one["peak"] > MEMORY][:1] == []
    slow = [one for one in found if one["seconds"] > SECONDS]  # again, as another program may have held the caches
    again = [one for slow_one in slow for one in readings(slow_one["number"], slow_one["number"] + 1, folder)]
    assert [(named(one), one["seconds"]) for one in again if one["seconds"] > SECONDS] == []


def is_placed(problem: tuple[str, str, int, int]) -> bool:
    """In YAML at a line and column; in a table, which has other rules, at a line."""
    _, file, line, column = problem
    return line > 0 and (column > 0 or not file.endswith(".yaml"))


def test_hundreds_of_mutants_of_the_shipped_files_are_refused_clearly_or_right(tmp_path: Path) -> None:
    found = readings(0, EVERY_RUN, tmp_path)
    assert_all_are_bearable(found, tmp_path)
    meant = [one for one in found if one["level"] == "meaning"]
    refused = [one for one in meant if one["parses"] and one["problems"]]
    assert len([one for one in meant if one["parses"]]) > EVERY_RUN / 2, "half of all break only the meaning"
    assert len(refused) > len(meant) / 2, "and most of these do break it"
    assert len([one for one in found if not one["problems"]]) > EVERY_RUN / 20, "but it is not refused whatever comes"


@pytest.mark.slow
@pytest.mark.timeout(1200)  # for all of them
def test_ten_thousand_mutants_a_shard_a_day(tmp_path: Path) -> None:
    """All in ten days; ``NAS_MUTANTS=3`` reads a shard on any day, ``NAS_MUTANTS=all`` every one (minutes)."""
    wanted = os.environ.get("NAS_MUTANTS", TODAY)
    size = ALL // SHARDS
    for shard in range(SHARDS) if wanted == "all" else [int(wanted)]:
        assert_all_are_bearable(readings(shard * size, (shard + 1) * size, tmp_path), tmp_path)


# What they found -----------------------------------------------------------------------------------------------------


def refused(call: Callable[[], object]) -> list[str]:
    with pytest.raises(InputError) as raised:
        call()
    return [str(problem) for problem in raised.value.problems]


@pytest.mark.parametrize(
    "text",
    [
        "a: [" + "1, " * 80_000 + "1]",
        "a: 1\n" * 40_000,
        "".join(f"k{i}: 1\n" for i in range(20_000)),
        "[" * 100_000,
        "{a: " * 10_000,
        "hyperparameters: {a: {subset: [" + ", ".join(map(str, range(3000))) + "]}}",
        "hyperparameters: {a: {choice: [" + ", ".join(map(str, range(9000))) + "]}}",
        "hyperparameters: {a: {choice: [" + "1, " * 5000 + "1]}}",
        "architecture: [{repeat: {times: 1000, of: [" + "a, " * 500 + "a]}}]",
        "architecture: [{repeat: {times: 1000, of: {a: '=nothing'}}}]",
        "define: {" + ", ".join(f"d{i}: {{choice: [1, 2]}}" for i in range(900)) + "}\nhyperparameters: {a: '=d0'}",
    ],
    ids=["list", "doubled", "keys", "brackets", "braces", "subset", "choice", "equal", "unfolded", "repeated",
         "defines"],
)  # fmt: skip
def test_no_text_takes_a_second(text: str) -> None:
    """Lost without it: bounds that are too wide, and loops within loops over what a file holds."""

    def read() -> float:
        started = time.process_time()
        with suppress(InputError):
            Space.read(documents.parse(text[: documents.MOST_BYTES], "f")).count()
        return time.process_time() - started

    assert read() < SECONDS or read() < SECONDS


def test_no_more_problems_are_told_than_a_person_reads() -> None:
    """A wrong first line can make all others wrong: 10,000 messages hide the one that matters."""
    for text in ("a: 1\n" * 5000, "hyperparameters: {a: {choice: [" + "1, " * 500 + "1]}}"):
        found = refused(lambda text=text: Space.read(documents.parse(text, "f")))  # type: ignore[misc]
        assert len(found) == MOST_PROBLEMS + 1
        assert found[-1].endswith("more than 100 problems; the others when these are mended")


@pytest.mark.parametrize(
    "layer", ["{conv: {filters: 8, kernel: 1e308}}", "flatten, {mlp_block: {ratio: 1e308}}", "{conv: 1e15}"]
)
def test_a_layer_larger_than_any_machine_is_refused(layer: str, tmp_path: Path) -> None:
    """Lost without it: an OverflowError from deep within torch, or from writing the number."""
    file = tmp_path / "space.yaml"
    file.write_text(f"architecture: [{layer}, flatten, {{linear: 10}}]\n")
    task = ["kind=classification", "classes=10", "channels=1", "height=8", "width=8"]
    (problem,) = refused(lambda: inspect.open_space(str(file), task=task, costs=True))
    assert problem.startswith(f"{file}:1:")
    assert "1e+308" in problem or "1000000000000000" in problem


# What is no file -----------------------------------------------------------------------------------------------------


def odd_names(folder: Path) -> dict[str, str]:
    """Names by what they are. None of them is a file that can be read as YAML."""
    (folder / "folder.yaml").mkdir()
    (folder / "loop.yaml").symlink_to(folder / "loop.yaml")
    (folder / "broken.yaml").symlink_to(folder / "nothing")
    (folder / "empty.yaml").touch()
    (folder / "binary.yaml").write_bytes(bytes(range(256)) * 16)
    (folder / "utf16.yaml").write_bytes("name: x\n".encode("utf-16"))
    (folder / "large.yaml").write_bytes(b"#" * (documents.MOST_BYTES + 1))
    os.mkfifo(folder / "pipe.yaml")
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(os.path.relpath(folder / "socket.yaml"))
    names = [
        f"{name}.yaml" for name in ("folder", "loop", "broken", "empty", "binary", "utf16", "large", "pipe", "socket")
    ]
    special = [
        "",
        ".",
        "/",
        "/dev/null",
        "/dev/zero",
        "/dev/stdin",
        "x" * 300,
        "x/" * 3000,
        "a\0b",
        "~no-one/x",
        "nothing",
    ]
    return {name: str(folder / name) for name in names} | {name: name for name in special}


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NAS_DATA", raising=False)
    return odd_names(tmp_path)


def test_what_is_no_file_is_refused_as_a_space(odd: dict[str, str]) -> None:
    for name in odd.values():
        assert len(refused(lambda name=name: inspect.open_space(name))) == 1  # type: ignore[misc]


def test_what_is_no_file_is_refused_as_a_config(odd: dict[str, str]) -> None:
    for name in odd.values():
        assert len(refused(lambda name=name: config.load(name))) == 1  # type: ignore[misc]


KEYS = {
    "space": "space: {}\ntask: {{dataset: digits}}\n",
    "latency_table": "space: moe_mlp\ntask: {{dataset: digits}}\nlatency_table: {}\n",
    "csv": "space: mlp_tabular\ntask: {{csv: {}, target: x}}\n",
    "text": "space: recurrent_text\ntask: {{text: {}}}\n",
    "npz": "space: mlp_tabular\ntask: {{npz: {}}}\n",
    "images": "space: digits_cnn\ntask: {{images: {}}}\n",
    "plugin": "space: digits_cnn\ntask: {{plugin: {}}}\n",
}


@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_file_is_refused_within_a_config_at_its_place(key: str, odd: dict[str, str]) -> None:
    """Lost without it: a pipe that is waited for, /dev/zero read to its end, a name too long as a traceback."""
    for what, name in odd.items():
        file = Path("config.yaml")
        file.write_text(KEYS[key].format(json.dumps(name)))
        for problem in refused(lambda file=file: driver.machine(plan.plan(config.load(file)))):  # type: ignore[misc]
            in_it = name if what in ("binary.yaml", "utf16.yaml", "large.yaml", "empty.yaml") else "config.yaml"
            assert problem.startswith(tuple(f"{file}:{line}:" for file in ("config.yaml", in_it) for line in (1, 2, 3)))
            assert len(problem) < 600


# Through the door ----------------------------------------------------------------------------------------------------

NO_CHOICE = "name: x\nhyperparameters: {rate: {choise: [1, 2]}}\n"


@pytest.mark.parametrize(
    ("command", "text", "place"),
    [
        ("space check", NO_CHOICE.encode(), "2:26"),
        ("space show", b"a: &a [" + b"*a, " * 9 + b"]", "1:8"),
        ("space count", b"hyperparameters: {a: 1e400}", "1:22"),
        ("space sample", b"hyperparameters: " + b"[" * 10_000, "1:82"),
        ("space check", "name: é\n".encode("latin-1"), "1:7"),
        ("search", b"space: digits_cnn\ntask: {csv: nothing.csv, target: x}\n", "2:7"),
        ("search --smoke", b"space: digits_cnn\ntask: {dataset: digits}\nsead: 1\n", "3:1"),
    ],
)
def test_the_command_line_says_where_and_ends_with_2(command: str, text: bytes, place: str, tmp_path: Path) -> None:
    word, *options = command.split()
    if word == "space":
        word, options = "space " + options[0], []
    (tmp_path / "wrong.yaml").write_bytes(text)
    program = [sys.executable, "-m", "nas", *word.split(), "wrong.yaml", *options]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert f"wrong.yaml:{place}: " in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["wrong.yaml"], "nothing is begun"
