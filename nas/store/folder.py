"""The run's folder, beside its journal: texts for people, and the names of things.

RUN/config.yaml  RUN/space.yaml      copies for reading; the journal is what counts
RUN/journal/                         see journal.py and snapshot.py
RUN/trials/<trial>/<attempt>/        result.json, log.txt; of replicates below RUN/trials/<trial>/r<replicate>/
RUN/audit/<epochs>/                  a run of its own: trials of this one, trained longer
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.durable import write_whole
from nas.errors import InputError
from nas.history import History
from nas.store import journal, segments, snapshot


def history(run: Path, *, salvage: bool = False) -> History:
    """The journal of the run in folder ``run``, folded.

    Raises:
        InputError: there is no run, or its journal is damaged.
    """
    if not journal.exists(run / "journal"):
        raise InputError(f"{run} is no run: it has no journal" if run.exists() else f"{run}: no such folder")
    found = History()
    for entry in journal.read(run / "journal", salvage=salvage):
        found.apply(entry.event, entry.time)
    return found


def opening(run: Path, code: str, *, salvage: bool = False) -> History:
    """The same, quickly where a snapshot by ``code`` fits: its settled trials are read when they are asked for.

    Raises:
        InputError: as ``history`` does.
    """
    with contextlib.suppress(snapshot.NotUsable, segments.NotCovered):
        kept = snapshot.read(run / "journal", code)
        if not salvage:
            rest = segments.chain(run / "journal", salvage, kept.covers)
            found = kept.recall(run / "journal")
            for entry in (entry for segment in rest for entry in segment.entries):
                found.apply(entry.event, entry.time)
            return found
    return history(run, salvage=salvage)


def write_texts(folder: Path, config: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Write config and space as YAML. Raises DiskFailed."""
    import yaml

    for name, content in (("config.yaml", config), ("space.yaml", space)):
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
        write_whole(folder / name, text.encode())
