"""A temporary folder of a process's own. What killed ones left behind goes when the next is made on that host.

Who lives holds a lock on his folder, which the kernel lets go of however he ends.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "nas-scratch-"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # on this file system: then nobody sweeps there, either


class Scratch:
    """``folder``, until ``close`` or the end of this process."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        self._lock: int | None = None
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            with suppress(BlockingIOError, FileNotFoundError):  # somebody swept before there was a lock
                try:
                    self._lock = _lock(self.folder)
                except OSError as error:
                    if error.errno not in NO_LOCKS:
                        raise
                if self.folder.is_dir():
                    return

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _lock(folder: Path) -> int:
    """A descriptor that holds the folder until it is closed. Raises OSError where another does."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _sweep(place: Path) -> None:
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is somebody's, or gone
            if folder.lstat().st_uid == os.getuid():
                lock = _lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
