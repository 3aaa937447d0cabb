"""Strict YAML, places, validation against models, durations and sizes."""

import time
from pathlib import Path
from typing import Literal

import numpy
import pytest
from pydantic import BaseModel, ConfigDict

from nas import documents
from nas.amounts import Bytes, Seconds, parse_bytes, parse_seconds
from nas.errors import InputError


def refused(text: str) -> str:
    with pytest.raises(InputError) as raised:
        documents.parse(text, "f")
    return str(raised.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E3", 1000.0), (".5", 0.5), ("1.", 1.0), ("-1.5", -1.5), ("+3", 3), ("010", 10),
        ("0o17", 15), ("0x1F", 31), ("100_000", 100_000), ("1_000.5", 1000.5), ("1__0", "1__0"), ("_1", "_1"),
        ("0b11", "0b11"),
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("true", True), ("False", False),
        ("tRUE", "tRUE"), ("null", None), ("~", None), ("12:30:45", "12:30:45"), ("2020-01-01", "2020-01-01"),
        ("=", "="), ("=width", "=width"), ("=min(x, 64)", "=min(x, 64)"), ("'1'", "1"), ('"no"', "no"),
        ("1.2.3", "1.2.3"), ("-", [None]), ("é", "é"), ("1e", "1e"), ("e3", "e3"), (".", "."), ("+", "+"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    """Lost without it: a learning rate of 1e-3 that is a string, an option `no` that is false."""
    read = documents.parse(f"a: {text}" if text != "-" else "a:\n  -", "f").data["a"]
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: the key 'a' stands here a second time; it was given in line 1"),
        ("a: !!int x", "f:1:4: the tag !!int is not allowed"),
        ("a: !x {b: 1}", "f:1:4: the tag !x is not allowed"),
        ("!k a: 1", "f:1:1: the tag !k is not allowed"),
        ("a: .inf", "f:1:4: .inf is not a finite number"),
        ("a: .NaN", "f:1:4: .NaN is not a finite number"),
        ("a: 1e999", "f:1:4: 1e999 is too large"),
        ("a: 9223372036854775808", "f:1:4: 9223372036854775808 is beyond 2^63 - 1, the largest integer; write 9.2"),
        ("a: " + "9" * 5000, "f:1:4: a number of more than 100 digits"),
        ("1: a", "f:1:1: the key 1 is not a word"),
        ("true: a", "f:1:1: the key true is not a word"),
        ("? [a]\n: 1", "f:1:3: a key must be a word"),
        ("<<: {a: 1}", "f:1:1: merge keys (<<) are not part of YAML 1.2"),
        ("a: *b", "f:1:4: *b names no anchor"),
        ("a: &b [1, *b]", "f:1:11: *b stands inside what it names"),
        ("a: 1\n---\nb: 2", "f:2:1: a second document begins here"),
        ("a: \x00", "f:1:4: character U+0000 is not allowed"),
        ("é: 1\nb: \x07", "f:2:4: character U+0007 is not allowed"),
        ('a: "\\ud800"', "f:1:4: half of a surrogate pair is no character"),
        ("", "f:1:1: the file is empty"),
        ("# nothing\n", "f:1:1: the file is empty"),
        ("a: [1", "f:1:6: not YAML: a [ is not closed"),
        ("a: {b: 1", "f:1:9: not YAML: a { is not closed"),
        ("a: b: c", "f:1:5: not YAML: a second ': ' in one value"),
        ("a:\n\tb: 1", "f:2:1: not YAML: a tab"),
        ("[" * 70, "nested deeper than 64 levels"),
        ("{a: =min(w, 64)}", "f:1:5: inside { } or [ ] YAML ends this expression at its comma; quote it: write"),
        ("{a: =min(w, 64)}", 'write "=min(w, 64)"'),
        ("[=f(a, g(b, c)), 1]", 'write "=f(a, g(b, c))"'),
        ("{a: =min(w, 64}", "put quotes around it"),
    ],
)  # fmt: skip
def test_what_is_refused_and_where(text: str, message: str) -> None:
    assert message in refused(text)


def test_all_problems_of_a_file_are_told_together() -> None:
    assert len(refused("a: .inf\nb: !x 1\na: 2\nc: {d: =min(a, b), e: =max(a, b)}").splitlines()) == 5


def test_places_are_those_of_values_and_of_keys() -> None:
    document = documents.parse("a:\n  - {b: 1, c: &x [2]}\n  - *x\n", "f")
    assert document.place(()) == (1, 1)
    assert document.place(("a", 0, "c", 0)) == (2, 19)
    assert document.place_of_key(("a", 0, "c")) == (2, 12)
    assert document.place(("a", 1)) == (3, 5), "an alias stands where it is used"
    assert document.place(("a", 1, 0)) == (2, 19), "and what it holds where it was written"
    assert document.place(("a", 0, "nothing", 3)) == (2, 5), "the nearest place above"
    assert documents.plain({"a": 1}).place(("a",)) == (0, 0)


def test_an_alias_is_a_copy() -> None:
    """Lost without it: --set on one key of a config changes another."""
    data = documents.parse("a: &x {b: 1}\nc: *x", "f").data
    data["a"]["b"] = 2
    assert data["c"] == {"b": 1}


def test_bombs_cost_nothing() -> None:
    wide = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"a{i + 1}: &a{i + 1} [{','.join([f'*a{i}'] * 9)}]\n" for i in range(9)
    )
    deep = "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} {'[' * 50}*a{i}{']' * 50}\n" for i in range(200))
    started = time.monotonic()
    assert "more than 8,000 values" in refused(wide)
    assert "nested deeper than 64 levels" in refused(deep)
    assert "is larger than" in refused("a" * (documents.MOST_BYTES + 1))
    assert time.monotonic() - started < 5


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: 1\nb: caf\u00e9".encode("latin-1"))
    (tmp_path / "large.yaml").write_bytes(b"#" * (documents.MOST_BYTES + 1))
    (tmp_path / "wide.yaml").write_bytes("a: 1".encode("utf-16"))
    (tmp_path / "marked.yaml").write_bytes("a: 1".encode("utf-8-sig"))
    for name, message in [
        ("", "is a folder; give a YAML file"),
        ("none.yaml", "none.yaml: no such file"),
        ("latin.yaml", "latin.yaml:2:7: byte 0xe9 is not UTF-8"),
        ("wide.yaml", "wide.yaml:1:1: byte 0xff is not UTF-8"),
        ("large.yaml", "is larger than 262,144 bytes"),
        ("nul\0.yaml", "cannot be read"),
    ]:
        with pytest.raises(InputError) as raised:
            documents.read(tmp_path / name)
        assert message in str(raised.value)
    assert documents.read(tmp_path / "marked.yaml").data == {"a": 1}


def test_plain_takes_what_json_has_and_names_what_it_has_not() -> None:
    given = {"a": (1, numpy.float64(2.5), numpy.int32(3)), "b": None}
    assert documents.plain(given).data == {"a": [1, 2.5, 3], "b": None}
    loop: list = []
    loop.append(loop)
    for bad, message in [
        ({"a": [1, object()]}, "a[1]: a object has no place here"),
        ({"a": float("nan")}, "a: nan is not a finite number"),
        ({"a": 10**400}, "a: an integer beyond 2^63 - 1; give it as a float"),
        ({1: 2}, "the key 1 must be a string"),
        ({"a": loop}, "nested deeper than 64 levels"),
        ({"a": "\ud800"}, "a: a str has no place here"),
    ]:
        with pytest.raises(InputError) as raised:
            documents.plain(bad)
        assert message in str(raised.value)


# Models --------------------------------------------------------------------------------------------------------------


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: Literal["local", "slurm"] = "local"
    wait: Seconds = 1.0
    memory: Bytes | None = None


class Whole(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    part: Part = Part()
    parts: tuple[Part, ...] = ()
    folder: Path = Path()
    either: Part | str = ""
    count: int


def test_a_model_is_filled_from_a_document() -> None:
    document = documents.parse("part: {wait: 1h30m, memory: 4G}\nparts: [{wait: 5}]\nfolder: x/y\ncount: 3", "f")
    whole = documents.validate(Whole, document)
    assert whole == Whole(
        part=Part(wait=5400.0, memory=4 * 1024**3), parts=(Part(wait=5.0),), folder=Path("x/y"), count=3
    )
    assert documents.validate(Part, document, at=("parts", 0)) == Part(wait=5.0)


def test_every_problem_of_a_model_has_its_place_and_its_remedy() -> None:
    text = "part: {kind: slorm, wiat: 3, wait: soon}\nparts:\n  - {memory: -1}\n  - {knd: local}\n"
    text += "either: {x: 1}\ncount: '3'\n"
    with pytest.raises(InputError) as raised:
        documents.validate(Whole, documents.parse(text, "f"))
    assert sorted(str(raised.value).splitlines()) == [
        "f:1:14: 'slorm' is not allowed; did you mean 'slurm'? (allowed: local, slurm)",
        "f:1:21: unknown key 'wiat'; did you mean 'wait'? (allowed: kind, memory, wait)",
        "f:1:36: 'soon' is not a duration; write seconds, or 90s, 10m, 1.5h, 1h30m, 2d",
        "f:3:14: -1 is not a size; it must be a whole number of bytes, 0 or more",
        "f:4:6: unknown key 'knd'; did you mean 'kind'? (allowed: kind, memory, wait)",
        "f:5:10: unknown key 'x' (allowed: kind, memory, wait)",
        "f:5:9: a mapping is wrong here: it should be a valid string",
        "f:6:8: '3' is wrong here: it should be a valid integer",
    ]


def test_types_are_strict_and_a_missing_key_is_named() -> None:
    for text, message in [
        ("count: true", "f:1:8: true is wrong here: it should be a valid integer"),
        ("part: {}", "f:1:1: the key 'count' is missing"),
        ("- 1", "f:1:1: a list of 1 is wrong here"),
    ]:
        with pytest.raises(InputError, match=message):
            documents.validate(Whole, documents.parse(text, "f"))


@pytest.mark.parametrize(
    ("given", "expected"),
    [(5, 5.0), (0.5, 0.5), ("90s", 90.0), ("10m", 600.0), ("1.5h", 5400.0), ("1h30m", 5400.0), ("2d", 172800.0),
     ("250ms", 0.25)],
)  # fmt: skip
def test_durations(given: object, expected: float) -> None:
    assert parse_seconds(given) == expected


@pytest.mark.parametrize("given", ["", "10", "10q", "m", "-5s", "1h 30", True, None, [], -1, "1h30", "1 m x"])
def test_what_is_no_duration(given: object) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_seconds(given)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(5, 5), ("512", 512), ("512M", 512 * 1024**2), ("4G", 4 * 1024**3), ("1.5GiB", 3 * 2**29), ("4GB", 4 * 10**9),
     ("1 K", 1024)],
)  # fmt: skip
def test_sizes(given: object, expected: int) -> None:
    assert parse_bytes(given) == expected


@pytest.mark.parametrize("given", ["", "G", "4X", "-1", True, None, -1, 1.5, "1h"])
def test_what_is_no_size(given: object) -> None:
    with pytest.raises(ValueError, match="size"):
        parse_bytes(given)


def test_nearest_finds_the_word_that_was_meant_or_none() -> None:
    assert documents.nearest("Kernal", ["kernel", "stride"]) == "kernel"
    assert documents.nearest("zzz", ["kernel", "stride"]) == ""
