"""The journal: append-only segments of checksummed lines, one writer at a time, readers without locks.

    RUN/journal/000001.jsonl      everything that the first driver recorded
    RUN/journal/000002.jsonl      the second driver's; its first line (driver_took_over) fixes how much of the earlier
                                  segments is accepted, so that what a stopped driver writes after waking is ignored
    RUN/journal/000002.alive      the second driver's heartbeat; "released" when it let go

A driver claims the next number with an exclusive hard link (atomic on NFS too, where O_EXCL and locks have histories).
A torn tail is left where it is and not accepted; damage before sound lines is refused with its offset, unless salvaged.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas.durable import FULL, NEW, seal, sync_folder, within, write_all
from nas.errors import DiskFailed, DiskFull, RunHeld
from nas.records import DriverTookOver, Event, RunEnded
from nas.store import liveness, segments
from nas.store.lines import Lines
from nas.store.segments import Covered, Entry, NotCovered, Segment
from nas.store.snapshot import Snapshot

LAST_LINE = 1 << 16  # bytes read from a segment's end to find its last line


def read(folder: Path, *, salvage: bool = False) -> list[Entry]:
    """Every accepted entry of ``folder`` (RUN/journal), in order.

    Raises:
        InputError: there is no journal, or it is damaged before its end; the message names file, offset and remedy.
    """
    return [entry for segment in segments.chain(folder, salvage) for entry in segment.entries]


def exists(folder: Path) -> bool:
    """Whether any driver has ever written to ``folder`` (RUN/journal)."""
    return any(segments.numbers(folder))


class Journal:
    """The writer's end. Made by ``claim``; every ``append`` is on disk when it returns."""

    def __init__(self, folder: Path, epoch: int, descriptor: int, earlier: Sequence[Covered], lines: Lines) -> None:
        """``earlier``: what is accepted of the segments before ours; ``lines``: theirs."""
        self.folder, self.epoch = folder, epoch
        self.sync_seconds = 0.0  # spent in fsync so far
        self.lines = lines
        self._descriptor, self._earlier = descriptor, earlier
        self._length, self._digest = 0, sha256()  # of our own segment
        self._heart = liveness.Heart(_heartbeat(folder, epoch))
        self._closed = False

    @classmethod
    def claim(
        cls, folder: Path, now: float, *, salvage: bool = False, snapshot: Snapshot | None = None
    ) -> tuple[Journal, list[Entry]]:
        """Become the one writer of ``folder``; returns what is recorded so far, this driver's first entry included.

        Of a journal that begins with what ``snapshot`` covers, only the rest is returned: the first entry's sequence
        is then not 0.

        Raises:
            RunHeld: another driver is alive on it.
            InputError: the journal is damaged before its end.
            DiskFailed: the claim could not be written.
        """
        try:
            within(folder.parent, folder.name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFailed(f"{folder}: {error.strerror or error}") from error
        while True:
            _refuse_if_held(folder)
            found, lines = _read(folder, salvage, snapshot)
            entries = [entry for segment in found for entry in segment.entries]
            accepted = {f"{s.epoch:06d}": {"length": s.length, "checksum": s.checksum} for s in found}
            epoch = max(segments.numbers(folder), default=0) + 1
            first = Entry(len(lines), epoch, now, replace(liveness.ourselves(), accepted=accepted))
            text = seal(_line(first))
            descriptor = _link_segment(folder, epoch, text)
            if descriptor is not None:
                for left_behind in folder.glob(".*.tmp"):  # by drivers that were killed while they wrote
                    left_behind.unlink(missing_ok=True)
                earlier = [Covered(one.epoch, one.length, one.checksum) for one in found]
                journal = cls(folder, epoch, descriptor, earlier, lines)
                journal._wrote([text], [first.event])
                return journal, [*entries, first]

    def require_ours(self) -> None:
        """Raises RunHeld where another driver has taken the run over, DiskFailed where the run is gone."""
        if segments.path_of(self.folder, self.epoch + 1).exists():
            raise _taken(self.folder)
        ours = segments.path_of(self.folder, self.epoch)
        if not ours.exists():  # what is written to it now, nobody would find again
            raise DiskFailed(f"{ours} is gone: the run's folder was removed or moved while it was searched")

    def append(self, events: Iterable[tuple[Event, float]]) -> None:
        """Write events with their times, and sync once. With none it is ``require_ours``.

        Raises:
            RunHeld: another driver has taken the run over; nothing that we write counts any more.
            DiskFull: there is no room. What was appended before is safe; what of this call reached the disk is cut
                off again, so that a later append stands on sound lines.
            DiskFailed: a write failed otherwise, or the sync did. Nobody knows what is on the disk then. Or the file
                is gone.
        """
        self.require_ours()
        recorded = list(events)
        sequence = len(self.lines)
        lines = [seal(_line(Entry(sequence + i, self.epoch, t, e))) for i, (e, t) in enumerate(recorded)]
        if not lines:
            return
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        written = False
        try:
            write_all(self._descriptor, b"".join(lines))
            written = True
            started = time.perf_counter()
            os.fsync(self._descriptor)
            self.sync_seconds += time.perf_counter() - started
        except OSError as error:
            raise self._failed(error, end, full=error.errno in FULL and not written) from error
        self._wrote(lines, [event for event, _ in recorded])

    def _failed(self, error: OSError, end: int, *, full: bool) -> DiskFailed:
        """What an append that failed raises, once the journal ends where it did before."""
        try:
            os.ftruncate(self._descriptor, end)
        except OSError:
            full = False
        words = f"{segments.path_of(self.folder, self.epoch)}: {error.strerror or error}"
        return DiskFull(words) if full else DiskFailed(words)

    def covers(self) -> list[Covered]:
        """All that is recorded so far, for a snapshot of it."""
        return [*self._earlier, Covered(self.epoch, self._length, self._digest.hexdigest())]

    def _wrote(self, lines: Sequence[bytes], events: Sequence[Event]) -> None:
        for line, event in zip(lines, events, strict=True):
            self.lines.add(len(line), event)
            self._length += len(line)
            self._digest.update(line)

    def close(self) -> None:
        """Let go of the run: the next driver need not wait for our heartbeat to stand still."""
        if not self._closed:
            self._closed = True
            self._heart.stop()
            os.close(self._descriptor)


def _read(folder: Path, salvage: bool, snapshot: Snapshot | None) -> tuple[list[Segment], Lines]:
    """The segments that count, and where their lines stand; what ``snapshot`` covers is not read where that fits."""
    if snapshot and not salvage:
        with contextlib.suppress(NotCovered):
            found = segments.chain(folder, salvage, snapshot.covers)
            return found, _with(found, Lines(snapshot.lines.lengths.tobytes(), snapshot.lines.trials.tobytes()))
    found = segments.chain(folder, salvage)
    return found, _with(found, Lines())


def _with(found: Sequence[Segment], lines: Lines) -> Lines:
    for segment in found:
        for length, entry in zip(segment.lengths, segment.entries, strict=True):
            lines.add(length, entry.event)
    return lines


def _line(entry: Entry) -> dict[str, Any]:
    return {"sequence": entry.sequence, "epoch": entry.epoch, "time": entry.time, "body": entry.event}


def _heartbeat(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}.alive"


def require_last(folder: Path) -> None:
    """Of a process that has let go of ``folder`` (RUN/journal), as ``Journal.require_ours``."""
    path = segments.path_of(folder, max(segments.numbers(folder), default=0))
    try:
        first, _ = _ends(path)
    except OSError as error:
        raise DiskFailed(f"{path}: {error.strerror or error}") from error
    with contextlib.suppress(ValueError):
        driver = segments.entry(first, 0).event
        if isinstance(driver, DriverTookOver) and replace(driver, accepted={}) == liveness.ourselves():
            return
    raise _taken(folder)


def _taken(folder: Path) -> RunHeld:
    return RunHeld(f"{folder.parent}: another driver has taken this run over; this one stops")


# Claiming ------------------------------------------------------------------------------------------------------------


def _link_segment(folder: Path, epoch: int, first: bytes) -> int | None:
    """A descriptor to append to, or None where another driver was quicker."""
    path = segments.path_of(folder, epoch)
    temporary = folder / f".{epoch:06d}.{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        descriptor = os.open(temporary, NEW | os.O_APPEND, 0o644)
        try:
            write_all(descriptor, first)
            os.fsync(descriptor)
            os.link(temporary, path)
            sync_folder(folder)
        except (FileExistsError, FileNotFoundError):  # somebody linked theirs, and may have swept ours up
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise DiskFailed(f"{path}: {error.strerror or error}") from error
    return descriptor


def _refuse_if_held(folder: Path) -> None:
    found = _holder(folder)
    if found is None:
        return
    holder, heartbeat = found
    if liveness.is_our_requeued_job(holder):
        return  # what it still writes is fenced off
    here = liveness.runs_here(holder)
    if here or (here is None and liveness.beats(heartbeat)):
        how = "alive" if here else "alive (its heartbeat moves)"
        raise RunHeld(
            f"{folder.parent} is held by process {holder.pid} on {holder.host}, which is {how}. "
            "Wait for it, or end it and try again"
        )


def alive(folder: Path) -> bool:
    """Whether ``folder`` (RUN/journal) has a live driver: a reader's guess, possibly wrong for a moment."""
    found = _holder(folder)
    if found is None:
        return False
    holder, heartbeat = found
    here = liveness.runs_here(holder)
    return liveness.beat_lately(heartbeat) if here is None else here


def _holder(folder: Path) -> tuple[DriverTookOver, Path] | None:
    """The newest driver and its heartbeat; None where there is none, it let go, or its last word ended the run."""
    epoch = max(segments.numbers(folder), default=0)
    heartbeat = _heartbeat(folder, epoch)
    if not epoch or liveness.released(heartbeat):
        return None
    try:
        first, last = _ends(segments.path_of(folder, epoch))
        driver = segments.entry(first, epoch).event
    except (OSError, ValueError):
        return None  # whoever goes on to read it says why it cannot be read
    with contextlib.suppress(ValueError):
        if isinstance(segments.entry(last, epoch).event, RunEnded):
            return None
    return (driver, heartbeat) if isinstance(driver, DriverTookOver) else None


def _ends(path: Path) -> tuple[bytes, bytes]:
    """The first line of a segment and its last, which may be torn; of a long one, the rest is not read."""
    with path.open("rb") as file:
        first = file.readline()
        size = file.seek(0, os.SEEK_END)
        reach = LAST_LINE
        while True:
            file.seek(max(0, size - reach))
            lines = file.read().splitlines(keepends=True)
            if len(lines) > 1 or reach >= size:
                return first, lines[-1] if lines else b""
            reach *= 2
