"""`nas submit` and `nas cancel`: words and flags in, calls to command.py, text out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nas.cli.ending import show_finished
from nas.cli.options import (
    ConfigArgument,
    JsonOption,
    PluginOption,
    SetOption,
    data_dir,
    loaded,
    planned,
    read_plugins,
    submitted_to,
)
from nas.cli.output import (
    as_json,
    print_result,
)

if TYPE_CHECKING:
    from nas.plan import Plan


def submit(
    config: ConfigArgument,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="KIND", help="slurm, pbs, lsf, sge, kubernetes, script; else cluster.kind."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="The run's folder, on a disk that all nodes see.")
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="How many trials train at once.")] = None,
    nodes: Annotated[
        int | None, typer.Option(metavar="N", help="Spread the workers over N jobs; else each is one of its own.")
    ] = None,
    cpus_per_worker: Annotated[int | None, typer.Option(metavar="C", help="CPU cores of each worker; else 1.")] = None,
    gpus_per_worker: Annotated[int | None, typer.Option(metavar="G", help="GPUs of each worker; else none.")] = None,
    memory: Annotated[str | None, typer.Option(metavar="8G", help="Of each worker.")] = None,
    time: Annotated[
        str | None, typer.Option(metavar="04:00:00", help="Walltime of each job; a plain number is minutes.")
    ] = None,
    partition: Annotated[str | None, typer.Option(metavar="P", help="The partition, or queue.")] = None,
    account: Annotated[str | None, typer.Option(metavar="A", help="Who pays.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="OPTION", help="Another directive: --qos=high; may be repeated.")
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="DIR", help="Where data sets lie.")] = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="A new run beside one that is there: <name>-2, ...")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the jobs' scripts, and do nothing.")] = False,
    json: JsonOption = False,
) -> None:
    """Run a search as batch jobs.

    One job holds the search, an array of jobs the workers. For kubernetes and script a file is written.

    The words of `cluster:` in the config may stand here as flags, which win. Prints the jobs' ids, where their logs
    are, how to watch the run and how to cancel it.
    """
    from nas import plan as plans

    flags = {
        "data": data_dir(data),
        "cluster.workers": workers,
        "cluster.nodes": nodes,
        "cluster.cpus_per_worker": cpus_per_worker,
        "cluster.gpus_per_worker": gpus_per_worker,
        "cluster.memory": memory,
        "cluster.time": time,
        "cluster.partition": partition,
        "cluster.account": account,
        "cluster.options": option,
    }
    plugins = read_plugins(plugin)
    settings = loaded(config, flags, {"cluster.options": "--option"}, submitted_to(to), set_, plugins)
    plan, folder, recorded = planned(settings, plugins, run, fresh)
    if recorded and plans.finished(recorded, settings):
        show_finished(folder, recorded, settings, json)
        return
    submitted(plan, folder, json, dry_run=dry_run)


def cancel(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run's folder.", show_default=False)],
    json: JsonOption = False,
) -> None:
    """End the jobs of a run, and only those.

    `nas resume RUN --to slurm` goes on.
    """
    from nas.submit import command

    ended = command.cancel(run)
    if json:
        print_result(as_json({"cancelled": ended}))
    else:
        print_result(f"{len(ended)} jobs cancelled{': ' if ended else ''}{' '.join(ended)}\n")


def submitted(plan: Plan, folder: Path, json: bool, *, dry_run: bool = False) -> None:
    """Submit the run, and say so; or only show the scripts. Raises InputError where the plan's cluster has no jobs."""
    from nas.cluster.settings import SUBMITTED
    from nas.errors import InputError
    from nas.submit import command

    if plan.config.cluster.kind not in SUBMITTED:
        kinds = f"{', '.join(SUBMITTED[:-1])} or {SUBMITTED[-1]}"
        raise InputError(f"cluster.kind is {plan.config.cluster.kind}, to which nothing is submitted; say --to {kinds}")
    if dry_run:
        scripts = command.scripts(plan, folder)
        texts = [f"# {name}\n{text}" for name, text in scripts.items()] if len(scripts) > 1 else scripts.values()
        print_result(as_json(scripts) if json else "\n".join(texts))
        return
    done = command.submit(plan, folder)
    print_result(as_json(done.plain()) if json else done.page())
