"""From settings to an executor, and what the settings leave open decided by what this host has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.cluster import Executor
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError
from nas.objective import Objective

HOST_SHARE = 0.9  # of the host's memory, for all slots together; the rest is the driver's and the system's


@dataclass(frozen=True, slots=True)
class Slots:
    """What a host is divided into."""

    gpus: Sequence[str]  # CUDA_VISIBLE_DEVICES of each slot; "" is a slot without
    threads: int
    memory: int  # bytes


def connect(
    settings: ClusterSettings, objective: Objective, *, folder: Path | None = None, preload: Sequence[str] = ()
) -> Executor:
    """An executor of the objective; its first ``wait`` brings word of the slots.

    Args:
        folder: the run's; logs go to <folder>/logs. None keeps none.
        preload: modules that each attempt finds imported.

    Raises:
        InputError: the objective cannot be pickled, the GPUs asked for are not there, or no scheduler can be started.
    """
    if settings.kind == "inline":
        from nas.cluster.inline import InlineExecutor

        return InlineExecutor(objective, slots=settings.workers or 1)
    from nas.cluster.dask import DaskExecutor
    from nas.cluster.local import LocalDask, environment
    from nas.cluster.slot import pickled

    slots = divide(settings, cores=_cores(), memory=_memory(), gpus=visible_gpus(os.environ))
    pickled(objective)  # before a process is started
    local = LocalDask([environment(slots.threads, gpu) for gpu in slots.gpus], folder / "logs" if folder else None)
    try:
        return DaskExecutor(
            local.client, objective, preload=preload, threads=slots.threads, memory=slots.memory, local=local
        )
    except BaseException:
        local.close()
        raise


def no_gpus(settings: ClusterSettings) -> bool:
    """Whether no slot will have a GPU."""
    return settings.kind == "inline" or settings.gpus in (0, ()) or not visible_gpus(os.environ)


def divide(settings: ClusterSettings, *, cores: int, memory: int, gpus: Sequence[str]) -> Slots:
    """One slot for each GPU, or for each core; where more slots than GPUs are asked for, they share them in turn.

    >>> divide(ClusterSettings(), cores=8, memory=64 << 30, gpus=["0", "1"]).gpus
    ['0', '1']
    """
    used = _chosen(settings.gpus, gpus)
    workers = settings.workers or len(used) or max(1, cores // (settings.threads or 1))
    threads = settings.threads or (max(1, cores // workers) if used else 1)
    share = settings.memory or int(memory * HOST_SHARE / workers)
    return Slots([used[slot % len(used)] if used else "" for slot in range(workers)], threads, share)


def _chosen(asked: str | int | tuple[int | str, ...], gpus: Sequence[str]) -> Sequence[str]:
    if asked == "auto":
        return gpus
    if isinstance(asked, int):
        if asked > len(gpus):
            raise InputError(f"cluster.gpus asks for {asked}; this host shows {len(gpus)}: ask for fewer, or for auto")
        return gpus[:asked]
    return [str(gpu) for gpu in asked]


def visible_gpus(environ: Mapping[str, str]) -> list[str]:
    """The GPUs that this process may use: what CUDA_VISIBLE_DEVICES says, else what nvidia-smi lists."""
    named = environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu.strip() for gpu in named.split(",") if gpu.strip() not in ("", "-1", "NoDevFiles")]
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        listed = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []  # a driver that does not answer serves nobody
    return listed.split()


def _cores() -> int:
    from dask.system import CPU_COUNT  # knows of affinity and cgroup quotas

    return int(CPU_COUNT)


def _memory() -> int:
    from distributed.system import MEMORY_LIMIT  # knows of cgroups and RLIMIT_RSS

    return int(MEMORY_LIMIT)
