"""JSON-like data as YAML that people like to read, and that nas.documents reads back as the same data.

What is short stands in one line (``- conv: {filters: 32, kernel: 3}``), what is long in blocks. PyYAML's own writer is
not used: it quotes by the rules of YAML 1.1, so the word ``1e-3`` would come back as a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

WIDTH = 110

# Read as themselves in YAML 1.2, in block and in flow; and in YAML 1.1, by whichever other program reads the file.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_TAKEN = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def dump(data: Any) -> str:
    """YAML, ending in a newline."""
    return "\n".join(_block(data, 0)) + "\n"


def scalar(value: Any) -> str:
    """A word, number, boolean or null."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and value.lower() not in _TAKEN:
        return value
    return '"' + "".join(map(_quoted, value)) + '"'


def flow(value: Any) -> str:
    """Any data in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(held)}" for key, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


def _quoted(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    if character == "\n":
        return "\\n"
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"


def _block(value: Any, indent: int) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for key, held in value.items():
            yield from _item(f"{scalar(key)}:", held, indent, isinstance(held, list) and indent == 0)
    elif isinstance(value, list) and value:
        for held in value:
            yield from _item("-", held, indent, False)
    else:
        yield " " * indent + flow(value)


def _item(start: str, held: Any, indent: int, open_: bool) -> Iterator[str]:
    """``start`` and what it holds: on its line where that fits, else below; ``open_``: below in any case."""
    line = " " * indent + start
    one = f"{line} {_entry(held) if start == '-' else flow(held)}"
    if not isinstance(held, dict | list) or not held or (len(one) <= WIDTH and not open_):
        yield one
    elif start == "-" and isinstance(held, dict):
        first, *rest = _block(held, indent + 2)
        yield f"{line} {first.lstrip(' ')}"
        yield from rest
    else:
        yield line
        yield from _block(held, indent + 2)


def _entry(held: Any) -> str:
    """In a list, a mapping of one key needs no braces: ``- conv: {filters: 32}``."""
    if isinstance(held, dict) and len(held) == 1:
        ((key, inner),) = held.items()
        return f"{scalar(key)}: {flow(inner)}"
    return flow(held)
