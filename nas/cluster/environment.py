"""What a worker's processes must find in their environment before they start."""

from __future__ import annotations

import os
from collections.abc import Mapping

# Keep freed memory in the process: with the trimming that Dask's nannies ask for (64 KiB), or glibc's own (128 KiB),
# training on a CPU spends half its time on page faults. Bytes.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}
POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def settings(threads: int) -> dict[str, str]:
    """Of malloc, and of the pools of threads."""
    return {**MALLOC, **dict.fromkeys(POOLS, str(threads))}


def environment(threads: int, gpu: str) -> dict[str, str]:
    """This process's own, with these and the one visible GPU."""
    return {**os.environ, **settings(threads), "CUDA_VISIBLE_DEVICES": gpu}


def visible_device(environ: Mapping[str, str]) -> str:
    """A worker that was given a GPU trains on it. One whose batch system says nothing of GPUs has none."""
    return "cuda" if environ.get("CUDA_VISIBLE_DEVICES", "") not in ("", "-1", "NoDevFiles") else "cpu"
