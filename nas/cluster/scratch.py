"""A temporary folder of a process's own. What killed ones left behind goes when the next is made on that host.

Who lives holds a lock on his folder, which the kernel lets go of however he ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

PREFIX = "nas-scratch-"


class Scratch:
    """``folder``, until ``close`` or the end of this process."""

    def __init__(self) -> None:
        _sweep(Path(tempfile.gettempdir()))
        while True:
            self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            with suppress(OSError):  # somebody swept before there was a lock
                self._lock = _lock(self.folder)
                if self.folder.is_dir():
                    return

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)


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
