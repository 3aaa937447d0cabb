"""YAML read strictly, with the place of every value, so that an error can say file, line and column.

PyYAML's scanner and parser are used; its resolver and constructor are not, because they are YAML 1.1: ``no`` would be
a boolean, ``12:30:45`` and ``010`` surprising numbers, ``1e-3`` a string, and the last of two equal keys would win in
silence. Scalars here follow the YAML 1.2 core schema, with digits grouped by ``_`` (``100_000``) as the one addition.
Left out on purpose: tags, merge keys (``<<``), several documents in one file, keys that are not words, numbers that are
not finite. Size, depth and the expansion of aliases are bounded, so a hostile file costs little.

pydantic is imported only where a model is validated: it takes 0.1 s, and most commands do not need it.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, TypeVar, get_args, get_origin

from nas.errors import MOST_PROBLEMS, InputError, Problem, too_many

if TYPE_CHECKING:
    from pydantic import BaseModel

    M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 1 << 18  # so that no file takes a second, whatever is in it
MOST_NODES = 8_000  # after aliases are expanded; shipped spaces have some hundreds
MOST_DEPTH = 64
LARGEST_INTEGER = 2**63 - 1  # that a journal can hold
MOST_COMPARED = 300  # words, of which the nearest is found in some ms

KeyPath = tuple[str | int, ...]
RECORDED = "recorded"  # context of validation: a journal has it, and what was accepted once is accepted again

_INTEGER = re.compile(r"[-+]?[0-9]+(_[0-9]+)*|0o[0-7]+|0x[0-9a-fA-F]+")
_DIGITS = r"[0-9]+(?:_[0-9]+)*"
_FLOAT = re.compile(rf"[-+]?(\.{_DIGITS}|{_DIGITS}(\.({_DIGITS})?)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS = {word: value for value, words in {
    None: ("", "~", "null", "Null", "NULL"), True: ("true", "True", "TRUE"), False: ("false", "False", "FALSE"),
}.items() for word in words}  # fmt: skip


@dataclass(slots=True)
class _Mark:
    """Where a value stands (line and column from 1), and the marks of what it holds."""

    line: int
    column: int
    held: dict[str, _Mark] | list[_Mark] | None = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1  # nodes, this one included, aliases expanded
    height: int = 0  # levels below this one, aliases expanded

    def hold(self, below: _Mark) -> None:
        self.size += below.size
        self.height = max(self.height, below.height + 1)


@dataclass(frozen=True, slots=True)
class Document:
    """Plain JSON-like data, and where each value of it stood. ``place`` gives (0, 0) for data that had no file."""

    file: str
    data: Any
    marks: _Mark | None = field(default=None, repr=False, compare=False)

    def place(self, path: KeyPath) -> tuple[int, int]:
        """Line and column, from 1, of the value at ``path``, or of the nearest value above it."""
        mark, _ = self._mark(path)
        return (mark.line, mark.column) if mark else (0, 0)

    def place_of_key(self, path: KeyPath) -> tuple[int, int]:
        """Line and column of the key that the last part of ``path`` names (of the value, where it is no key)."""
        mark, rest = self._mark(path[:-1])
        if mark and not rest and path and path[-1] in mark.keys:
            return mark.keys[str(path[-1])]
        return self.place(path)

    def problem(self, path: KeyPath, message: str, *, key: bool = False) -> Problem:
        """A Problem at ``path``; without marks the path itself is put before the message."""
        if self.marks is None:
            where = dotted(path)
            return Problem(f"{where}: {message}" if where else message, self.file)
        line, column = self.place_of_key(path) if key else self.place(path)
        return Problem(message, self.file, line, column)

    def _mark(self, path: KeyPath) -> tuple[_Mark | None, KeyPath]:
        mark = self.marks
        for depth, part in enumerate(path):
            held = mark.held if mark else None
            if isinstance(held, dict) and part in held:
                mark = held[str(part)]
            elif isinstance(held, list) and isinstance(part, int) and 0 <= part < len(held):
                mark = held[part]
            else:
                return mark, path[depth:]
        return mark, ()


def dotted(path: KeyPath) -> str:
    """``("architecture", 0, "conv")`` as ``architecture[0].conv``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def nearest(word: object, allowed: Collection[str]) -> str:
    """The allowed word that ``word`` was probably meant to be, or "". Among very many it is not looked for."""
    return "" if len(allowed) > MOST_COMPARED else _nearest(str(word).lower(), tuple(allowed))


@lru_cache(1024)  # the same mistake comes again in each repetition
def _nearest(word: str, allowed: tuple[str, ...]) -> str:
    found = difflib.get_close_matches(word, {w.lower(): w for w in allowed}, n=1, cutoff=0.6)
    return next((w for w in allowed if found and w.lower() == found[0]), "")


def hint(word: object, allowed: Collection[str]) -> str:
    """The end of a message about a wrong word: the nearest valid one, and what is allowed where that is not long."""
    words = list(allowed)
    close = nearest(word, words)
    meant = f"; did you mean '{close}'?" if close else ""
    return f"{meant} (allowed: {', '.join(words)})" if 0 < len(words) <= 24 else meant


# Reading -------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        InputError: it cannot be read, is no UTF-8, or is no strict YAML; with every problem found.
    """
    file = str(path).replace("\0", "\\0")
    try:
        mode = path.stat().st_mode
        if not S_ISREG(mode):  # a pipe may never begin
            what = "a folder" if S_ISDIR(mode) else "no ordinary file"
            raise InputError(Problem(f"is {what}; give a YAML file", file))
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise InputError(Problem("no such file", file)) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(Problem(f"cannot be read: {getattr(error, 'strerror', None) or error}", file)) from None
    if len(raw) > MOST_BYTES:
        raise InputError(Problem(f"is larger than {MOST_BYTES:,} bytes", file, *_end_of(raw[:MOST_BYTES])))
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
        raise InputError(Problem(message, file, *_end_of(raw[: error.start]))) from None
    return parse(text, file)


def _end_of(before: bytes) -> tuple[int, int]:
    """Line and column of the byte that follows."""
    return before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1


def parse(text: str, file: str) -> Document:
    """Read YAML from a string; ``file`` is what errors call it.

    Raises:
        InputError: with every problem found.
    """
    import yaml

    if len(text) > MOST_BYTES:
        raise InputError(Problem(f"is larger than {MOST_BYTES:,} characters", file))
    builder = _Builder(text, file)
    try:
        value, mark = builder.document(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.reader.ReaderError as error:
        before = text[: error.position]
        line, column = before.count("\n") + 1, error.position - (before.rfind("\n") + 1) + 1
        message = f"character U+{error.character:04X} is not allowed in YAML"
        raise InputError(*builder.problems, Problem(message, file, line, column)) from None
    except yaml.MarkedYAMLError as error:
        raise InputError(*builder.problems, _syntax_problem(error, file)) from None
    if builder.problems:
        raise InputError(*builder.problems)
    return Document(file, value, mark)


def plain(data: Any, file: str = "<python>") -> Document:
    """A document from values given in Python; tuples become lists, NumPy scalars numbers.

    Raises:
        InputError: something in it has no place in JSON (an object, NaN, a key that is no string), or it is too deep.
    """
    problems: list[Problem] = []

    def convert(value: Any, path: KeyPath) -> Any:
        if len(path) > MOST_DEPTH:
            raise InputError(Problem(f"{dotted(path[:3])}...: nested deeper than {MOST_DEPTH} levels", file))
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str) or not _is_text(key):
                    problems.append(Problem(f"{dotted(path)}: the key {key!r} must be a string", file))
            return {str(key): convert(held, (*path, str(key))) for key, held in value.items()}
        if isinstance(value, list | tuple):
            return [convert(held, (*path, index)) for index, held in enumerate(value)]
        if value is None or isinstance(value, bool) or (isinstance(value, str) and _is_text(value)):
            return value
        if not isinstance(value, int | float) and hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
            value = value.item()
        if isinstance(value, int | float):
            if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
                problems.append(Problem(f"{dotted(path)}: an integer beyond 2^63 - 1; give it as a float", file))
            elif not math.isfinite(value):
                problems.append(Problem(f"{dotted(path)}: {value} is not a finite number", file))
            return value
        kind = type(value).__name__
        problems.append(Problem(f"{dotted(path)}: a {kind} has no place here; numbers, strings, lists, dicts", file))
        return None

    converted = convert(data, ())
    if problems:
        raise InputError(*problems)
    return Document(file, converted)


def _is_text(value: str) -> bool:
    """Whether UTF-8 can write it: a lone surrogate, from an escape, would fail much later in a journal."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


class _UnreadableError(Exception):
    """The document cannot be read any further; the problem is already recorded."""


class _Builder:
    """Composes values and their marks from PyYAML's events, collecting the problems that do not stop it."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.problems: list[Problem] = []
        self.anchors: dict[str, tuple[Any, _Mark] | None] = {}  # None while the anchored value is still open
        self.nodes = 0

    def document(self, events: Any) -> tuple[Any, _Mark | None]:
        import yaml

        value, mark = None, None
        try:
            for event in events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if mark is not None:
                        self.wrong(event, "a second document begins here; one file holds one")
                        break
                    value, mark = self.value(next(events), events, 0, flow=False)
        except _UnreadableError:
            return None, None
        if mark is None or (value is None and mark.size == 1 and not self.problems):
            self.problems.append(Problem("the file is empty", self.file, 1, 1))
        return value, mark

    def value(self, event: Any, events: Iterator[Any], depth: int, *, flow: bool) -> tuple[Any, _Mark]:
        import yaml

        if depth > MOST_DEPTH:
            self.stop(event, f"nested deeper than {MOST_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        if event.tag is not None:
            self.wrong(
                event, f"the tag {event.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed; plain values have none"
            )
        mark = _Mark(*_at(event))
        self.count(event, 1)
        if event.anchor is not None:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            value: Any = self.scalar(event, flow=flow)
        elif isinstance(event, yaml.SequenceStartEvent):
            value = self.sequence(event, events, depth, mark)
        else:
            value = self.mapping(event, events, depth, mark)
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, mark)
        return value, mark

    def sequence(self, opening: Any, events: Iterator[Any], depth: int, mark: _Mark) -> list[Any]:
        import yaml

        values: list[Any] = []
        mark.held = marks = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            value, held = self.value(event, events, depth + 1, flow=bool(opening.flow_style))
            values.append(value)
            marks.append(held)
            mark.hold(held)
        return values

    def mapping(self, opening: Any, events: Iterator[Any], depth: int, mark: _Mark) -> dict[str, Any]:
        import yaml

        values: dict[str, Any] = {}
        mark.held = marks = {}
        torn = False  # after an unquoted expression with a comma, whose rest YAML takes for a key
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self.key(event, events, depth)
            before = len(self.problems)
            value, held = self.value(next(events), events, depth + 1, flow=bool(opening.flow_style))
            if key in values and not torn:
                line, _ = mark.keys[key]
                self.wrong(event, f"the key '{key}' stands here a second time; it was given in line {line}")
            torn = (len(self.problems) > before and _is_torn(value)) or (torn and value is None)
            values[key] = value
            marks[key] = held
            mark.keys.setdefault(key, _at(event))
            mark.hold(held)
        return values

    def key(self, event: Any, events: Iterator[Any], depth: int) -> str:
        import yaml

        if not isinstance(event, yaml.ScalarEvent):
            self.wrong(event, "a key must be a word, not a list, a mapping or an alias")
            if not isinstance(event, yaml.AliasEvent):
                self.value(event, events, depth + 1, flow=False)
            return ""
        if event.tag is not None:
            self.wrong(
                event, f"the tag {event.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed; plain values have none"
            )
        text: str = event.value
        self.encodable(event)
        if event.implicit[0] and text == "<<":
            self.wrong(event, "merge keys (<<) are not part of YAML 1.2; write the keys out, or use `define`")
        elif event.implicit[0] and not isinstance(self.resolve(event), str):
            self.wrong(event, f"the key {text or 'null'} is not a word; quote it if it is meant as one")
        if event.anchor is not None:
            self.anchors[event.anchor] = (text, _Mark(*_at(event)))
        return text

    def encodable(self, event: Any) -> None:
        if not _is_text(event.value):
            self.wrong(event, "half of a surrogate pair is no character")

    def scalar(self, event: Any, *, flow: bool) -> Any:
        self.encodable(event)
        if not event.implicit[0]:
            return event.value
        if flow and _is_torn(event.value):
            whole = _whole_expression(self.text, event.start_mark.index)
            remedy = f'write "{whole}"' if whole else "put quotes around it"
            self.wrong(event, f"inside {{ }} or [ ] YAML ends this expression at its comma; quote it: {remedy}")
            return event.value
        return self.resolve(event)

    def resolve(self, event: Any) -> Any:
        """The YAML 1.2 value of a plain scalar."""
        text: str = event.value
        if text in _WORDS:
            return _WORDS[text]
        if text[0] not in "+-.0123456789":
            return text
        if len(text) <= 100 and _INTEGER.fullmatch(text):
            integer = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
            if abs(integer) <= LARGEST_INTEGER:
                return integer
            self.wrong(event, f"{text} is beyond 2^63 - 1, the largest integer; write {float(integer):g}, or quote it")
            return text
        if len(text) <= 100 and _FLOAT.fullmatch(text):
            number = float(text)
            if math.isfinite(number):
                return number
            self.wrong(event, f"{text} is too large for a number")
        elif _NOT_FINITE.fullmatch(text):
            self.wrong(event, f"{text} is not a finite number; quote it if it is meant as a word")
        elif _INTEGER.fullmatch(text) or _FLOAT.fullmatch(text):
            self.wrong(event, "a number of more than 100 digits; quote it if it is meant as a word")
        return text

    def alias(self, event: Any, depth: int) -> tuple[Any, _Mark]:
        if event.anchor not in self.anchors:
            self.wrong(event, f"*{event.anchor} names no anchor{hint(event.anchor, self.anchors)}")
            return None, _Mark(*_at(event))
        anchored = self.anchors[event.anchor]
        if anchored is None:
            self.stop(event, f"*{event.anchor} stands inside what it names")
        value, mark = anchored
        self.count(event, mark.size)
        if depth + mark.height > MOST_DEPTH:
            self.stop(event, f"nested deeper than {MOST_DEPTH} levels")
        return copied(value), _Mark(*_at(event), mark.held, mark.keys, mark.size, mark.height)

    def count(self, event: Any, nodes: int) -> None:
        self.nodes += nodes
        if self.nodes > MOST_NODES:
            self.stop(event, f"more than {MOST_NODES:,} values, aliases expanded")

    def wrong(self, event: Any, message: str) -> None:
        self.problems.append(Problem(message, self.file, *_at(event)))
        if len(self.problems) == MOST_PROBLEMS:
            self.problems.append(too_many(self.problems[-1]))
            raise _UnreadableError

    def stop(self, event: Any, message: str) -> NoReturn:
        self.wrong(event, message)
        raise _UnreadableError


def copied(value: Any) -> Any:
    """A copy of JSON-like data; unlike copy.deepcopy it gives each mention of a shared part its own."""
    if isinstance(value, dict):
        return {key: copied(held) for key, held in value.items()}
    if isinstance(value, list):
        return [copied(held) for held in value]
    return value


def _is_torn(value: Any) -> bool:
    """Whether this is the beginning of an expression that YAML ended at a comma."""
    return isinstance(value, str) and value.startswith("=") and value.count("(") > value.count(")")


def _whole_expression(text: str, start: int) -> str:
    """The expression that begins at ``start``, up to the parenthesis that closes its first one; "" if none does."""
    open_ = 0
    for index in range(start, min(len(text), start + 500)):
        open_ += {"(": 1, ")": -1}.get(text[index], 0)
        if text[index] == "\n":
            break
        if open_ == 0 and text[index] == ")":
            return text[start : index + 1]
    return ""


_SYNTAX = (  # what PyYAML says, and what a person can do about it
    ("found character '\\t'", "a tab; YAML is indented with spaces"),
    ("mapping values are not allowed here", "a second ': ' in one value; quote the value, or begin a new line"),
    ("could not find expected ':'", "a line without ': ' where a key stands"),
    ("but found '<block mapping start>'", "indented otherwise than the lines above it"),
    ("expected <block end>", "indented otherwise than the lines above it, or a bracket too many"),
    ("expected ',' or '}'", "a { is not closed, or a comma is missing"),
    ("expected ',' or ']'", "a [ is not closed, or a comma is missing"),
    ("found unexpected end of stream", "a quote is not closed"),
)


def _syntax_problem(error: Any, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    said = f"{error.problem or error.context}"
    meaning = next((text for found, text in _SYNTAX if found in said), "")
    message = f"not YAML: {meaning} ({said})" if meaning else f"not YAML: {said}"
    if error.context and error.context_mark and error.context_mark.line != mark.line:
        message += f", {error.context} in line {error.context_mark.line + 1}"
    return Problem(message, file, mark.line + 1, mark.column + 1)


# Validating against a pydantic model ---------------------------------------------------------------------------------


def validate(model: type[M], document: Document, *, at: KeyPath = (), context: str | None = None) -> M:
    """The data at ``at`` as an instance of ``model``. Types are strict: "3" is no integer, true no number.

    ``context``: see RECORDED.

    Raises:
        InputError: every problem that pydantic finds, at its place, with the value, what is allowed, the nearest word.
    """
    from pydantic import ValidationError

    data = document.data
    for part in at:
        data = data[part]
    try:
        # As JSON: strict there still takes a list for a tuple and a string for a path or an enumeration.
        return model.model_validate_json(json.dumps(data), strict=True, context=context)
    except ValidationError as error:
        alike: dict[Any, list[Any]] = {}  # what each branch of a union says of one value is one problem
        for one in error.errors(include_url=False):
            alone = one["type"] in _SAID_ALONE
            alike.setdefault((alone, one["loc"] if alone else _document_path(data, one["loc"])), []).append(one)
        found = [_problem(model, document, at, data, errors) for errors in list(alike.values())[:MOST_PROBLEMS]]
    more = [too_many(found[-1])] if len(alike) > MOST_PROBLEMS else []
    raise InputError(*dict.fromkeys(found), *more)


_SAID_ALONE = ("extra_forbidden", "missing", "value_error", "assertion_error")


def _problem(model: type[Any], document: Document, at: KeyPath, data: Any, errors: list[Any]) -> Problem:
    """Of one value. Several errors: it fits no branch of a union."""
    error = errors[0]
    path, given = _document_path(data, error["loc"]), shown(error["input"])
    last = str(error["loc"][-1]) if error["loc"] else ""
    match error["type"]:
        case "extra_forbidden":
            allowed = sorted(_keys_at(model, error["loc"][:-1]))
            return document.problem((*at, *path), f"unknown key '{last}'{hint(last, allowed)}", key=True)
        case "missing":
            return document.problem((*at, *path), f"the key '{last}' is missing")
        case "literal_error" | "enum" if len(errors) == 1:
            return document.problem((*at, *path), f"{given} is not allowed{hint(error['input'], _words(error))}")
        case "value_error" | "assertion_error":
            message = str(error["ctx"]["error"])
            alone = isinstance(error["input"], Mapping | list) or given.strip("'") in message
            return document.problem((*at, *path), message if alone else f"{given}: {message}")
    should = ", or ".join(dict.fromkeys(map(_should, errors)))
    return document.problem((*at, *path), f"{given} is wrong here: it should {should}")


def _should(error: Any) -> str:
    """What a value is to do: ``be greater than 0``."""
    if error["type"] in ("literal_error", "enum"):
        return f"be {' or '.join(_words(error))}"
    message = error["msg"].replace(" after validation", "")
    found = re.match(r"\w+ should ", message)  # "Input should be ...", "List should have ..."
    return message[found.end() :] if found else f"be {message}"


def _words(error: Any) -> list[str]:
    return re.findall(r"'([^']*)'", error["ctx"]["expected"])


def shown(value: Any) -> str:
    """As a message says it."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return json.dumps(value) if not isinstance(value, str) else f"'{value[:80]}'"


def _document_path(data: Any, location: tuple[str | int, ...]) -> KeyPath:
    """The part of pydantic's location that names places of the document: it also names branches of unions."""
    path: list[str | int] = []
    for part in location:
        if isinstance(data, dict) and part in data:
            data = data[str(part)]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            continue
        path.append(part)
    return tuple(path)


def _keys_at(annotation: Any, location: tuple[str | int, ...]) -> set[str]:
    """The keys that models reachable at ``location`` know; unions are searched in all their branches."""
    fields = getattr(annotation, "model_fields", None)
    if fields is not None:
        if not location:
            return {known.alias or name for name, known in fields.items()}
        for name, known in fields.items():
            if location[0] in (name, known.alias):
                return _keys_at(known.annotation, location[1:])
        return _keys_at(annotation, location[1:])  # the name of a union's branch
    origin = get_origin(annotation)
    arguments = tuple(a for a in get_args(annotation) if a is not ...)
    if origin is Annotated:
        return _keys_at(arguments[0], location)
    if origin is Literal or not arguments:
        return set()
    if isinstance(origin, type) and issubclass(origin, Mapping | list | tuple):
        return _keys_at(arguments[-1], location[1:])
    bare = [get_args(a)[0] if get_origin(a) is Annotated else a for a in arguments]  # a tagged union's branches
    branches = [a for a in bare if getattr(a, "__name__", "") == (location[0] if location else None)]
    return set().union(*(_keys_at(branch, location[len(branches) > 0 :]) for branch in branches or arguments))
