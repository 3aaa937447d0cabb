"""What of the Dask executor runs on a worker: its slot, and the calls that reach it there.

What the slot says goes out as events on the executor's topic: ["host", address, name], ["on", address, gpu],
["leaves", address, seconds] of the worker itself, ["reported", key, step, metrics] and ["answered", key, outcome] of an
attempt.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
from collections.abc import Mapping, Sequence

import orjson
from distributed import Worker, WorkerPlugin, get_worker

from nas.cluster.child import host
from nas.cluster.environment import visible_device
from nas.cluster.slot import Slot, pickled
from nas.objective import Objective, resumable
from nas.records import Attempt


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


def run(name: str, key: str, attempt: Attempt) -> None:
    """The task: run the attempt in this worker's slot, and publish what it says under the executor's topic."""
    worker = get_worker()

    def report(step: int, metrics: Mapping[str, float]) -> None:
        worker.log_event(name, ["reported", key, step, dict(metrics)])

    outcome = worker.plugins[name].slot.run(attempt, report)
    worker.log_event(name, ["answered", key, orjson.dumps(outcome, option=orjson.OPT_SERIALIZE_NUMPY)])


async def cancel(name: str, trial: int, attempt: int, dask_worker: Worker) -> None:
    """Kill the child of an attempt that is wanted no more. Async only because Dask waits for any other kind."""
    dask_worker.plugins[name].slot.cancel(trial, attempt)


async def stop(name: str, trial: int, attempt: int, leave: bool, dask_worker: Worker) -> None:
    """Have an attempt's next report return True."""
    dask_worker.plugins[name].slot.stop(trial, attempt, leave=leave)


async def leave(name: str, dask_worker: Worker) -> None:
    """Have a worker that is not needed any more end, and its batch job with it."""
    dask_worker.released = True
    asyncio.get_running_loop().create_task(dask_worker.close(reason="released"))
