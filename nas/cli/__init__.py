"""The command line: words and flags in, calls to the house, text and exit codes out. No logic of a search lives here.

Everything but typer is imported inside the commands, so that `nas --help` takes a tenth of a second and
`nas leaderboard` never imports torch. Help is plain: typer's rich help would cost 0.3 s more.

Left out: commands that are not built yet (they are absent, not stubs), and colours outside the live display.
"""

from __future__ import annotations

import errno
import signal
import sys
from typing import Annotated, NoReturn

import typer

from nas.cli import auditing, benching, reading, searching, spaces, submitting
from nas.cli.output import hold_standard_descriptors, note, print_result, silence
from nas.errors import DiskFailed, InputError, Interrupted, NasError

app = typer.Typer(
    name="nas",
    help="Neural architecture search: a controller proposes, a cluster trains, a leaderboard remembers.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    searching.search,
    searching.resume,
    submitting.submit,
    submitting.cancel,
    reading.status,
    reading.leaderboard,
    reading.trial,
    auditing.audit,
    benching.bench,
    spaces.schema,
):
    app.command()(_command)
app.add_typer(spaces.app, name="space")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print_result(f"nas {version('nas-orchestrator')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The `nas` command: every way out of it is an exit code that DESIGN's table of them explains in errors.py."""
    hold_standard_descriptors()
    signal.signal(signal.SIGINT, _interrupted)  # a running search has its own, which ends it gracefully
    try:
        app()
    except NasError as error:
        sys.exit(_refuse(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
            sys.exit(_refuse(DiskFailed(str(error))))  # of typer's own printing, say
        import traceback

        traceback.print_exc()
        note("this is a bug of ours; please report it with the lines above and the command that led to them")
        sys.exit(1)


def _interrupted(number: int, frame: object) -> NoReturn:
    raise Interrupted("interrupted")


def _refuse(error: NasError) -> int:
    problems = error.problems if isinstance(error, InputError) else [error]
    for problem in problems:
        note(str(problem))
    if isinstance(error, DiskFailed) and sys.stdout is not None:
        silence(sys.stdout)  # Python would try once more to print what is left in it
    return error.exit_code
