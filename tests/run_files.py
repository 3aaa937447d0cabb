"""What the files of a run hold, for tests that want no code and no secret in them."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator
from pathlib import Path

# Protocols 4 and 5 begin with a frame of fewer than 2**24 bytes; as bytes, in hexadecimal, in base64.
PICKLED = re.compile(rb"\x80[\x04\x05]\x95.{3}\0{5}|800[45]95[0-9a-f]{6}0{10}|gA[SW]V.{4}AAAAAA", re.DOTALL)
ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # torch.save's among them


def files(run: Path) -> Iterator[Path]:
    return (path for path in sorted(run.rglob("*")) if path.is_file())


def pickled(path: Path) -> str:
    """Why the file may hold a pickle; empty where it holds none."""
    data = path.read_bytes()
    if data.startswith(ARCHIVES):
        return "it is an archive, in which anything may be"
    if PICKLED.search(data):
        return "a pickle begins in it"
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:  # whatever it is, it is no pickle
        return ""
    return "it is a pickle"


def holds_no_pickle(run: Path) -> None:
    found = {str(path.relative_to(run)): why for path in files(run) if (why := pickled(path))}
    assert found == {}


def mentions(run: Path, word: str) -> list[str]:
    """Files in which a word stands, or that are called by it."""
    return [name for path in files(run) if word in (name := str(path.relative_to(run))) or
            word.encode() in path.read_bytes()]  # fmt: skip
