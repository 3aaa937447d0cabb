"""Bytes that survive a kill: files written whole or not at all, and lines that prove themselves.

A file is written under a temporary name in the same folder, synced, renamed over its place, and the folder synced. A
line is one JSON object whose last key is a CRC-32 of all that stands before it.

What belongs to a folder lies in it: ``within`` follows no link that somebody put there, and new files are made by none.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

import orjson

from nas.errors import DiskFailed, InputError

NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW  # flags of open(2)
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})  # errors of a disk, or a quota, that may have room again

_CRC_TAIL = len(b',"crc":"01234567"}')


class DamagedLine(ValueError):
    """The line is not one that ``seal`` wrote."""


def seal(record: Mapping[str, Any] | Any) -> bytes:
    """One line of JSON with its checksum and newline. Dataclasses and their unions serialise as mappings.

    >>> seal({"a": 1})
    b'{"a":1,"crc":"a702fc6e"}\\n'
    """
    body = orjson.dumps(record, option=orjson.OPT_SERIALIZE_NUMPY)
    if body == b"{}" or not body.startswith(b"{"):
        raise ValueError("a sealed record is a mapping with at least one key")
    return b'%s,"crc":"%08x"}\n' % (body[:-1], crc32(body[:-1]))


def unseal(line: bytes) -> dict[str, Any]:
    """The record of a sealed line. Raises DamagedLine where the line is torn or altered."""
    body, tail = line.rstrip(b"\n")[:-_CRC_TAIL], line.rstrip(b"\n")[-_CRC_TAIL:]
    if not line.endswith(b"\n") or tail != b',"crc":"%08x"}' % crc32(body):
        raise DamagedLine("checksum does not match")
    record: dict[str, Any] = orjson.loads(body + b"}")
    return record


def within(folder: Path, *names: str) -> Path:
    """``folder``/names, where none of the names is a link. Folder itself may be reached by some: people do that.

    Raises:
        InputError: one is a link, which would lead whoever reads or writes there out of the folder.
    """
    path = folder
    for name in names:
        path = path / name
        if path.is_symlink():
            raise InputError(f"{path} is a link, and what is in a run's folder is not looked for elsewhere: remove it")
    return path


def write_whole(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Put ``data`` at ``path`` so that a reader, or a kill at any moment, sees the old file or the new one, whole.

    Raises:
        DiskFailed: the disk is full or failed; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        descriptor = os.open(temporary, NEW, mode)
        try:
            write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise DiskFailed(f"{path}: {error.strerror or error}") from error


def write_all(descriptor: int, data: bytes) -> None:
    """os.write until nothing is left: a single call may write less than it is given."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable: without it a crash may forget a rename whose file was synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
