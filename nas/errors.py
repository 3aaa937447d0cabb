"""Every error that leaves the program, and the exit code each one means.

NasError                 1   our own bug, when nothing more precise fits
├── InputError           2   what the person gave is wrong: place, value, what is allowed, remedy
├── SearchFailed         3   no successful trial, stopped by diagnosis, no worker comes up, or no queue answers
├── RunHeld              4   another live driver holds the run
├── DiskFailed          74   a write or sync failed; what was acknowledged before is safe
│   └── DiskFull             there is no room, and nothing was written: a driver waits until there is
└── Interrupted         75   stopped on request, or a process that it needs was killed; it can be gone on with

InvalidCandidate, Diverged, OutOfMemory, Preempted   what an objective raises; the search goes on (see records.Failed)
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MOST_PROBLEMS = 100  # that are told of one file; the others when these are mended
_LONG_WORD = re.compile(r"(\S{80})\S{200,}(\S{20})")


class NasError(Exception):
    """The root of what the command line reports without a traceback."""

    exit_code = 1


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input: where it stands (line and column from 1), and what to do about it."""

    message: str
    file: str = ""
    line: int = 0
    column: int = 0

    def __post_init__(self) -> None:
        """What was given is quoted in messages; a word of thousands of characters is not worth its place."""
        object.__setattr__(self, "message", _LONG_WORD.sub(r"\1...\2", self.message))

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


def too_many(last: Problem) -> Problem:
    """What stands after the last problem that is told."""
    message = f"more than {MOST_PROBLEMS} problems; the others when these are mended"
    return Problem(message, last.file, last.line, last.column)


class InputError(NasError):
    """The input is wrong. Carries every problem found, so that a person mends a file in one pass."""

    exit_code = 2

    def __init__(self, *problems: Problem | str) -> None:
        self.problems: Sequence[Problem] = [p if isinstance(p, Problem) else Problem(p) for p in problems]
        super().__init__("\n".join(map(str, self.problems)))


class SearchFailed(NasError):
    """No trial succeeded, the same failure in most recent candidates stopped the run, or what runs its jobs does not:
    no worker comes up, or the batch system does not answer.
    """

    exit_code = 3


class RunHeld(NasError):
    """Another driver is alive on this run; the message names its host and process."""

    exit_code = 4


class DiskFailed(NasError):
    """The run's folder could not be written or synced."""

    exit_code = 74


class DiskFull(DiskFailed):
    """There is no room for what was to be written, and nothing of it was: it can be tried again."""


class Interrupted(NasError):
    """Stopped on request with everything recorded; the message is the command that goes on.

    ``again``: not a person asked for it but the end of a batch job's time; another one is to go on.
    """

    exit_code = 75

    def __init__(self, message: str, *, again: bool = False) -> None:
        super().__init__(message)
        self.again = again


class InvalidCandidate(Exception):
    """Raised by an objective: this candidate can not be built (shapes, an impossible value)."""


class Preempted(Exception):
    """Raised by an objective: it was told to stop and leave its state, and could not leave any."""


class Diverged(Exception):
    """Raised by an objective: training left the finite numbers."""


class OutOfMemory(Exception):
    """Raised by an objective: the candidate does not fit the device."""
