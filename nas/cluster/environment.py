"""What a worker's processes must find in their environment before they start."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

# Keep freed memory in the process: with the trimming that Dask's nannies ask for (64 KiB), or glibc's own (128 KiB),
# training on a CPU spends half its time on page faults. Bytes.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
COMPILED = "TORCHINDUCTOR_CACHE_DIR"  # the folder in which torch keeps what it compiled
HERE = Path("/var/tmp")  # on a disk of this host, and swept when nobody has used it for weeks


def compiled(environ: Mapping[str, str]) -> dict[str, str]:
    """One such folder for all of a user's workers on a host, of this run and the next. Nothing, where the environment
    names another, or there can be none that is this user's alone: it holds programs.

    Torch's own is in TMPDIR, of which many batch systems give each job one and remove it with the job. Not in the run's
    folder, which holds no programs and may lie on a network disk; nor at home, which nobody sweeps, and where hosts of
    other processors would take each other's programs.
    """
    folder = HERE / f"nas-compiled-{os.getuid()}"
    if COMPILED in environ:
        return {}
    try:
        folder.mkdir(0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return {}
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return {COMPILED: str(folder)} if ours else {}


def settings(threads: int) -> dict[str, str]:
    """Of malloc, and of the pools of threads."""
    return {**MALLOC, **dict.fromkeys(POOLS, str(threads))}


def environment(threads: int, gpu: str) -> dict[str, str]:
    """This process's own, with these and the one visible GPU."""
    return {**os.environ, **settings(threads), "CUDA_VISIBLE_DEVICES": gpu}


def visible_device(environ: Mapping[str, str]) -> str:
    """A worker that was given a GPU trains on it. One whose batch system says nothing of GPUs has none."""
    return "cuda" if environ.get("CUDA_VISIBLE_DEVICES", "") not in ("", "-1", "NoDevFiles") else "cpu"
