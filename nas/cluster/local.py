"""Dask on this host: a scheduler in the driver's process, and worker processes that are started again when they die.

Not LocalCluster's nannies: those spawn workers with multiprocessing, which imports the program's ``__main__`` again (a
five-line script without a guard would start itself), hands on the terminal's Ctrl-C, and sets malloc for small resident
sizes. Everything listens on 127.0.0.1 only.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

from nas.cluster.worker import BOOT
from nas.errors import InputError, SearchFailed

# Keep freed memory in the process: with the trimming that Dask's nannies ask for (64 KiB), or glibc's own (128 KiB),
# training on a CPU spends half its time on page faults. Bytes.
MALLOC = {
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_MMAP_THRESHOLD_": str(8 << 30),
    "MALLOC_TOP_PAD_": str(64 << 20),
}

CONFIG = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.nanny.pre-spawn-environ": MALLOC,  # for who starts workers of his own under this scheduler
    "distributed.worker.daemon": False,
}

FAILED_STARTS = 4  # in a row, of every worker: then it is no accident
LONGEST_PAUSE = 30.0  # seconds between two starts of a worker that does not come up


def environment(threads: int, gpu: str) -> dict[str, str]:
    """What a worker's processes must find set before they start: malloc, threads per pool, the one visible GPU."""
    pools = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **MALLOC, **{pool: str(threads) for pool in pools}, "CUDA_VISIBLE_DEVICES": gpu}


@dataclass(slots=True)
class _Member:
    """One worker's place: its process comes and goes."""

    process: subprocess.Popen[bytes] | None = None
    name: str = ""  # new with each process: the scheduler may not have missed the last one yet
    started: float = 0.0  # time.monotonic()
    failures: int = 0  # to come up, in a row


class LocalDask:
    """The scheduler, a client of it, and one worker for each environment.

    Args:
        environments: of the workers' processes, one for each.
        logs: where the scheduler's and the workers' logs go; None keeps none.

    Raises:
        InputError: this host has no loopback, or no room for a scheduler.
    """

    def __init__(self, environments: Sequence[Mapping[str, str]], logs: Path | None) -> None:
        self.environments = environments
        self.logs = logs
        check_loopback()
        self.folder = Path(tempfile.mkdtemp(prefix="nas-"))
        self._log = _divert_logs(logs)
        self._members = [_Member() for _ in environments]
        self._cluster: Any = None
        try:
            with dask.config.set({**CONFIG, "temporary-directory": str(self.folder)}):
                self._cluster = LocalCluster(
                    n_workers=0,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",  # None would open 8787 on every interface
                    scheduler_kwargs={"dashboard": False, "allowed_failures": 0},
                    silence_logs=False,
                )
                self.client: Any = Client(self._cluster, set_as_default=False)
        except BaseException as error:
            if self._cluster:
                self._cluster.close(timeout=2)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._log()
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):  # no descriptor left, no answer, ...
                raise InputError(f"the cluster on this host cannot be started: {error}") from error
            raise

    def keep_up(self) -> None:
        """Start the workers that are not there; ever more slowly those that do not come up. Call it every second.

        Raises:
            SearchFailed: no worker comes up, be it at the beginning or later.
        """
        now = time.monotonic()
        for number, member in enumerate(self._members):
            if member.process is not None:
                if member.process.poll() is None:
                    continue
                was_up = (self.folder / member.name).exists()
                member.failures = 0 if was_up else member.failures + 1
                self._end(member)
                if all(self._failed_starts(member) >= FAILED_STARTS for member in self._members):
                    raise SearchFailed(self._complaint(number))
            pause = min(LONGEST_PAUSE, 0.25 * 2**member.failures) if member.failures > 1 else 0.0
            if now >= member.started + pause:
                self._start(number, member)

    def close(self) -> None:
        """End every process and thread. What the scheduler says about it goes to its log."""
        for member in self._members:
            if member.process:
                self._end(member)
        try:
            self.client.close(timeout=2)
            self._cluster.close(timeout=2)
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._log()

    def _start(self, number: int, member: _Member) -> None:
        member.started = time.monotonic()
        member.name = f"slot-{number}-{time.time_ns():x}"
        arguments = [json.dumps(sys.path), self._cluster.scheduler_address, member.name, str(self.folder)]
        with self._log_file(number) as log:
            member.process = subprocess.Popen(
                [sys.executable, "-c", BOOT, *arguments],
                env=dict(self.environments[number]),
                stdin=subprocess.PIPE,  # its closing tells the worker that the driver is gone
                stdout=log,
                stderr=log,
                start_new_session=True,  # out of the terminal's process group
            )

    def _end(self, member: _Member) -> None:
        assert member.process is not None and member.process.stdin is not None
        member.process.kill()  # its fork server sees it go, and kills the child
        member.process.wait()
        member.process.stdin.close()
        member.process = None

    def _failed_starts(self, member: _Member) -> int:
        """In a row; 0 for one that is up."""
        up = member.process is not None and (self.folder / member.name).exists()
        return 0 if up else member.failures

    def _log_path(self, number: int) -> Path:
        return (self.logs or self.folder) / f"worker-{number}.log"

    def _log_file(self, number: int) -> Any:
        path = self._log_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _complaint(self, number: int) -> str:
        path = self._log_path(number)
        said = path.read_bytes()[-2000:].decode(errors="replace").rstrip()
        where = f"; see {path}" if self.logs else ""
        return f"no worker process comes up; {FAILED_STARTS} starts in a row failed{where}. The last one said:\n{said}"


def check_loopback() -> None:
    """Raises InputError where this host cannot reach itself: Dask would try for half a minute, then say less."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        raise InputError(
            f"this host does not reach itself at 127.0.0.1 ({error}), where the workers are to meet; bring its loopback"
            " interface up (ip link set lo up), or run in this process alone (cluster.kind: inline)"
        ) from error


def _divert_logs(folder: Path | None) -> Callable[[], None]:
    """Send what distributed logs in this process to a file, away from the terminal. Returns what undoes it."""
    handler: logging.Handler = logging.NullHandler()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(folder / "dask.log", delay=True)
        handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    tops = ("distributed", "tornado")
    loggers = [logging.getLogger(top) for top in tops]
    for name in list(logging.root.manager.loggerDict):  # some of those below have a stream to the terminal of their own
        if name.startswith(tuple(f"{top}." for top in tops)):
            loggers.append(logging.getLogger(name))
    before = [(logger, logger.handlers[:], logger.propagate) for logger in loggers]
    for logger in loggers:
        top = logger.name in tops
        own = [old for old in logger.handlers if not top and type(old) is not logging.StreamHandler]
        logger.handlers, logger.propagate = ([handler] if top else own), not top

    def restore() -> None:
        for logger, handlers, propagate in before:
            logger.handlers, logger.propagate = handlers, propagate
        handler.close()

    return restore
