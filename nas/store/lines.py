"""Where in a journal each trial's events stand, so that one of 100,000 trials can be read without the others.

Eight bytes a line are kept while a run is driven, and written into its snapshots: the line's length, and its trial.
"""

from __future__ import annotations

import os
import weakref
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from nas.durable import DamagedLine
from nas.errors import DiskFailed
from nas.records import DriverTookOver, Event, Proposed, RunEnded
from nas.store import segments

if TYPE_CHECKING:
    import numpy as np

NONE, DRIVERS = -1, -2  # the line is of no trial; it is of a driver that came or went, which abandons attempts


class Lines:
    """Of each accepted line, in order: its length in bytes, and the trial it is about."""

    def __init__(self, lengths: bytes = b"", trials: bytes = b"") -> None:
        self.lengths, self.trials = array("I", lengths), array("i", trials)

    def __len__(self) -> int:
        return len(self.lengths)

    def add(self, length: int, event: Event) -> None:
        self.lengths.append(length)
        self.trials.append(_trial(event))


def _trial(event: Event) -> int:
    match event:
        case Proposed():
            return event.proposal.number
        case DriverTookOver() | RunEnded():
            return DRIVERS
    return getattr(event, "trial", NONE)


class Recall:
    """Reads the events of one trial from what a snapshot covers: ``lines`` of the segments of ``epochs``.

    The files stay open as long as somebody may ask.
    """

    def __init__(self, folder: Path, covers: Sequence[segments.Covered], lines: Lines) -> None:
        import numpy as np

        self._covers = covers
        self._starts = [0, *accumulate(one.length for one in covers)]  # of segments, as bytes of the whole journal
        self._trials = np.array(lines.trials, np.int32)
        self._ends = np.cumsum(np.array(lines.lengths, np.uint32), dtype=np.int64)  # of lines, likewise
        self._files: list[int] = []
        self._paths = [segments.path_of(folder, one.epoch) for one in covers]
        for path in self._paths:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            weakref.finalize(self, os.close, descriptor)
            self._files.append(descriptor)

    @cached_property
    def _by_trial(self) -> tuple[np.ndarray, np.ndarray]:
        """Numbers of lines in the order of their trials, and where in it each trial begins; DRIVERS come first."""
        import numpy as np

        counts = np.bincount(self._trials - DRIVERS)
        return np.argsort(self._trials, kind="stable"), np.cumsum([0, *counts])

    @cached_property
    def _drivers(self) -> list[tuple[int, segments.Entry]]:
        return [(line, self._read(line)) for line in self._of(DRIVERS)]

    def _of(self, trial: int) -> list[int]:
        order, begins = self._by_trial
        found: list[int] = order[begins[trial - DRIVERS] : begins[trial - DRIVERS + 1]].tolist()
        return found

    def _read(self, line: int) -> segments.Entry:
        start, end = int(self._ends[line - 1]) if line else 0, int(self._ends[line])
        at = bisect_right(self._starts, start) - 1
        try:
            text = os.pread(self._files[at], end - start, start - self._starts[at])
            return segments.entry(text, self._covers[at].epoch)
        except (OSError, DamagedLine) as error:
            raise DiskFailed(f"{self._paths[at]}: at byte {start - self._starts[at]}: {error}") from error

    @property
    def trials(self) -> int:
        """How many there are."""
        return int(self._trials.max(initial=NONE)) + 1

    def events(self, trial: int) -> Iterable[tuple[Event, float]]:
        """The events of a trial and, from the first of them on, those of drivers, in order, each with its time."""
        own = self._of(trial)
        found: list[tuple[int, segments.Entry]] = [(line, self._read(line)) for line in own]
        found += [(line, entry) for line, entry in self._drivers if line > own[0]]
        return _in_order(found)


def _in_order(found: list[tuple[int, segments.Entry]]) -> Iterator[tuple[Event, float]]:
    found.sort(key=lambda one: one[0])
    return ((entry.event, entry.time) for _, entry in found)
