"""The malloc settings that a search's workers have (nas/cluster), for benchmarks that train as they do."""

from __future__ import annotations

import os
import sys

MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
    "MALLOC_MMAP_THRESHOLD_": "8589934592",
    "MALLOC_TOP_PAD_": "67108864",
}


def begin_again_with_it() -> None:
    """Run this program anew under these settings, unless it has them: glibc reads them at a process's start."""
    if any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **MALLOC})
