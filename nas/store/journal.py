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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas.durable import DamagedLine, seal, sync_folder, unseal, write_all
from nas.errors import DiskFailed, InputError, RunHeld
from nas.records import DriverTookOver, Event, RunEnded, event_from_json
from nas.store import liveness


@dataclass(frozen=True, slots=True)
class Entry:
    sequence: int  # from 0, over all segments
    epoch: int  # of the driver that wrote it, from 1
    time: float  # seconds since the Unix epoch, by the driver's clock
    event: Event


@dataclass(frozen=True, slots=True)
class _Segment:
    """One segment as far as it is sound."""

    epoch: int
    entries: list[Entry]
    length: int  # bytes that hold the entries
    checksum: str  # SHA-256 of those bytes


def read(folder: Path, *, salvage: bool = False) -> list[Entry]:
    """Every accepted entry of ``folder`` (RUN/journal), in order.

    Raises:
        InputError: there is no journal, or it is damaged before its end; the message names file, offset and remedy.
    """
    return [entry for segment in _segments(folder, salvage) for entry in segment.entries]


def exists(folder: Path) -> bool:
    """Whether any driver has ever written to ``folder`` (RUN/journal)."""
    return any(_numbers(folder))


class Journal:
    """The writer's end. Made by ``claim``; every ``append`` is on disk when it returns."""

    def __init__(self, folder: Path, epoch: int, descriptor: int, sequence: int) -> None:
        self.folder, self.epoch = folder, epoch
        self.sync_seconds = 0.0  # spent in fsync so far
        self._descriptor, self._sequence = descriptor, sequence
        self._heart = liveness.Heart(_heartbeat(folder, epoch))
        self._closed = False

    @classmethod
    def claim(cls, folder: Path, now: float, *, salvage: bool = False) -> tuple[Journal, list[Entry]]:
        """Become the one writer of ``folder``; returns what is recorded so far, this driver's first entry included.

        Raises:
            RunHeld: another driver is alive on it.
            InputError: the journal is damaged before its end.
            DiskFailed: the claim could not be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskFailed(f"{folder}: {error.strerror or error}") from error
        while True:
            _refuse_if_held(folder)
            segments = _segments(folder, salvage)
            entries = [entry for segment in segments for entry in segment.entries]
            accepted = {f"{s.epoch:06d}": {"length": s.length, "checksum": s.checksum} for s in segments}
            epoch = max(_numbers(folder), default=0) + 1
            first = Entry(len(entries), epoch, now, replace(liveness.ourselves(), accepted=accepted))
            descriptor = _link_segment(folder, first)
            if descriptor is not None:
                for left_behind in folder.glob(".*.tmp"):  # by drivers that were killed while they claimed
                    left_behind.unlink(missing_ok=True)
                return cls(folder, epoch, descriptor, len(entries) + 1), [*entries, first]

    def append(self, events: Iterable[tuple[Event, float]]) -> None:
        """Write events with their times, and sync once.

        Raises:
            RunHeld: another driver has taken the run over; nothing that we write counts any more.
            DiskFailed: the disk is full or failed. What was appended before is safe; what of this call reached the
                disk is cut off again, so that a later append stands on sound lines.
        """
        lines = [seal(_line(Entry(self._sequence + i, self.epoch, t, e))) for i, (e, t) in enumerate(events)]
        if not lines:
            return
        if _path(self.folder, self.epoch + 1).exists():
            raise RunHeld(f"{self.folder.parent}: another driver has taken this run over; this one stops")
        end = os.lseek(self._descriptor, 0, os.SEEK_END)
        try:
            write_all(self._descriptor, b"".join(lines))
            started = time.perf_counter()
            os.fsync(self._descriptor)
            self.sync_seconds += time.perf_counter() - started
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, end)
            raise DiskFailed(f"{_path(self.folder, self.epoch)}: {error.strerror or error}") from error
        self._sequence += len(lines)

    def close(self) -> None:
        """Let go of the run: the next driver need not wait for our heartbeat to stand still."""
        if not self._closed:
            self._closed = True
            self._heart.stop()
            os.close(self._descriptor)


# Reading -------------------------------------------------------------------------------------------------------------


def _segments(folder: Path, salvage: bool) -> list[_Segment]:
    """The segments of the chain that the newest one accepts, each as far as it counts."""
    segments: list[_Segment] = []
    accepted: Mapping[str, Any] | None = None
    for epoch in reversed(list(_numbers(folder))):
        accepts = accepted.get(f"{epoch:06d}") if accepted is not None else None
        if accepted is not None and not accepts:
            continue  # nothing of it was sound when the next driver came
        segment = _segment(folder, epoch, accepts, salvage)
        if accepted is None and segment.entries:
            first = segment.entries[0].event
            accepted = first.accepted if isinstance(first, DriverTookOver) else {}
        segments.append(segment)
    return _without_gaps(segments[::-1])


def _segment(folder: Path, epoch: int, accepts: Mapping[str, Any] | None, salvage: bool) -> _Segment:
    """``accepts``: the length and checksum that the newest segment fixes, None for that one itself."""
    path = _path(folder, epoch)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    data = data[: accepts["length"]] if accepts else data
    entries: list[Entry] = []
    offset = 0
    for line in data.splitlines(keepends=True):
        try:
            entries.append(_entry(unseal(line), epoch))
        except DamagedLine:
            break
        except ValueError as error:
            raise InputError(f"{path}: at byte {offset}: {error}") from None
        offset += len(line)
    segment = _Segment(epoch, entries, offset, sha256(data[:offset]).hexdigest())
    whole = segment.checksum == accepts["checksum"] if accepts else entries and not _sound_lines_after(data[offset:])
    if not whole and not salvage:
        raise InputError(
            f"{path}: damaged at byte {offset} (line {len(entries) + 1}), before the journal's end. "
            f"`nas resume {folder.parent} --salvage` goes on from the {len(entries):,} sound lines before it; "
            "finished trials are then found again by their result files"
        )
    return segment


def _without_gaps(segments: list[_Segment]) -> list[_Segment]:
    """After salvage, only what continues the sequence can be replayed."""
    sound: list[_Segment] = []
    expected = 0
    for segment in segments:
        if segment.entries and segment.entries[0].sequence == expected:
            sound.append(segment)
            expected += len(segment.entries)
    return sound


def _sound_lines_after(rest: bytes) -> bool:
    """Whether anything after a bad first line is sound: then it is damage, and no torn tail."""
    for line in rest.splitlines(keepends=True)[1:]:
        with contextlib.suppress(DamagedLine):
            unseal(line)
            return True
    return False


def _entry(data: Mapping[str, Any], epoch: int) -> Entry:
    return Entry(data["sequence"], epoch, data["time"], event_from_json(data["body"]))


def _line(entry: Entry) -> dict[str, Any]:
    return {"sequence": entry.sequence, "epoch": entry.epoch, "time": entry.time, "body": entry.event}


def _numbers(folder: Path) -> Iterator[int]:
    """Epochs that have a segment, in order."""
    return iter(sorted(int(path.stem) for path in folder.glob("[0-9]*.jsonl")))


def _path(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}.jsonl"


def _heartbeat(folder: Path, epoch: int) -> Path:
    return folder / f"{epoch:06d}.alive"


# Claiming ------------------------------------------------------------------------------------------------------------


def _link_segment(folder: Path, first: Entry) -> int | None:
    """A descriptor to append to, or None where another driver was quicker."""
    path = _path(folder, first.epoch)
    temporary = folder / f".{first.epoch:06d}.{os.uname().nodename}.{os.getpid()}.{threading.get_ident()}.tmp"
    try:
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            write_all(descriptor, seal(_line(first)))
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
    epoch = max(_numbers(folder), default=0)
    heartbeat = _heartbeat(folder, epoch)
    if not epoch or liveness.released(heartbeat):
        return None
    lines = _path(folder, epoch).read_bytes().splitlines(keepends=True)
    try:
        first = _entry(unseal(lines[0]), epoch).event
    except (DamagedLine, IndexError, ValueError):
        return None
    with contextlib.suppress(DamagedLine, ValueError):
        if isinstance(_entry(unseal(lines[-1]), epoch).event, RunEnded):
            return None
    return (first, heartbeat) if isinstance(first, DriverTookOver) else None
