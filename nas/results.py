"""Results of attempts, as files, and the states that paused ones leave: ``<training's folder>/<attempt>/result.json``.

An attempt writes its result before it answers, so the result outlives the worker, the network and the driver. The file
is one sealed line {run, trial, replicate, attempt, hash, outcome}; one that names another run, trial, replicate,
attempt or candidate, or whose checksum fails, is as if absent. The journal stays the only truth: a result counts once
it is journaled.

What an attempt that pauses, or is preempted, leaves for a later one lies in ``<attempt>/state/``, and is the
objective's own business. It counts only if that attempt's result does: later attempts are told of no other state.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from nas import durable
from nas.errors import DiskFailed, InputError
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
    record = durable.seal({**_names(attempt), "outcome": outcome})
    durable.write_whole(attempt_folder(attempt) / FILE, record)


def attempt_folder(attempt: Attempt) -> Path:
    """The attempt's own folder, made where it is missing. Raises DiskFailed.

    Its name is not synced: a process's death loses no name, and what a host's crash forgets here is one result that no
    driver has journaled yet. Two syncs of each attempt's four would be for that alone.
    """
    return _made(attempt)


def state_folder(attempt: Attempt) -> Path:
    """An empty folder for the state that it leaves. Raises DiskFailed."""
    forget_state(attempt.folder, attempt.attempt)  # of an attempt with this number that a torn journal does not know
    return _made(attempt, STATE)


def saved_state(attempt: Attempt) -> Path | None:
    """Where the state lies from which the attempt goes on; None where none was left, or it is gone."""
    if attempt.saved is None:
        return None
    try:
        folder = _place(attempt.folder, attempt.saved, STATE)
        files = list(folder.iterdir())
    except (OSError, InputError):
        return None
    return folder if files and not any(file.is_symlink() for file in files) else None


def forget_state(folder: Path | str, attempt: int) -> None:
    """Remove what the attempt of the trial in ``folder`` left, if it left anything."""
    with suppress(InputError):  # a link is not what it left
        shutil.rmtree(_place(folder, attempt, STATE), ignore_errors=True)


def read_attempt(attempt: Attempt) -> Outcome | None:
    """The outcome that this attempt wrote; None where there is none, or none that is sound."""
    expected = _names(attempt)
    try:
        path = _place(attempt.folder, attempt.attempt, FILE)
        record = {"replicate": 0} | durable.unseal(path.read_bytes())  # of which earlier versions knew nothing
        if {name: record.get(name) for name in expected} != expected:
            return None
        return outcome_from_json(record["outcome"])
    except (OSError, InputError, ValueError, TypeError, KeyError, AttributeError):
        return None  # absent, elsewhere, torn, altered, or of a version that we can not read: the attempt runs again


def read_results(attempt: Attempt) -> Iterator[tuple[int, Outcome]]:
    """Every sound result of an attempt at the same training, by the attempts' numbers."""
    for number in _attempts(Path(attempt.folder)):
        outcome = read_attempt(replace(attempt, attempt=number))
        if outcome is not None:
            yield number, outcome


def read_result(attempt: Attempt) -> tuple[int, Outcome] | None:
    """The first attempt, from ``attempt.since`` on, whose result settles the training: a started one returns it."""
    found = read_results(attempt)
    return next((one for one in found if one[0] >= attempt.since and settles(one[1])), None)


def _place(folder: Path | str, attempt: int, *names: str) -> Path:
    """In the folder of a training and below it no link is followed. Raises InputError."""
    training = Path(folder)
    return durable.within(training.parent, training.name, str(attempt), *names)


def _made(attempt: Attempt, *names: str) -> Path:
    """A folder, made where it is missing. Raises DiskFailed."""
    try:
        folder = _place(attempt.folder, attempt.attempt, *names)
    except InputError as error:
        raise DiskFailed(str(error)) from error
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DiskFailed(f"{folder}: {error.strerror or error}") from error
    return folder


def _names(attempt: Attempt) -> dict[str, str | int]:
    return {name: getattr(attempt, name) for name in ("run", "trial", "replicate", "attempt", "hash")}


def _attempts(folder: Path) -> list[int]:
    try:
        return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
    except OSError:
        return []
