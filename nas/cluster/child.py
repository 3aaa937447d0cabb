"""The warm child process of a worker slot: it runs attempts one after another, until it is told no more or killed.

Over its connection: first a Boot, then Work, an attempt with the moment its deadline ends, and Stop, which an attempt
sees at its next report; back go Idle (when it waits for work, with its memory), Report, Note and the Outcome. Standard
output and error of an attempt go to its log.txt, those of the time between to nowhere.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cloudpickle

from nas import results
from nas.cluster.attempts import Heard, run_attempt
from nas.cluster.signals import TERMINAL, WARNINGS, leave_to_driver
from nas.errors import DiskFailed
from nas.objective import Context, Objective
from nas.records import Attempt, Failed, Outcome
from nas.space import Candidate

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Boot:
    objective: bytes  # cloudpickled; unpickled anew for each attempt, so that one leaves nothing in it for the next
    path: list[str]  # sys.path of the program that the objective came from
    device: str
    threads: int
    resumable: bool = False  # the objective can leave its state at any report
    shared: bool = False  # others train on the device too, but beside attempts that are to be fresh
    memory: int | None = None  # bytes resident beyond which the slot kills it


@dataclass(frozen=True, slots=True)
class Work:
    attempt: Attempt
    deadline: float | None  # in time.monotonic(), which all processes of a host share


@dataclass(frozen=True, slots=True)
class Stop:
    trial: int  # named, as it may come when the attempt has not begun, or has ended
    attempt: int
    leave: bool = False  # its state, and answer that it was preempted


@dataclass(frozen=True, slots=True)
class Report:
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Note:
    facts: Mapping[str, Any]  # told at once: a child that is killed has no other way to say them


@dataclass(frozen=True, slots=True)
class Idle:
    memory: int  # bytes resident, after what can be given back was


def serve(connection: Connection) -> None:
    """Run attempts until the other end closes."""
    libc = ctypes.CDLL(None)
    _be_the_first_to_go()
    _redirect(os.devnull)
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a killed attempt's log ends where it did
    faulthandler.enable()  # a segmentation fault leaves its Python traceback in log.txt
    boot: Boot = connection.recv()
    warned = _leave_when_asked_to_end() if boot.resumable else []
    sys.path[:] = boot.path
    home = Path.cwd()
    fresh = True
    while True:
        gc.collect()
        libc.malloc_trim(0)  # the allocator is set to keep what is freed; between attempts it goes back
        connection.send(Idle(resident(os.getpid())))
        asked: list[Stop] = []
        try:
            while not isinstance(work := connection.recv(), Work):
                asked.append(work)
        except EOFError:
            return
        os.chdir(home)  # an attempt before may have left it
        with _logged(work.attempt, libc) as problem:
            outcome = problem or _run(
                boot, work, connection, asked, warned, fresh and (work.attempt.fresh or not boot.shared)
            )
        connection.send(outcome)
        fresh = False
        warned.clear()  # the worker goes on, then: it says itself what is to end


def _run(boot: Boot, work: Work, connection: Connection, asked: list[Stop], warned: list[int], fresh: bool) -> Outcome:
    this = (work.attempt.trial, work.attempt.attempt)

    def objective(candidate: Candidate, context: Context) -> float | Mapping[str, float]:
        # In here, so that what it raises when it is loaded is a failure like any other.
        loaded: Objective = cloudpickle.loads(boot.objective)
        return loaded(candidate, context)

    def publish(step: int, metrics: Mapping[str, float]) -> Heard:
        with _ending_with_the_worker():
            connection.send(Report(step, {str(name): value for name, value in metrics.items()}))
            while connection.poll():
                asked.append(connection.recv())
        words = {one.leave for one in asked if (one.trial, one.attempt) == this}
        return "stop" if False in words else "leave" if words or warned else ""

    def tell(facts: Mapping[str, Any]) -> None:
        with _ending_with_the_worker():
            connection.send(Note(facts))

    return run_attempt(
        objective,
        work.attempt,
        publish=publish,
        tell=tell,
        device=boot.device,
        threads=boot.threads,
        deadline=work.deadline,
        memory=boot.memory,
        fresh=fresh,
        place=place(os.getpid()),
    )


@contextlib.contextmanager
def _ending_with_the_worker() -> Iterator[None]:
    """Where the connection to it is closed, nothing that follows is the candidate's doing."""
    try:
        yield
    except (EOFError, OSError):
        os._exit(1)


def place(pid: int) -> str:
    """Where an attempt ran, as outcomes say it."""
    return f"{host()}/{pid}"


def host() -> str:
    """This host, by the name that its batch system has for it: several nodes may be one machine."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def resident(pid: int) -> int:
    """Bytes resident of a process, shared pages included; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _be_the_first_to_go() -> None:
    """When the host runs out of memory, the kernel is to take this process, not the worker or the driver."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    leave_to_driver(*TERMINAL)


@contextlib.contextmanager
def _logged(attempt: Attempt, libc: ctypes.CDLL) -> Iterator[Failed | None]:
    """Send descriptors 1 and 2 to the attempt's log.txt; yields a failure where there is no place for one."""
    try:
        _redirect(results.attempt_folder(attempt) / results.LOG)
        problem = None
    except (DiskFailed, OSError) as error:
        problem = Failed("lost", f"no place for the result: {error}")  # the machine's doing, not the candidate's
    try:
        yield problem
    finally:
        _flush()
        libc.fflush(None)  # what C code printed stands in the C library's own buffer
        _redirect(os.devnull)
        _flush()  # what a full disk did not take


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()


def _leave_when_asked_to_end() -> list[int]:
    """Signals that ask this process to end, as they come: a preemption sends them to all of a job at once.

    What the objective forked ends by them as ever.
    """
    own, warned = os.getpid(), []

    def hear(number: int, frame: object) -> None:
        warned.append(number)
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in WARNINGS:
        signal.signal(number, hear)
    return warned


def _redirect(path: os.PathLike[str] | str) -> None:
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
