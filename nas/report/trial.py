"""One trial's page: what was proposed, what its attempts did, how training went, and how to run it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from nas.history import AttemptRecord, Trial
from nas.records import Failed, Succeeded
from nas.report import text

LOG_LINES = 20  # of the log's end, on the page; the file holds it all
CURVE_ROWS = 16  # steps shown; a longer curve is thinned evenly, first and last kept
_BARS = "▁▂▃▄▅▆▇█"


def page(trial: Trial, *, run: str, reward: float | None = None, log: str = "", log_file: str = "", again: str) -> str:
    """The page as text.

    Args:
        log: the end of the log of the attempt that counts.
        log_file: where the whole of it is.
        again: the command that runs the trial again here.
    """
    parts = [_heading(trial, run, reward), _section("candidate", _yaml(trial.proposal.candidate))]
    if speed := _speed(trial):
        parts.append(_section("speed", speed))
    parts.append(_section("attempts", "\n".join(map(_attempt, trial.attempts)) or "none"))
    if curve := trial.curve():
        parts.append(_section("curve", _curve(curve)))
    if isinstance(trial.outcome, (Succeeded, Failed)) and trial.outcome.notes:
        parts.append(_section("notes", _yaml(trial.outcome.notes, flow=False)))
    if isinstance(trial.outcome, Failed) and trial.outcome.traceback:
        parts.append(_section("traceback", trial.outcome.traceback))
    if log.strip():
        parts.append(_section(f"log, last lines{f' of {log_file}' if log_file else ''}", _tail(log)))
    parts.append(_section("run it again", again))
    return "\n".join(parts)


def plain(trial: Trial, *, run: str, reward: float | None = None, log: str = "", again: str) -> dict[str, Any]:
    """The same as JSON-like values, whole."""
    return {
        "run": run,
        "trial": trial.number,
        "state": trial.state,
        "duplicate_of": trial.duplicate_of,
        "reward": reward,
        "candidate": trial.proposal.candidate,
        "decisions": trial.proposal.decisions,
        "hash": trial.proposal.hash,
        "log_probability": trial.proposal.log_probability,
        "outcome": asdict(trial.outcome) if trial.outcome else None,
        "attempts": [asdict(attempt) for attempt in trial.attempts],
        "curve": [{"step": step, **metrics} for step, metrics in trial.curve()],
        "log": log,
        "again": again,
    }


def _heading(trial: Trial, run: str, reward: float | None) -> str:
    words = f"trial {trial.number} of {run}: {trial.state}"
    lines = [words + (f", a repetition of trial {trial.duplicate_of}" if trial.duplicate_of is not None else "")]
    match trial.outcome:
        case Failed(kind, message):
            lines += [f"  {part}" for part in f"{kind}: {message}".splitlines()]
        case Succeeded(metrics):
            lines += [f"  reward {text.number(reward)}"] if reward is not None else []  # there are several objectives
            lines += [f"  {name} {text.number(value)}" for name, value in metrics.items()]
    lines.append(f"  hash {trial.proposal.hash}")
    return "\n".join(lines) + "\n"


def _speed(trial: Trial) -> str:
    """How fast the trainer was, where its time went, and what of the device it made use of."""
    if not isinstance(trial.outcome, Succeeded):
        return ""
    metrics, notes = trial.outcome.metrics, trial.outcome.notes
    lines = [spent] if (spent := text.spent(notes.get("spent"))) else []
    if lines and {"rows_per_second", "share_of_peak"} <= metrics.keys() and "peak_flops" in notes:
        rows, share, peak = metrics["rows_per_second"], metrics["share_of_peak"], notes["peak_flops"]
        reached = (
            f"{share * 100:.0f} % of the {text.count(peak)} FLOPs a second that a product of matrices reached there"
        )
        lines.append(f"{text.number(rows)} rows a second in training, {reached}")
    return "\n".join(lines)


def _section(title: str, content: str) -> str:
    indented = "\n".join(f"  {line}".rstrip() for line in content.rstrip("\n").splitlines())
    return f"{title}\n{indented}\n"


def _yaml(content: Mapping[str, Any], *, flow: bool | None = None) -> str:
    """``flow`` None: only what holds no mapping itself stands in one line, as people write a space."""
    import yaml

    return yaml.safe_dump(dict(content), sort_keys=False, default_flow_style=flow, allow_unicode=True, width=100)


def _attempt(attempt: AttemptRecord) -> str:
    started = datetime.fromtimestamp(attempt.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    match attempt.outcome:
        case Succeeded(seconds=seconds, place=place):
            ending = f"succeeded in {text.duration(seconds)}"
            if attempt.until is not None and attempt.step >= attempt.until:
                ending = f"paused at step {attempt.until} after {text.duration(seconds)}"
            elif attempt.stopped:
                ending = f"stopped at step {attempt.step} after {text.duration(seconds)}: {attempt.stopped}"
        case Failed(kind, message, seconds=seconds, place=place):
            ending = f"{kind} after {text.duration(seconds)}: {message.partition(chr(10))[0]}"
        case None if attempt.late:
            place, ending = "", "cancelled: another attempt's answer counts"
        case None:
            place = ""
            ending = "its driver went away before it answered" if attempt.abandoned else "not answered yet"
    child = " in a fresh process" if attempt.fresh else ""
    child += f", replicate {attempt.replicate}" if attempt.replicate else ""
    child += f", from where attempt {attempt.saved} paused" if attempt.saved is not None else ""
    child += "; its result came late, and does not count" if attempt.late and attempt.outcome else ""
    return f"{attempt.attempt}  {started}  {ending}{child}{f'  [{place}]' if place else ''}"


def _curve(curve: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    """A bar for each metric over all steps, then the numbers, thinned."""
    names = list(dict.fromkeys(name for _, metrics in curve for name in metrics))
    size = max(map(len, names), default=0)
    bars = [f"{name.ljust(size)}  {_sparkline([m[name] for _, m in curve if name in m])}" for name in names]
    rows = [["step", *names]]
    rows += [[str(step), *(text.number(metrics.get(name)) for name in names)] for step, metrics in _thinned(curve)]
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        bars + ["  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in rows]
    )


def _sparkline(values: Sequence[float]) -> str:
    """One character for each value, at most 60 (evenly thinned), from the least (▁) to the greatest (█).

    >>> _sparkline([0.0, 0.5, 1.0])
    '▁▅█'
    """
    low, high = min(values) / 2, max(values) / 2  # halves, as the span of all numbers is none
    span = high - low
    shown = values if len(values) <= 60 else [values[i * (len(values) - 1) // 59] for i in range(60)]
    return "".join(_BARS[round((v / 2 - low) / span * (len(_BARS) - 1)) if span > 0 else 0] for v in shown)


def _thinned(curve: Sequence[tuple[int, Mapping[str, float]]]) -> list[tuple[int, Mapping[str, float]]]:
    if len(curve) <= CURVE_ROWS:
        return list(curve)
    return [curve[i * (len(curve) - 1) // (CURVE_ROWS - 1)] for i in range(CURVE_ROWS)]


def _tail(log: str) -> str:
    return "\n".join(log.rstrip("\n").splitlines()[-LOG_LINES:])
