"""One attempt, from candidate to written result: the code that runs in a worker's child and inline alike."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Literal

import orjson

from nas import results
from nas.errors import DiskFailed
from nas.objective import Context, Objective, evaluate
from nas.records import Attempt, Failed, Outcome, Succeeded, outcome_from_json
from nas.space import Candidate

Heard = Literal["", "stop", "leave"]  # at a report: to end with what it has reached, or to leave its state
Publish = Callable[[int, Mapping[str, float]], Heard]
Tell = Callable[[Mapping[str, Any]], None]  # facts that the attempt has just noted


def run_attempt(
    objective: Objective,
    attempt: Attempt,
    *,
    publish: Publish,
    tell: Tell,
    device: str = "cpu",
    threads: int = 1,
    deadline: float | None = None,
    memory: int | None = None,
    fresh: bool = True,
    place: str = "",
) -> Outcome:
    """Evaluate the attempt's candidate and write its result; ``deadline`` is in time.monotonic().

    Only KeyboardInterrupt and SystemExit pass through.
    """
    seed_generators(attempt.seed)
    leaving = False

    def report(step: int, metrics: Mapping[str, float]) -> bool:
        nonlocal leaving
        heard = publish(step, metrics)
        if heard != "leave":
            return heard == "stop"
        with suppress(DiskFailed):  # where there is no place for it, it trains on until it is cut off
            context.folder = context.folder or results.state_folder(attempt)
            leaving = True
        return leaving

    context = Context(attempt.trial, attempt.seed, device, threads, deadline, report, tell, until=attempt.until)
    context.memory, context.halve = memory, attempt.halve
    try:
        context.saved = results.saved_state(attempt)
        context.folder = results.state_folder(attempt) if attempt.until is not None else None
    except DiskFailed as error:
        return Failed("lost", f"no place for the state: {error}", fresh=fresh, place=place)
    outcome = evaluate(objective, Candidate.of(attempt.candidate), context, fresh=fresh, place=place)
    if leaving and isinstance(outcome, Succeeded):
        outcome = _left(attempt, context, outcome)
    return recorded(attempt, outcome)


def _left(attempt: Attempt, context: Context, outcome: Succeeded) -> Outcome:
    """What a success is that was told to leave its state: one only where it left none, or was to pause there anyhow."""
    assert context.folder is not None
    pauses = attempt.until is not None and context.reached >= attempt.until
    if pauses or not any(context.folder.iterdir()):
        return dataclasses.replace(outcome, stopped=False)
    words = f"preempted; it left its state at step {context.reached}"
    return Failed(
        "preempted", words, "", outcome.seconds, outcome.notes, outcome.fresh, outcome.place, step=context.reached
    )


def recorded(attempt: Attempt, outcome: Outcome) -> Outcome:
    """The outcome as it reads back, written to its file.

    What a full disk refuses is answered all the same: the journal takes it.
    """
    outcome = _plain(outcome)
    try:
        results.write_result(attempt, outcome)
    except DiskFailed as error:
        outcome = dataclasses.replace(outcome, notes={**outcome.notes, "result_not_written": str(error)})
    return outcome


def _plain(outcome: Outcome) -> Outcome:
    """The outcome as it reads back from JSON: an objective may note what is of a class that only its process has."""
    if isinstance(outcome, Failed):
        outcome = dataclasses.replace(outcome, message=_utf8(outcome.message), traceback=_utf8(outcome.traceback))
    try:
        data = orjson.dumps(outcome, option=orjson.OPT_SERIALIZE_NUMPY)
    except TypeError as error:
        message = f"context.notes hold what is no plain JSON: {error}"
        return Failed("error", message, seconds=outcome.seconds, fresh=outcome.fresh, place=outcome.place)
    return outcome_from_json(orjson.loads(data))


def _utf8(text: str) -> str:
    """Names of files that are no UTF-8 stand in messages as lone surrogates, which JSON does not have."""
    return text.encode(errors="backslashreplace").decode()


def seed_generators(seed: int) -> None:
    """Seed the global generators of what is loaded, so that a reused child draws what a fresh one would.

    An objective that imports numpy or torch itself, unnamed in the preload, should seed them from ``context.seed``.
    """
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed % 2**32)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
