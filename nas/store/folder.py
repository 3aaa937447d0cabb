"""The run's folder, beside its journal: texts for people, and the names of things.

RUN/config.yaml  RUN/space.yaml      copies for reading; the journal is what counts
RUN/journal/                         see journal.py
RUN/trials/<trial>/<attempt>/        result.json, log.txt
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.durable import write_whole
from nas.errors import InputError
from nas.history import History
from nas.store import journal


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


def write_texts(folder: Path, config: Mapping[str, Any], space: Mapping[str, Any]) -> None:
    """Write config and space as YAML. Raises DiskFailed."""
    import yaml

    for name, content in (("config.yaml", config), ("space.yaml", space)):
        text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)
        write_whole(folder / name, text.encode())
