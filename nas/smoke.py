"""`nas search CONFIG --smoke`: would a search work? Found out in seconds, before any long run.

Samples 50 candidates, trains the smallest and the largest for one batch each on the cluster that the search would use,
and computes their rewards. Nothing is recorded: it happens in a temporary folder.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any

from nas import reward, seeds
from nas.cluster import Executor
from nas.cluster.connect import connect
from nas.config import Config
from nas.errors import InputError, InvalidCandidate
from nas.plan import PRELOAD, Plan
from nas.plan import plan as plan_of
from nas.records import Answered, Attempt, Failed, Outcome, Succeeded
from nas.results import LOG
from nas.space import Candidate
from nas.train.plugin_files import Plugin

SAMPLES = 50


@dataclass(frozen=True, slots=True)
class Tried:
    """One candidate that was trained for a batch."""

    which: str  # smallest or largest
    candidate: Candidate
    parameters: float
    outcome: Outcome
    reward: float | None  # None where it failed, its reward could not be computed, or there are several objectives
    complaint: str = ""  # why, where that is not the outcome's own message
    log: str = ""  # what it printed


@dataclass(frozen=True, slots=True)
class Smoke:
    """What was found. ``invalid``: reason -> how many of the samples cannot be built."""

    samples: int
    invalid: Mapping[str, int]
    tried: Sequence[Tried]

    @property
    def works(self) -> bool:
        return bool(self.tried) and all(isinstance(one.outcome, Succeeded) and not one.complaint for one in self.tried)

    def plain(self) -> dict[str, Any]:
        """As JSON-like values: the keys are the fields, and ``works``."""
        tried = [asdict(one) | {"candidate": one.candidate.json()} for one in self.tried]
        return {"works": self.works, "samples": self.samples, "invalid": dict(self.invalid), "tried": tried}


def smoke(config: Config, plugins: Sequence[Plugin] = ()) -> Smoke:
    """Try the config out. Raises InputError as ``plan.plan`` does, or where no sample can be built."""
    from nas.train import Trainer, costs
    from nas.train.plugins import load

    plan = plan_of(config, plugins)
    layers = load(tuple(plugins)).layers
    sizes: list[tuple[float, int, Candidate]] = []
    invalid: Counter[str] = Counter()
    for number in range(SAMPLES):
        draw = plan.space.sample(random.Random(seeds.derive(config.seed, "smoke", number)))
        try:
            if draw.invalid:
                raise InvalidCandidate(draw.invalid)
            sizes.append((costs(draw.candidate, plan.space.task, layers)["parameters"], number, draw.candidate))
        except InvalidCandidate as error:
            invalid[str(error)] += 1
    if not sizes:
        raise InputError(f"none of {SAMPLES} sampled candidates can be built: {invalid.most_common(1)[0][0]}")
    chosen = {"smallest": min(sizes, key=itemgetter(0, 1)), "largest": max(sizes, key=itemgetter(0, 1))}
    trainer = Trainer(config.train, config.task, config.seed, config.data, plugins=tuple(plugins)).one_batch()
    with tempfile.TemporaryDirectory(prefix="nas-smoke-") as folder:
        executor = connect(config.cluster, trainer, folder=Path(folder), preload=PRELOAD)
        try:
            tried = [
                _try(executor, plan, Path(folder), trial, which, candidate, parameters)
                for trial, (which, (parameters, _, candidate)) in enumerate(chosen.items())
            ]
        finally:
            executor.close()
    return Smoke(SAMPLES, invalid, tried)


def _try(
    executor: Executor, plan: Plan, folder: Path, trial: int, which: str, candidate: Candidate, parameters: float
) -> Tried:
    attempt = Attempt(
        run="smoke",
        trial=trial,
        attempt=0,
        candidate=candidate.json(),
        hash=candidate.hash,
        seed=seeds.derive(plan.config.seed, "train", trial),
        folder=str(folder / "trials" / str(trial)),
        deadline=plan.deadline,
    )
    executor.start(attempt)
    outcome = _answer(executor, trial)
    log = Path(attempt.folder) / "0" / LOG
    printed = log.read_text(errors="replace") if log.is_file() else ""
    if isinstance(outcome, Failed):
        return Tried(which, candidate, parameters, outcome, None, log=printed)
    try:
        vector = reward.compute(plan.config.reward, outcome.metrics, outcome.seconds).vector
    except InputError as error:
        return Tried(which, candidate, parameters, outcome, None, str(error), printed)
    return Tried(which, candidate, parameters, outcome, vector[0] if len(vector) == 1 else None, log=printed)


def _answer(executor: Executor, trial: int) -> Outcome:
    while True:
        for happening in executor.wait(1.0):
            if isinstance(happening, Answered) and happening.trial == trial:
                return happening.outcome
