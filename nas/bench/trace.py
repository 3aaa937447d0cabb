"""One search of a recorded benchmark: played, and what it evaluated, in the order of completion."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from nas.bench.recorded import QUALITY, Recorded
from nas.bench.simulation import Simulation
from nas.controllers import Controller
from nas.errors import InputError
from nas.instructions import Instruction, Record
from nas.limits import Budget
from nas.machine import Search
from nas.originals import Originals
from nas.records import Outcome, RunStarted, Succeeded, TrialEnded
from nas.reward import compute


@dataclass(frozen=True, slots=True)
class Trace:
    """What is kept of a run: every measure is computed from it and the table."""

    rows: Sequence[int]  # of every evaluation, as it completed; -1: it failed
    incumbents: Sequence[
        tuple[int, int]
    ]  # (evaluations completed, row): each time that the best reward so far changed;
    # with several objectives there is no best, and none is noted
    virtual_seconds: float
    wall_seconds: float
    reason: str  # why it ended, as the machine says, or "goal"


@dataclass
class _Played:
    """The table's side of a run: answers attempts, and writes down what completes."""

    recorded: Recorded
    search: Search
    seed: int
    rows: list[int] = field(default_factory=list)
    incumbents: list[tuple[int, int]] = field(default_factory=list)
    now: float = 0.0
    best: float = float("-inf")
    reached: bool = False
    visits: Counter[int | None] = field(default_factory=Counter)
    known: dict[int, tuple[int | None, Outcome]] = field(default_factory=dict)  # of trials that run

    def attempt(self, trial: int, attempt: int) -> tuple[float, Outcome]:
        """Seconds and outcome. A lost attempt's successor is told what that would have been: it has the same seed."""
        if trial not in self.known:
            row = self.recorded.rows.of(self.search.history.trials[trial].proposal.decisions)
            self.known[trial] = row, self.recorded.evaluate(self.seed, row, self.visits[row])
            self.visits[row] += 1
        row, outcome = self.known[trial]
        seconds = self.recorded.duration(self.seed, row, trial, attempt)
        return seconds, replace(outcome, seconds=seconds)

    def observe(self, instructions: list[Instruction], now: float) -> None:
        self.now = now
        for instruction in instructions:
            if isinstance(instruction, Record) and isinstance(instruction.event, TrialEnded):
                self._ended(instruction.event)

    def _ended(self, event: TrialEnded) -> None:
        if event.state == "duplicate":
            return
        row, outcome = self.known.pop(event.trial, (None, None))
        if event.state != "completed" or row is None or not isinstance(outcome, Succeeded):
            self.rows.append(-1)
            return
        self.rows.append(row)
        if not self.recorded.wish.objectives and outcome.metrics[QUALITY] > self.best:
            self.best = outcome.metrics[QUALITY]
            self.incumbents.append((len(self.rows), row))
        self.reached = self.reached or (self.recorded.goal is not None and bool(self.recorded.goal[row]))
        if self.reached and self.best >= self.recorded.highest:
            self.search.stopping = True  # nothing that follows could change any measure


def play(recorded: Recorded, controller: Controller, seed: int) -> Trace:
    """Search the benchmark with this controller, to the protocol's budget, or until it has the goal and the best reward
    of all: what it would do from there on is not asked for by any measure."""
    protocol = recorded.protocol
    began = time.perf_counter()
    search = Search(
        controller=controller,
        reward=partial(compute, recorded.wish),
        budget=Budget(protocol.evaluations, recorded.budget_seconds),
        originals=Originals(_assignments(recorded)),
    )
    config = {"budget": {"trials": protocol.evaluations, "time": recorded.budget_seconds}}
    search.apply(RunStarted("", recorded.name, config, {}, {}, seed), 0.0)  # what a run's budget says to a controller
    played = _Played(recorded, search, seed)
    Simulation(
        search=search,
        workers=protocol.workers,
        attempts=played.attempt,
        seed=seed,
        decision=protocol.decision,
        deaths=protocol.deaths.share if protocol.deaths else 0.0,
        replaced_after=protocol.deaths.replaced_after if protocol.deaths else 0.0,
        observe=played.observe,
    ).run()
    assert search.over is not None
    wall = time.perf_counter() - began
    reason = "goal" if search.over.reason == "interrupted" else search.over.reason
    return Trace(played.rows, played.incumbents, played.now, wall, reason)


def _assignments(recorded: Recorded) -> int | None:
    try:
        return recorded.space.count().exact
    except InputError:
        return None
