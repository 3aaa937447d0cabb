"""The Dask executor: attempts on the workers of a distributed cluster, one at a time on each.

Dask places and carries; it decides nothing. The executor names the worker of each attempt, so that none is queued
behind another, stolen or run twice; retries are the search's. Reports and answers come back as events on a topic of the
scheduler's, in the order in which the worker sent them, and not as a task's result: a result would have to be fetched
from the worker once more, which may be dead by then. A future only says that its worker was lost.

Left out: deadlines (the slot keeps them, where the child is), and any memory of what ran: that is the journal's.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from distributed import KilledWorker, Worker, WorkerPlugin, get_worker

from nas import results
from nas.cluster.local import LocalDask
from nas.cluster.slot import Slot, pickled
from nas.objective import Objective
from nas.records import (
    Answered,
    Attempt,
    Failed,
    Happening,
    Reported,
    SlotsChanged,
    outcome_from_json,
)

ANSWER_LIMIT = 5.0  # seconds from a task's end to its answer, which was sent before
KEEP_UP = 0.5  # seconds between two looks at the local workers' processes


class SlotPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a worker its slot when it joins, and ends the slot's processes when it leaves."""

    def __init__(self, name: str, objective: bytes, preload: Sequence[str], threads: int, memory: int | None) -> None:
        self.name = name
        self.objective = objective
        self.preload = list(preload)
        self.threads = threads
        self.memory = memory
        self.path = sys.path[:]  # of the driver: modules that the objective names are found where it found them

    def setup(self, worker: Worker) -> None:
        """Called on the worker's main thread, which outlives the preload, as a slot wants it."""
        self.slot = Slot(
            self.objective,
            preload=self.preload,
            device=visible_device(os.environ),
            threads=self.threads,
            memory=self.memory,
            path=self.path,
        )

    def teardown(self, worker: Worker) -> None:
        self.slot.close()


def visible_device(environ: Mapping[str, str]) -> str:
    """A worker that was given a GPU trains on it. One whose batch system says nothing of GPUs has none."""
    return "cuda" if environ.get("CUDA_VISIBLE_DEVICES", "") not in ("", "-1", "NoDevFiles") else "cpu"


def run_on_worker(name: str, key: str, attempt: Attempt) -> None:
    """The task: run the attempt in this worker's slot, and publish what it says under the executor's topic."""
    worker = get_worker()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        worker.log_event(name, ["reported", key, step, dict(metrics)])

    outcome = worker.plugins[name].slot.run(attempt, report)
    worker.log_event(name, ["answered", key, orjson.dumps(outcome, option=orjson.OPT_SERIALIZE_NUMPY)])


async def cancel_on_worker(name: str, trial: int, attempt: int, dask_worker: Worker) -> None:
    """Kill the child of an attempt that is wanted no more. Async only because Dask waits for any other kind."""
    dask_worker.plugins[name].slot.cancel(trial, attempt)


async def stop_on_worker(name: str, trial: int, attempt: int, dask_worker: Worker) -> None:
    """Have an attempt's next report return True."""
    dask_worker.plugins[name].slot.stop(trial, attempt)


class DaskExecutor:
    """Attempts on the workers of ``client``'s cluster; each worker is one slot, however many threads it has.

    Args:
        client: a distributed.Client; the caller closes it.
        objective: any callable; sent once to each worker.
        preload: modules that the children find imported.
        threads: that an objective may use.
        memory: bytes that a child may have resident; None is no limit.
        local: the workers' processes, where they are this executor's to start, restart and end (client included).
    """

    def __init__(
        self,
        client: Any,
        objective: Objective,
        *,
        preload: Sequence[str] = (),
        threads: int = 1,
        memory: int | None = None,
        local: LocalDask | None = None,
    ) -> None:
        self.client = client
        self.local = local
        self.name = f"nas-{uuid.uuid4().hex}"  # of the plugin, the topic and the tasks: unique on a shared cluster
        self._events: queue.SimpleQueue[Sequence[Any]] = queue.SimpleQueue()  # filled by Dask's threads
        self._workers: dict[str, str | None] = {}  # address -> the key of what it runs
        self._running: dict[str, tuple[Attempt, Any]] = {}  # key -> attempt, future
        self._ended: dict[str, float] = {}  # key of a task that ended well, its answer not here yet -> time.monotonic()
        self._waiting: deque[Attempt] = deque()  # started when no worker was free, as when one has just died
        self._happenings: list[Happening] = []
        self._count = 0
        plugin = SlotPlugin(self.name, pickled(objective), preload, threads, memory)
        client.subscribe_topic("all", lambda event: self._events.put(_membership(event[1])))
        client.subscribe_topic(self.name, lambda event: self._events.put(event[1]))
        client.register_plugin(plugin, name=self.name)
        for address in client.scheduler_info(n_workers=-1)["workers"]:
            self._events.put(["joined", address])

    def start(self, attempt: Attempt) -> None:
        self._waiting.append(attempt)
        self._place()

    def stop(self, trial: int, attempt: int) -> None:
        self._on_worker(stop_on_worker, trial, attempt)

    def cancel(self, trial: int, attempt: int) -> None:
        for one in [a for a in self._waiting if (a.trial, a.attempt) == (trial, attempt)]:
            self._waiting.remove(one)
            self._happenings.append(Answered(trial, attempt, Failed("preempted", "cancelled")))
        self._on_worker(cancel_on_worker, trial, attempt)

    def wait(self, timeout: float) -> Sequence[Happening]:
        until = time.monotonic() + timeout
        while True:
            if self.local:
                self.local.keep_up()
            self._miss_answers()
            self._take(0.0 if self._happenings else min(KEEP_UP, max(0.0, until - time.monotonic())))
            self._place()
            if self._happenings or time.monotonic() >= until:
                break
        happenings, self._happenings = self._happenings, []
        return happenings

    def close(self) -> None:
        for _, future in self._running.values():
            future.cancel()
        for topic in ("all", self.name):
            self.client.unsubscribe_topic(topic)
        if self.local:
            self.local.close()
        else:
            self.client.unregister_worker_plugin(self.name)  # its teardown kills the children

    def _on_worker(self, function: Callable[..., Any], trial: int, attempt: int) -> None:
        """Call it on the worker that runs the attempt, if one does; waits for nothing."""
        for address, key in self._workers.items():
            if key and (self._running[key][0].trial, self._running[key][0].attempt) == (trial, attempt):
                self.client.run(function, self.name, trial, attempt, workers=[address], wait=False, on_error="ignore")

    def _take(self, timeout: float) -> None:
        """Digest what came, once something did or the time is over."""
        with contextlib.suppress(queue.Empty):
            self._digest(self._events.get(timeout=timeout))
            while True:
                self._digest(self._events.get_nowait())

    def _place(self) -> None:
        """Give what waits to workers that are free."""
        free = [address for address, key in self._workers.items() if key is None]
        for address in free[: len(self._waiting)]:
            attempt = self._waiting.popleft()
            self._count += 1
            key = f"{self.name}-{self._count}-trial-{attempt.trial}-{attempt.attempt}"
            future = self.client.submit(
                run_on_worker, self.name, key, attempt, key=key, workers=[address], retries=0, pure=False
            )
            future.add_done_callback(lambda future, key=key: self._events.put(["done", key, _error(future)]))
            self._workers[address] = key
            self._running[key] = (attempt, future)

    def _digest(self, event: Sequence[Any]) -> None:
        match event:
            case ["joined", address]:
                if address not in self._workers:
                    self._workers[address] = None
                    self._slots_changed()
            case ["left", address]:
                if address in self._workers:
                    key = self._workers.pop(address)
                    self._slots_changed()
                    if key:
                        self._answer(key, Failed("lost", f"the worker {address} died"))
            case ["reported", key, step, metrics] if key in self._running:
                attempt, _ = self._running[key]
                self._happenings.append(Reported(attempt.trial, attempt.attempt, step, metrics))
            case ["answered", key, outcome]:
                self._answer(key, outcome_from_json(orjson.loads(outcome)))
            case ["done", key, ""] if key in self._running:
                self._ended[key] = time.monotonic()
            case ["done", key, error]:
                self._answer(key, Failed("lost", error))

    def _miss_answers(self) -> None:
        """Answer for tasks that ended and whose answers got lost on the way: else they hold their slots for ever."""
        now = time.monotonic()
        for key in [key for key, ended in self._ended.items() if now - ended > ANSWER_LIMIT]:
            attempt, _ = self._running[key]
            written = results.read_attempt(attempt)
            self._answer(key, written or Failed("lost", f"its answer did not come within {ANSWER_LIMIT:g} s"))

    def _answer(self, key: str, outcome: Any) -> None:
        """Once for each started attempt: what comes later finds its key gone."""
        if key not in self._running:
            return
        attempt, _ = self._running.pop(key)
        self._ended.pop(key, None)
        for address, running in self._workers.items():
            if running == key:
                self._workers[address] = None
        self._happenings.append(Answered(attempt.trial, attempt.attempt, outcome))

    def _slots_changed(self) -> None:
        self._happenings.append(SlotsChanged(len(self._workers)))


def _membership(event: Any) -> Sequence[Any]:
    """What the scheduler's events say of workers; everything else is nothing to us."""
    match event:
        case {"action": "add-worker", "worker": str(address)}:
            return ["joined", address]
        case {"action": "remove-worker", "worker": str(address)}:
            return ["left", address]
    return []


def _error(future: Any) -> str:
    """Why the task did not run to its end; "" where it did: its answer came by itself, before."""
    if future.status == "finished":
        return ""
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):  # its own text speaks of retries and logs that are not there
            return f"the worker {error.last_worker.address} died"
        return f"{type(error).__name__}: {error}"
    return f"Dask says that the task is {future.status}"
