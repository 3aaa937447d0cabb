"""A person's own text files: read whole, as UTF-8, with the line named where that fails."""

from __future__ import annotations

from pathlib import Path

from nas.errors import InputError, Problem


def stamp(file: str) -> tuple[int, int]:
    """When the file was changed (ns), and its size: what is remembered of it holds while they do. InputError."""
    try:
        found = Path(file).stat()
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        raise InputError(f"{file}: can not be read: {getattr(error, 'strerror', error)}") from error
    return found.st_mtime_ns, found.st_size


def text(file: str) -> str:
    """What the file holds, without a byte order mark.

    Raises:
        InputError: it can not be read, or is no UTF-8, or holds a zero byte.
    """
    try:
        raw = Path(file).read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: can not be read: {getattr(error, 'strerror', error)}") from error
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
