"""Workers that do not exist, under a clock that does not run: the real machine's launches become completions in a heap.

Happenings come in the order (time, number), so that a simulation with a fixed decision time repeats exactly. The driver
is one thread, as the real one: what happens while it decides waits, and what it launches begins when it has decided. So
a controller that thinks for long leaves workers idle here too. ``decision=None`` charges what ``clock`` measures.

A worker that dies takes its slot with it, and then loses its attempt, as with a real cluster; later another takes its
place. Left out: reports at steps, drivers that die, and the journal.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from random import Random

from nas.instructions import Instruction, Launch
from nas.machine import Search
from nas.records import Answered, DriverTookOver, Failed, Happening, Outcome, SlotsChanged, Tick
from nas.seeds import derive


@dataclass(frozen=True, slots=True)
class Died:
    """A worker, at this attempt."""

    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Replaced:
    """A dead worker, by a new one."""


Attempts = Callable[[int, int], tuple[float, Outcome]]  # (trial, attempt) -> its seconds, and what it answers
Observer = Callable[[list[Instruction], float], None]  # what the machine decided, and the virtual time of it


@dataclass
class Simulation:
    """One run of a search; ``run`` plays it to its end."""

    search: Search
    workers: int
    attempts: Attempts
    seed: int
    decision: float | None = 0.0  # seconds; None: what it takes here ...
    clock: Callable[[], float] = time.perf_counter  # ... by this clock
    deaths: float = 0.0  # share of attempts that end with their worker's death
    replaced_after: float = 60.0  # seconds
    observe: Observer = lambda instructions, now: None
    busy: list[tuple[float, float]] = field(default_factory=list)  # from, until: of every attempt that is over
    dead: list[tuple[float, float]] = field(default_factory=list)  # from, until: of every worker that died
    turns: list[float] = field(default_factory=list)  # seconds that each happening took the driver
    _heap: list[tuple[float, int, Happening | Died | Replaced]] = field(default_factory=list)
    _numbered: int = 0
    _slots: int = 0
    _free: float = 0.0  # when the driver has decided what it is at
    _started: dict[tuple[int, int], float] = field(default_factory=dict)
    _first: list[float] = field(default_factory=list)  # when each trial began: its first attempt

    def run(self) -> None:
        """Play until the machine says that the run is over."""
        self.search.apply(DriverTookOver("simulated", 0, 0.0, ""), 0.0)  # from here the machine counts active time
        if self.search.budget.seconds is not None:
            self._later(self.search.budget.seconds, Tick())  # what runs then is cut off
        self._slots = self.workers
        self._turn(SlotsChanged(self._slots), 0.0)
        while not self.search.over:
            wakes = self.search.wakes(self._free)
            if wakes is not None and (not self._heap or wakes < self._heap[0][0]):
                self._turn(Tick(), wakes)
                continue
            if not self._heap:
                return
            now, _, event = heappop(self._heap)
            match event:
                case Died(trial, attempt):
                    self._over(trial, attempt, now)
                    self.dead.append((now, now + self.replaced_after))
                    self._later(now + self.replaced_after, Replaced())
                    self._resize(-1, now)
                    self._turn(Answered(trial, attempt, Failed("lost", "the worker died")), now)
                case Replaced():
                    self._resize(+1, now)
                case Answered(trial, attempt, _):
                    self._over(trial, attempt, now)
                    self._turn(event, now)
                case _:
                    self._turn(event, now)

    def _resize(self, by: int, now: float) -> None:
        self._slots += by
        self._turn(SlotsChanged(self._slots), now)

    def _over(self, trial: int, attempt: int, now: float) -> None:
        self.busy.append((self._started.pop((trial, attempt)), now))

    def _turn(self, happening: Happening, at: float) -> None:
        now = max(at, self._free)
        began = self.clock()
        instructions = self.search.handle(happening, now)
        took = self.clock() - began if self.decision is None else self.decision
        self.turns.append(took)
        self._free = now + took
        self.observe(instructions, now)
        for instruction in instructions:
            if isinstance(instruction, Launch):
                self._launch(instruction.trial, instruction.attempt)

    def _launch(self, trial: int, attempt: int) -> None:
        seconds, outcome = self.attempts(trial, attempt)
        self._started[trial, attempt] = self._free
        if attempt == 0:
            self._first.append(self._free)
        if self.deaths:
            rng = Random(derive(self.seed, "death", trial, attempt))
            if rng.random() < self.deaths:
                self._later(self._free + rng.random() * seconds, Died(trial, attempt))
                return
        self._later(self._free + seconds, Answered(trial, attempt, outcome))

    def _later(self, when: float, event: Happening | Died | Replaced) -> None:
        self._numbered += 1
        heappush(self._heap, (when, self._numbered, event))

    def utilisation(self) -> float:
        """Busy over present worker-seconds, from the first moment of full load to the last launch of a new trial.

        0 to 1. Dead workers are not present. What still runs at the last launch is cut there; a lost trial that begins
        again after it finds the others idle because there is nothing left to do.
        """
        if len(self._first) <= self.workers:
            return 0.0
        full, last = self._first[self.workers - 1], self._first[-1]

        def within(spans: list[tuple[float, float]]) -> float:
            return sum(max(0.0, min(until, last) - max(since, full)) for since, until in spans)

        running = [(start, last) for start in self._started.values()]
        present = self.workers * (last - full) - within(self.dead)
        return (within(self.busy) + within(running)) / present if present > 0 else 0.0
