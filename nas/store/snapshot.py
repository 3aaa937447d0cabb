"""A snapshot: what replaying the journal up to some line gives, so that a resume has only the rest to replay.

    RUN/journal/snapshot     one sealed line: format, code, what of the journal it covers, and how long its parts are;
                             then the parts: history, machine, controller, lengths and trials of the lines

It is a disposable cache. One that is missing, damaged, written by other code, or not of this journal (a SHA-256 of each
segment's covered bytes says so) is not used, and the journal is replayed. Trials are not in it: the journal has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from nas.durable import DamagedLine, seal, unseal, within, write_whole
from nas.errors import InputError
from nas.history import History
from nas.store.lines import Lines, Recall
from nas.store.recorded_trials import RecordedTrials
from nas.store.segments import Covered

NAME = "snapshot"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Snapshot:
    covers: Sequence[Covered]
    lines: Lines  # all that are covered
    history: bytes  # History.save()
    machine: bytes  # Search.save()
    controller: bytes  # Controller.save()

    def recall(self, folder: Path) -> History:
        """The history, whose settled trials are read from the journal in ``folder`` when somebody asks for them."""
        found = History()
        found.load(self.history, RecordedTrials(Recall(folder, self.covers, self.lines)))
        return found


class NotUsable(Exception):
    """Why a snapshot is not used, in words."""


class Absent(NotUsable):
    """There is none: the run is young, or somebody took it away."""


def write(folder: Path, snapshot: Snapshot, code: str) -> None:
    """Put it into ``folder`` (RUN/journal), whole or not at all. ``code``: what wrote it. Raises DiskFailed."""
    parts = {
        "history": snapshot.history,
        "machine": snapshot.machine,
        "controller": snapshot.controller,
        "lengths": snapshot.lines.lengths.tobytes(),
        "trials": snapshot.lines.trials.tobytes(),
    }
    digest = sha256()
    for part in parts.values():
        digest.update(part)
    head = {
        "format": FORMAT,
        "code": code,
        "covers": [asdict(one) for one in snapshot.covers],
        "parts": {name: len(part) for name, part in parts.items()},
        "checksum": digest.hexdigest(),
    }
    write_whole(folder / NAME, b"".join([seal(head), *parts.values()]))


def read(folder: Path, code: str) -> Snapshot:
    """The snapshot in ``folder`` (RUN/journal), which is whole and written by ``code``. Raises NotUsable."""
    try:
        line, _, body = within(folder, NAME).read_bytes().partition(b"\n")
        head = unseal(line + b"\n")
    except FileNotFoundError:
        raise Absent("there is no snapshot") from None
    except OSError as error:
        raise NotUsable(f"its snapshot cannot be read ({error.strerror or error})") from error
    except InputError:
        raise NotUsable("its snapshot is a link") from None
    except DamagedLine:
        raise NotUsable("its snapshot is damaged") from None
    if head["format"] != FORMAT or head["code"] != code:
        raise NotUsable("its snapshot was written by other code, or with other versions")
    if sha256(body).hexdigest() != head["checksum"]:
        raise NotUsable("its snapshot is damaged")
    parts: dict[str, bytes] = {}
    at = 0
    for name, length in head["parts"].items():
        parts[name] = body[at : at + length]
        at += length
    lines = Lines(parts.pop("lengths"), parts.pop("trials"))
    return Snapshot([Covered(**one) for one in head["covers"]], lines, **parts)
