"""Reading a journal: the segments of the chain that the newest one accepts, each as far as it is sound.

What a snapshot stands for need not be parsed: one SHA-256 of those bytes says whether they are what it was made from.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from nas.durable import DamagedLine, unseal, within
from nas.errors import InputError
from nas.records import DriverTookOver, Event, event_from_json

CHUNK = 1 << 20  # bytes that are digested at a time


@dataclass(frozen=True, slots=True)
class Entry:
    sequence: int  # from 0, over all segments
    epoch: int  # of the driver that wrote it, from 1
    time: float  # seconds since the Unix epoch, by the driver's clock
    event: Event


@dataclass(frozen=True, slots=True)
class Covered:
    """The beginning of one segment, for which a snapshot stands."""

    epoch: int
    length: int  # bytes
    checksum: str  # SHA-256 of these


class NotCovered(Exception):
    """The journal does not begin with what the snapshot was made from."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment as far as it is sound."""

    epoch: int
    first: Event | None
    entries: list[Entry]  # what was read of it: what stands after the part that is covered
    lengths: list[int]  # bytes of each of these
    length: int  # bytes that hold sound lines, covered ones included
    digest: hashlib._Hash  # SHA-256 of those bytes, so far

    @property
    def checksum(self) -> str:
        return self.digest.hexdigest()


def chain(folder: Path, salvage: bool, covers: Sequence[Covered] = ()) -> list[Segment]:
    """The segments of ``folder`` (RUN/journal) that count, in order.

    Raises:
        InputError: the journal is damaged before its end; the message names file, offset and remedy.
        NotCovered: ``covers`` is not how it begins.
    """
    covered = {one.epoch: one for one in covers}
    segments: list[Segment] = []
    accepted: Mapping[str, Any] | None = None
    for epoch in reversed(list(numbers(folder))):
        accepts = accepted.get(f"{epoch:06d}") if accepted is not None else None
        if accepted is not None and not accepts:
            continue  # nothing of it was sound when the next driver came
        segment = _segment(folder, epoch, accepts, salvage, covered.get(epoch))
        if accepted is None and segment.first:
            accepted = segment.first.accepted if isinstance(segment.first, DriverTookOver) else {}
        segments.append(segment)
    segments.reverse()
    if covers:
        _require_prefix(segments, covers)
        return segments
    return _without_gaps(segments)


def numbers(folder: Path) -> Iterator[int]:
    """Epochs that have a segment, in order."""
    return iter(sorted(int(path.stem) for path in folder.glob("*.jsonl") if path.stem.isdecimal()))


def path_of(folder: Path, epoch: int) -> Path:
    """Of one driver's segment. Raises InputError where it is a link, or the folder is."""
    return within(folder.parent, folder.name, f"{epoch:06d}.jsonl")


def entry(line: bytes, epoch: int) -> Entry:
    """The entry of a sealed line. Raises DamagedLine, and ValueError where a newer version wrote it."""
    data = unseal(line)
    return Entry(data["sequence"], epoch, data["time"], event_from_json(data["body"]))


def _segment(
    folder: Path, epoch: int, accepts: Mapping[str, Any] | None, salvage: bool, covered: Covered | None
) -> Segment:
    """``accepts``: the length and checksum that the newest segment fixes, None for that one itself."""
    path = path_of(folder, epoch)
    try:
        with path.open("rb") as file:
            digest, first = _skipped(file, covered) if covered else (hashlib.sha256(), None)
            data = file.read()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error
    begin = covered.length if covered else 0
    if accepts:
        if accepts["length"] < begin:
            raise NotCovered
        data = data[: accepts["length"] - begin]
    entries: list[Entry] = []
    lengths: list[int] = []
    offset = 0
    for line in data.splitlines(keepends=True):
        try:
            entries.append(entry(line, epoch))
        except DamagedLine:
            break
        except ValueError as error:
            raise InputError(f"{path}: at byte {begin + offset}: {error}") from None
        lengths.append(len(line))
        offset += len(line)
    digest.update(memoryview(data)[:offset])
    first = first or (entries[0].event if entries else None)
    segment = Segment(epoch, first, entries, lengths, begin + offset, digest)
    whole = segment.checksum == accepts["checksum"] if accepts else first and not _sound_lines_after(data[offset:])
    if not whole and covered:
        raise NotCovered  # which line it is, a whole reading says
    if not whole and not salvage:
        raise InputError(
            f"{path}: damaged at byte {offset} (line {len(entries) + 1}), before the journal's end. "
            f"{_remedy(folder.parent, epoch, len(entries))}"
        )
    return segment


def _remedy(run: Path, epoch: int, sound: int) -> str:
    """What a person can do about damage in the journal of ``run``, after so many sound lines of a segment."""
    if run.parent.name == "audit":  # see folder.py; it is gone on with by a command that salvages nothing
        return f"Remove {run}, and `nas audit` trains that sample again"
    if epoch == 1 and not sound:
        return "Nothing before it is sound, and there is nothing to go on with: give another --run DIR"
    return (
        f"`nas resume {run} --salvage` goes on from what is sound before it; finished trials are then found again by "
        "their result files"
    )


def _skipped(file: BinaryIO, covered: Covered) -> tuple[hashlib._Hash, Event]:
    """Go to the end of the covered part: its digest, and the segment's first event. Raises NotCovered."""
    digest, line = hashlib.sha256(), file.readline()
    digest.update(line)
    left = covered.length - len(line)
    while left > 0 and (chunk := file.read(min(left, CHUNK))):
        digest.update(chunk)
        left -= len(chunk)
    if left or digest.hexdigest() != covered.checksum:
        raise NotCovered
    return digest, entry(line, covered.epoch).event


def _require_prefix(segments: Sequence[Segment], covers: Sequence[Covered]) -> None:
    """All that is covered is accepted, and nothing before its end is missing from it. Raises NotCovered."""
    found = [(one.epoch, one.length) for one in segments[: len(covers)]]
    wanted = [(one.epoch, one.length) for one in covers]
    if found[:-1] != wanted[:-1] or [epoch for epoch, _ in found] != [epoch for epoch, _ in wanted]:
        raise NotCovered


def _without_gaps(segments: list[Segment]) -> list[Segment]:
    """After salvage, only what continues the sequence can be replayed."""
    sound: list[Segment] = []
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
