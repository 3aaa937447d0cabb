"""The program of a worker job: ``python -m nas.cluster.batch.worker RUN/cluster [--walltime S --started T]``.

It waits for the scheduler's file, joins that scheduler with the run's TLS keys, and serves until it is released. When
the scheduler is gone (its job was requeued, say) it waits for the next one; when none comes it ends, and idles no more.

SIGUSR1, the usual warning before a walltime: it begins nothing more, and ends when its attempt has left its state, or
has ended where it cannot. SIGTERM, of a preemption: it ends when its attempt has left its state, within seconds, or at
once where it cannot. Nothing depends on a signal coming: the end is known from the walltime too.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import math
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
import orjson
from distributed import Worker
from distributed.core import connect

from nas.cluster import tls
from nas.cluster.batch import walltime
from nas.cluster.batch.jobs import OVER, SCHEDULER_FILE
from nas.cluster.batch.walltime import TERM_GRACE
from nas.cluster.scratch import Scratch
from nas.cluster.signals import TERMINAL, leave_to_driver
from nas.cluster.worker import CONFIG
from nas.errors import Interrupted, NasError

LOOK = 0.5  # seconds between two looks for the scheduler's file
ALONE = 600.0  # seconds without a scheduler after which a worker ends
REPORTS = 2.0  # as long as so many take, before its end, an attempt is asked to leave its state
JOIN = 60.0  # seconds for joining a scheduler that answers
MARGIN_SHARE, MARGIN = 0.1, 15.0  # of its walltime, and seconds, before which a worker wants to have ended

log = logging.getLogger("nas.worker")


class BatchWorker(Worker):  # type: ignore[misc]
    """A Dask worker that may know when its job must end."""

    ends = math.inf  # time.monotonic()
    released = False  # told that it is not needed any more

    def seconds_left(self) -> float:
        return self.ends - time.monotonic()


class Member:
    """One worker process, over however many schedulers come and go."""

    def __init__(self, folder: Path, ends: float, interface: str | None) -> None:
        self.folder, self.ends, self.interface = folder, ends, interface
        self.security = tls.security(folder)
        self.scratch = Scratch()
        self.worker: BatchWorker | None = None
        self.leaving = False
        self.needed = True  # until it is told otherwise

    async def serve(self) -> str:
        """Until there is nothing more to do; returns why."""
        while not self.leaving:
            address = await self._scheduler()
            if address is None:
                break
            log.info("joining the scheduler at %s", address)
            try:
                await self._join(address)
            except Exception as error:
                log.info("could not join %s: %s", address, error)
                await asyncio.sleep(LOOK)
                continue
            if self.worker is not None and self.worker.released:
                self.needed = False
                return "released"
            log.info("the scheduler at %s is gone", address)
        if not self.needed:
            return "the search is over"
        if self.leaving:
            return "asked to leave"
        return "its time is up" if self.time_is_up() else f"no scheduler for {ALONE:g} s"

    def time_is_up(self) -> bool:
        return time.monotonic() >= self.ends

    async def _scheduler(self) -> str | None:
        """The address of a scheduler that answers; None where there is none for long, or this is to leave.

        Nor is one waited for beyond the walltime, which would cut this worker off.
        """
        until = time.monotonic() + ALONE
        while not self.leaving and not self.time_is_up() and time.monotonic() < until:
            with suppress(OSError, ValueError, KeyError, TypeError):
                found = orjson.loads((self.folder / SCHEDULER_FILE).read_bytes())
                if found == OVER:
                    self.needed = False
                    return None
                address = str(found["address"])
                connection = await connect(address, timeout=5, **self.security.get_connection_args("worker"))
                await connection.close()
                return address
            await asyncio.sleep(LOOK)
        return None

    async def _join(self, address: str) -> None:
        self.worker = BatchWorker(
            address,
            nthreads=1,
            name=f"{os.uname().nodename}-{os.getpid()}-{time.time_ns():x}",  # as often as it joins, another
            security=self.security,
            interface=self.interface,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,  # the slot limits its child; the worker holds nothing
            death_timeout=JOIN,
            local_directory=str(self.scratch.folder),
        )
        self.worker.ends = self.ends
        async with self.worker:
            await self.worker.finished()

    def finish(self) -> None:
        """Begin nothing more; the scheduler's side says when the last attempt has ended."""
        log.info("warned of the end: beginning nothing more")
        self.ends = min(self.ends, time.monotonic())
        if self.worker is None or not self._slots():
            self.leaving = True
        for slot in self._slots():
            slot.leave_within(0.0)
            slot.slot.leave()

    async def leave(self) -> None:
        """End now, but for the time in which a state is left; what runs answers that it was preempted."""
        log.info("asked to end: leaving")
        self.leaving = True
        until = time.monotonic() + TERM_GRACE
        for slot in self._slots():
            slot.leave_within(0.0)
            while slot.slot.leave() and time.monotonic() < until:
                await asyncio.sleep(LOOK)
            slot.slot.preempt()
        await asyncio.sleep(LOOK)  # for the answers to get away
        if self.worker is not None:
            await self.worker.close(timeout=2, executor_wait=False)

    async def watch_the_clock(self) -> None:
        """Finish when what runs would else be cut off before it can leave its state."""
        while self.ends < math.inf and not self.leaving:
            left = self.ends - time.monotonic()
            needed = [slot.slot.between_reports() for slot in self._slots()]
            if any(one is not None and left < REPORTS * one for one in needed):
                self.finish()
                return
            await asyncio.sleep(LOOK)

    def _slots(self) -> list[Any]:
        plugins = self.worker.plugins.values() if self.worker else ()
        return [plugin for plugin in plugins if hasattr(plugin, "leave_within")]


async def _run(arguments: argparse.Namespace) -> int:
    ends = walltime.end(arguments, share=MARGIN_SHARE, most=MARGIN)
    member = Member(Path(arguments.folder), ends, arguments.interface)
    loop, tasks = asyncio.get_running_loop(), set()
    loop.add_signal_handler(signal.SIGUSR1, member.finish)
    loop.add_signal_handler(signal.SIGTERM, lambda: tasks.add(loop.create_task(member.leave())))
    leave_to_driver(*TERMINAL)
    tasks.add(loop.create_task(member.watch_the_clock()))
    try:
        log.info("ended: %s", await member.serve())
        return Interrupted.exit_code if member.needed and not member.time_is_up() else 0
    finally:
        member.scratch.close()


def main() -> None:
    """Serve until released, out of time, or the search is over: exit code 0. Ended otherwise: 75; 2 without keys."""
    parser = argparse.ArgumentParser(prog="python -m nas.cluster.batch.worker")
    parser.add_argument("folder")
    walltime.add_options(parser)
    parser.add_argument("--interface")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    dask.config.set(CONFIG)
    try:
        code = asyncio.run(_run(arguments))
    except NasError as error:
        sys.stderr.write(f"nas: {error}\n")
        code = error.exit_code
    sys.stderr.flush()
    os._exit(code)  # threads that wait for a killed child hold nobody up; the fork server ends with this process


if __name__ == "__main__":
    main()
