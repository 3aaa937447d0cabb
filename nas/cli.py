"""The command line: words and flags in, calls to the house, text and exit codes out. No logic of a search lives here.

Everything but typer is imported inside the commands, so that `nas --help` takes a tenth of a second and
`nas leaderboard` never imports torch. Help is plain: typer's rich help would cost 0.3 s more.

Left out: commands that are not built yet (they are absent, not stubs), and colours outside the live display.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TextIO

import typer

from nas.errors import DiskFailed, InputError, Interrupted, NasError
from nas.submit import door

if TYPE_CHECKING:
    from nas.config import Config, Override, RunConfig
    from nas.driver import Ended, Observer
    from nas.history import History, Trial
    from nas.leaderboard import Row
    from nas.machine import Search
    from nas.plan import Plan
    from nas.report.status import Status
    from nas.reward import Front, RewardSettings
    from nas.train.plugin_files import Plugin

RUNS = Path("runs")
SHOWN_AT_THE_END = 10  # rows of the leaderboard after a search

app = typer.Typer(
    name="nas",
    help="Neural architecture search: a controller proposes, a cluster trains, a leaderboard remembers.",
    rich_markup_mode=None,
    add_completion=False,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

space_app = typer.Typer(
    help="Check, show, sample and count search spaces.", rich_markup_mode=None, no_args_is_help=True
)
app.add_typer(space_app, name="space")

RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's folder, e.g. runs/digits.", show_default=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets lie; else NAS_DATA, Debian's folder, a download."),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file of your own layers, ...; may be repeated."),
]
ReplicateOption = Annotated[
    int | None,
    typer.Option("--replicate", metavar="N", help="Train the 5 best again with N other seeds, and rank them by means."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SpaceArgument = Annotated[
    str, typer.Argument(metavar="SPACE", help="A space's file, or the name of a shipped one.", show_default=False)
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="CONFIG", help="The config whose task the space is for.")
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="K=V...", help="What task.* is, e.g. classes=10 height=28; may be repeated."),
]
MoreTask = Annotated[list[str] | None, typer.Argument(hidden=True)]  # what follows the first K=V of --task
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what is sampled.")]


# Commands ------------------------------------------------------------------------------------------------------------


@app.command()
def search(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="A config file, or the name of a shipped one.", show_default=False)
    ],
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
        typer.Option(metavar="WHERE", help="local, slurm, address=tcp://HOST:PORT, or scheduler-file=PATH."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="N", help="Seed of the search, the split and every training.")
    ] = None,
    data: DataOption = None,
    warm_start: Annotated[
        Path | None,
        typer.Option("--warm-start", metavar="RUN", help="Learn from an earlier run, on this space or one like it."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any config value, e.g. train.epochs=3; may be repeated."),
    ] = None,
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
        "data": _data(data),
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
    named = {"replicate.seeds": "--replicate"}
    overrides = [_override(key, value, named.get(key)) for key, value in flags.items() if value is not None]
    overrides += _cluster(cluster)
    if target is not None:
        overrides.append(configs.read_as("stop.reward", target, f"--target {target}"))
    plugins = _plugins(plugin)
    settings = configs.load(config, [*overrides, *map(configs.parse_set, set_ or [])], plugins)
    if smoke:
        _smoke(settings, plugins, json)
    folder = run or RUNS / settings.name
    folder = plans.fresh_folder(folder) if fresh else folder
    recorded = _recorded(folder)
    plan = plans.plan(settings, plugins)
    if recorded:
        plans.going_on(plan, recorded, folder)  # refuses another search than the recorded one
    if recorded and plans.finished(recorded, settings):
        _note(f"{folder} is finished; --fresh starts a new run beside it")
        _note_of_replicates(folder, recorded, settings)
        _finish(folder, recorded, json)
        return
    connect.check(settings.cluster)
    _drive(plan, folder, json, going_on=recorded)


@app.command()
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
    to: Annotated[str | None, typer.Option("--to", metavar="slurm", help="Go on as batch jobs, not here.")] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="WHERE", help="local, slurm, address=..., or scheduler-file=...: go on there.")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Go on with a run after a crash, a kill, or an interruption."""
    from nas import config as configs
    from nas import plan as plans
    from nas import provenance, store
    from nas.cluster import connect

    recorded = store.opening(run, provenance.code(), salvage=salvage)
    overrides = [] if replicate is None else [_override("replicate.seeds", replicate, "--replicate")]
    overrides += [*_cluster(cluster), *([_override("cluster.kind", to, "--to")] if to else [])]
    overrides += map(configs.parse_set, set_ or [])
    config = configs.from_plain(recorded.config, overrides) if recorded.started else None
    if config:
        configs.changes(recorded.config, config)  # refuses what may not change
    if plans.finished(recorded, config):
        _note(f"{run} is finished; nothing is left to do")
        _note_of_replicates(run, recorded, config)
        _finish(run, recorded, json)
        return
    plan = plans.recorded_plan(run, _data(data), _plugins(plugin), history=recorded, overrides=overrides)
    if to:
        door.submitted(plan, run, json)
        return
    connect.check(plan.config.cluster)
    _drive(plan, run, json, going_on=recorded, salvage=salvage)


@app.command()
def status(
    run: RunArgument,
    json: JsonOption = False,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and show it live until the run ends.")] = False,
) -> None:
    """Show how a run stands: progress, utilisation, best so far."""
    from time import sleep

    from nas.report import status as report

    now = _status(run)
    if watch and not json:
        with _display() as show, suppress(Interrupted):
            while now.state in ("running", "waiting"):
                show(now)
                sleep(5.0 if now.jobs else 1.0)  # a queue is asked for its jobs by many people
                now = _status(run)
    _print(_as_json(now.plain()) if json else report.screen(now, _width() or 100, run))


door.add_commands(app)


@app.command()
def leaderboard(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of runs; several are ranked together.", show_default=False),
    ],
    format: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="table, csv, json or markdown.")
    ] = None,
    top: Annotated[int | None, typer.Option("--top", min=1, metavar="N", help="Only the N best.")] = None,
    pareto: Annotated[
        bool, typer.Option("--pareto", help="Only the trials of the first front, which none dominates.")
    ] = False,
    objectives: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Rank by fronts of other metrics: accuracy,flops or mine:maximize,loss."),
    ] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to a file.")] = None,
    json: JsonOption = False,
) -> None:
    """Rank the trials of one or several runs.

    With several objectives by fronts: of the first one no trial is dominated by another, one at least as good in every
    objective and better in one.
    """
    from nas import store
    from nas.documents import hint
    from nas.report import tables

    if json and format not in (None, "json"):
        raise InputError(f"--json and --format {format} say different things; leave one out")
    format = "json" if json else format or "table"
    if format not in tables.FORMATS:
        raise InputError(f"--format {format}: no such format{hint(format, tables.FORMATS)}")
    folders = list({run.resolve(): run for run in runs}.values())  # the same one twice is one
    histories = {run: store.history(run) for run in folders}
    rewards = {run: _reward(history) for run, history in histories.items()}
    if objectives is not None:
        rewards = dict.fromkeys(histories, _objectives(objectives))
    ranked, front = _rows(histories, rewards)
    if pareto and front is None:
        ((name, way),) = next(iter(rewards.values())).wishes.items()
        raise InputError(
            f"--pareto: there is one objective here ({way} {name}), and no front; say of which metrics: "
            f"--objectives {name},{'parameters' if name != 'parameters' else 'flops'}"
        )
    rows = [row for row in ranked if top is None or (row.rank is not None and row.rank <= top)]
    rows = [row for row in rows if row.front == 1] if pareto else rows
    plain = [row.plain() for row in rows]
    kept = {name for settings in rewards.values() for name in settings.names}
    width = None if output else _width()
    text = tables.render(plain, format, width, several=len(folders) > 1, kept=kept, front=front)
    if output is None:
        _print(text)
    else:
        _write(output, text)
        _note(f"{len(rows)} trials written to {output}")


@app.command()
def trial(
    run: RunArgument,
    number: Annotated[int, typer.Argument(metavar="N", help="The trial's number.", show_default=False)],
    data: DataOption = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
    run_again: Annotated[
        bool, typer.Option("--run-again", help="Train it again, here and now; nothing is recorded.")
    ] = False,
) -> None:
    """Show all of one trial, and how to run it again.

    Its candidate, its attempts, its curve, what was noted, the end of its log, its traceback.
    """
    import shlex

    from nas import store
    from nas.records import Succeeded
    from nas.report import trial as report
    from nas.reward import compute

    history = store.history(run)
    if number not in history.trials:
        raise InputError(f"{run} has no trial {number}; it has {_span(history)}")
    if run_again:
        _run_again(run, number, data, plugin, json)
        return
    one = history.trials[number]
    reward = None
    if isinstance(one.outcome, Succeeded):
        worth = compute(_reward(history), one.outcome.metrics, one.outcome.seconds).vector
        reward = worth[0] if len(worth) == 1 else None
    log_file = _log_of(run, one)
    log = _end_of(log_file)
    again = shlex.join(["nas", "trial", str(run), str(number), "--run-again"])
    if json:
        _print(_as_json(report.plain(one, run=str(run), reward=reward, log=log, again=again)))
    else:
        _print(report.page(one, run=str(run), reward=reward, log=log, log_file=str(log_file), again=again))


@app.command()
def audit(
    run: RunArgument,
    sample: Annotated[int, typer.Option(min=5, metavar="N", help="How many trials, over all ranks alike.")] = 8,
    epochs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Of a full training; else what the search trains at most.")
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
        with _observer(plan) as observe:
            return driver.run(plan, folder, observe, note=_note)

    try:
        found, ended = audits.run(run, sample, epochs, data=_data(data), plugins=_plugins(plugin), drive=drive)
    except Interrupted:
        raise Interrupted(f"stopped at once; go on with: {shlex.join(again)}") from None
    if found is None:
        assert ended is not None
        _note(f"stopped: {ended.message or 'everything that was trained is recorded'}; go on with: {shlex.join(again)}")
        raise typer.Exit(ended.exit_code if ended.reason == "interrupted" else 3)
    _print(_as_json(found.plain()) if json else report.page(found.plain(), str(run)))


@space_app.command("check")
def space_check(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, metavar="N", help="How many candidates are sampled.")
    ] = None,
    seed: SeedOption = 0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count parameters and FLOPs in networks that are built, without memory.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Find every error of a space, and say what it holds.

    How many candidates it has, what they cost, and how many cannot be built.
    """
    from nas import inspect
    from nas.report import space as report

    opened = inspect.open_space(space, config, _task(task, more), _plugins(plugin), costs=True)
    found = inspect.check(opened, samples=samples, seed=seed, exact=exact)
    _print(_as_long_json(found.plain()) if json else report.page(found.plain()))
    if found.nothing:
        raise InputError(found.nothing)


@space_app.command("show")
def space_show(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="List the decisions with their paths, as controllers see them.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw a candidate into FILE; --seed takes others.")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Show a space: a tree, its decisions, or a picture.

    The decisions stand with their paths, as controllers see them; the picture is of one candidate.
    """
    from nas import inspect
    from nas.report import space as report

    if svg is not None:
        _write(svg, inspect.picture(space, config, _task(task, more), _plugins(plugin), seed=seed), "--svg")
        _note(f"a candidate of {space} is drawn in {svg}")
        return
    opened = inspect.open_space(space, config, _task(task, more), _plugins(plugin), costs=False)
    if json:
        _print(_as_json([report.decision_plain(decision) for decision in opened.space.decisions]))
    elif decisions:
        _print(report.decision_list(opened.space.decisions))
    else:
        _print(report.tree(opened.space.source, terminal=_is_terminal(sys.stdout) and "NO_COLOR" not in os.environ))


@space_app.command("sample")
def space_sample(
    space: SpaceArgument,
    more: MoreTask = None,
    number: Annotated[int, typer.Option("-n", min=1, metavar="N", help="How many candidates.")] = 1,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="PATH", help="Write one file each: into a folder, or one into FILE.yaml."),
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Draw candidates, and print or write them.

    Each is a space of its own, with nothing left to choose: one YAML document. Several of them in one file cannot be
    read as a space; with --output each is a file that `nas space check` and `space:` of a config take.
    """
    from nas import inspect
    from nas.report import samples

    if output is not None and json:
        raise InputError("--output writes YAML; leave out --json")
    opened = inspect.open_space(space, config, _task(task, more), _plugins(plugin))
    names = [f"{opened.space.name}-{seed}-{index}" for index in range(number)]
    draws = inspect.candidates(opened, number, seed)
    if output is not None:
        files = samples.files(output, names)
        samples.write(files, [samples.document(name, draw) for name, draw in zip(names, draws, strict=True)])
        _note(f"{files[0]}" + (f" to {files[-1].name}" if number > 1 else "") + " written")
        return
    for index, (name, draw) in enumerate(zip(names, draws, strict=True)):
        if json:
            against = draw.invalid or None
            _print(_as_line({"name": name, **draw.candidate.json(), "hash": draw.candidate.hash, "invalid": against}))
        else:
            _print(("---\n" if index else "") + samples.document(name, draw))


@space_app.command("count")
def space_count(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Count the candidates of a space, constraints aside."""
    from nas import inspect
    from nas.report import space as report

    opened = inspect.open_space(space, config, _task(task, more), _plugins(plugin), costs=False).space
    count = opened.count()
    if json:
        _print(_as_long_json(inspect.count_plain(count)))
    else:
        _print(f"{report.count(count.coefficients, constrained=bool(opened.constraints))}\n{_formula(str(count))}")


@app.command()
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
    played = command.play(wishes, command.progress(_note), _note)
    _print(_as_json(played.plain()) if json else played.page())
    if plot is not None:
        _write(plot, played.picture(), "--plot")
        _note(f"regret is drawn in {plot}")


@app.command()
def schema(
    kind: Annotated[str, typer.Argument(metavar="config|space", help="Of which files.", show_default=False)],
) -> None:
    """Print the JSON Schema of configs or spaces, for editors.

    With it an editor completes words and marks what is wrong.
    """
    from nas.documents import hint

    if kind not in ("config", "space"):
        raise InputError(f"there is no schema of '{kind}'{hint(kind, ('config', 'space'))}")
    from nas import schema as schemas

    _print(_as_json(schemas.config_schema() if kind == "config" else schemas.space_schema()))


def _formula(text: str) -> str:
    """The count in full, where the line before it was rounded or says nothing of how real numbers come in."""
    if "R" not in text and len(text) < 20:
        return ""
    return f"{text}{', where R is as many values as a real number has' if 'R' in text else ''}\n"


def _task(task: list[str] | None, more: list[str] | None) -> list[str]:
    """`--task classes=10 height=28`: the shell hands over the rest as arguments."""
    if more and not task:
        raise InputError(f"what is {' '.join(more)} for? values of the task follow --task")
    return [*(task or ()), *(more or ())]


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        _print(f"nas {version('nas-orchestrator')}\n")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


# Driving -------------------------------------------------------------------------------------------------------------


def _override(key: str, value: Any, flag: str | None = None) -> Override:
    from nas.config import Override

    return Override(key, value, f"{flag or '--' + key.rpartition('.')[2].replace('_', '-')} {value}")


def _note_of_replicates(folder: Path, history: History, config: RunConfig | None) -> None:
    """Why a finished run lacks replicates that are wanted: its budget, which bounds them too."""
    from nas import plan as plans

    if config is not None and not plans.replicated(history, config):
        _note(
            f"its replicates have not ended, as the budget is used up; a larger one goes on: {_resume(folder)} "
            "--set budget.time=2h, say (and --set budget.trials=N, where the search is to end with trial N)"
        )


def _cluster(where: str | None) -> list[Override]:
    """What ``--cluster slurm`` or ``--cluster address=tcp://...`` means."""
    if where is None:
        return []
    from nas.config import Override

    kind, equals, value = where.partition("=")
    kind = kind.replace("-", "_")
    flag = f"--cluster {where}"
    if bool(equals) != (kind in ("address", "scheduler_file")) or (equals and not value):
        raise InputError(f"{flag}: write local, slurm, address=tcp://HOST:PORT, or scheduler-file=PATH")
    if kind == "scheduler_file":
        value = str(Path(value).absolute())
    return [Override("cluster.kind", kind, flag), *([Override(f"cluster.{kind}", value, flag)] if equals else [])]


def _recorded(folder: Path) -> History | None:
    """What the folder's journal says; None where a new run can begin."""
    from nas import provenance, store

    if store.exists(folder / "journal"):
        history = store.opening(folder, provenance.code())
        return history if history.started else None
    if folder.exists() and (not folder.is_dir() or any(path.name != "journal" for path in folder.iterdir())):
        raise InputError(f"{folder} is there and is no run; give another --run DIR")
    return None


def _drive(plan: Plan, folder: Path, json: bool, *, going_on: History | None, salvage: bool = False) -> NoReturn:
    from nas import controllers, driver, store, warm_start

    def opened(history: History) -> None:
        """Said when the run is ours, not when it is only wished for."""
        for remark in controllers.remarks(plan.config.controller, plan.space, taught=history.taught is not None):
            _note(remark)
        if history.taught and going_on is None:
            _note(warm_start.in_words(history.taught))
        left = len(history.open)
        counts = f"{len(history.trials) - left} finished, {left} to be run again"
        _note(f"a new run in {folder}" if going_on is None else f"going on with {folder}: {counts}")

    try:
        with _observer(plan) as observe:
            ended = driver.run(plan, folder, observe, salvage=salvage, opened=opened, note=_note)
    except DiskFailed as error:
        if not store.exists(folder / "journal"):
            raise
        raise DiskFailed(f"{error}; when that is mended, go on with: {_resume(folder)}") from error
    _report_end(ended)
    _finish(folder, ended.history, json)
    raise typer.Exit(ended.exit_code)


@contextmanager
def _observer(plan: Plan) -> Iterator[Observer]:
    from dataclasses import replace

    from nas.report.status import of

    def status(search: Search, now: float) -> Status:
        reward, reached = plan.config.reward, search.best
        found = of(search.history, reward, now=now, alive=True, best=reached, worst=search.worst)
        if not search.stopping:
            return found
        waits = f"stopping: waiting for {len(found.running)} running trials; Ctrl-C again stops at once"
        return replace(found, message=waits, remaining_seconds=None)

    with _display() as show:
        yield lambda search, now: show(status(search, now))


@contextmanager
def _display() -> Iterator[Callable[[Status], None]]:
    """Live on a terminal; elsewhere a line to stderr when a trial has ended, at most every 5 s."""
    from nas.report import status as report

    if _is_terminal(sys.stderr):
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
            _note(report.line(status))

    yield show


def _resume(folder: Path) -> str:
    import shlex

    return shlex.join(["nas", "resume", str(folder)])


def _report_end(ended: Ended) -> None:
    from nas.report import status

    failure = status.of(ended.history, _reward(ended.history)).failure
    if failure and ended.reason != "diagnosis":  # which says as much
        _note(f"failed: {status.mostly(failure, ended.folder)}")
    if ended.reason == "interrupted":
        _note(f"stopped, with everything recorded; go on with: {_resume(ended.folder)}")
    elif ended.reason == "diagnosis":
        _note(f"stopped: {ended.message}")
    elif ended.reason == "stopped":
        _note(f"the search stopped before its budget: {ended.message}")
    elif ended.reason == "budget":
        _note(f"the search ended: {ended.message}")
    elif ended.reason == "exhausted":
        _note(f"the search ended before its budget: {ended.message}")


def _finish(folder: Path, history: History, json: bool) -> None:
    """The leaderboard for people, the status for programs."""
    from nas.report import status, tables

    if json:
        _print(_as_json({"folder": str(folder)} | status.of(history, _reward(history)).plain()))
        return
    settings = _reward(history)
    rows, front = _rows({folder: history}, {folder: settings})
    shown = [row for row in rows if row.rank is None or row.rank <= SHOWN_AT_THE_END]
    _print(tables.render([row.plain() for row in shown], "table", _width(), kept=settings.names, front=front))
    if len(rows) > len(shown):
        _note(f"the best {SHOWN_AT_THE_END} of {len(rows)}; all of them: nas leaderboard {folder}")


def _smoke(settings: Config, plugins: Sequence[Plugin], json: bool) -> NoReturn:
    """Says whether a search would work; exit code 3 where it would not."""
    from nas.records import Failed
    from nas.report.text import count, duration, number
    from nas.smoke import smoke

    found = smoke(settings, plugins)
    if json:
        _print(_as_json(found.plain()))
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
    _print("\n".join(lines) + "\n")
    raise typer.Exit(0 if found.works else 3)


def _run_again(run: Path, number: int, data: Path | None, plugin: list[Path] | None, json: bool) -> NoReturn:
    from dataclasses import asdict

    from nas import driver
    from nas.plan import recorded_plan
    from nas.records import Succeeded

    outcome = driver.run_again(recorded_plan(run, _data(data), _plugins(plugin)), run, number)
    if json:
        _print(_as_json(asdict(outcome)))
    elif isinstance(outcome, Succeeded):
        _print("".join(f"{name} {value!r}\n" for name, value in outcome.metrics.items()))
    else:
        _print(f"{outcome.kind}: {outcome.message}\n{outcome.traceback}")
    raise typer.Exit(0 if isinstance(outcome, Succeeded) else 3)


def _data(folder: Path | None) -> str | None:
    return str(folder.absolute()) if folder else None


def _plugins(files: list[Path] | None) -> list[Plugin]:
    from nas.train.plugin_files import read

    return [read(file) for file in files or ()]


# Reading runs --------------------------------------------------------------------------------------------------------


def _reward(history: History) -> RewardSettings:
    from nas.documents import plain, validate
    from nas.reward import RewardSettings

    return validate(RewardSettings, plain(history.config.get("reward") or {}, "the recorded config"))


def _objectives(words: str) -> RewardSettings:
    """What ``--objectives accuracy,flops`` means. Raises InputError."""
    from nas.documents import plain, validate
    from nas.reward import RewardSettings
    from nas.train.metrics import better

    wishes: dict[str, str | None] = {}
    for word in words.split(","):
        name, _, way = word.strip().partition(":")
        wishes[name] = way or better(name)
        if wishes[name] is None:
            raise InputError(f"--objectives {name}: which way is better? {name}:maximize or {name}:minimize")
    flag = f"--objectives {words}"
    if len(wishes) < 2:
        raise InputError(f"{flag}: a front is of two objectives or more, e.g. accuracy,flops")
    return validate(RewardSettings, plain({"objectives": wishes}, flag))


def _rows(histories: dict[Path, History], rewards: dict[Path, RewardSettings]) -> tuple[list[Row], Front | None]:
    """Rows of several runs, ranked together, and what they reached where there are several objectives."""
    from dataclasses import replace

    from nas import leaderboard as board

    places = {folder: folder.resolve() for folder in histories}
    names = {folder: place.name for folder, place in places.items()}
    if len(set(names.values())) < len(names):
        above = os.path.commonpath(places.values())
        names = {folder: os.path.relpath(place, above) for folder, place in places.items()}
    first = next(iter(rewards.values()))
    if any(settings.objectives != first.objectives for settings in rewards.values()):
        raise InputError(
            "these runs have different objectives, and no ranking is right for all of them; say which: "
            f"--objectives {','.join(next(r for r in rewards.values() if r.objectives).objectives)}"
        )
    if len({repr(settings) for settings in rewards.values()}) > 1:
        what = "hypervolumes are measured from the first one's reference"
        _note(
            "these runs define their rewards differently; "
            + (what if first.objectives else "each trial is ranked by that of its own run")
        )
    briefs = {folder: _audit_of(folder, history) for folder, history in histories.items()}
    rows = [
        replace(row, audit=briefs[folder])
        for folder, history in histories.items()
        for row in board.rows(history, rewards[folder], names[folder])
    ]
    return board.rank(rows, first), board.front(rows, first)


def _audit_of(folder: Path, history: History) -> dict[str, Any]:
    """In brief; {} where there is none, or it cannot be read, which is said."""
    if not (folder / "audit").is_dir():
        return {}
    from nas import audit

    try:
        found = audit.found(folder, history)
    except InputError as error:
        _note(f"its audit cannot be read: {error}")
        return {}
    return found.brief() if found else {}


def _status(folder: Path) -> Status:
    from time import time

    from nas import store
    from nas.report.status import of

    live = store.alive(folder / "journal")
    history = store.history(folder)
    found = of(history, _reward(history), now=time() if live else None, alive=live)
    if not (folder / "cluster").is_dir():
        return found
    from dataclasses import replace

    from nas.submit import command

    jobs = command.jobs_of(folder)
    if jobs is None:
        return found
    state = "waiting" if found.state == "interrupted" and jobs.waiting else found.state
    return replace(found, state=state, jobs=jobs.plain(), queue=jobs.lines())


def _span(history: History) -> str:
    return f"trials {min(history.trials)} to {max(history.trials)}" if history.trials else "none yet"


def _log_of(folder: Path, trial: Trial) -> Path:
    """The log of the attempt that counts; while none does, of the latest, which is the one that runs."""
    counts = [a.attempt for a in trial.attempts if a.outcome is not None and a.outcome is trial.outcome]
    return folder / "trials" / str(trial.number) / str([len(trial.attempts) - 1, *counts][-1]) / "log.txt"


def _end_of(file: Path, most: int = 64 * 1024) -> str:
    """The last bytes of a log, from a whole line on; empty where there is none."""
    try:
        with file.open("rb") as stream:
            size = stream.seek(0, os.SEEK_END)
            stream.seek(max(0, size - most))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return text if size <= most else text.partition("\n")[2]


# Words to people and programs ----------------------------------------------------------------------------------------


def _print(text: str) -> None:
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
        _silence(sys.stdout)
    except OSError as error:
        raise DiskFailed(f"the result could not be printed: {error.strerror or error}") from error


def _note(text: str) -> None:
    """For the person, beside the result: stderr. A reader that went away must not end a search."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(f"nas: {text}\n")
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)


def _silence(stream: TextIO) -> None:
    """Nobody reads the stream any more: what is written to it from now on goes nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def _hold_standard_descriptors() -> None:
    """Of 0, 1 and 2, those that are closed lead nowhere: else a journal opened next would be somebody's stdout."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _as_json(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def _as_line(value: Any) -> str:
    import orjson

    return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE).decode()


def _as_long_json(value: Any) -> str:
    """For counts: orjson ends at 64 bits."""
    import json

    return json.dumps(value, indent=2) + "\n"


def _write(file: Path, text: str, option: str = "--output") -> None:
    from nas.report import output

    output.write(file, text, option)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()  # None: it was closed


def _width() -> int | None:
    """Columns of the terminal; None into a pipe, where nothing is folded, unless COLUMNS says otherwise."""
    import shutil

    if not _is_terminal(sys.stdout) and not os.environ.get("COLUMNS", "").isdecimal():
        return None
    return max(40, shutil.get_terminal_size().columns)


def main() -> None:
    """The `nas` command: every way out of it is an exit code that DESIGN's table of them explains in errors.py."""
    _hold_standard_descriptors()
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
        _note("this is a bug of ours; please report it with the lines above and the command that led to them")
        sys.exit(1)


def _interrupted(number: int, frame: object) -> NoReturn:
    raise Interrupted("interrupted")


def _refuse(error: NasError) -> int:
    problems = error.problems if isinstance(error, InputError) else [error]
    for problem in problems:
        _note(str(problem))
    if isinstance(error, DiskFailed) and sys.stdout is not None:
        _silence(sys.stdout)  # Python would try once more to print what is left in it
    return error.exit_code
