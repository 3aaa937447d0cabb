"""The Dask executor: attempts on the workers of a distributed cluster, one at a time on each.

Dask places and carries; it decides nothing. The executor names the worker of each attempt, so that none is queued
behind another, stolen or run twice; retries are the search's. Reports and answers come back as events on a topic of the
scheduler's, in the order in which the worker sent them, and not as a task's result: a result would have to be fetched
from the worker once more, which may be dead by then. A future only says that its worker was lost.

Left out: deadlines (the slot keeps them, where the child is), and any memory of what ran: that is the journal's.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import queue
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import orjson
from distributed import KilledWorker, Worker, WorkerPlugin, get_worker

from nas import results
from nas.cluster.child import host
from nas.cluster.environment import visible_device
from nas.cluster.pace import Pace
from nas.cluster.sharing import Room, Sharing
from nas.cluster.slot import Slot, pickled
from nas.errors import Interrupted
from nas.objective import Objective, resumable
from nas.records import (
    Answered,
    Attempt,
    Failed,
    Happening,
    Reported,
    SlotsChanged,
    Succeeded,
    outcome_from_json,
)

ANSWER_LIMIT = 5.0  # seconds from a task's end to its answer, which was sent before
KEEP_UP = 0.5  # seconds between two looks at who keeps the workers up
GONE = 10.0  # seconds without the scheduler, after which it is not waited for


class SlotPlugin(WorkerPlugin):  # type: ignore[misc]
    """Gives a worker its slot when it joins, and ends the slot's processes when it leaves."""

    def __init__(
        self,
        name: str,
        objective: Objective,
        preload: Sequence[str],
        threads: int,
        memory: int | None,
        shared: bool,
    ) -> None:
        self.name = name
        self.objective = pickled(objective)
        self.resumable = resumable(objective)
        self.preload = list(preload)
        self.threads = threads
        self.memory = memory
        self.shared = shared  # its GPU, with other workers
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
            resumable=self.resumable,
            shared=self.shared,
        )
        self.worker = worker
        worker.log_event(self.name, ["host", worker.address, host()])
        if self.shared:
            worker.log_event(self.name, ["on", worker.address, os.environ["CUDA_VISIBLE_DEVICES"]])
        seconds = getattr(worker, "seconds_left", lambda: math.inf)()  # only a batch system's workers have it
        if seconds < math.inf:
            self.leave_within(seconds)

    def leave_within(self, seconds: float) -> None:
        """Say that the worker must end by then; 0: it begins nothing more, and may go when it is idle."""
        self.worker.log_event(self.name, ["leaves", self.worker.address, seconds])

    def teardown(self, worker: Worker) -> None:
        self.slot.close()


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


async def stop_on_worker(name: str, trial: int, attempt: int, leave: bool, dask_worker: Worker) -> None:
    """Have an attempt's next report return True."""
    dask_worker.plugins[name].slot.stop(trial, attempt, leave=leave)


async def leave_on_worker(name: str, dask_worker: Worker) -> None:
    """Have a worker that is not needed any more end, and its batch job with it."""
    dask_worker.released = True
    asyncio.get_running_loop().create_task(dask_worker.close(reason="released"))


class Members(Protocol):
    """Who provides the scheduler and its workers. The executor calls it, from one thread."""

    shared: bool  # with other programs: the executor leaves no trace then

    @property
    def client(self) -> Any: ...  # a distributed.Client

    def keep_up(self) -> None: ...  # called every half second

    def lost(self) -> None: ...  # a worker went that had not been let go

    def want(self, workers: int) -> bool: ...  # no more are needed from now on; whether idle ones are to be let go

    def close(self) -> None: ...


class DaskExecutor:
    """Attempts on the workers of ``client``'s cluster; each worker is one slot, however many threads it has.

    Args:
        client: a distributed.Client; the caller closes it.
        objective: any callable; sent once to each worker.
        preload: modules that the children find imported.
        threads: that an objective may use.
        memory: bytes that a child may have resident; None is no limit.
        members: who starts, replaces and ends the workers, where that is not left to others; closed with the executor.
        sharing: of GPUs, where several workers have one; each of them must have one then.

    A worker whose batch job has an end is given no attempt that, by those so far (pace.py), would come neither to its
    end nor to a state before that; idle, it is then released.
    """

    def __init__(
        self,
        client: Any,
        objective: Objective,
        *,
        preload: Sequence[str] = (),
        threads: int = 1,
        memory: int | None = None,
        members: Members | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.client = client
        self.members = members
        self.sharing = sharing
        self.name = f"nas-{uuid.uuid4().hex}"  # of the plugin, the topic and the tasks: unique on a shared cluster
        self._events: queue.SimpleQueue[Sequence[Any]] = queue.SimpleQueue()  # filled by Dask's threads
        self._workers: dict[str, str | None] = {}  # address -> the key of what it runs
        self._hosts: dict[str, str] = {}  # address -> its host, as places have it
        self._gpus: dict[str, str] = {}  # address -> its GPU, where they are shared
        self._leaves: dict[str, float] = {}  # address -> time.monotonic() at which it must have ended
        self._served: set[str] = set()  # workers that were given an attempt
        self._released: set[str] = set()  # that were told to go
        self._slots = 0  # as last announced
        self._pace = Pace(resumable(objective))
        self._useful: int | None = None  # so many workers are still, when nothing new will come; None: all are
        self._gone_since: float | None = None  # time.monotonic() since when the scheduler does not answer
        self._running: dict[str, tuple[Attempt, Any]] = {}  # key -> attempt, future
        self._ended: dict[str, float] = {}  # key of a task that ended well, its answer not here yet -> time.monotonic()
        self._waiting: deque[Attempt] = deque()  # started when no worker was free, as when one has just died
        self._happenings: list[Happening] = []
        self._count = 0
        plugin = SlotPlugin(self.name, objective, preload, threads, memory, sharing is not None)
        client.subscribe_topic("all", lambda event: self._events.put(_membership(event[1])))
        client.subscribe_topic(self.name, lambda event: self._events.put(event[1]))
        client.register_plugin(plugin, name=self.name)
        for address in client.scheduler_info(n_workers=-1)["workers"]:
            self._events.put(["joined", address])

    def start(self, attempt: Attempt) -> None:
        self._waiting.append(attempt)
        self._place()

    def stop(self, trial: int, attempt: int, *, leave: bool = False) -> None:
        if leave:
            self._drop(trial, attempt)
        self._on_worker(stop_on_worker, trial, attempt, leave)

    def cancel(self, trial: int, attempt: int) -> None:
        self._drop(trial, attempt)
        self._on_worker(cancel_on_worker, trial, attempt)

    def _drop(self, trial: int, attempt: int) -> None:
        """Answer for it, if it waits for a worker yet."""
        for one in [a for a in self._waiting if (a.trial, a.attempt) == (trial, attempt)]:
            self._waiting.remove(one)
            self._happenings.append(Answered(trial, attempt, Failed("preempted", "cancelled")))

    def wait(self, timeout: float) -> Sequence[Happening]:
        until = time.monotonic() + timeout
        while True:
            if self.members:
                self.members.keep_up()
            self._require_scheduler()
            self._miss_answers()
            self._take(0.0 if self._happenings else min(KEEP_UP, max(0.0, until - time.monotonic())))
            self._place()
            self._release()
            if self._happenings or time.monotonic() >= until:
                break
        happenings, self._happenings = self._happenings, []
        return happenings

    def close(self) -> None:
        for _, future in self._running.values():
            future.cancel()
        for topic in ("all", self.name):
            self.client.unsubscribe_topic(topic)
        if (self.members is None or self.members.shared) and self.client.status == "running":
            self.client.unregister_worker_plugin(self.name)  # its teardown kills the children
        if self.members:
            self.members.close()

    def wind_down(self, workers: int) -> None:
        useful = max(1, workers, len(self._running) + len(self._waiting))
        if self.members and self.members.want(useful):
            self._useful = useful

    def _require_scheduler(self) -> None:
        """Raises Interrupted where the scheduler is gone for good: nothing that waits for it would ever go on."""
        if self.client.status == "running":
            self._gone_since = None
            return
        self._gone_since = self._gone_since or time.monotonic()
        if self.client.status == "closed" or time.monotonic() > self._gone_since + GONE:
            raise Interrupted("the Dask scheduler is gone, with its workers; everything recorded is safe")

    def _usable(self, address: str) -> bool:
        """Whether an attempt may be given to it, and is likely to end or to leave its state there.

        A worker's first one is not doubted.
        """
        if address in self._released:
            return False
        if address not in self._leaves:
            return True
        left = self._leaves[address] - time.monotonic()
        return left > (self._pace.needs() if address in self._served else 0.0)

    def _release(self) -> None:
        """Let the idle workers go that are of no more use, and announce how many slots there are."""
        for address, key in self._workers.items():
            idle = key is None and address not in self._released
            if idle and (not self._usable(address) or self._spare()):
                self._released.add(address)
                self.client.run(leave_on_worker, self.name, workers=[address], wait=False, on_error="ignore")
        self._announce()

    def _spare(self) -> bool:
        """Whether there are more workers than will be of use."""
        return self._useful is not None and len(self._workers) - len(self._released) > self._useful

    def _announce(self) -> None:
        """A worker that is to leave is a slot for as long as its attempt runs."""
        there = [address for address, key in self._workers.items() if key is not None or self._usable(address)]
        slots = len(there)
        if room := self._room():
            on = Counter(self._gpus[address] for address in there)
            slots = sum(min(count, room.size(gpu)) for gpu, count in on.items())
        if slots != self._slots:
            self._slots = slots
            self._happenings.append(SlotsChanged(slots))

    def _on_worker(self, function: Callable[..., Any], trial: int, attempt: int, *more: Any) -> None:
        """Call it on the worker that runs the attempt, if one does; waits for nothing."""
        for address, key in self._workers.items():
            if key and (self._running[key][0].trial, self._running[key][0].attempt) == (trial, attempt):
                self.client.run(
                    function, self.name, trial, attempt, *more, workers=[address], wait=False, on_error="ignore"
                )

    def _take(self, timeout: float) -> None:
        """Digest what came, once something did or the time is over."""
        with contextlib.suppress(queue.Empty):
            self._digest(self._events.get(timeout=timeout))
            while True:
                self._digest(self._events.get_nowait())

    def _place(self) -> None:
        """Give what waits to workers that are free: who has hosts to avoid chooses first, and takes any before none."""
        if not self._waiting:
            return
        free = [address for address, key in self._workers.items() if key is None and self._usable(address)]
        for attempt in sorted(self._waiting, key=lambda one: not one.avoid):
            room = self._room()
            fitting = [one for one in free if room is None or room.takes(self._gpus[one], attempt.fresh)]
            if fitting:
                avoid = {*attempt.avoid, *self._hosts_of(attempt.trial)}  # a copy is of most use elsewhere
                address = next((one for one in fitting if self._hosts.get(one) not in avoid), fitting[0])
                free.remove(address)
                self._waiting.remove(attempt)
                self._submit(attempt, address)

    def _hosts_of(self, trial: int) -> list[str]:
        """Where attempts of the trial run."""
        return [
            self._hosts.get(a, "") for a, key in self._workers.items() if key and self._running[key][0].trial == trial
        ]

    def _submit(self, attempt: Attempt, address: str) -> None:
        self._count += 1
        key = f"{self.name}-{self._count}-trial-{attempt.trial}-{attempt.attempt}"
        future = self.client.submit(
            run_on_worker, self.name, key, attempt, key=key, workers=[address], retries=0, pure=False
        )
        future.add_done_callback(lambda future: self._events.put(["done", key, *_error(future)]))
        self._workers[address] = key
        self._served.add(address)
        self._running[key] = (attempt, future)
        self._pace.began(key, time.monotonic())

    def _room(self) -> Room | None:
        """On the GPUs, where they are shared. A fresh attempt has one to itself."""
        if self.sharing is None:
            return None
        running = [(self._gpus[a], self._running[key][0].fresh) for a, key in self._workers.items() if key]
        waits = any(attempt.fresh for attempt in self._waiting)
        return Room.of(self.sharing.slots, self._gpus.values(), running, waits)

    def _digest(self, event: Sequence[Any]) -> None:
        match event:
            case ["joined", address]:
                if address not in self._workers and not self.sharing:
                    self._workers[address] = None
                    self._announce()
            case ["host", address, name]:
                self._hosts[address] = name
            case ["on", address, gpu]:  # where GPUs are shared a worker is there when it has said which is its
                self._gpus[address], self._workers[address] = gpu, None
                self._announce()
            case ["leaves", address, seconds]:
                self._leaves[address] = time.monotonic() + seconds
                self._announce()
            case ["left", address]:
                if address in self._workers:
                    key = self._workers.pop(address)
                    self._leaves.pop(address, None)
                    place = self._hosts.pop(address, "")
                    self._gpus.pop(address, None)
                    self._served.discard(address)
                    if self.members and address not in self._released:
                        self.members.lost()
                    self._released.discard(address)
                    self._announce()
                    if key:
                        self._lose(key, Failed("lost", f"the worker {address} died", place=place, died=True))
            case ["reported", key, step, metrics] if key in self._running:
                attempt, _ = self._running[key]
                self._pace.reported(key, time.monotonic())
                self._happenings.append(Reported(attempt.trial, attempt.attempt, step, metrics))
            case ["answered", key, outcome]:
                self._answer(key, outcome_from_json(orjson.loads(outcome)))
            case ["done", key, "", _] if key in self._running:
                self._ended[key] = time.monotonic()
            case ["done", key, error, died] if key in self._running:
                places = [self._hosts.get(address, "") for address, one in self._workers.items() if one == key]
                self._lose(key, Failed("lost", error, place="".join(places), died=died))

    def _miss_answers(self) -> None:
        """Answer for tasks that ended and whose answers got lost on the way: else they hold their slots for ever."""
        now = time.monotonic()
        for key in [key for key, ended in self._ended.items() if now - ended > ANSWER_LIMIT]:
            self._lose(key, Failed("lost", f"its answer did not come within {ANSWER_LIMIT:g} s"))

    def _lose(self, key: str, lost: Failed) -> None:
        """Its worker will not answer for it; what the attempt wrote is its answer all the same."""
        self._answer(key, results.read_attempt(self._running[key][0]) or lost)

    def _answer(self, key: str, outcome: Any) -> None:
        """Once for each started attempt: what comes later finds its key gone."""
        if key not in self._running:
            return
        attempt, _ = self._running.pop(key)
        self._ended.pop(key, None)
        self._pace.ended(key, time.monotonic())
        for address, running in self._workers.items():
            if running == key:
                self._workers[address] = None
        if self.sharing and isinstance(outcome, Succeeded):
            self.sharing.learn(outcome.metrics)
        self._announce()  # before the answer, for which another attempt would be started at once
        self._happenings.append(Answered(attempt.trial, attempt.attempt, outcome))


def _membership(event: Any) -> Sequence[Any]:
    """What the scheduler's events say of workers; everything else is nothing to us."""
    match event:
        case {"action": "add-worker", "worker": str(address)}:
            return ["joined", address]
        case {"action": "remove-worker", "worker": str(address)}:
            return ["left", address]
    return []


def _error(future: Any) -> tuple[str, bool]:
    """Why the task did not run to its end, and whether its worker died; "" where it did: its answer came before."""
    if future.status == "finished":
        return "", False
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):  # its own text speaks of retries and logs that are not there
            return f"the worker {error.last_worker.address} died", True
        return f"{type(error).__name__}: {error}", False
    return f"Dask says that the task is {future.status}", False
