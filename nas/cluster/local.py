"""Dask on this host: the driver's scheduler, and worker processes that are started again when they die.

Not LocalCluster's nannies: those spawn workers with multiprocessing, which imports the program's ``__main__`` again (a
five-line script without a guard would start itself), hands on the terminal's Ctrl-C, and sets malloc for small resident
sizes. Everything listens on 127.0.0.1 only.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nas.cluster.scheduler import Scheduler
from nas.cluster.sharing import Sharing
from nas.cluster.worker import BOOT
from nas.durable import within
from nas.errors import SearchFailed

FAILED_STARTS = 4  # in a row, of every worker: then it is no accident
LONGEST_PAUSE = 30.0  # seconds between two starts of a worker that does not come up


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
        sharing: how many of them are wanted, the first ones; None: all.

    Raises:
        InputError: this host has no loopback, or no room for a scheduler.
    """

    def __init__(
        self, environments: Sequence[Mapping[str, str]], logs: Path | None, sharing: Sharing | None = None
    ) -> None:
        self.shared = False
        self.environments = environments
        self.logs = logs
        self.sharing = sharing
        self._scheduler = Scheduler(logs)
        self.client = self._scheduler.client
        self.folder = self._scheduler.folder
        self._members = [_Member() for _ in environments]

    def keep_up(self, workers: int) -> str:
        """Start the workers that are not there; ever more slowly those that do not come up. Call it every second.

        Raises:
            SearchFailed: no worker comes up, be it at the beginning or later.
        """
        now = time.monotonic()
        wanted = self._members[: self.sharing.workers if self.sharing else None]
        for number, member in enumerate(wanted):
            if member.process is not None:
                if member.process.poll() is None:
                    continue
                was_up = (self.folder / member.name).exists()
                member.failures = 0 if was_up else member.failures + 1
                self._end(member)
                if all(self._failed_starts(member) >= FAILED_STARTS for member in wanted):
                    raise SearchFailed(self._complaint(number))
            pause = min(LONGEST_PAUSE, 0.25 * 2**member.failures) if member.failures > 1 else 0.0
            if now >= member.started + pause:
                self._start(number, member)
        return ""

    def lost(self) -> None:
        """``keep_up`` sees it by itself."""

    def want(self, workers: int) -> bool:
        """Idle workers of this host cost nothing, and stay."""
        return False

    def close(self) -> None:
        """End every process and thread. What the scheduler says about it goes to its log."""
        for member in self._members:
            if member.process:
                self._end(member)
        self._scheduler.close()

    def _start(self, number: int, member: _Member) -> None:
        member.started = time.monotonic()
        member.name = f"slot-{number}-{time.time_ns():x}"
        arguments = [json.dumps(sys.path), self._scheduler.address, member.name, str(self.folder)]
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
        return within(self.logs or self.folder, f"worker-{number}.log")

    def _log_file(self, number: int) -> Any:
        path = self._log_path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("ab")

    def _complaint(self, number: int) -> str:
        path = self._log_path(number)
        said = path.read_bytes()[-2000:].decode(errors="replace").rstrip()
        where = f"; see {path}" if self.logs else ""
        return f"no worker process comes up; {FAILED_STARTS} starts in a row failed{where}. The last one said:\n{said}"
