"""What a search shows at its end, and every command that finds one at its end."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from nas.cli.output import as_json, note, print_result, terminal_width
from nas.cli.reading import ranked_rows, reward_of

if TYPE_CHECKING:
    from nas.config import RunConfig
    from nas.history import History

SHOWN_AT_THE_END = 10  # rows of the leaderboard after a search
FRESH = "--fresh starts a new run beside it"


def show_finished(folder: Path, history: History, config: RunConfig | None, json: bool, remedy: str = FRESH) -> None:
    """A run with which somebody wanted to go on, or to begin: as a search shows it at its end."""
    note(f"{folder} is finished; {remedy}")
    _note_of_replicates(folder, history, config)
    show_end(folder, history, json)


def show_end(folder: Path, history: History, json: bool) -> None:
    """The leaderboard for people, the status for programs."""
    from nas.report import status, tables

    if json:
        print_result(as_json({"folder": str(folder)} | status.of(history, reward_of(history)).plain()))
        return
    settings = reward_of(history)
    rows, front = ranked_rows({folder: history}, {folder: settings})
    shown = [row for row in rows if row.rank is None or row.rank <= SHOWN_AT_THE_END]
    print_result(
        tables.render([row.plain() for row in shown], "table", terminal_width(), kept=settings.names, front=front)
    )
    if len(rows) > len(shown):
        everything = shlex.join(["nas", "leaderboard", str(folder)])
        note(f"the best {SHOWN_AT_THE_END} of {len(rows)}; all of them: {everything}")


def _note_of_replicates(folder: Path, history: History, config: RunConfig | None) -> None:
    """Why a finished run lacks replicates that are wanted: its budget, which bounds them too."""
    from nas import plan as plans

    if config is not None and not plans.replicated(history, config):
        note(
            f"its replicates have not ended, as the budget is used up; a larger one goes on: {resuming(folder)} "
            "--set budget.time=2h, say (and --set budget.trials=N, where the search is to end with trial N)"
        )


def resuming(folder: Path) -> str:
    """The command that goes on."""
    return shlex.join(["nas", "resume", str(folder)])
