"""How a run stands: one value, and that value as one screen of text, one line, JSON, or a live display.

    of(history, reward settings, now, alive) -> Status        screen(status)  line(status)  status.plain()  live(status)

The estimated end is the rate so far carried on, cut off by the other budgets; there is none before a trial has ended.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.history import AttemptRecord, History, Trial
from nas.records import Failed, RunEnded, Succeeded
from nas.report import text
from nas.reward import Front, RewardSettings, compute, front_of
from nas.space import Candidate

if TYPE_CHECKING:
    from rich.console import RenderableType

STATES = ("completed", "paused", "failed", "duplicate", "running", "pending")  # of trials, as they are listed
_LABEL = 11  # columns of the words on the left


@dataclass(frozen=True, slots=True)
class Best:
    trial: int
    reward: float | None  # None: by one of several objectives
    metrics: Mapping[str, float]
    architecture: str = ""
    spent: Mapping[str, float] = field(default_factory=dict)  # seconds of its training by phase


@dataclass(frozen=True, slots=True)
class Failure:
    """Failures that look alike: of one kind, with the same first line but for its numbers."""

    kind: str
    message: str  # of the first, its first line
    trials: int  # how many
    trial: int  # the first


@dataclass(frozen=True, slots=True)
class RunningTrial:
    trial: int
    attempt: int
    seconds: float  # since the attempt started
    step: int | None = None  # of the last report
    metrics: Mapping[str, float] = field(default_factory=dict)
    replicate: int = 0  # with a seed of its own; 0 is the search's training


@dataclass(frozen=True, slots=True)
class Status:
    run: str
    state: str  # running, waiting (in a queue), interrupted (can be resumed), finished, failed (stopped by diagnosis)
    trials: Mapping[str, int]  # by state, every state of STATES
    best: Best | None = None  # None with several objectives, too
    front: Front | None = None  # of these
    best_by: Mapping[str, Best] = field(default_factory=dict)  # objective -> who is best by it
    workers: int = 0
    utilisation: float = 0.0  # busy over available worker time, 0 to 1
    elapsed_seconds: float = 0.0  # summed active time
    remaining_seconds: float | None = None  # estimate; None where there is nothing to go by, or nothing left to do
    budget_trials: int | None = None
    budget_seconds: float | None = None
    device_seconds: float = 0.0  # that slots were busy, summed
    budget_device_seconds: float | None = None
    epochs: int = 0  # that all attempts trained
    budget_epochs: int | None = None
    failures: Mapping[str, int] = field(default_factory=dict)  # by kind
    failure: Failure | None = None  # the most frequent one
    running: Sequence[RunningTrial] = ()
    message: str = ""  # why the run ended, where it has
    look_at: int | None = None  # where a diagnosis ended it: one of the trials that failed alike
    rejected: int = 0  # draws that violated a constraint, and were drawn again
    replicates: int = 0  # trainings of the best trials with other seeds, as the latest replication wants them ...
    replicates_left: int = 0  # ... and how many of them have not ended
    jobs: Sequence[Mapping[str, Any]] = ()  # of a submitted run, as the batch system has them
    queue: Sequence[str] = ()  # the same, alike ones together, in words

    @property
    def counted(self) -> int:
        """Trials that are over and that the budget pays for."""
        return self.trials["completed"] + self.trials.get("paused", 0) + self.trials["failed"]

    def plain(self) -> dict[str, Any]:
        """As JSON-like values: the keys are the fields."""
        return dataclasses.asdict(self)


def of(
    history: History,
    reward: RewardSettings,
    *,
    now: float | None = None,
    alive: bool = False,
    best: Sequence[tuple[tuple[float, ...], int]] | None = None,
    worst: tuple[float, ...] | None = None,
) -> Status:
    """The status of a run. ``now`` (seconds since the epoch) and ``alive`` are for one with a live driver.

    ``best``: rewards and trials of what none dominates, and ``worst``: the worst of each objective, where the caller
    knows them; what completed is then not walked through.
    """
    failed = [history.trials[number] for number in sorted(history.failed)]
    # Without a driver nothing runs: what did will be tried again. The inline cluster runs one after another.
    running = [trial for trial in history.open.values() if trial.state == "running" and alive]
    if (history.config.get("cluster") or {}).get("kind") == "inline":
        running = running[:1]
    numbers = {trial.number for trial in running}
    states = history.tally + Counter(
        "pending" if trial.state == "running" and trial.number not in numbers else trial.state
        for trial in history.open.values()
    )
    begun = history.replication
    budget = history.config.get("budget") or {}
    elapsed = history.active_seconds(now)
    found = _rewards(history, reward) if best is None else best
    status = Status(
        run=history.started.name if history.started else "",
        state=_state(history, alive),
        trials={state: states[state] for state in STATES},
        best=None if reward.objectives else _best(found, 0, history),
        front=front_of(reward, [vector for vector, _ in found], of=history.tally["completed"], low=worst),
        best_by={name: one for at, name in enumerate(reward.objectives) if (one := _best(found, at, history))},
        workers=history.workers,
        utilisation=history.utilisation(now),
        elapsed_seconds=elapsed,
        budget_trials=budget.get("trials"),
        budget_seconds=budget.get("time"),
        device_seconds=history.device_seconds(now),
        budget_device_seconds=budget.get("device_seconds"),
        epochs=history.epochs_trained,
        budget_epochs=budget.get("epochs"),
        failures=dict(Counter(t.outcome.kind for t in failed if isinstance(t.outcome, Failed))),
        failure=_most_frequent(failed),
        running=[_running(*one, now or history.last_event) for one in _attempts(history, running, alive)],
        message=history.ended.message if history.ended else "",
        look_at=history.ended.look_at if history.ended else None,
        rejected=history.rejected,
        replicates=len(begun.trials) * begun.replicates if begun else 0,
        replicates_left=history.replicates_left,
    )
    return dataclasses.replace(status, remaining_seconds=_remaining(status))


def _attempts(history: History, running: Sequence[Trial], alive: bool) -> Iterator[tuple[Trial, AttemptRecord]]:
    """Those that somebody waits for: of these trials, then replicates."""
    for trial in running:
        yield from ((trial, attempt) for attempt in trial.running_attempts())
    for trial in (history.trials[number] for number in history.replicated if alive):
        for attempt in trial.attempts:
            if attempt.replicate and attempt.running and trial.awaits(attempt.attempt):
                yield trial, attempt


def _state(history: History, alive: bool) -> str:
    if history.ended is None:
        return "running" if alive else "interrupted"
    return {"interrupted": "interrupted", "diagnosis": "failed"}.get(history.ended.reason, "finished")


def _rewards(history: History, settings: RewardSettings) -> list[tuple[tuple[float, ...], int]]:
    """Of those that were trained for longest."""
    trained = [
        (trial, trial.outcome)
        for trial in history.trials.values()
        if trial.state in ("completed", "paused") and isinstance(trial.outcome, Succeeded)
    ]
    longest = max(((trial.whole, trial.reached * (not trial.whole)) for trial, _ in trained), default=None)
    return [
        (compute(settings, outcome.metrics, outcome.seconds).vector, trial.number)
        for trial, outcome in trained
        if (trial.whole, trial.reached * (not trial.whole)) == longest
    ]


def _best(found: Sequence[tuple[tuple[float, ...], int]], objective: int, history: History) -> Best | None:
    """By one objective; of equals who is better by the others, then the first."""
    if not found:
        return None
    vector, number = max(found, key=lambda one: (one[0][objective], one[0], -one[1]))
    trial = history.trials[number]
    assert isinstance(trial.outcome, Succeeded)
    candidate = Candidate.of(trial.proposal.candidate)
    noted = trial.outcome.notes.get("spent")
    spent = noted if isinstance(noted, Mapping) else {}
    return Best(number, vector[0] if len(vector) == 1 else None, trial.outcome.metrics, candidate.one_line(), spent)


def _most_frequent(failed: Sequence[Trial]) -> Failure | None:
    alike: dict[tuple[str, str], list[Trial]] = {}
    for trial in failed:
        if isinstance(trial.outcome, Failed):
            line = trial.outcome.message.partition("\n")[0]
            alike.setdefault((trial.outcome.kind, re.sub(r"\d+", "#", line)), []).append(trial)
    if not alike:
        return None
    trials = max(alike.values(), key=len)
    first = trials[0]
    assert isinstance(first.outcome, Failed)
    return Failure(first.outcome.kind, first.outcome.message.partition("\n")[0], len(trials), first.number)


def _running(trial: Trial, attempt: AttemptRecord, now: float) -> RunningTrial:
    reports = [(step, metrics) for number, step, metrics in trial.reports if number == attempt.attempt]
    step, metrics = reports[-1] if reports else (None, {})
    seconds = max(0.0, now - attempt.started)
    return RunningTrial(trial.number, attempt.attempt, seconds, step, metrics, attempt.replicate)


def _remaining(status: Status) -> float | None:
    if status.state != "running":
        return None
    estimates = []
    if status.budget_seconds is not None:
        estimates.append(status.budget_seconds - status.elapsed_seconds)
    spent = (
        (status.budget_device_seconds, status.device_seconds),
        (status.budget_epochs, status.epochs),
    )
    estimates += [(limit / used - 1) * status.elapsed_seconds for limit, used in spent if limit is not None and used]
    if status.budget_trials is not None and status.counted and not status.replicates_left:
        left = status.budget_trials - status.counted
        estimates.append(left * status.elapsed_seconds / status.counted)
    return max(0.0, min(estimates)) if estimates else None


# As text -------------------------------------------------------------------------------------------------------------


def screen(status: Status, width: int = 100, folder: Path | None = None) -> str:
    """Everything, on one screen; with the run's ``folder``, the commands that say more or go on."""
    lines = [f"{status.run or 'run'}: {status.state}" + (f" ({status.message})" if status.message else "")]
    lines += _labelled("trials", [_trials(status), _rejected(status), _replicates(status)], width)
    lines += _labelled("time", [_time(status)], width)
    lines += _labelled("jobs", status.queue, width)
    gone = not status.workers and status.state != "running"  # with the driver
    workers = "" if gone else f"{status.workers}, " if status.workers else "waiting for workers, "
    lines += _labelled("workers", [f"{workers}{status.utilisation:.0%} busy"], width)
    if best := status.best:
        values = f"trial {best.trial}: reward {text.number(best.reward)} ({_metrics(best.metrics)})"
        again = "by the search's own training; nas leaderboard ranks by means over seeds" if _by_means(status) else ""
        lines += _labelled("best", [values, again, best.architecture, text.spent(best.spent)], width)
    if status.front:
        wished = status.front.objectives.keys()
        bests = [
            f"best {name}: trial {one.trial} ({_metrics({k: v for k, v in one.metrics.items() if k in wished})})"
            for name, one in status.best_by.items()
        ]
        lines += _labelled("front", [text.front(status.front), *bests], width)
    if status.failure:
        lines += _labelled("failures", [mostly(status.failure, folder)], width)
    if folder is not None and status.look_at is not None:
        lines += _labelled("look at", [_closer(folder, status.look_at)], width)
    if status.running:
        lines += _labelled("running", [_running_line(trial) for trial in status.running], width)
    if folder is not None and status.state == "interrupted":
        lines += _labelled("go on", [shlex.join(["nas", "resume", str(folder)])], width)
    return "\n".join(lines) + "\n"


def mostly(failure: Failure, folder: Path | None = None) -> str:
    """The most frequent failure in words, and where the rest of it can be read."""
    times = f"{failure.trials} times " if failure.trials > 1 else ""
    more = f" ({_closer(folder, failure.trial)})" if folder else ""
    return f"{times}{failure.kind}: {failure.message}{more}"


def diagnosis(ended: RunEnded, folder: Path) -> str:
    """What stopped a run whose candidates failed alike, and the command to look closer."""
    if ended.look_at is None:  # recorded by an earlier version
        return f"stopped: {ended.message}"
    return f"stopped: {ended.message}\nlook closer: {_closer(folder, ended.look_at)}"


def _closer(folder: Path, trial: int) -> str:
    return shlex.join(["nas", "trial", str(folder), str(trial)])


def line(status: Status) -> str:
    """What a log wants: one line, without a newline."""
    parts = [_trials(status), *filter(None, [_replicates(status)])]
    if status.best:
        parts.append(f"best {text.number(status.best.reward)} (trial {status.best.trial})")
    if status.front:
        parts.append(f"front of {status.front.trials}, hypervolume {text.number(status.front.hypervolume)}")
    parts.append(_time(status))
    return "; ".join(parts)


def live(status: Status) -> RenderableType:
    """The screen for rich.live.Live, as wide as the terminal is then; with a bar where the budget counts trials."""
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.padding import Padding
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    class Screen:
        def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
            lines = Text(screen(status, options.max_width).rstrip("\n"), overflow="fold")
            lines.highlight_regex(r"(?m)^  (trials|time|workers|best|front|running) ", "bold")
            yield lines

    if not status.budget_trials:
        return Screen()
    bar = ProgressBar(status.budget_trials, status.counted, width=60)
    return Group(Padding(bar, 0), Screen())  # a bar alone does not end its line


def _labelled(label: str, contents: Sequence[str], width: int) -> list[str]:
    first, rest = f"  {label}".ljust(_LABEL), " " * _LABEL
    lines: list[str] = []
    for content in filter(None, contents):
        lines += textwrap.wrap(
            content, max(40, width), initial_indent=rest if lines else first, subsequent_indent=f"{rest}  "
        )
    return lines


def _trials(status: Status) -> str:
    within = status.budget_trials and status.counted <= status.budget_trials  # a smaller one may have come later
    of_budget = f" of {status.budget_trials}" if within else ""
    failures = ", ".join(f"{kind} {n}" for kind, n in status.failures.items())
    others = [
        f"{n} {state}" + (f" ({failures})" if state == "failed" else "")
        for state, n in status.trials.items()
        if n and state != "completed"
    ]
    return ", ".join([f"{status.trials['completed']}{of_budget} completed", *others])


def _replicates(status: Status) -> str:
    done = status.replicates - status.replicates_left
    return f"{done} of {status.replicates} replicates of the best ended" if status.replicates else ""


def _by_means(status: Status) -> bool:
    return bool(status.replicates) and not status.replicates_left


def _rejected(status: Status) -> str:
    drawn = status.rejected + sum(status.trials.values())
    share = f"{status.rejected / drawn:.0%}" if status.rejected else ""
    return f"{share} of {drawn} draws violated a constraint, and were drawn again" if share else ""


def _time(status: Status) -> str:
    words = text.duration(status.elapsed_seconds)
    if status.budget_seconds is not None:
        words += f" of {text.duration(status.budget_seconds)}"
    if status.budget_device_seconds is not None:
        spent, limit = text.duration(status.device_seconds), text.duration(status.budget_device_seconds)
        words += f", {spent} of {limit} device time"
    if status.budget_epochs is not None:
        words += f", {status.epochs:,} of {status.budget_epochs:,} epochs"
    if status.remaining_seconds is not None:
        words += f", about {text.duration(status.remaining_seconds)} left"
    return words


def _running_line(trial: RunningTrial) -> str:
    words = f"trial {trial.trial}"
    if trial.replicate:
        words += f", replicate {trial.replicate}"
    elif trial.attempt:
        words += f" (attempt {trial.attempt + 1})"
    words += f": {text.duration(trial.seconds)}"
    return words if trial.step is None else f"{words}, step {trial.step}: {_metrics(trial.metrics)}"


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {text.number(value)}" for name, value in metrics.items())
