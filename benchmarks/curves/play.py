"""Searches on recorded curves: the real machine, controllers and schedulers; only the training is looked up.

    recorded = Recorded.read(Path("benchmarks/curves/digits.csv"))
    play(recorded, "random", "asha", seed=1, trials=60) -> Played(winner, candidates, epochs)

Each of the workers takes one unit of time for an epoch. A trial that is asked to stop does so at that report.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from nas import controllers, schedulers
from nas.instructions import AskToStop, Cancel, Instruction, Launch
from nas.leaderboard import rows
from nas.limits import Budget
from nas.machine import Search
from nas.records import Answered, DriverTookOver, Failed, Proposal, Reported, SlotsChanged, Succeeded
from nas.reward import RewardSettings, compute, progress
from nas.space import Space

REWARD = RewardSettings(maximize="accuracy")
Key = tuple[int, ...]


@dataclass(frozen=True)
class Recorded:
    """Every candidate of a small space, by the index of each of its decisions, with its accuracy after each epoch."""

    sizes: Sequence[int]
    curves: Mapping[Key, Sequence[float]]

    @staticmethod
    def read(path: Path) -> Recorded:
        with path.open(newline="") as file:
            head, *lines = list(csv.reader(file))
        decisions = sum(not name.isdecimal() for name in head)
        curves = {tuple(map(int, line[:decisions])): [float(v) for v in line[decisions:] if v] for line in lines}
        return Recorded([1 + max(key[at] for key in curves) for at in range(decisions)], curves)

    @property
    def length(self) -> int:
        return max(map(len, self.curves.values()))

    @property
    def best(self) -> float:
        return max(curve[-1] for curve in self.curves.values() if curve)

    def space(self) -> Space:
        choices = {f"d{at}": {"choice": list(range(size)), "name": f"d{at}"} for at, size in enumerate(self.sizes)}
        return Space.read({"hyperparameters": choices})

    def curve(self, proposal: Proposal) -> Sequence[float]:
        """Empty of one that diverged."""
        chosen = proposal.candidate["hyperparameters"]
        return self.curves[tuple(chosen[f"d{at}"] for at in range(len(self.sizes)))]


@dataclass(frozen=True)
class Played:
    winner: Sequence[float]  # the curve of the leaderboard's first; empty where there is none
    candidates: Sequence[Sequence[float]]  # the curves of all that were proposed
    epochs: int

    @property
    def final(self) -> float:
        """What the winner is worth when it is trained in full."""
        return self.winner[-1] if self.winner else 0.0

    @property
    def lost(self) -> bool:
        """Whether a candidate that was proposed is better than the winner in the end."""
        return any(curve and curve[-1] > self.final for curve in self.candidates)


def play(
    recorded: Recorded,
    controller: str,
    scheduler: Any,
    seed: int,
    *,
    trials: int | None = None,
    epochs: int | None = None,
    workers: int = 4,
) -> Played:
    """One search to the end of its budget."""
    space, length = recorded.space(), recorded.length
    search = Search(
        controllers.make(controllers.parse(controller), space, seed),
        partial(compute, REWARD),
        Budget(trials, epochs=epochs),
        full_length=length,
        scheduler=schedulers.make(schedulers.parse(scheduler), seed, length),
        progress=partial(progress, REWARD),
    )
    search.apply(DriverTookOver("recorded", 0, 0.0, ""), 0.0)
    heap: list[tuple[int, int, int, int, int]] = []  # (time, number, trial, attempt, step)
    stopped: set[tuple[int, int]] = set()
    numbered = 0

    def act(instructions: list[Instruction], now: int) -> None:
        nonlocal numbered
        for one in instructions:
            match one:
                case Launch(trial, attempt):
                    record = search.history.trials[trial].attempts[attempt]
                    numbered += 1
                    heappush(heap, (now + 1, numbered, trial, attempt, record.step + 1))
                case AskToStop(trial, attempt) | Cancel(trial, attempt):
                    stopped.add((trial, attempt))

    act(search.handle(SlotsChanged(workers), 0.0), 0)
    while heap and not search.over:
        now, _, trial, attempt, step = heappop(heap)
        record = search.history.trials[trial].attempts[attempt]
        curve = recorded.curve(search.history.trials[trial].proposal)
        if not curve:
            act(search.handle(Answered(trial, attempt, Failed("diverged", "recorded so")), float(now)), now)
            continue
        metrics = {"accuracy": curve[step - 1]}
        act(search.handle(Reported(trial, attempt, step, metrics), float(now)), now)
        if step >= (record.until or length) or (trial, attempt) in stopped:
            told = (trial, attempt) in stopped
            act(search.handle(Answered(trial, attempt, Succeeded(metrics, step=step, stopped=told)), float(now)), now)
        else:
            numbered += 1
            heappush(heap, (now + 1, numbered, trial, attempt, step + 1))
    ranked = [row for row in rows(search.history, REWARD, "") if row.rank]
    of = search.history.trials
    winner = recorded.curve(of[ranked[0].trial].proposal) if ranked else []
    return Played(winner, [recorded.curve(one.proposal) for one in of.values()], search.history.epochs_trained)
