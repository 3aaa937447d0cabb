"""An objective, what it is given, and how whatever it does becomes an Outcome.

An objective is any callable ``objective(candidate, context) -> float | {name: number}``. The shipped trainer is one
(train.Trainer); a lambda in a notebook is another. Every executor calls it through ``evaluate``, so that a candidate
fails the same way inline, in a child process and on a cluster.
"""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from nas.durable import FULL
from nas.errors import Diverged, InvalidCandidate, OutOfMemory, Preempted
from nas.records import Failed, FailureKind, Outcome, Succeeded
from nas.space import Candidate

VALUE = "value"  # the metric that a bare number is recorded under


@dataclass(slots=True)
class Context:
    """What an objective may know of the attempt it runs in.

    ``report(step, metrics)`` publishes progress and returns whether to stop now; ``note(dtype="bfloat16")`` records
    plain-JSON facts that are no metrics, also those of an attempt that is killed later.

    Under a scheduler that pauses trials an objective that can go on where it stopped does, in this order: it takes up
    what lies in ``saved``, if that is given; it reports, counting steps from the trial's beginning; and when it is told
    to stop, it leaves its state in ``folder`` before it returns. One that does not is trained from the beginning again.

    One that can do so at any report says so, ``objective.resumable = True``. It is then also told to stop when its
    worker must go: ``folder`` is given from that report on, and what was reached counts only where it leaves nothing
    there, as it has come to its end. Where it can leave nothing, it raises nas.Preempted.

    What is killed for holding more than ``memory`` is tried once more, in a fresh process and with ``halve``.

    >>> def objective(candidate, context):
    ...     step, model = load(context.saved) if context.saved else (0, new(candidate))
    ...     while step < 27:
    ...         step, accuracy = step + 1, train(model)
    ...         if context.report(step, {"accuracy": accuracy}):
    ...             break
    ...     if context.folder and step < 27:
    ...         save(context.folder, step, model)
    ...     return {"accuracy": accuracy}
    """

    trial: int
    seed: int  # the same for every attempt of the trial
    device: str = "cpu"  # as torch names it
    threads: int = 1  # that the objective may use
    deadline: float | None = None  # time.monotonic() at which the attempt is killed
    on_report: Callable[[int, Mapping[str, float]], bool] = lambda step, metrics: False
    on_note: Callable[[Mapping[str, Any]], None] = lambda facts: None
    notes: dict[str, Any] = field(default_factory=dict)
    until: int | None = None  # the step at which this attempt pauses: ``report`` returns True there
    saved: Path | None = None  # where an earlier attempt of this trial left its state; None: begin anew
    folder: Path | None = None  # this attempt's own, for such state; None where none is wanted
    reached: int = 0  # the step of the last report
    stopped: bool = False  # that report was answered: stop
    memory: int | None = None  # bytes that the process may have resident before it is killed; None: nobody looks
    halve: bool = False  # an earlier attempt was: pass half as much at once, as of a batch in two parts

    def report(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Publish metrics reached at a step (finite numbers alone). True: stop, and return what you have.

        Report a step once, with all its metrics: one that is no further than the last begins the curve anew. Against
        ``budget.epochs`` counts how far an attempt came, and before a step back, or a second step 1, how far it had.
        """
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        self.reached = int(step)
        self.stopped = self.on_report(self.reached, finite)
        return self.stopped or (self.until is not None and self.reached >= self.until)

    def note(self, **facts: Any) -> None:
        """Record facts of the attempt: numbers (NumPy's too), strings, null, lists and mappings of them.

        Raises:
            TypeError: a fact is none of these; it is named, and nothing is recorded.
        """
        plain = {}
        for name, fact in facts.items():
            try:
                plain[name] = orjson.loads(orjson.dumps(fact, option=orjson.OPT_SERIALIZE_NUMPY))
            except TypeError as error:
                allowed = "a note is a number, a string, null, or lists and mappings of them"
                raise TypeError(f"context.note({name}=...) is no plain JSON: {error}; {allowed}") from None
        self.notes.update(plain)
        self.on_note(plain)


Objective = Callable[[Candidate, Context], float | Mapping[str, float]]


def resumable(objective: Objective) -> bool:
    """Whether it says of itself that it can be told to stop anywhere and go on from the state that it leaves."""
    return bool(getattr(objective, "resumable", False))


def evaluate(
    objective: Objective, candidate: Candidate, context: Context, *, fresh: bool = True, place: str = ""
) -> Outcome:
    """Run the objective once. Never raises but for KeyboardInterrupt and SystemExit: failures are values."""
    started = time.monotonic()

    def failed(kind: FailureKind, message: str, trace: str = "") -> Failed:
        seconds = time.monotonic() - started
        return Failed(kind, message, trace, seconds, dict(context.notes), fresh=fresh, place=place)

    try:
        metrics = _as_metrics(objective(candidate, context))
    except InvalidCandidate as error:
        return failed("invalid", str(error))
    except Diverged as error:
        return failed("diverged", str(error))
    except Preempted as error:
        return failed("preempted", str(error))
    except (OutOfMemory, MemoryError) as error:
        return failed("out_of_memory", str(error) or "out of memory", traceback.format_exc())
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in FULL  # be it of a print: the machine's doing
        return failed("lost" if full else "error", f"{type(error).__name__}: {error}", traceback.format_exc())
    bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
    if bad:
        return failed("diverged", "the objective returned " + ", ".join(f"{name} = {bad[name]}" for name in bad))
    seconds = time.monotonic() - started
    return Succeeded(
        metrics,
        seconds,
        dict(context.notes),
        fresh=fresh,
        place=place,
        step=context.reached,
        stopped=context.stopped,
    )


def _as_metrics(result: Any) -> dict[str, float]:
    """Metrics by name. Raises TypeError for what is no number: `True` and `"0.9"` would pass for one in float()."""
    if isinstance(result, Mapping):
        if not result:
            raise TypeError(f"the objective returned an empty mapping; {_MAY_RETURN}")
        if odd := [name for name in result if not (str(name) and str(name).isprintable())]:
            raise TypeError(
                f"the objective returned a metric called {odd[0]!r:.80}: a name is one line of text; {_MAY_RETURN}"
            )
        return {str(name): _as_number(value, f"{value!r:.80} as {name!s}") for name, value in result.items()}
    return {VALUE: _as_number(result, f"{result!r:.80}")}


_MAY_RETURN = 'it may return a number, or a mapping of names to numbers such as {"accuracy": 0.93}'


def _as_number(value: Any, words: str) -> float:
    refused = f"the objective returned {words}, a {type(value).__name__}; {_MAY_RETURN}"
    if value is None or isinstance(value, str | bytes | bool) or type(value).__name__ in ("bool", "bool_"):  # NumPy's
        raise TypeError(refused)
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # RuntimeError: a tensor of several numbers
        raise TypeError(refused) from None
