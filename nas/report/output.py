"""A result into a file that a person named: `--output FILE`, `--svg FILE`.

A regular file, or a name that is free, gets it whole or not at all. Everything else that can be written to (a fifo, a
terminal, /dev/stdout, >(a process)) is opened and written into: renaming a file over it would destroy it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from nas.durable import write_all, write_whole
from nas.errors import DiskFailed, InputError


def write(file: Path, text: str, option: str) -> None:
    """Write ``text``; ``option`` is what errors call the place that ``file`` was given at.

    Raises:
        InputError: it is a folder, is in none, or may not be written.
        DiskFailed: the disk is full or failed.
    """
    there = check(file, option)
    if there is None:
        write_whole(Path(os.path.realpath(file)), text.encode(), mode=0o666)  # less the umask
    elif _open_already(file, there) or not stat.S_ISREG(there.st_mode):
        _write_into(file, text, os.O_APPEND)
    elif not os.access(Path(os.path.realpath(file)).parent, os.W_OK):
        _write_into(file, text, os.O_TRUNC)  # no room for a second file beside it
    else:
        target = Path(os.path.realpath(file))  # a link stays one
        write_whole(target, text.encode())
        target.chmod(stat.S_IMODE(there.st_mode))


def check(file: Path, option: str) -> os.stat_result | None:
    """What is there, None where the name is free: to be asked before hours of work whose result goes there.

    Raises:
        InputError: it is a folder, is in none, or may not be written.
    """
    there = _stat(file, option)
    if there is None:
        target = Path(os.path.realpath(file))  # through a link that leads to nothing yet
        if not target.parent.is_dir():
            raise InputError(
                f"{option} {file}: the folder {target.parent if file.is_symlink() else file.parent} is not there"
            )
    elif stat.S_ISDIR(there.st_mode):
        raise InputError(f"{option} {file}: is a folder; give a file in it")
    elif not os.access(file, os.W_OK):
        raise InputError(f"{option} {file}: may not be written")
    return there


def _stat(file: Path, option: str) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the name
        raise InputError(f"{option} {file}: {getattr(error, 'strerror', None) or error}") from None


def _open_already(file: Path, there: os.stat_result) -> bool:
    """Whether a shell has it open for us: `-o /dev/stdout >> log` must add to the log, not replace it."""
    if str(file).startswith(("/dev/fd/", "/proc/")):
        return True
    for descriptor in (1, 2):
        try:
            if os.path.samestat(there, os.fstat(descriptor)):
                return True
        except OSError:
            continue  # closed
    return False


def _write_into(file: Path, text: str, how: int) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC | how)
        try:
            write_all(descriptor, text.encode())
        finally:
            os.close(descriptor)
    except BrokenPipeError:
        return  # its reader has seen enough
    except OSError as error:
        raise DiskFailed(f"{file}: {error.strerror or error}") from error
