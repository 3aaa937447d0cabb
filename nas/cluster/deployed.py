"""Workers that Dask itself deploys: the jobs of a site's dask-jobqueue configuration, or processes over ssh.

Scheduler and workers speak TLS with the run's keys. Dask's nannies start workers again that die alone. dask-jobqueue
0.9 does not replace a job that is lost; to be told again how many are wanted mends it, once Dask has given the worker
up (``distributed.deploy.lost-worker-timeout``). A job that is cancelled while it waits nobody misses. A host of an ssh
cluster that is lost stays lost.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import dask
from distributed import Client, SSHCluster, Status

from nas.cluster import environment, tls
from nas.cluster.batch.jobs import FOLDER, LOGS, place
from nas.cluster.batch.script import exports
from nas.cluster.scheduler import CONFIG, divert_logs
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError

LOOK = 2.0  # seconds between two times that dask-jobqueue is told how many jobs are wanted
HTTP = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # without TLS: else it is on every interface
LEAVE = 10.0  # seconds for the workers to end


class Deployed:
    """A client of the cluster that ``make`` returns; ``scale`` has lost workers replaced, where something does."""

    def __init__(self, make: Callable[[], Any], logs: Path, config: Mapping[str, Any], scale: int | None) -> None:
        self.shared = False
        self._scale, self._looked = scale, time.monotonic()
        self._undo = ExitStack()
        self._undo.callback(divert_logs(logs))
        try:
            self._undo.enter_context(dask.config.set({**CONFIG, **config}))
            self._cluster = make()
            self._undo.callback(_close, self._cluster)
            self.client: Any = Client(self._cluster, set_as_default=False)
            self._undo.callback(lambda: self.client.close(timeout=2))
        except Exception as error:
            self._undo.close()
            raise InputError(f"Dask cannot deploy the cluster: {error or type(error).__name__}") from error

    def keep_up(self, workers: int) -> str:
        if self._scale is not None and time.monotonic() > self._looked + LOOK:
            self._looked = time.monotonic()
            self._cluster.scale(self._scale)
        return ""

    def lost(self) -> None:
        """``keep_up`` sees to it."""

    def want(self, workers: int) -> bool:
        """Idle workers stay to the end: which ones go is Dask's to say, and it might take a busy one."""
        self._scale = None
        return False

    def close(self) -> None:
        self._undo.close()


def _close(cluster: Any) -> None:
    for member in cluster.workers.values():
        member.status = Status.closing  # which Dask asks for at the end, and dask-jobqueue's jobs never say
    with suppress(TimeoutError):
        cluster.close(timeout=LEAVE)


def check(settings: ClusterSettings) -> None:
    """Raises InputError where this host cannot deploy such a cluster."""
    package, extra = ("dask_jobqueue", "jobqueue") if settings.kind == "jobqueue" else ("asyncssh", "ssh")
    try:
        importlib.import_module(package)  # of asyncssh Dask would know only when the cluster is up by half
    except ImportError as error:
        needs = f"cluster.kind {settings.kind} needs a package ({error}): pip install 'nas-orchestrator[{extra}]'"
        raise InputError(needs) from None
    tls.require_cryptography()
    if settings.kind == "ssh":
        read_hosts(Path(settings.hosts or ""))
    elif settings.jobqueue is None:
        _described()


def jobqueue(settings: ClusterSettings, folder: Path) -> Deployed:
    """The jobs that a site's ``jobqueue.yaml`` describes."""
    classes = importlib.import_module("dask_jobqueue")
    system = settings.jobqueue or _described()
    folder = place(folder)
    jobs, logs = settings.workers or 1, folder / LOGS
    threads = settings.threads or settings.cpus_per_worker
    site = dask.config.get(f"jobqueue.{system}")
    variables = {**environment.settings(threads), "DASK_DISTRIBUTED__WORKER__DAEMON": "False", **settings.environment}
    options = {
        "security": tls.security(folder / FOLDER),
        "scheduler_options": {**(site.get("scheduler-options") or {}), **HTTP},
        "worker_extra_args": [*(site.get("worker-extra-args") or ()), "--dashboard-address", HTTP["dashboard_address"]],
        "job_script_prologue": [
            *(site.get("job-script-prologue") or ()),
            *exports(variables),
        ],
        "log_directory": site.get("log-directory") or str(logs),
    }
    if settings.interface:
        options["interface"] = settings.interface

    def make() -> Any:
        cluster = getattr(classes, CLASSES[system])(**options)
        try:
            for _ in range(jobs):
                cluster.worker_spec.update(cluster.new_worker_spec())
            cluster.sync(cluster._correct_state)  # as `scale` does, which keeps to itself what the batch system refuses
        except BaseException:
            _close(cluster)
            raise
        return cluster

    return Deployed(make, logs, {}, jobs)


CLASSES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "lsf": "LSFCluster", "sge": "SGECluster",
           "oar": "OARCluster", "htcondor": "HTCondorCluster"}  # fmt: skip


def _described() -> str:
    """The one that the site's configuration says the cores and the memory of."""
    found = [system for system in CLASSES if dask.config.get(f"jobqueue.{system}.cores", None)]
    if len(found) != 1:
        said = " and ".join(found) or "none"
        raise InputError(
            f"Dask's configuration describes jobs of {said} (jobqueue.SYSTEM.cores and .memory); say which: "
            f"--cluster jobqueue=SYSTEM, of {', '.join(CLASSES)}"
        )
    return found[0]


def ssh(settings: ClusterSettings, folder: Path) -> Deployed:
    """``workers`` in turn on the hosts of a file, else one for each of its lines; the scheduler on the first.

    How ssh gets there (user, port, key, known hosts) is the person's ~/.ssh/config to say.
    """
    hosts, folder = read_hosts(Path(settings.hosts or "")), place(folder)
    places = [hosts[worker % len(hosts)] for worker in range(settings.workers or len(hosts))]
    security = tls.security(folder / FOLDER)
    interface = {"interface": settings.interface} if settings.interface else {}
    worker = {"nthreads": 1, "memory_limit": 0, **HTTP, **interface}
    scheduler = {"protocol": "tls://", "port": 0, "allowed_failures": 0, **HTTP, **interface}
    threads = settings.threads or settings.cpus_per_worker
    keys = {
        f"distributed.comm.tls.{role}.{what}": getattr(security, f"tls_{role}_{what}")
        for role in ("scheduler", "worker", "client")
        for what in ("cert", "key")
    }
    config = {
        "distributed.comm.require-encryption": True,
        "distributed.comm.tls.ca-file": security.tls_ca_file,
        **keys,
        "distributed.nanny.pre-spawn-environ": {**environment.settings(threads), **settings.environment},
    }

    def make() -> Any:
        return SSHCluster(
            [hosts[0], *places],
            worker_options=worker,
            scheduler_options=scheduler,
            remote_python=sys.executable,
            security=security,
        )

    return Deployed(make, folder / LOGS, config, None)


def read_hosts(file: Path) -> list[str]:
    """One a line; what follows # is a remark. Raises InputError."""
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cluster.hosts: {file} cannot be read: {error}") from None
    hosts = [line for line in lines if line]
    if wrong := next((host for host in hosts if len(host.split()) > 1 or host.startswith("-")), None):
        raise InputError(f"{file}: {wrong!r} is no host; write one on each line")
    if not hosts:
        raise InputError(f"{file} names no host; write one on each line")
    return hosts
