"""From settings to an executor, and what the settings leave open decided by what this host has."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from nas.cluster import Executor
from nas.cluster.members import Members
from nas.cluster.settings import BATCH, DEPLOYED, SUBMITTED, ClusterSettings
from nas.cluster.sharing import MOST, Sharing
from nas.durable import within
from nas.errors import InputError
from nas.objective import Objective

HOST_SHARE = 0.9  # of the host's memory, for all slots together; the rest is the driver's and the system's


@dataclass(frozen=True, slots=True)
class Slots:
    """What a host is divided into."""

    gpus: Sequence[str]  # CUDA_VISIBLE_DEVICES of each slot; "" is a slot without. The first ones: of each GPU one
    threads: int
    memory: int  # bytes

    def sharing(self, settings: ClusterSettings, gpu_memory: Callable[[Sequence[str]], int]) -> Sharing | None:
        """Where several slots have one GPU."""
        cards = {gpu: self.gpus.count(gpu) for gpu in self.gpus if gpu}
        if max(cards.values(), default=1) == 1:
            return None
        memory = gpu_memory(list(cards)) if settings.slots_per_gpu == "auto" else None
        return Sharing(len(cards), max(cards.values()), memory)


def connect(
    settings: ClusterSettings,
    objective: Objective,
    *,
    folder: Path | None = None,
    preload: Sequence[str] = (),
    name: str = "search",
    keep_jobs: bool = False,
) -> Executor:
    """An executor of the objective; its first ``wait`` brings word of the slots.

    Args:
        folder: the run's; logs go to <folder>/logs. None keeps none.
        preload: modules that each attempt finds imported.
        name: of the run, which its jobs are called by.
        keep_jobs: leave worker jobs in place when the executor is closed, for the one that goes on.

    Raises:
        InputError: the objective cannot be pickled, the GPUs asked for are not there, or no scheduler can be started.
    """
    if settings.kind == "inline":
        from nas.cluster.inline import InlineExecutor

        return InlineExecutor(objective, slots=settings.workers or 1)
    from nas.cluster.dask import DaskExecutor
    from nas.cluster.slot import pickled

    pickled(objective)  # before a process is started
    threads, memory, sharing = settings.threads or settings.cpus_per_worker, settings.memory, None
    members: Members
    if settings.kind == "local":
        from nas.cluster.environment import environment
        from nas.cluster.local import LocalDask

        slots, sharing = _this_host(settings)
        threads, memory = slots.threads, slots.memory
        members = LocalDask([environment(threads, gpu) for gpu in slots.gpus], _logs(folder), sharing)
    else:
        members = _members(settings, folder, name, keep_jobs)
    if settings.kind in SUBMITTED and memory:
        memory = int(memory * HOST_SHARE)  # so that a child that takes too much is ended by us, not with its job
    try:
        return DaskExecutor(
            members.client,
            objective,
            preload=preload,
            threads=threads,
            memory=memory,
            members=members,
            sharing=sharing,
        )
    except BaseException:
        members.close()
        raise


def _members(settings: ClusterSettings, folder: Path | None, name: str, keep_jobs: bool) -> Members:
    logs = _logs(folder)
    if settings.kind in ("address", "scheduler_file"):
        from nas.cluster.visit import Visit

        return Visit(logs, address=settings.address, scheduler_file=settings.scheduler_file)
    from nas.cluster import deployed
    from nas.cluster.batch.jobs import FOLDER
    from nas.cluster.batch.run import Batch
    from nas.cluster.batch.workers import BatchWorkers

    if folder is None or logs is None:
        raise InputError(f"cluster.kind {settings.kind} needs a run's folder, which workers on other hosts reach")
    batch = Batch.prepare(folder)
    if settings.kind == "jobqueue":
        return deployed.jobqueue(settings, folder)
    if settings.kind == "ssh":
        return deployed.ssh(settings, folder)
    supply = batch.supply(name, settings, keep=keep_jobs) if settings.kind in BATCH else None
    return BatchWorkers(folder / FOLDER, logs, interface=settings.interface, supply=supply)


def _logs(folder: Path | None) -> Path | None:
    """Of the run; None keeps none. Raises InputError where it is a link."""
    return within(folder, "logs") if folder else None


def check(settings: ClusterSettings) -> None:
    """Raises InputError where this host cannot be the one that such a cluster is used from; before a run's folder."""
    if settings.kind == "local":
        _this_host(settings)
    if settings.kind in DEPLOYED:
        from nas.cluster import deployed

        deployed.check(settings)
    if settings.kind in SUBMITTED and settings.kind not in BATCH:
        raise InputError(f"cluster.kind {settings.kind} starts nothing by itself; write it with nas submit")
    if settings.kind in BATCH:
        from nas.cluster import tls
        from nas.cluster.batch.commands import here
        from nas.cluster.batch.systems import system

        asked = system(settings.kind)
        if not here(asked.program):
            raise InputError(
                f"there is no {asked.name} on this host (no {asked.program}); go to a login node, or see the scripts "
                "with nas submit --dry-run"
            )
        tls.require_cryptography()


def _this_host(settings: ClusterSettings) -> tuple[Slots, Sharing | None]:
    slots = divide(settings, cores=_cores(), memory=_memory(), gpus=visible_gpus(os.environ))
    return slots, slots.sharing(settings, _gpu_memory)


def no_gpus(settings: ClusterSettings) -> bool:
    """Whether no slot will have a GPU. Of somebody's Dask cluster that is not known."""
    if settings.kind in SUBMITTED:
        return not settings.gpus_per_worker
    if settings.kind in ("address", "scheduler_file", *DEPLOYED):
        return False
    return settings.kind == "inline" or settings.gpus in (0, ()) or not visible_gpus(os.environ)


def divide(settings: ClusterSettings, *, cores: int, memory: int, gpus: Sequence[str]) -> Slots:
    """One slot for each GPU, or for each core; where more slots than GPUs are asked for, they share them in turn.

    ``slots_per_gpu`` says how many have one GPU, then at most ``workers`` in all; with auto, as many as there may ever
    be: one for each core, and MOST.

    >>> divide(ClusterSettings(slots_per_gpu=2), cores=8, memory=64 << 30, gpus=["0", "1"]).gpus
    ['0', '1', '0', '1']
    """
    used = _chosen(settings.gpus, gpus)
    workers = settings.workers or len(used) or max(1, cores // (settings.threads or 1))
    if used and settings.slots_per_gpu is not None:
        most = max(1, min(MOST, cores // (settings.threads or 1) // len(used)))
        slots = len(used) * (most if settings.slots_per_gpu == "auto" else settings.slots_per_gpu)
        workers = min(settings.workers or slots, slots)
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
    try:
        return _nvidia_smi("index")
    except (OSError, subprocess.SubprocessError):
        return []  # a driver that does not answer serves nobody


def _gpu_memory(gpus: Sequence[str]) -> int:
    """Bytes of the smallest of these."""
    try:
        return min(int(mebibytes) << 20 for mebibytes in _nvidia_smi("memory.total", "--id=" + ",".join(gpus)))
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise InputError(
            "cluster.slots_per_gpu: auto asks nvidia-smi for the memory of each GPU, and it does not say "
            f"({error}); write how many slots"
        ) from error


def _nvidia_smi(what: str, *which: str) -> list[str]:
    query = ["nvidia-smi", f"--query-gpu={what}", "--format=csv,noheader,nounits", *which]
    return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()


def _cores() -> int:
    from dask.system import CPU_COUNT  # knows of affinity and cgroup quotas

    return int(CPU_COUNT)


def _memory() -> int:
    from distributed.system import MEMORY_LIMIT  # knows of cgroups and RLIMIT_RSS

    return int(MEMORY_LIMIT)
