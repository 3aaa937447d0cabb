"""A Dask scheduler in this process, and a client of it. It has no workers of its own: they come to it.

On 127.0.0.1 for workers of this host. For those of other hosts on an address that they reach, and then with the TLS
keys of the run alone (tls.py).
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

from nas.cluster.environment import MALLOC
from nas.cluster.scratch import Scratch
from nas.durable import within
from nas.errors import InputError

CONFIG = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.nanny.pre-spawn-environ": MALLOC,  # for who starts workers of his own under this scheduler
    "distributed.worker.daemon": False,
}


class Scheduler:
    """``client`` and ``address``, until ``close``.

    Args:
        logs: where the scheduler's log goes; None keeps none.
        host: the address to listen at.
        security: a distributed.Security with the run's keys, which everything beyond loopback must have.

    Raises:
        InputError: this host has no room for a scheduler, or cannot listen at ``host``.
    """

    def __init__(self, logs: Path | None, *, host: str = "127.0.0.1", security: Any = None) -> None:
        if host == "127.0.0.1":
            check_loopback()
        assert security is not None or host == "127.0.0.1", "beyond loopback nothing listens without TLS"
        self._restore_logs = divert_logs(logs)
        self._scratch = Scratch()
        self.folder = self._scratch.folder
        self._cluster: Any = None
        try:
            with dask.config.set({**CONFIG, "temporary-directory": str(self.folder)}):
                self._cluster = LocalCluster(
                    n_workers=0,
                    host=host,
                    protocol="tls://" if security else "tcp://",
                    security=security,
                    dashboard_address="127.0.0.1:0",  # None would open 8787 on every interface
                    scheduler_kwargs={"dashboard": False, "allowed_failures": 0},
                    silence_logs=False,
                )
                self.client: Any = Client(self._cluster, set_as_default=False)
        except BaseException as error:
            if self._cluster:
                self._cluster.close(timeout=2)
            self._scratch.close()
            self._restore_logs()
            if isinstance(error, OSError) or isinstance(error.__cause__, OSError):  # no descriptor left, no answer, ...
                raise InputError(f"the cluster on this host cannot be started: {error}") from error
            raise
        self.address: str = self._cluster.scheduler_address

    def close(self) -> None:
        """End every thread. What the scheduler says about it goes to its log."""
        try:
            self.client.close(timeout=2)
            self._cluster.close(timeout=2)
        finally:
            self._scratch.close()
            self._restore_logs()


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


def divert_logs(folder: Path | None) -> Callable[[], None]:
    """Send what distributed logs in this process to a file, away from the terminal. Returns what undoes it."""
    handler: logging.Handler = logging.NullHandler()
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(within(folder, "dask.log"), delay=True)
        handler.handleError = lambda record: None  # type: ignore[method-assign]  # of a full disk the driver speaks
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
