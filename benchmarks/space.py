"""Drawing and hashing candidates, per second on one thread, and the same decisions drawn by Optuna.

    python benchmarks/space.py [--spaces nasbench201,mobilenet_v3] [--rounds 15]

    batched      decisions alone, 10,000 draws at once (Space.prior_many)
    single       decisions and candidate, one draw after another (Space.walk), constraints over costs not asked
    hash         canonical JSON (RFC 8785) and SHA-256 of a candidate; beside it with the reference implementation
    optuna       the same decisions by trial.suggest_* in one process: an in-memory study and RandomSampler; without
                 the candidate, and under Optuna's fewest words (no logging, no pruning)

In processor time, so that what else the machine does is not in it. Sides alternate round by round; medians of the
rounds. Optuna's walk asks for a decision where ours is active, so both draw the same number of decisions.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402  (threads are set first)
import optuna  # noqa: E402
import rfc8785  # noqa: E402

from nas import inspect  # noqa: E402
from nas.space import Candidate, Decision, Index, Integer, Space, draw_prior  # noqa: E402

BATCH, SINGLES, ASKED = 10_000, 300, 100  # draws of a round


def batched(space: Space, seed: int) -> int:
    """Decisions alone."""
    space.prior_many(BATCH, np.random.default_rng(seed))
    return BATCH


def single(space: Space, seed: int) -> int:
    """Decisions and candidates."""
    rng = random.Random(seed)
    for _ in range(SINGLES):
        space.walk(lambda decision: draw_prior(decision, rng))
    return SINGLES


def suggested(space: Space, seed: int) -> int:
    """Optuna's decisions."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed))
    for _ in range(ASKED):
        trial = study.ask()
        space.walk(lambda decision, trial=trial: _suggest(trial, decision))  # type: ignore[misc]
        study.tell(trial, 0.0)
    return ASKED


def walked(space: Space) -> int:
    """The walk inside ``suggested``, which is ours and is taken off its time."""
    for _ in range(ASKED):
        space.walk(_first)
    return ASKED


def _suggest(trial: optuna.Trial, decision: Decision) -> int | float:
    match decision:
        case Index(ordered=True):
            return trial.suggest_int(decision.path, 0, decision.size - 1)
        case Index():
            return int(trial.suggest_categorical(decision.path, range(decision.size)))
        case Integer():
            return trial.suggest_int(decision.path, decision.low, decision.high, log=decision.log)
    return trial.suggest_float(decision.path, decision.low, decision.high, log=decision.log)


def _first(decision: Decision) -> int | float:
    return 0 if isinstance(decision, Index) else decision.low


def hashed(candidates: list[Candidate]) -> int:
    """Ours."""
    for candidate in candidates:
        candidate.__dict__.pop("hash", None)  # it is remembered
        candidate.hash  # noqa: B018
    return len(candidates)


def hashed_by_reference(candidates: list[Candidate]) -> int:
    """By the package rfc8785."""
    for candidate in candidates:
        sha256(rfc8785.dumps(candidate.json())).hexdigest()
    return len(candidates)


def per_draw(act: Callable[..., int], *given: Any) -> float:
    """Processor seconds for each draw."""
    start = time.process_time()
    number = act(*given)
    return (time.process_time() - start) / number


def measure(name: str, rounds: int) -> None:
    """Print the rows of one space."""
    space = inspect.open_space(name, costs=False).space
    rng = random.Random(0)
    candidates = [space.prior(rng).candidate for _ in range(SINGLES)]
    times: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        found = {
            "batched": per_draw(batched, space, number),
            "single": per_draw(single, space, number),
            "hash": per_draw(hashed, candidates),
            "hash by rfc8785": per_draw(hashed_by_reference, candidates),
            "optuna": per_draw(suggested, space, number) - per_draw(walked, space),
        }
        if number:  # the first round warms up
            for side, seconds in found.items():
                times.setdefault(side, []).append(seconds)
    for side, seconds in times.items():
        middle = statistics.median(seconds)
        spread = f"{1e6 * min(seconds):.1f} to {1e6 * max(seconds):.1f}"
        print(f"| {name} | {side} | {1 / middle:,.0f} | {1e6 * middle:.1f} | {spread} | {len(seconds)} |", flush=True)


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--spaces", default="nasbench201,mobilenet_v3")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = ", ".join(f"{name} {version(name)}" for name in ("numpy", "optuna", "orjson", "rfc8785"))
    print(
        f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, {versions}; load {load}\n"
    )
    print("| space | side | per second | us each | from .. to | rounds |\n|---|---|---|---|---|---|")
    for name in arguments.spaces.split(","):
        measure(name, arguments.rounds)


if __name__ == "__main__":
    main()
