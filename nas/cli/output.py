"""Words to people and programs: results to stdout, what is said beside them to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from nas.errors import DiskFailed

if TYPE_CHECKING:
    from nas.report.status import Status


@contextmanager
def live_display() -> Iterator[Callable[[Status], None]]:
    """Live on a terminal; elsewhere a line to stderr when a trial has ended, at most every 5 s."""
    from nas.report import status as report

    if is_terminal(sys.stderr):
        from rich.console import Console
        from rich.live import Live

        with Live(console=Console(stderr=True), auto_refresh=False, transient=True) as live:
            yield lambda status: live.update(report.live(status), refresh=True)
        return

    from time import monotonic

    last: list[float | int] = [0.0, 0]  # when a line was printed, and how many trials had ended then

    def show(status: Status) -> None:
        if status.counted != last[1] and monotonic() - last[0] >= 5:
            last[:] = [monotonic(), status.counted]
            note(report.line(status))

    yield show


def print_result(text: str) -> None:
    """The result: stdout. `nas leaderboard RUN | head` ends quietly, and with the command's own exit code.

    Raises:
        DiskFailed: stdout is closed, or what it goes to is full.
    """
    if sys.stdout is None:
        raise DiskFailed("the result could not be printed: standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        silence(sys.stdout)
    except OSError as error:
        raise DiskFailed(f"the result could not be printed: {error.strerror or error}") from error


def note(text: str) -> None:
    """For the person, beside the result: stderr. A reader that went away must not end a search."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"nas: {text}\n")
        sys.stderr.flush()
    except OSError:
        silence(sys.stderr)


def silence(stream: TextIO) -> None:
    """Nobody reads the stream any more: what is written to it from now on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def hold_standard_descriptors() -> None:
    """Of 0, 1 and 2, those that are closed lead nowhere: else a journal opened next would be somebody's stdout."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def as_json(value: Any) -> str:
    """For programs, on several lines."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def as_line(value: Any) -> str:
    """For programs that read line by line."""
    import orjson

    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()


def as_long_json(value: Any) -> str:
    """For counts: orjson ends at 64 bits."""
    import json

    return json.dumps(value, indent=2) + "\n"


def write_file(file: Path, text: str, option: str = "--output") -> None:
    """The result, to a file. Raises InputError, which names the option; and DiskFailed."""
    from nas.report import output

    output.write(file, text, option)


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a person reads it."""
    return stream is not None and stream.isatty()  # None: it was closed


def terminal_width() -> int | None:
    """Columns of the terminal; None into a pipe, where nothing is folded, unless COLUMNS says otherwise."""
    import shutil

    if not is_terminal(sys.stdout) and not os.environ.get("COLUMNS", "").isdecimal():
        return None
    return max(40, shutil.get_terminal_size().columns)
