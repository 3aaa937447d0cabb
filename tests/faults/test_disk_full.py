"""A disk that fills in the middle of a search and has room again: a real one, of memory, mounted for the test."""

from __future__ import annotations

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aftermath import settled, sound

from nas import driver
from nas.cluster.connect import connect
from nas.config import CallableConfig
from nas.errors import DiskFailed, Interrupted
from nas.machine import Search
from nas.objective import Context
from nas.plan import Plan
from nas.space import Candidate, Space

SPACE = {"hyperparameters": {"x": {"float": [0.0, 1.0]}}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"mounting a tmpfs needs rights that this user has not: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def chatter(candidate: Candidate, context: Context) -> float:
    """What it prints goes to a file on the same disk."""
    time.sleep(0.02)
    print("word " * 200, flush=True)
    return float(candidate.hyperparameters["x"])


def plan(trials: int, **cluster: Any) -> Plan:
    values = {"name": "full", "space": "x", "objective": "chatter", "controller": "random"}
    config = CallableConfig.model_validate(
        values | {"reward": {"maximize": "value"}, "budget": {"trials": trials}, "cluster": cluster}
    )
    return Plan(config, Space.read(SPACE), chatter, lambda folder: connect(config.cluster, chatter, folder=folder))


def fill(disk: Path) -> Path:
    """To the last byte."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    return filler


def test_a_disk_that_fills_pauses_the_search_which_goes_on_when_there_is_room(disk: Path) -> None:
    """A person makes room and finds the search where it was: nothing is lost, and no candidate has paid for it."""
    notes: list[str] = []
    full, lengths = threading.Event(), []

    def observe(search: Search, now: float) -> None:
        if search.history.tally["completed"] < 10 or full.is_set():
            return
        full.set()
        filler = fill(disk)

        def free() -> None:
            segment = disk / "run/journal/000001.jsonl"
            until = time.monotonic() + 60
            while not notes and time.monotonic() < until:
                time.sleep(0.05)
            lengths.append(segment.stat().st_size)
            time.sleep(2.0)
            lengths.append(segment.stat().st_size)
            filler.unlink()

        threading.Thread(target=free).start()

    ended = driver.run(plan(60, workers=2), disk / "run", observe, note=notes.append)
    assert ended.exit_code == 0
    assert [note.partition(": ")[0] for note in notes] == [f"{disk}/run/journal/000001.jsonl", "there is room again"]
    assert "No space left on device" in notes[0]
    assert lengths[0] == lengths[1], "it was written to while it was full"
    assert settled(disk / "run", 60).tally == {"completed": 60}


def test_who_stops_a_search_that_waits_for_room_goes_on_with_it_later(disk: Path) -> None:
    """One Ctrl-C is enough, as nothing that runs could be recorded; what was acknowledged is there."""
    notes: list[str] = []

    def observe(search: Search, now: float) -> None:
        if search.history.tally["completed"] >= 10 and not (disk / "filler").exists():
            fill(disk)

    def note(line: str) -> None:
        notes.append(line)
        os.kill(os.getpid(), 2)

    with pytest.raises(Interrupted):
        driver.run(plan(40, workers=1), disk / "run", observe, note=note)
    acknowledged = sound(disk / "run").tally["completed"]
    assert acknowledged >= 10 and len(notes) == 1
    (disk / "filler").unlink()
    ended = driver.run(plan(40, workers=1), disk / "run")
    assert ended.history.tally["completed"] == 40
    settled(disk / "run", 40)


def test_a_sync_that_fails_ends_the_search_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a failed sync nobody knows what is on the disk, and a second one that succeeds proves nothing."""
    sync, calls, segment = os.fsync, [], tmp_path / "run/journal/000001.jsonl"

    def fail(descriptor: int) -> None:
        if segment.exists() and os.fstat(descriptor).st_ino == segment.stat().st_ino:
            calls.append(descriptor)
            if len(calls) > 20:
                raise OSError(errno.ENOSPC if len(calls) == 21 else errno.EIO, "it failed")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DiskFailed, match="it failed") as failed:
        driver.run(plan(50, kind="inline"), tmp_path / "run")
    assert failed.value.exit_code == 74
    assert len(calls) == 21, "it was synced again"
    monkeypatch.undo()
    sound(tmp_path / "run")
