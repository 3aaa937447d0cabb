"""A scheduler in this process for workers that are jobs of a batch system, and who keeps the workers at their number.

What a busy cluster's commands cost (seconds, at times) is paid in a thread of its own: the search goes on meanwhile.
Topping up only ever counts: jobs of the run that wait or run, against how many are wanted.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
from distributed.utils import get_ip, get_ip_interface

from nas.cluster import tls
from nas.cluster.batch.jobs import SCHEDULER_FILE
from nas.cluster.batch.run import Supply
from nas.cluster.batch.system import in_words
from nas.cluster.scheduler import Scheduler
from nas.durable import write_whole
from nas.errors import InputError, Interrupted, NasError, SearchFailed

LOOK = 15.0  # seconds between two looks at the queue
SOON = 2.0  # at least, also when a worker was lost
LONGEST_PAUSE = 600.0  # seconds between two that fail
FUTILE = 5  # of them in a row, and no worker there: then it is no accident

log = logging.getLogger("distributed.nas")  # so that it goes where the scheduler's log goes


class BatchWorkers:
    """``client`` of a scheduler that the run's worker jobs find by RUN/cluster/scheduler.json.

    Args:
        folder: RUN/cluster, with its keys.
        logs: RUN/logs.
        interface: of the network on which the workers reach this host; None: the one with the default route.
        supply: who submits workers and ends them; None: they come by themselves.
    """

    def __init__(self, folder: Path, logs: Path, *, interface: str | None = None, supply: Supply | None = None) -> None:
        self.shared = False
        self.file = folder / SCHEDULER_FILE
        self._supply = supply
        try:
            host = get_ip_interface(interface) if interface else get_ip()
        except (ValueError, KeyError, OSError) as error:
            raise InputError(f"cluster.interface: {interface} is no network interface of this host: {error}") from error
        self._scheduler = Scheduler(logs, host=host, security=tls.security(folder))
        self.client: Any = self._scheduler.client
        try:
            self._contents = orjson.dumps({"type": "Scheduler", "address": self._scheduler.address})
            write_whole(self.file, self._contents, mode=0o600)
            self._topping_up = TopUp(supply, logs) if supply else None
        except BaseException:
            self._scheduler.close()
            raise

    def keep_up(self, workers: int) -> str:
        """The work is done beside the search."""
        return self._topping_up.report(workers) if self._topping_up else ""

    def lost(self) -> None:
        if self._topping_up:
            self._topping_up.look_soon()

    def want(self, workers: int) -> bool:
        if self._topping_up:
            self._topping_up.want(workers)
        return True

    def close(self) -> None:
        """End the scheduler, and what ``supply`` ends with it."""
        if self._topping_up:
            self._topping_up.stop()
        with suppress(OSError):
            if self.file.read_bytes() == self._contents:  # else it is a later scheduler's
                self.file.unlink()
        try:
            if self._supply:
                self._supply.close()
        except NasError as error:
            log.warning("the worker jobs could not be ended: %s", error)
        finally:
            self._scheduler.close()


class TopUp:
    """A thread that looks now and then, and submits what is missing."""

    def __init__(self, supply: Supply, logs: Path) -> None:
        self.supply, self.logs = supply, logs
        self.futile = 0  # looks in a row at which jobs were missing, or could not be submitted
        self.complaint = ""  # why the last look failed
        self.state = ""  # of the jobs, at the last look
        self._told = ""  # of both, last
        self._wanted = supply.wanted
        self._stopped, self._soon = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="nas-top-up", daemon=True)
        self._thread.start()

    def report(self, workers: int) -> str:
        """How the jobs stand, once for each change, while no worker is there.

        Raises:
            Interrupted: the run's jobs were cancelled.
            SearchFailed: no worker comes up, however many are sent.
        """
        if self.supply.is_over():
            raise Interrupted("the run's jobs were cancelled; everything recorded is safe")
        if workers:
            self._told = ""
            return ""
        if self.futile > FUTILE:
            why = self.complaint or "the jobs end as soon as they start"
            raise SearchFailed(f"no worker comes up: {why}; see {self.logs}/workers-*.log and dask.log")
        now = self.complaint or self.state
        if not now or now == self._told:
            return ""
        self._told = now
        return f"no worker yet; {now}"

    def want(self, workers: int) -> None:
        self._wanted = min(self._wanted, workers)

    def look_soon(self) -> None:
        """A worker is gone: its job too, in a moment."""
        self._soon.set()

    def stop(self) -> None:
        self._stopped.set()
        self._soon.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self.futile = self.futile + 1 if self.look() else 0
                self.complaint = ""
            except Exception as error:
                self.futile += not isinstance(error, SearchFailed)  # no answer: the jobs may wait there all the same
                self.complaint = str(error)
                log.warning("worker jobs could not be topped up: %s", error, exc_info=not isinstance(error, NasError))
            # Those that end as soon as they start are not submitted four times a minute all night.
            self._pause(min(LONGEST_PAUSE, LOOK * 2.0 ** max(0, self.futile - 1)))

    def _pause(self, seconds: float) -> None:
        began = time.monotonic()
        if self._soon.wait(seconds) and self.futile < 2:
            seconds = SOON
        self._stopped.wait(max(0.0, began + seconds - time.monotonic()))
        self._soon.clear()

    def look(self) -> int:
        """Submit the jobs that are missing, and say how many that were."""
        wanted, jobs = -(-self._wanted // self.supply.each), self.supply.jobs()
        self.state = "; ".join(in_words(jobs))
        missing = max(0, wanted - len(jobs))
        if missing and not self.supply.is_over() and not self._stopped.is_set():
            log.warning("%d of %d worker jobs are missing: submitting as many", missing, wanted)
            self.supply.submit(missing)
        return missing
