"""What must be true whatever was done to a run: of its journal, of its files, and of the host that it ran on.

Every fault test ends here. ``sound`` is for any moment, ``settled`` for a run that has ended; ``Traces`` is of the
processes that a scenario started, which are known by a word in their environment: all that they start inherits it.
"""

from __future__ import annotations

import os
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from process_tree import command, listeners, wait_until_gone

from nas import driver, store
from nas.cluster.inline import InlineExecutor
from nas.cluster.scratch import Scratch
from nas.config import CallableConfig, from_plain
from nas.history import History
from nas.plan import Plan, recorded_plan
from nas.records import (
    AttemptAnswered,
    AttemptStarted,
    LateResult,
    ReplicateEnded,
    RunEnded,
    Succeeded,
    TrialEnded,
    TrialPaused,
)
from nas.space import Space


def sound(run: Path) -> History:
    """Every trial ended at most once, by an answer that is there; replaying the journal gives the live state."""
    entries = store.read(run / "journal")
    ended = Counter(entry.event.trial for entry in entries if isinstance(entry.event, TrialEnded))
    assert not [trial for trial, times in ended.items() if times > 1]
    answers: set[tuple[int, int]] = set()  # by trial and attempt
    succeeded: Counter[tuple[int, int, int | None]] = Counter()  # by trial, replicate and the rung at which it pauses
    trainings: dict[tuple[int, int], tuple[int, int | None]] = {}  # by trial and attempt
    machine = driver.machine(_plan(run))
    for entry in entries:
        match entry.event:
            case AttemptStarted(trial, attempt, _, replicate, until):
                assert (trial, attempt) not in trainings, "an attempt's number was given twice"
                trainings[trial, attempt] = replicate, until
            case AttemptAnswered(trial, attempt, outcome):
                assert (trial, attempt) not in answers, "an attempt was answered twice"
                answers.add((trial, attempt))
                succeeded[trial, *trainings[trial, attempt]] += isinstance(outcome, Succeeded)
            case TrialEnded(trial, attempt=attempt) | TrialPaused(trial, attempt) | ReplicateEnded(trial, _, attempt):
                given_up = attempt is not None and machine.history.trials[trial].attempts[attempt].lost
                assert attempt is None or given_up or (trial, attempt) in answers, "a trial ended by no answer"
            case LateResult(trial, attempt):
                assert (trial, attempt) in trainings
            case RunEnded(digest=digest) if digest:
                assert machine.digest() == digest, "the replayed state is not the live one"
        machine.apply(entry.event, entry.time)
    assert not [one for one, times in succeeded.items() if times > 1]
    return machine.history


def settled(run: Path, trials: int) -> History:
    """Sound; that many trials were trained, each has ended, and no file is half written."""
    history = sound(run)
    assert history.ended is not None and history.ended.reason != "interrupted"
    assert not history.open
    assert history.tally["completed"] + history.tally["failed"] + history.tally["paused"] == trials
    assert half_written(run) == []
    return history


def half_written(run: Path) -> list[Path]:
    return [*run.rglob("*.tmp")]


def _plan(run: Path) -> Plan:
    """Of a run from Python too, whose objective no journal holds."""
    history = store.history(run)
    config = from_plain(history.config)
    if history.started is None or not isinstance(config, CallableConfig):
        return recorded_plan(run)
    return Plan(config, Space.read(history.started.space), print, lambda folder: InlineExecutor(print))


KEPT = "torchinductor_"  # torch's own, a cache for the next process


class Traces:
    """Processes, temporary files and listening sockets of a scenario. Use it as the fixture ``traces``."""

    def __init__(self, temporary: Path) -> None:
        self.temporary = temporary
        self.environment = {"NAS_TEST_SCENARIO": uuid.uuid4().hex, "TMPDIR": str(temporary)}
        self._mark = "NAS_TEST_SCENARIO={NAS_TEST_SCENARIO}\0".format_map(self.environment).encode()
        self._heard = set(listeners({os.getpid()}))

    def processes(self) -> set[int]:
        """Those alive. This one is not among them: the kernel shows what a process was begun with."""
        found = set()
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdecimal() and self._mark in (entry / "environ").read_bytes() + b"\0":
                    found.add(int(entry.name))
        return found

    def none(self, seconds: float = 10.0) -> None:
        """Assert that nothing is left, or goes within so many seconds."""
        left = wait_until_gone(self.processes(), seconds)
        assert not left, f"processes that nobody ended: {[command(pid) for pid in left]}"
        Scratch().close()  # what a SIGKILL left goes when the next process comes, which may be none of this test's
        files = [path.name for path in self.temporary.iterdir() if not path.name.startswith(KEPT)]
        assert not files, f"temporary files that nobody removed: {files}"
        assert set(listeners({os.getpid()})) <= self._heard, "a socket that still listens"


@pytest.fixture
def traces(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Traces]:
    """What is started from here carries the word; when the test has passed, nothing of it may be left."""
    traces = Traces(tmp_path_factory.mktemp("temporary"))
    for name, value in traces.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", str(traces.temporary))
    yield traces
    traces.none()
