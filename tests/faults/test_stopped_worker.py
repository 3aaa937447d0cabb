"""SIGSTOP of a worker in mid-attempt, then SIGCONT: a suspended job, a swapping host, somebody's debugger.

Without these, what a machine did might be charged to a candidate, or a trial get two outcomes when the worker wakes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import slow_search
from aftermath import Traces, settled
from process_tree import command, descendants

import nas
from nas.machine import Search
from nas.records import Failed, Succeeded

SPACE = {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def worker_of(child: int) -> set[int]:
    """A Dask worker, its fork server and the child, given that one."""
    workers = [pid for pid in descendants(os.getpid()) if "nas.cluster.worker" in command(pid)]
    return next({pid, *descendants(pid)} for pid in workers if child in descendants(pid))


def send(number: int, pids: set[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def test_a_worker_stopped_past_its_attempts_deadline_goes_on_where_it_was(tmp_path: Path) -> None:
    """What the deadline bounds is training, and none took place meanwhile."""
    began, stopped = tmp_path / "began", tmp_path / "stopped"

    def objective(candidate: nas.Candidate, context: nas.Context) -> float:
        began.write_text(str(os.getpid()))
        while not stopped.exists():
            time.sleep(0.02)
        return 1.0

    def observe(search: Search, now: float) -> None:
        if began.exists() and began.read_text() and not stopped.exists():
            pids = worker_of(int(began.read_text()))
            send(signal.SIGSTOP, pids)
            stopped.touch()
            threading.Timer(6.0, send, [signal.SIGCONT, pids]).start()

    run = nas.search(
        SPACE, objective, trials=2, controller="random", deadline=5.0, cluster={"workers": 1}, run=tmp_path / "run",
        observe=observe,
    )  # fmt: skip
    assert stopped.exists()
    assert [[type(one.outcome) for one in trial.attempts] for trial in run.history.trials.values()] == [[Succeeded]] * 2
    settled(tmp_path / "run", 2)


@pytest.mark.parametrize("then", ["it wakes", "it never wakes", "its child goes on"])
def test_a_worker_that_lost_its_place_while_it_was_stopped_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, traces: Traces, then: str
) -> None:
    """Dask gives up a worker that it hears nothing of; its trial is trained by another, before and after it wakes.

    One that never wakes ends with the search, with its fork server and child, stopped as they are. A result that its
    child writes when another trains the trial already is on record as late.
    """
    monkeypatch.setattr("nas.cluster.scheduler.CONFIG", _impatient())
    began, calls, replaced, woken = tmp_path / "began", tmp_path / "calls", tmp_path / "replaced", threading.Event()
    calls.mkdir()

    def calls_of_the_first() -> int:
        return len(list(calls.glob("0-*")))

    def objective(candidate: nas.Candidate, context: nas.Context) -> float:
        (calls / f"{context.trial}-{os.getpid()}").touch()
        if context.trial == 0 and not began.exists():
            began.write_text(str(os.getpid()))
            time.sleep(2.0)
            while then == "its child goes on" and calls_of_the_first() < 2:
                time.sleep(0.02)
        elif context.trial == 0:
            while not replaced.exists():  # or its deadline comes
                time.sleep(0.02)
        return 1.0

    stopped: set[int] = set()

    def observe(search: Search, now: float) -> None:
        if not stopped and began.exists() and began.read_text():
            child = int(began.read_text())
            stopped.update(worker_of(child) - ({child} if then == "its child goes on" else set()))
            send(signal.SIGSTOP, stopped)
        if not woken.is_set() and calls_of_the_first() == 2:  # another trains it now
            if then == "it wakes":
                send(signal.SIGCONT, stopped)
            woken.set()
        alone = woken.is_set() and search.history.workers == 1 + (then == "it wakes")
        if alone and (then != "its child goes on" or search.history.trials[0].late):
            replaced.touch()

    run = nas.search(
        SPACE, objective, trials=4, controller="random", deadline=60.0, cluster={"workers": 2}, run=tmp_path / "run",
        observe=observe,
    )  # fmt: skip
    assert woken.is_set()
    first, *_, last = run.history.trials[0].attempts  # one more, where the machine was too busy for a heartbeat
    assert isinstance(first.outcome, Failed) and first.outcome.kind == "lost"
    assert isinstance(last.outcome, Succeeded)
    if then == "its child goes on":
        assert [(attempt, type(outcome)) for attempt, outcome in run.history.trials[0].late] == [(0, Succeeded)]
    settled(tmp_path / "run", 4)
    traces.none()


def _impatient() -> dict[str, object]:
    from nas.cluster.scheduler import CONFIG

    return {**CONFIG, "distributed.scheduler.worker-ttl": "1s"}  # Dask makes ten heartbeats of it: 5 s


def test_what_is_stopped_ends_with_a_killed_driver(tmp_path: Path, traces: Traces) -> None:
    """A stopped process hears of no closing pipe: without SIGCONT from the kernel it would stay for ever."""
    calls = tmp_path / "calls"
    calls.mkdir()
    words = [sys.executable, slow_search.__file__, str(tmp_path / "run"), "2", "60", json.dumps({"workers": 1})]
    with subprocess.Popen(words, env={**os.environ, "NAS_TEST_CALLS": str(calls)}) as process:
        until = time.monotonic() + 60
        while not list(calls.iterdir()):
            assert time.monotonic() < until
            time.sleep(0.05)
        below = descendants(process.pid)
        assert len(below) == 3  # worker, fork server, child
        send(signal.SIGSTOP, below)
        process.kill()
    traces.none()
