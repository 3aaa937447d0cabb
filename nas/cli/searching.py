"""`nas search` and `nas resume`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from nas.cli import submitting
from nas.cli.ending import resuming, show_end, show_finished
from nas.cli.options import (
    ConfigArgument,
    DataOption,
    JsonOption,
    PluginOption,
    ReplicateOption,
    RunArgument,
    SetOption,
    cluster_overrides,
    data_dir,
    loaded,
    override,
    planned,
    read_plugins,
    submitted_to,
)
from nas.cli.output import (
    as_json,
    live_display,
    note,
    print_result,
)
from nas.cli.reading import reward_of
from nas.errors import DiskFailed, InputError

if TYPE_CHECKING:
    from nas.config import Config
    from nas.driver import Ended, Observer
    from nas.history import History
    from nas.machine import Search
    from nas.plan import Plan
    from nas.report.status import Status
    from nas.train.plugin_files import Plugin


def search(
    config: ConfigArgument,
    run: Annotated[
        Path | None, typer.Option("--run", metavar="DIR", help="The run's folder; runs/<name> where it is not given.")
    ] = None,
    trials: Annotated[int | None, typer.Option(metavar="N", help="End after N trials.")] = None,
    time: Annotated[str | None, typer.Option(metavar="TIME", help="End after this much time: 90s, 10m, 1h30m.")] = None,
    device_seconds: Annotated[
        str | None, typer.Option(metavar="TIME", help="End after this much time of all workers together: 900, 2h.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="REWARD", help="Stop when a trial reaches it: 0.93, or {loss: 0.2}.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(metavar="N", help="Stop after N trials in a row without a new best.")
    ] = None,
    replicate: ReplicateOption = None,
    controller: Annotated[
        str | None, typer.Option(metavar="NAME", help="rl, evolution, random, or optuna:SAMPLER (optuna:tpe, ...).")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="How long each trial trains: none, asha, hyperband, median, extrapolate."),
    ] = None,
    workers: Annotated[int | None, typer.Option(metavar="N", help="How many trials train at once.")] = None,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="WHERE",
            help="local, slurm, pbs, lsf, sge, jobqueue, ssh=FILE, address=HOST:PORT, scheduler-file=PATH.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the search, the split and every training.")
    ] = None,
    data: DataOption = None,
    warm_start: Annotated[
        Path | None,
        typer.Option("--warm-start", metavar="RUN", help="Learn from an earlier run, on this space or one like it."),
    ] = None,
    set_: SetOption = None,
    plugin: PluginOption = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Start a new run beside one that is there: <name>-2, ...")
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="Train the smallest and the largest of 50 candidates for one batch, and stop."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Run a search, or go on with an unfinished one.

    An unfinished run goes on where it stopped; only budget, stop, replicate and cluster may differ from what it was
    started with.
    A finished run prints its leaderboard. Nothing is ever deleted.
    """
    from nas import config as configs
    from nas import plan as plans
    from nas.cluster import connect

    flags = {
        "data": data_dir(data),
        "warm_start": None if warm_start is None else str(warm_start),
        "budget.trials": trials,
        "budget.time": time,
        "budget.device_seconds": device_seconds,
        "stop.patience": patience,
        "replicate.seeds": replicate,
        "controller": controller,
        "scheduler": scheduler,
        "cluster.workers": workers,
        "seed": seed,
    }
    more = cluster_overrides(cluster)
    if target is not None:
        more.append(configs.read_as("stop.reward", target, f"--target {target}"))
    plugins = read_plugins(plugin)
    settings = loaded(config, flags, {"replicate.seeds": "--replicate"}, more, set_, plugins)
    if smoke:
        _smoke(settings, plugins, json)
    plan, folder, recorded = planned(settings, plugins, run, fresh)
    if recorded and plans.finished(recorded, settings):
        show_finished(folder, recorded, settings, json)
        return
    connect.check(settings.cluster)
    _drive(plan, folder, json, going_on=recorded)


def resume(
    run: RunArgument,
    data: DataOption = None,
    plugin: PluginOption = None,
    replicate: ReplicateOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Another budget, stop, ... than the recorded: budget.time=2h."),
    ] = None,
    salvage: Annotated[bool, typer.Option("--salvage", help="Go on from the sound part of a damaged journal.")] = False,
    to: Annotated[
        str | None, typer.Option("--to", metavar="KIND", help="Go on elsewhere: slurm, ..., as of nas submit.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="WHERE", help="local, slurm, ..., as of nas search: go on there.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Go on with a run after a crash, a kill, or an interruption."""
    from nas import config as configs
    from nas import plan as plans
    from nas import provenance, store
    from nas.cluster import connect

    if to and cluster:
        raise InputError("--to and --cluster both say where to go on; leave one out")
    recorded = store.opening(run, provenance.code(), salvage=salvage)
    overrides = [] if replicate is None else [override("replicate.seeds", replicate, "--replicate")]
    overrides += [*cluster_overrides(cluster), *submitted_to(to)]
    overrides += map(configs.parse_set, set_ or [])
    config = configs.from_plain(recorded.config, overrides) if recorded.started else None
    if config:
        configs.changes(recorded.config, config)  # refuses what may not change
    if plans.finished(recorded, config):
        show_finished(run, recorded, config, json, "nothing is left to do")
        return
    plan = plans.recorded_plan(run, data_dir(data), read_plugins(plugin), history=recorded, overrides=overrides)
    if to:
        submitting.submitted(plan, run, json)
        return
    connect.check(plan.config.cluster)
    _drive(plan, run, json, going_on=recorded, salvage=salvage)


def _drive(plan: Plan, folder: Path, json: bool, *, going_on: History | None, salvage: bool = False) -> NoReturn:
    from nas import controllers, driver, store, warm_start

    def opened(history: History) -> None:
        """Said when the run is ours, not when it is only wished for."""
        for remark in controllers.remarks(plan.config.controller, plan.space, taught=history.taught is not None):
            note(remark)
        if history.taught and going_on is None:
            note(warm_start.in_words(history.taught))
        left = len(history.open)
        counts = f"{len(history.trials) - left} finished, {left} to be run again"
        note(f"a new run in {folder}" if going_on is None else f"going on with {folder}: {counts}")

    try:
        with observer(plan) as observe:
            ended = driver.run(plan, folder, observe, salvage=salvage, opened=opened, note=note)
    except DiskFailed as error:
        if not store.exists(folder / "journal"):
            raise
        raise DiskFailed(f"{error}; when that is mended, go on with: {resuming(folder)}") from error
    _report_end(ended)
    show_end(folder, ended.history, json)
    raise typer.Exit(ended.exit_code)


@contextmanager
def observer(plan: Plan) -> Iterator[Observer]:
    """Shows a search, or an audit, while it runs."""
    from dataclasses import replace

    from nas.report.status import of

    def status(search: Search, now: float) -> Status:
        reward, known = plan.config.reward, search.incumbents
        found = of(search.history, reward, now=now, alive=True, best=known.best, worst=known.worst)
        if not search.stopping:
            return found
        waits = f"stopping: waiting for {len(found.running)} running trials; Ctrl-C again stops at once"
        return replace(found, message=waits, remaining_seconds=None)

    with live_display() as show:
        yield lambda search, now: show(status(search, now))


def _report_end(ended: Ended) -> None:
    from nas.report import status

    failure = status.of(ended.history, reward_of(ended.history)).failure
    if failure and ended.reason != "diagnosis":  # which says as much
        note(f"failed: {status.mostly(failure, ended.folder)}")
    if ended.reason == "interrupted":
        note(f"stopped, with everything recorded; go on with: {resuming(ended.folder)}")
    elif ended.reason == "diagnosis":
        assert ended.history.ended is not None
        note(status.diagnosis(ended.history.ended, ended.folder))
    elif ended.reason == "stopped":
        note(f"the search stopped before its budget: {ended.message}")
    elif ended.reason == "budget":
        note(f"the search ended: {ended.message}")
    elif ended.reason == "exhausted":
        note(f"the search ended before its budget: {ended.message}")


def _smoke(settings: Config, plugins: Sequence[Plugin], json: bool) -> NoReturn:
    """Says whether a search would work; exit code 3 where it would not."""
    from nas.records import Failed
    from nas.report.text import count, duration, number
    from nas.smoke import smoke

    found = smoke(settings, plugins)
    if json:
        print_result(as_json(found.plain()))
        raise typer.Exit(0 if found.works else 3)
    lines = [f"{sum(found.invalid.values())} of {found.samples} sampled candidates cannot be built"]
    lines += [f"  {times}: {reason}" for reason, times in found.invalid.items()]
    for one in found.tried:
        lines.append(f"{one.which}: {count(one.parameters)} parameters: {one.candidate.one_line()}")
        if isinstance(one.outcome, Failed):
            lines += [f"  {one.outcome.kind}: {one.outcome.message}", *one.outcome.traceback.splitlines()]
        elif one.complaint:
            lines.append(f"  no reward: {one.complaint}")
        else:
            reward = f", reward {number(one.reward)}" if one.reward is not None else ""
            lines.append(f"  one batch in {duration(one.outcome.seconds)}{reward}")
    lines.append("a search would work" if found.works else "a search would not work")
    print_result("\n".join(lines) + "\n")
    raise typer.Exit(0 if found.works else 3)
