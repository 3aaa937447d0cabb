"""A worker slot: one warm child process, and what guards it.

    slot = Slot(objective, preload=["torch"], memory=4 << 30)
    outcome = slot.run(attempt, on_report=print)     one attempt at a time; never raises, never runs past the deadline

What a candidate can do, it can do to its child alone: a deadline, the memory limit or a crash costs that child and
becomes a Failed, with what it had noted. A child is used again only after a success, and retired when its idle memory
has grown. The time that the worker itself was stopped is not the attempt's.

What the machine does is not the candidate's: a child ended by a signal that asks processes to end was preempted. A kill
of everything (a walltime, a shutdown, a kill in a loop) may reach the child first; so a SIGKILL that was not ours is
believed to be meant for the child only when fork server, worker and driver outlive it by half a second.

Memory is limited by reading the child's resident set every 50 ms and killing it. Not by RLIMIT_DATA or RLIMIT_AS, which
count what is reserved (CUDA reserves more than any host has) and surface as whatever error the library at hand makes of
a failed malloc; not by cgroups, which need rights that a user rarely has. The price: a candidate may pass the limit by
what it can touch in 50 ms, some 0.2 GB; what its own subprocesses use is not counted; and it hears of no end of memory
that it could halve its batch at, so the next attempt begins with half (records.settles).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cloudpickle

from nas import results
from nas.cluster.attempts import recorded
from nas.cluster.child import Boot, Idle, Note, Report, Stop, Work, host, place, resident
from nas.cluster.forkserver import ForkServer, ForkServerError
from nas.cluster.signals import ASKED_TO_END
from nas.errors import InputError
from nas.objective import Objective
from nas.records import MACHINE_FAILURES, Attempt, Failed, FailureKind, Outcome, Succeeded

MEMORY_POLL = 0.05  # seconds
STOPPED = 1.0  # seconds too late for a look at the child: we did not run, nor did it, and its deadline moves
BOOT_LIMIT = 300.0  # seconds for the imports of a new child; a cold network disk takes minutes over torch
GROWTH = 1.5  # of idle memory since the child's first attempt ...
GROWTH_FLOOR = 64 << 20  # ... and by at least so many bytes: then it has kept something, and is retired
KILLED_TOGETHER = 0.5  # seconds between the first and the last process of one kill of everything
LOG_TAIL = 4000  # bytes of log.txt that stand in for a traceback

OnReport = Callable[[int, Mapping[str, float]], None]


def pickled(objective: Objective) -> bytes:
    """The objective as bytes that another process of this user can load. Raises InputError where that cannot be."""
    try:
        data: bytes = cloudpickle.dumps(objective)
    except Exception as error:
        raise InputError(
            f"the objective cannot be sent to a worker: {error}; open files, locks and connections inside the objective"
            " instead, or run with the inline executor"
        ) from error
    return data


class Slot:
    """One attempt at a time. Make it in a thread that outlives the preload (see forkserver).

    Args:
        objective: pickled by ``pickled``.
        preload: modules that the children find imported.
        device, threads: what contexts say.
        memory: bytes that a child may have resident; None is no limit.
        resumable: the objective can leave its state at any report.
        shared: the device is another slot's too, but beside attempts that are to be fresh.
    """

    def __init__(
        self,
        objective: bytes,
        *,
        preload: Sequence[str] = (),
        device: str = "cpu",
        threads: int = 1,
        memory: int | None = None,
        path: Sequence[str] | None = None,
        resumable: bool = False,
        shared: bool = False,
    ) -> None:
        path = list(sys.path if path is None else path)
        self.boot = Boot(objective, path, device, threads, resumable, shared, memory)
        self.preload = preload
        self._server = ForkServer(preload)
        self._child: _Child | None = None
        self._busy = threading.Lock()  # held by the attempt that runs
        self._lock = threading.Lock()  # over the two below, which ``cancel`` shares with ``run``
        self._running: tuple[int, int] | None = None
        self._reported = 0.0  # time.monotonic() of its last report, or of its beginning
        self._between = 0.0  # seconds between two, at most
        self._cancelled: set[tuple[int, int]] = set()

    def run(self, attempt: Attempt, on_report: OnReport = lambda step, metrics: None) -> Outcome:
        """The attempt's outcome, written to its folder; an earlier attempt's, where the trial is answered already."""
        with self._busy:
            try:
                answered = results.read_result(attempt)
                return answered[1] if answered else self._run(attempt, on_report)
            except Exception as error:
                self._abandon()
                return Failed("lost", f"the worker's slot failed: {type(error).__name__}: {error}", place=host())

    def _run(self, attempt: Attempt, on_report: OnReport) -> Outcome:
        key = (attempt.trial, attempt.attempt)
        began = False
        try:
            child = self._child_for(attempt)
            with self._lock:
                self._running = key
                if key in self._cancelled:
                    return Failed("preempted", "cancelled")
            began = True
            return self._guard(child, attempt, on_report)
        except ForkServerError as error:
            self._abandon()
            return Failed("lost", f"the slot's fork server is gone: {error}", place=host(), died=began)
        finally:
            with self._lock:
                self._running = None
                if key in self._cancelled and self._child:  # the kill may still be on its way
                    self._child.end()
                    self._child = None
                self._cancelled.discard(key)

    def stop(self, trial: int, attempt: int, *, leave: bool = False) -> None:
        """Have the attempt's next report return True. From any thread; what is not running is left as it is.

        ``leave``: its state, and answer that it was preempted. An objective that cannot trains on.
        """
        with self._lock:
            if self._running == (trial, attempt) and self._child and (self.boot.resumable or not leave):
                self._child.send(Stop(trial, attempt, leave))

    def leave(self) -> bool:
        """Have whatever runs leave its state; False where nothing runs, or it cannot. From any thread."""
        running = self._running
        if running and self.boot.resumable:
            self.stop(*running, leave=True)
        return bool(running) and self.boot.resumable

    def between_reports(self) -> float | None:
        """Seconds that what runs took between two reports, at most; None where nothing does, or it leaves no state."""
        if not self._running or not self.boot.resumable:
            return None
        return max(self._between, time.monotonic() - self._reported)

    def cancel(self, trial: int, attempt: int) -> None:
        """Kill the attempt's child; ``run`` then returns. From any thread; what already ended is left as it is."""
        with self._lock:
            self._cancelled.add((trial, attempt))
            if self._running == (trial, attempt):
                self._server.kill()

    def preempt(self) -> None:
        """Cancel whatever runs. From any thread."""
        with self._lock:
            running = self._running
        if running:
            self.cancel(*running)

    def close(self) -> None:
        """Kill the child and its server."""
        self._server.close()

    def _abandon(self) -> None:
        """Kill the child, and what it started, without the fork server, which may be gone; the next gets a new one."""
        self._server.close()
        if self._child:
            self._child.kill_group()
        self._child = None

    def _child_for(self, attempt: Attempt) -> _Child:
        """An idle child: the one there is, where it may be used again, else a new one."""
        child = self._child
        if child and not (attempt.fresh and child.attempts) and child.idle() and not child.has_grown():
            return child
        if child:
            child.end()
        self._child = None
        try:
            child = _Child(self._server, self.boot)
        except ForkServerError:  # killed between two attempts, say by the kernel for memory: a new one, once
            self._server.close()
            self._server = ForkServer(self.preload)
            child = _Child(self._server, self.boot)
        self._child = child
        if not child.idle():
            self._child = None
            child.end()
            raise ForkServerError(f"a new child was not ready within {BOOT_LIMIT:.0f} s, or ended at once")
        return child

    def _guard(self, child: _Child, attempt: Attempt, on_report: OnReport) -> Outcome:
        """Give the attempt to the child, and watch it until it answers, ends or must be killed."""
        started = time.monotonic()
        deadline = None if attempt.deadline is None else started + attempt.deadline
        fresh, kills = child.attempts == 0 and (attempt.fresh or not self.boot.shared), _oom_kills()
        self._between, self._reported = 0.0, started
        child.give(Work(attempt, deadline))
        verdict: tuple[FailureKind, str] | None = None
        notes: dict[str, Any] = {}
        while True:
            pause = None if verdict else self._pause(deadline)
            looked = time.monotonic()
            message = child.receive(pause)
            if deadline is not None and pause is not None:
                deadline += _stopped(looked + pause)
            if isinstance(message, Report):
                now = time.monotonic()
                self._between, self._reported = max(self._between, now - self._reported), now
                on_report(message.step, message.metrics)
            elif isinstance(message, Note):
                notes |= message.facts
            elif isinstance(message, Succeeded | Failed):
                if isinstance(message, Failed) or verdict:
                    self._child = None
                    child.end()
                return message
            elif isinstance(message, Exited):
                break
            if verdict is None and (verdict := self._violation(child, attempt, deadline)):
                self._server.kill()
        self._child = None
        kind, why = verdict or _end(message.status, _oom_kills() > kills)
        seconds, halves = time.monotonic() - started, kind == "out_of_memory" and not attempt.halve
        failed = Failed(
            kind, why, _tail(attempt), seconds, notes, fresh=fresh, place=place(child.pid), may_halve=halves
        )
        return self._after_death(attempt, failed, to_be_doubted=not verdict and message.status == -signal.SIGKILL)

    def _after_death(self, attempt: Attempt, failed: Failed, *, to_be_doubted: bool) -> Outcome:
        """What a child's end means, once it is sure that it was not a part of ours."""
        if to_be_doubted and wait([self._server.control], KILLED_TOGETHER):
            self._server.status()  # raises: the fork server ended too. If the worker does, nobody gets here
        if (attempt.trial, attempt.attempt) in self._cancelled:
            return Failed("preempted", "cancelled", notes=failed.notes, fresh=failed.fresh, place=failed.place)
        # What it wrote before it died is its answer.
        written = results.read_attempt(attempt)
        return written or (failed if failed.kind in MACHINE_FAILURES else recorded(attempt, failed))

    def _pause(self, deadline: float | None) -> float | None:
        """Seconds until there is something to look at."""
        pauses = [] if self.boot.memory is None else [MEMORY_POLL]
        if deadline is not None:
            pauses += [STOPPED, max(0.0, deadline - time.monotonic())]
        return min(pauses, default=None)

    def _violation(self, child: _Child, attempt: Attempt, deadline: float | None) -> tuple[FailureKind, str] | None:
        if deadline is not None and time.monotonic() >= deadline:
            return "timeout", f"not done within its {attempt.deadline:g} s"
        allowed = self.boot.memory
        if allowed is not None and (used := resident(child.pid)) > allowed:
            return "out_of_memory", f"used {used / 1e9:.2f} GB; allowed are {allowed / 1e9:.2f} GB (cluster.memory)"
        return None


class Exited:
    """A child's last message: exit code, or minus the signal."""

    def __init__(self, status: int) -> None:
        self.status = status


class _Child:
    """The slot's end of one child process."""

    def __init__(self, server: ForkServer, boot: Boot) -> None:
        self.server = server
        self.connection, self.pid = server.fork()
        self.attempts = 0
        self.first_memory = 0  # bytes idle after the first attempt
        self.memory = 0
        self.waits = False
        self.exited: Exited | None = None
        self._sending = threading.Lock()  # ``send`` is called by whoever stops an attempt, too
        self.send(boot)

    def give(self, work: Work) -> None:
        self.attempts += 1
        self.waits = False
        self.send(work)

    def send(self, message: Boot | Work | Stop) -> None:
        with self._sending, contextlib.suppress(OSError):  # it ended already: ``receive`` says so
            self.connection.send(message)

    def idle(self) -> bool:
        """Whether it waits for work; waits for it to get there."""
        limit = time.monotonic() + BOOT_LIMIT
        while not self.waits and not self.exited and time.monotonic() < limit:
            self.receive(limit - time.monotonic())
        self.receive(0)  # it may have ended since it began to wait
        return self.waits and not self.exited

    def has_grown(self) -> bool:
        grown = self.memory - self.first_memory
        return self.attempts > 1 and grown > GROWTH_FLOOR and self.memory > GROWTH * self.first_memory

    def receive(self, timeout: float | None) -> Report | Note | Outcome | Idle | Exited | None:
        """The next message; None when ``timeout`` seconds passed without one. Raises ForkServerError."""
        if self.exited:
            return self.exited
        ready = wait([self.connection, self.server.control], timeout)
        if self.connection in ready:
            try:
                message: Report | Note | Outcome | Idle = self.connection.recv()
            except (EOFError, OSError):
                self.exited = Exited(self._end_status())
                return self.exited
            if isinstance(message, Idle):
                self.waits, self.memory = True, message.memory
                if self.attempts == 1:
                    self.first_memory = message.memory
            return message
        if self.server.control in ready:
            self.exited = Exited(self.server.status())
            return self.exited
        return None

    def _end_status(self) -> int:
        """It closed its connection, so it is ending; one that lingers is helped."""
        if not wait([self.server.control], 1.0):
            self.server.kill()
        return self.server.status()

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        if not self.exited:
            self.server.kill()
            self.exited = Exited(self.server.status())
        self.connection.close()

    def kill_group(self) -> None:
        """Kill it and what it started, directly: what it started keeps its number from being used again."""
        if not self.exited:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self.connection.close()


def _end(status: int, host_out_of_memory: bool) -> tuple[FailureKind, str]:
    if status == -signal.SIGKILL and host_out_of_memory:
        return "out_of_memory", "killed by the kernel: the host (or its cgroup) ran out of memory"
    if -status in ASKED_TO_END:
        return "preempted", f"ended by {signal.Signals(-status).name}"
    if status < 0:
        return "crashed", f"killed by {_signal_name(-status)}"
    return "crashed", f"ended with exit code {status}"


def _stopped(due: float) -> float:
    """Seconds that this process, which was to look at ``due``, was kept from it: by SIGSTOP, as a suspended job is."""
    late = time.monotonic() - due
    return late if late > STOPPED else 0.0


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # most real-time signals have none
        return f"signal {number}"


def _oom_kills() -> int:
    """How many processes the kernel has killed for memory on this host; 0 where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _tail(attempt: Attempt) -> str:
    """The end of the attempt's log."""
    try:
        data = (Path(attempt.folder) / str(attempt.attempt) / results.LOG).read_bytes()
    except OSError:
        return ""
    return data[-LOG_TAIL:].decode(errors="replace")
