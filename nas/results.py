"""Results of attempts, as files: ``<trial's folder>/<attempt>/result.json``; and the states that paused ones leave.

An attempt writes its result before it answers, so the result outlives the worker, the network and the driver. The file
is one sealed line {run, trial, attempt, hash, outcome}; one that names another run, trial, attempt or candidate, or
whose checksum fails, is as if absent. The journal stays the only truth: a result counts once it is journaled.

What an attempt that pauses leaves for a later one lies in ``<attempt>/state/``, and is the objective's own business. It
counts only if that attempt's result does: later attempts are told of no other state.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from nas import durable
from nas.errors import DiskFailed
from nas.records import Attempt, Outcome, outcome_from_json, settles

FILE = "result.json"
LOG = "log.txt"  # stdout and stderr of the attempt, beside it
STATE = "state"  # a folder, likewise


def write_result(attempt: Attempt, outcome: Outcome) -> None:
    """Write the attempt's result durably; a second call replaces the file whole.

    Raises:
        DiskFailed: the folder could not be made, written or synced.
        TypeError: a note is no plain JSON.
    """
    record = durable.seal(
        {
            "run": attempt.run,
            "trial": attempt.trial,
            "attempt": attempt.attempt,
            "hash": attempt.hash,
            "outcome": outcome,
        }
    )
    durable.write_whole(attempt_folder(attempt) / FILE, record)


def attempt_folder(attempt: Attempt) -> Path:
    """The attempt's own folder, made where it is missing. Raises DiskFailed.

    Its name is not synced: a process's death loses no name, and what a host's crash forgets here is one result that no
    driver has journaled yet. Two syncs of each attempt's four would be for that alone.
    """
    folder = Path(attempt.folder) / str(attempt.attempt)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{folder}: {error.strerror or error}") from error
    return folder


def state_folder(attempt: Attempt) -> Path | None:
    """An empty folder for the state that it leaves; None where nothing will go on from it. Raises DiskFailed."""
    if attempt.until is None:
        return None
    forget_state(attempt.folder, attempt.attempt)  # of an attempt with this number that a torn journal does not know
    folder = attempt_folder(attempt) / STATE
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{folder}: {error.strerror or error}") from error
    return folder


def saved_state(attempt: Attempt) -> Path | None:
    """Where the state lies from which the attempt goes on; None where none was left, or it is gone."""
    if attempt.saved is None:
        return None
    folder = Path(attempt.folder) / str(attempt.saved) / STATE
    try:
        return folder if any(folder.iterdir()) else None
    except OSError:
        return None


def forget_state(folder: Path | str, attempt: int) -> None:
    """Remove what the attempt of the trial in ``folder`` left, if it left anything."""
    shutil.rmtree(Path(folder) / str(attempt) / STATE, ignore_errors=True)


def read_attempt(folder: Path | str, run: str, trial: int, attempt: int, hash: str) -> Outcome | None:
    """The outcome that this attempt of this trial wrote; None where there is none, or none that is sound."""
    path = Path(folder) / str(attempt) / FILE
    expected = {"run": run, "trial": trial, "attempt": attempt, "hash": hash}
    try:
        record = durable.unseal(path.read_bytes())
        if {name: record.get(name) for name in expected} != expected:
            return None
        return outcome_from_json(record["outcome"])
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, torn, altered, or of a version that we can not read: the attempt runs again


def read_results(folder: Path | str, run: str, trial: int, hash: str) -> Iterator[tuple[int, Outcome]]:
    """Every sound result of the trial, by attempt number."""
    for attempt in _attempts(Path(folder)):
        outcome = read_attempt(folder, run, trial, attempt, hash)
        if outcome is not None:
            yield attempt, outcome


def read_result(folder: Path | str, run: str, trial: int, hash: str, since: int = 0) -> tuple[int, Outcome] | None:
    """The first attempt, from ``since`` on, whose result settles the trial, and that: a started one returns it."""
    found = read_results(folder, run, trial, hash)
    return next((one for one in found if one[0] >= since and settles(one[1])), None)


def _attempts(folder: Path) -> list[int]:
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError:
        return []
