"""The Dask executor: attempts on the workers of a distributed cluster, one at a time on each.

Dask places and carries; it decides nothing. The executor names the worker of each attempt, so that none is queued
behind another, stolen or run twice; retries are the search's. Reports and answers come back as events on a topic of the
scheduler's, in the order in which the worker sent them (on_worker.py), and not as a task's result: a result would have
to be fetched from the worker once more, which may be dead by then. A future only says that its worker was lost.

Left out: deadlines (the slot keeps them, where the child is), and any memory of what ran: that is the journal's.
"""

from __future__ import annotations

import contextlib
import math
import queue
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from distributed import KilledWorker

from nas import results
from nas.cluster import on_worker
from nas.cluster.members import Members
from nas.cluster.pace import Pace
from nas.cluster.sharing import Room, Sharing
from nas.errors import Interrupted
from nas.objective import Objective, resumable
from nas.records import (
    Answered,
    Attempt,
    Failed,
    Happening,
    Noted,
    Outcome,
    Reported,
    SlotsChanged,
    Succeeded,
    outcome_from_json,
)

ANSWER_LIMIT = 5.0  # seconds from a task's end to its answer, which was sent before
KEEP_UP = 0.5  # seconds between two looks at who keeps the workers up
GONE = 10.0  # seconds without the scheduler, after which it is not waited for


@dataclass(slots=True, eq=False)
class _Worker:
    """A worker, as far as it has made itself known."""

    address: str
    there: bool = False  # it may be given attempts; its host may be told before
    host: str = ""  # as places have it
    gpu: str = ""  # where they are shared
    leaves: float = math.inf  # time.monotonic() at which it must have ended
    task: _Task | None = None  # what it runs
    served: bool = False  # it was given an attempt
    released: bool = False  # it was told to go


@dataclass(slots=True, eq=False)
class _Task:
    """An attempt that was given to a worker, under a key of its own."""

    key: str
    attempt: Attempt
    worker: _Worker
    future: Any
    ended: float | None = None  # time.monotonic() at which it ended well, its answer not here yet


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
        # Filled by Dask's threads. No SimpleQueue: interrupted by a signal when its time is over, it waits for ever.
        self._events: queue.Queue[Sequence[Any]] = queue.Queue()
        self._workers: dict[str, _Worker] = {}  # by address
        self._tasks: dict[str, _Task] = {}  # by key: those that are not answered
        self._count = 0  # of tasks so far
        self._slots = 0  # as last announced
        self._pace = Pace(resumable(objective))
        self._useful: int | None = None  # so many workers are still, when nothing new will come; None: all are
        self._gone_since: float | None = None  # time.monotonic() since when the scheduler does not answer
        self._waiting: deque[Attempt] = deque()  # started when no worker was free, as when one has just died
        self._happenings: list[Happening] = []
        plugin = on_worker.SlotPlugin(self.name, objective, preload, threads, memory, sharing is not None)
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
        self._reach(on_worker.stop, trial, attempt, leave)

    def cancel(self, trial: int, attempt: int) -> None:
        self._drop(trial, attempt)
        self._reach(on_worker.cancel, trial, attempt)

    def wait(self, timeout: float) -> Sequence[Happening]:
        until = time.monotonic() + timeout
        while True:
            if self.members and (said := self.members.keep_up(sum(worker.there for worker in self._workers.values()))):
                self._happenings.append(Noted(said))
            self._require_scheduler()
            self._miss_answers()
            self._take(0.0 if self._happenings else min(KEEP_UP, max(0.0, until - time.monotonic())))
            self._place()
            self._release()
            if self._happenings or time.monotonic() >= until:
                break
        happenings, self._happenings = self._happenings, []
        return happenings

    def wind_down(self, workers: int) -> None:
        useful = max(1, workers, len(self._tasks) + len(self._waiting))
        if self.members and self.members.want(useful):
            self._useful = useful

    def close(self) -> None:
        for task in self._tasks.values():
            task.future.cancel()
        for topic in ("all", self.name):
            self.client.unsubscribe_topic(topic)
        if (self.members is None or self.members.shared) and self.client.status == "running":
            self.client.unregister_worker_plugin(self.name)  # its teardown kills the children
        if self.members:
            self.members.close()

    def _drop(self, trial: int, attempt: int) -> None:
        """Answer for it, if it waits for a worker yet."""
        for one in [a for a in self._waiting if (a.trial, a.attempt) == (trial, attempt)]:
            self._waiting.remove(one)
            self._happenings.append(Answered(trial, attempt, Failed("preempted", "cancelled")))

    def _reach(self, function: Callable[..., Any], trial: int, attempt: int, *more: Any) -> None:
        """Call it on the worker that runs the attempt, if one does."""
        for task in self._tasks.values():
            if (task.attempt.trial, task.attempt.attempt) == (trial, attempt):
                self._call(function, task.worker, trial, attempt, *more)

    def _call(self, function: Callable[..., Any], worker: _Worker, *more: Any) -> None:
        """On the worker; waits for nothing."""
        self.client.run(function, self.name, *more, workers=[worker.address], wait=False, on_error="ignore")

    def _require_scheduler(self) -> None:
        """Raises Interrupted where the scheduler is gone for good: nothing that waits for it would ever go on."""
        if self.client.status == "running":
            self._gone_since = None
            return
        self._gone_since = self._gone_since or time.monotonic()
        if self.client.status == "closed" or time.monotonic() > self._gone_since + GONE:
            raise Interrupted("the Dask scheduler is gone, with its workers; everything recorded is safe")

    # Who gets what ---------------------------------------------------------------------------------------------------

    def _there(self) -> list[_Worker]:
        return [worker for worker in self._workers.values() if worker.there]

    def _usable(self, worker: _Worker) -> bool:
        """Whether an attempt may be given to it, and is likely to end or to leave its state there.

        A worker's first one is not doubted.
        """
        needs = self._pace.needs() if worker.served else 0.0
        return not worker.released and worker.leaves - time.monotonic() > needs

    def _place(self) -> None:
        """Give what waits to workers that are free: who has hosts to avoid chooses first, and takes any before none.

        A worker that has just joined, and has not said yet where it is, may be where it is not wanted.
        """
        if not self._waiting:
            return
        free = [worker for worker in self._there() if worker.task is None and self._usable(worker)]
        for attempt in sorted(self._waiting, key=lambda one: not one.avoid):
            room = self._room()
            fitting = [worker for worker in free if room is None or room.takes(worker.gpu, attempt.fresh)]
            if fitting:
                avoid = {*attempt.avoid, *self._hosts_of(attempt.trial)}  # a copy is of most use elsewhere
                worker = min(fitting, key=lambda one: (one.host in avoid, not one.host))
                free.remove(worker)
                self._waiting.remove(attempt)
                self._submit(attempt, worker)

    def _hosts_of(self, trial: int) -> list[str]:
        """Where attempts of the trial run, as far as that is known."""
        hosts = (task.worker.host for task in self._tasks.values() if task.attempt.trial == trial)
        return [host for host in hosts if host]

    def _room(self) -> Room | None:
        """On the GPUs, where they are shared. A fresh attempt has one to itself."""
        if self.sharing is None:
            return None
        running = [(task.worker.gpu, task.attempt.fresh) for task in self._tasks.values()]
        waits = any(attempt.fresh for attempt in self._waiting)
        return Room.of(self.sharing.slots, [worker.gpu for worker in self._there()], running, waits)

    def _submit(self, attempt: Attempt, worker: _Worker) -> None:
        self._count += 1
        key = f"{self.name}-{self._count}-trial-{attempt.trial}-{attempt.attempt}"
        future = self.client.submit(
            on_worker.run, self.name, key, attempt, key=key, workers=[worker.address], retries=0, pure=False
        )
        future.add_done_callback(lambda future: self._events.put(["done", key, *_error(future)]))
        worker.task = self._tasks[key] = _Task(key, attempt, worker, future)
        worker.served = True
        self._pace.began(key, time.monotonic())

    def _release(self) -> None:
        """Let the idle workers go that are of no more use, and announce how many slots there are."""
        left = [worker for worker in self._there() if not worker.released]
        spare = 0 if self._useful is None else len(left) - self._useful
        for worker in left:
            if worker.task is None and (spare > 0 or not self._usable(worker)):
                worker.released = True
                spare -= 1
                self._call(on_worker.leave, worker)
        self._announce()

    def _announce(self) -> None:
        """A worker that is to leave is a slot for as long as its attempt runs."""
        there = [worker for worker in self._there() if worker.task or self._usable(worker)]
        slots = len(there)
        if room := self._room():
            on = Counter(worker.gpu for worker in there)
            slots = sum(min(count, room.size(gpu)) for gpu, count in on.items())
        if slots != self._slots:
            self._slots = slots
            self._happenings.append(SlotsChanged(slots))

    # What comes back -------------------------------------------------------------------------------------------------

    def _take(self, timeout: float) -> None:
        """Digest what came, once something did or the time is over."""
        with contextlib.suppress(queue.Empty):
            self._digest(self._events.get(timeout=timeout))
            while True:
                self._digest(self._events.get_nowait())

    def _digest(self, event: Sequence[Any]) -> None:
        match event:
            case ["joined", address] if not self.sharing:
                self._known(address).there = True
                self._announce()
            case ["host", address, name]:  # it has its slot; that it joined may have been said before we heard
                worker = self._known(address)
                worker.host, worker.there = name, worker.there or not self.sharing
                self._announce()
            case ["on", address, gpu]:  # where GPUs are shared a worker is there when it has said which is its
                worker = self._known(address)
                worker.gpu, worker.there = gpu, True
                self._announce()
            case ["leaves", address, seconds]:
                self._known(address).leaves = time.monotonic() + seconds
                self._announce()
            case ["left", address] if address in self._workers:
                self._left(self._workers.pop(address))
            case ["reported", key, step, metrics] if task := self._tasks.get(key):
                self._pace.reported(key, time.monotonic())
                self._happenings.append(Reported(task.attempt.trial, task.attempt.attempt, step, metrics))
            case ["answered", key, outcome] if task := self._tasks.get(key):
                self._answer(task, outcome_from_json(orjson.loads(outcome)))
            case ["done", key, "", _] if task := self._tasks.get(key):
                task.ended = time.monotonic()
            case ["done", key, error, died] if task := self._tasks.get(key):
                self._lose(task, Failed("lost", error, place=task.worker.host, died=died))

    def _known(self, address: str) -> _Worker:
        return self._workers.setdefault(address, _Worker(address))

    def _left(self, worker: _Worker) -> None:
        if self.members and worker.there and not worker.released:
            self.members.lost()
        if worker.task:
            self._lose(worker.task, Failed("lost", f"the worker {worker.address} died", place=worker.host, died=True))
        self._announce()

    def _miss_answers(self) -> None:
        """Answer for tasks that ended and whose answers got lost on the way: else they hold their slots for ever."""
        now = time.monotonic()
        for task in list(self._tasks.values()):
            if task.ended is not None and now - task.ended > ANSWER_LIMIT:
                self._lose(task, Failed("lost", f"its answer did not come within {ANSWER_LIMIT:g} s"))

    def _lose(self, task: _Task, lost: Failed) -> None:
        """Its worker will not answer for it; what the attempt wrote is its answer all the same."""
        self._answer(task, results.read_attempt(task.attempt) or lost)

    def _answer(self, task: _Task, outcome: Outcome) -> None:
        """Once for each started attempt: what comes later finds its key gone."""
        del self._tasks[task.key]
        task.worker.task = None
        self._pace.ended(task.key, time.monotonic())
        if self.sharing and isinstance(outcome, Succeeded):
            self.sharing.learn(outcome.metrics)
        self._announce()  # before the answer, for which another attempt would be started at once
        self._happenings.append(Answered(task.attempt.trial, task.attempt.attempt, outcome))


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
