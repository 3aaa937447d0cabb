"""One attempt, from candidate to written result: the code that runs in a worker's child and inline alike."""

from __future__ import annotations

import dataclasses
import random
import sys
from collections.abc import Callable, Mapping

import orjson

from nas import results
from nas.errors import DiskFailed
from nas.objective import Context, Objective, evaluate
from nas.records import Attempt, Failed, Outcome, outcome_from_json
from nas.space import Candidate

Publish = Callable[[int, Mapping[str, float]], bool]


def run_attempt(
    objective: Objective,
    attempt: Attempt,
    *,
    publish: Publish,
    device: str = "cpu",
    threads: int = 1,
    deadline: float | None = None,
    fresh: bool = True,
    place: str = "",
) -> Outcome:
    """Evaluate the attempt's candidate and write its result; ``deadline`` is in time.monotonic().

    Only KeyboardInterrupt and SystemExit pass through.
    """
    seed_generators(attempt.seed)
    context = Context(attempt.trial, attempt.seed, device, threads, deadline, publish, until=attempt.until)
    try:
        context.saved, context.folder = results.saved_state(attempt), results.state_folder(attempt)
    except DiskFailed as error:
        return Failed("lost", f"no place for the state: {error}", fresh=fresh, place=place)
    outcome = evaluate(objective, Candidate.of(attempt.candidate), context, fresh=fresh, place=place)
    return recorded(attempt, outcome)


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
