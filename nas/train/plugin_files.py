"""Plugins as files: named on the command line, recorded by their hash, sent to workers as text.

A run's config records where each file lay and its SHA-256; the text itself travels inside the trainer, so workers need
no path. Whoever goes on with a run reads the file again, and is refused if it says something else by now: half a
search's candidates would have been trained by other code. No torch here; what the text means, plugins.py says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nas.errors import InputError
from nas.train.sources import files


class PluginFile(BaseModel):
    """What a config records of a plugin."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str  # absolute
    sha256: str  # of its text in UTF-8

    @property
    def name(self) -> str:
        return Path(self.file).name


@dataclass(frozen=True, slots=True)
class Plugin:
    """A file's text; where it lay is for messages and tracebacks alone."""

    file: str
    text: str

    @property
    def record(self) -> PluginFile:
        return PluginFile(file=self.file, sha256=hashlib.sha256(self.text.encode()).hexdigest())


def read(path: str | Path) -> Plugin:
    """A plugin's file. Raises InputError where it can not be read, or is no UTF-8."""
    file = str(Path(path).expanduser().absolute())
    return Plugin(file, files.text(file))


def again(recorded: Sequence[PluginFile], given: Sequence[Plugin] = ()) -> tuple[Plugin, ...]:
    """The plugins of a run: from where they lay, or ``given`` from where they lie now.

    Raises:
        InputError: one is not there any more, or has changed; or more is given than was recorded.
    """
    by_hash = {plugin.record.sha256: plugin for plugin in given}
    found = tuple(by_hash.get(one.sha256) or read(one.file) for one in recorded)
    problems = [
        f"{one.file}: this plugin has changed since the run was started (SHA-256 {one.sha256[:12]}…, "
        f"now {now.record.sha256[:12]}…); put it back, or start a new run with --fresh"
        for one, now in zip(recorded, found, strict=True)
        if now.record.sha256 != one.sha256
    ]
    strange = by_hash.keys() - {one.sha256 for one in recorded}
    problems += [f"{by_hash[sha].file}: the run was not started with this plugin" for sha in strange if not problems]
    if problems:
        raise InputError(*problems)
    return found
