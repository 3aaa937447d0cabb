"""`nas status`, `leaderboard` and `trial`: what is read of runs."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

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
    live_display,
    note,
    print_result,
    terminal_width,
    write_file,
)
from nas.errors import InputError, Interrupted

if TYPE_CHECKING:
    from nas.history import History, Trial
    from nas.leaderboard import Row
    from nas.report.status import Status
    from nas.reward import Front, RewardSettings


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
        with live_display() as show, suppress(Interrupted):
            while now.state in ("running", "waiting"):
                show(now)
                sleep(5.0 if now.jobs else 1.0)  # a queue is asked for its jobs by many people
                now = _status(run)
    print_result(as_json(now.plain()) if json else report.screen(now, terminal_width() or 100, run))


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
    rewards = {run: reward_of(history) for run, history in histories.items()}
    if objectives is not None:
        rewards = dict.fromkeys(histories, _objectives(objectives))
    ranked, front = ranked_rows(histories, rewards)
    if pareto and len(wishes := next(iter(rewards.values())).wishes) == 1:
        ((name, way),) = wishes.items()
        raise InputError(
            f"--pareto: there is one objective here ({way} {name}), and no front; say of which metrics: "
            f"--objectives {name},{'parameters' if name != 'parameters' else 'flops'}"
        )
    rows = [row for row in ranked if top is None or (row.rank is not None and row.rank <= top)]
    rows = [row for row in rows if row.front == 1] if pareto and front else rows
    plain = [row.plain() for row in rows]
    kept = {name for settings in rewards.values() for name in settings.names}
    width = None if output else terminal_width()
    text = tables.render(plain, format, width, several=len(folders) > 1, kept=kept, front=front)
    if output is None:
        print_result(text)
    else:
        write_file(output, text)
        note(f"{len(rows)} trials written to {output}")


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
        worth = compute(reward_of(history), one.outcome.metrics, one.outcome.seconds).vector
        reward = worth[0] if len(worth) == 1 else None
    log_file = _log_of(run, one)
    log = _end_of(log_file)
    again = shlex.join(["nas", "trial", str(run), str(number), "--run-again"])
    if json:
        print_result(as_json(report.plain(one, run=str(run), reward=reward, log=log, again=again)))
    else:
        print_result(report.page(one, run=str(run), reward=reward, log=log, log_file=str(log_file), again=again))


def _run_again(run: Path, number: int, data: Path | None, plugin: list[Path] | None, json: bool) -> NoReturn:
    from dataclasses import asdict

    from nas import driver
    from nas.plan import recorded_plan
    from nas.records import Succeeded

    outcome = driver.run_again(recorded_plan(run, data_dir(data), read_plugins(plugin)), run, number)
    if json:
        print_result(as_json(asdict(outcome)))
    elif isinstance(outcome, Succeeded):
        print_result("".join(f"{name} {value!r}\n" for name, value in outcome.metrics.items()))
    else:
        print_result(f"{outcome.kind}: {outcome.message}\n{outcome.traceback}")
    raise typer.Exit(0 if isinstance(outcome, Succeeded) else 3)


def reward_of(history: History) -> RewardSettings:
    """What the run's config rewards."""
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
        if not name:
            raise InputError(f"--objectives {words!r}: a name is missing; write accuracy,flops, say")
        wishes[name] = way or better(name)
        if wishes[name] is None:
            raise InputError(f"--objectives {name}: which way is better? {name}:maximize or {name}:minimize")
    flag = f"--objectives {words}"
    if len(wishes) < 2:
        raise InputError(f"{flag}: a front is of two objectives or more, e.g. accuracy,flops")
    return validate(RewardSettings, plain({"objectives": wishes}, flag))


def ranked_rows(histories: dict[Path, History], rewards: dict[Path, RewardSettings]) -> tuple[list[Row], Front | None]:
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
        note(
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
        note(f"its audit cannot be read: {error}")
        return {}
    return found.brief() if found else {}


def _status(folder: Path) -> Status:
    from time import time

    from nas import store
    from nas.report.status import of

    live = store.alive(folder / "journal")
    history = store.history(folder)
    found = of(history, reward_of(history), now=time() if live else None, alive=live)
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
