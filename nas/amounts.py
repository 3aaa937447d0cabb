"""Durations and sizes as people write them: ``1h30m``, ``4G``. What settings take for seconds and for bytes."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from nas.documents import shown

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_BYTES = {"": 1, "B": 1} | {
    unit + tail: base**power
    for power, unit in enumerate("KMGT", start=1)
    for tail, base in (("", 1024), ("i", 1024), ("iB", 1024), ("B", 1000))
}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*")


def parse_seconds(value: object) -> float:
    """Seconds, from a number or from text such as ``90s``, ``10m``, ``1.5h``, ``1h30m``, ``2d``. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        text = value.strip() if isinstance(value, str) else ""
        parts = _AMOUNT.findall(text)
        if not parts or "".join(_AMOUNT.split(text)[::3]) or any(unit not in _SECONDS for _, unit in parts):
            raise ValueError(f"{shown(value)} is not a duration; write seconds, or 90s, 10m, 1.5h, 1h30m, 2d")
        total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not (math.isfinite(total) and total >= 0):
        raise ValueError(f"{shown(value)} is not a duration; it must be 0 or more")
    return total


def parse_bytes(value: object) -> int:
    """Bytes, from a number or from text such as ``512M``, ``4G``, ``1.5GiB`` (1024), ``4GB`` (1000); or ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        total = float(value)
    else:
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", value.strip() if isinstance(value, str) else "")
        if not found or found[2] not in _BYTES:
            raise ValueError(f"{shown(value)} is not a size; write bytes, or 512M, 4G, 1.5GiB, 4GB")
        total = float(found[1]) * _BYTES[found[2]]
    if not (math.isfinite(total) and total >= 0 and total == int(total)):
        raise ValueError(f"{shown(value)} is not a size; it must be a whole number of bytes, 0 or more")
    return int(total)


class _Parsed:
    """Lets pydantic parse a field with one of the functions above, without importing pydantic here.

    ``pattern``: what its text looks like, for JSON Schema.
    """

    def __init__(self, parse: Any, pattern: str, example: str) -> None:
        self.parse = parse
        self.text = {"type": "string", "pattern": pattern, "examples": [example]}

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.no_info_before_validator_function(self.parse, handler(source))

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Any:
        return {"anyOf": [{"type": "number", "minimum": 0}, self.text]}


_DURATION = rf"^\s*([0-9]+(\.[0-9]+)?\s*({'|'.join(_SECONDS)})\s*)+$"
_SIZE = rf"^\s*[0-9]+(\.[0-9]+)?\s*({'|'.join(unit for unit in _BYTES if unit)})?\s*$"
Seconds = Annotated[float, _Parsed(parse_seconds, _DURATION, "10m")]
Bytes = Annotated[int, _Parsed(parse_bytes, _SIZE, "4G")]
