"""`nas bench`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import (
    JsonOption,
)
from nas.cli.output import (
    as_json,
    note,
    print_result,
    write_file,
)


def bench(
    spec: Annotated[
        str,
        typer.Argument(metavar="SPEC", help="A benchmark's file, or the name of a shipped one.", show_default=False),
    ],
    table: Annotated[
        Path | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help="The table, or the folder above it; else beside SPEC, or below NAS_BENCH_DATA.",
        ),
    ] = None,
    controllers: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="rl,optuna:tpe,rl(edits=0): the first is tested against the others."),
    ] = None,
    protocol: Annotated[str, typer.Option(metavar="NAMES", help="Protocols of the benchmark, or all.")] = "query",
    dataset: Annotated[str | None, typer.Option(metavar="NAMES", help="Data sets of the benchmark; else all.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, max=10_000, metavar="N", help="How many seeds; else 200.")] = None,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="Seeds from 0, to choose settings by; results are reported from 10000 on.")
    ] = False,
    evaluations: Annotated[
        int | None, typer.Option(min=1, max=1_000_000_000, metavar="N", help="Of one search.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=1_000_000, metavar="N", help="Simulated workers.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, max=1024, metavar="N", help="Searches at once; else one a core.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="100 evaluations, few seeds, no optuna:gp: minutes.")] = False,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="Where results are kept; else runs/bench/<name>.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="FILE", help="Draw regret against evaluations into FILE, as SVG.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Compare controllers on a recorded table.

    The real search plays it, under a virtual clock.

    What was played before is not played again: a stopped comparison goes on.
    """
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"  # before NumPy is imported: one thread each, on as many processes as there are cores
    from nas.bench import command
    from nas.report import output

    if plot is not None:
        output.check(plot, "--plot")
    wishes = command.Wishes(
        benchmark=spec,
        table=table,
        datasets=dataset,
        protocols=protocol,
        controllers=controllers,
        seeds=seeds,
        tuning=tuning,
        evaluations=evaluations,
        workers=workers,
        processes=processes,
        quick=quick,
        run=run,
    )
    played = command.play(wishes, command.progress(note), note)
    print_result(as_json(played.plain()) if json else played.page())
    if plot is not None:
        write_file(plot, played.picture(), "--plot")
        note(f"regret is drawn in {plot}")
