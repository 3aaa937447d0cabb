"""A person's own text files: read whole, as UTF-8, with the line named where that fails."""

from __future__ import annotations

from pathlib import Path
from stat import S_ISDIR, S_ISREG

from nas.errors import InputError, Problem


def stamp(file: str) -> tuple[int, int]:
    """When the file was changed (ns), and its size: what is remembered of it holds while they do.

    Raises:
        InputError: it can not be looked at; or it is a device or a pipe, which may have no end or never begin.
    """
    try:
        found = Path(file).stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{file}: can not be read: {getattr(error, 'strerror', None) or error}") from error
    if not S_ISREG(found.st_mode):
        raise InputError(f"{file}: is {'a folder' if S_ISDIR(found.st_mode) else 'no ordinary file'}")
    return found.st_mtime_ns, found.st_size


def text(file: str) -> str:
    """What the file holds, without a byte order mark.

    Raises:
        InputError: it can not be read, or is no UTF-8, or holds a zero byte.
    """
    stamp(file)
    try:
        raw = Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{file}: can not be read: {error.strerror}") from error
    try:
        decoded = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(
            Problem(f"is no UTF-8: byte 0x{raw[error.start]:02x}; save it as UTF-8", file, line)
        ) from error
    if "\0" in decoded:
        raise InputError(
            Problem("holds a zero byte, and is no text", file, decoded.count("\n", 0, decoded.index("\0")) + 1)
        )
    return decoded
