"""The driver's side of snapshots: a resume that begins with one, and when they are written.

Written is what the state is made of, as bytes, between two turns; digesting, writing and syncing happen in a thread,
and a run never fails for want of a snapshot. How often: when the driver has been busy for BUSY seconds since the last,
as a replay takes no longer than that; after EVERY settled trials (a hundredth of them, when that is more); after
SECONDS where trials are slow; and when the search has ended. But at most so often that they take a SHARE of the time.
Forms and files: nas/store/snapshot.py.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nas import provenance, store
from nas.errors import DiskFailed, NasError
from nas.history import History
from nas.machine import Search
from nas.store import snapshot
from nas.store.lines import Lines

EVERY = 1_000  # settled trials
BUSY = 0.25  # processor seconds of the driver's thread: most of it is a controller's learning
SECONDS = 30.0
SHARE = 0.2  # of the time at most, for making and writing: what binds while trials end by the thousand a second

FEW = 1_000  # entries of a journal, whose replay nobody notices

Note = Callable[[str], None]  # one line for the person


def claim(
    folder: Path, make: Callable[[], Search], check: Callable[[History], object], note: Note, *, salvage: bool
) -> tuple[store.Journal, Search]:
    """Become the writer of the run in ``folder``, with the search as its journal has it.

    ``make``: the search of a run that has not begun. ``check`` looks whether a history is of this search.

    Raises:
        RunHeld, InputError, DiskFailed: see Journal.claim; what ``check`` raises.
    """
    kept, why, young = None, "", False
    try:
        kept = snapshot.read(folder / "journal", provenance.code())
    except snapshot.NotUsable as error:
        why, young = str(error), isinstance(error, snapshot.Absent)
    search = make()  # a controller that refuses the space does so before there is a folder
    journal, entries = store.Journal.claim(folder / "journal", time.time(), salvage=salvage, snapshot=kept)
    try:
        if kept and not entries[0].sequence:
            why = "its snapshot is not of this journal"
        elif kept:
            history = kept.recall(folder / "journal")
            check(history)
            try:
                search.load(kept.machine, history)
                search.controller.load(kept.controller)
            except (NasError, ValueError, KeyError, TypeError) as error:
                why = f"its snapshot does not load ({error})"
                search, entries = make(), store.read(folder / "journal")
        if why and len(entries) > (FEW if young else 1):
            note(f"{folder}: {why}; its journal is replayed")
        for entry in entries:
            search.apply(entry.event, entry.time)
    except BaseException:
        journal.close()
        raise
    return journal, search


class Keeper:
    """Writes snapshots of one driver's search. ``look`` is called once a turn, ``close`` when the search has ended."""

    def __init__(self, journal: store.Journal, search: Search, note: Note) -> None:
        self._journal, self._search, self._note = journal, search, note
        self.settled = search.history.tally.total()  # when the last one was made
        self.made = time.monotonic()
        self._busy = time.thread_time()  # likewise
        self._took = 0.0  # seconds that it kept this thread and the one that writes
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        settled = self._search.history.tally.total()
        new, ago = settled - self.settled, time.monotonic() - self.made
        busy = time.thread_time() - self._busy
        due = new >= max(EVERY, settled // 100) or (new and (ago >= SECONDS or busy >= BUSY))
        if due and ago * SHARE >= self._took:
            self.keep()

    def keep(self) -> None:
        """Make one now, unless the last is still being written."""
        if self._thread and self._thread.is_alive():
            return
        began = time.monotonic()
        lines = self._journal.lines
        made = snapshot.Snapshot(
            covers=self._journal.covers(),
            lines=Lines(lines.lengths.tobytes(), lines.trials.tobytes()),
            history=self._search.history.save(),
            machine=self._search.save(),
            controller=self._search.controller.save(),
        )
        self.settled, self.made, self._busy = self._search.history.tally.total(), time.monotonic(), time.thread_time()
        self._took = self.made - began
        self._thread = threading.Thread(target=self._write, args=(made,), name="nas-snapshot")
        self._thread.start()

    def _write(self, made: snapshot.Snapshot) -> None:
        began = time.monotonic()
        try:
            snapshot.write(self._journal.folder, made, provenance.code())
        except DiskFailed as error:
            with suppress(Exception):  # a terminal that is gone ends no run
                self._note(f"no snapshot was written ({error}); a resume will replay more")
        self._took += time.monotonic() - began

    def wait(self) -> None:
        """Until what is being written is on disk."""
        if self._thread:
            self._thread.join()

    def close(self) -> None:
        """The last one, of the search as it ended."""
        self.wait()
        self.keep()
        self.wait()
