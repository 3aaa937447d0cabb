"""`nas audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.options import (
    DataOption,
    JsonOption,
    PluginOption,
    RunArgument,
    data_dir,
    read_plugins,
)
from nas.cli.output import (
    as_json,
    note,
    print_result,
)
from nas.cli.searching import observer
from nas.errors import Interrupted

if TYPE_CHECKING:
    from nas.driver import Ended
    from nas.plan import Plan


def audit(
    run: RunArgument,
    sample: Annotated[int, typer.Option(min=5, metavar="N", help="How many trials, over all ranks alike.")] = 8,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Of a full training; else what was cut short, or 4 times the search's."),
    ] = None,
    data: DataOption = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Train a sample in full: does the search order as that does?

    Trials from all over the ranking are trained again, longer, with their own seeds; the rank correlation of both
    orders says how far the search's ranks can be relied on. The leaderboard warns where it is low. The same command
    goes on with an audit that was interrupted, and a larger sample adds to a smaller one.
    """
    import shlex

    from nas import audit as audits
    from nas import driver
    from nas.report import audit as report

    again = ["nas", "audit", str(run), "--sample", str(sample), *(["--epochs", str(epochs)] if epochs else [])]

    def drive(plan: Plan, folder: Path) -> Ended:
        with observer(plan) as observe:
            return driver.run(plan, folder, observe, note=note)

    try:
        found, ended = audits.run(
            run, sample, epochs, data=data_dir(data), plugins=read_plugins(plugin), drive=drive, note=note
        )
    except Interrupted:
        raise Interrupted(f"stopped at once; go on with: {shlex.join(again)}") from None
    if found is None:
        assert ended is not None
        note(f"stopped: {ended.message or 'everything that was trained is recorded'}; go on with: {shlex.join(again)}")
        raise typer.Exit(ended.exit_code if ended.reason == "interrupted" else 3)
    print_result(as_json(found.plain()) if json else report.page(found.plain(), str(run)))
