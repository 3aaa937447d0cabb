"""Executors: where attempts run. They know an objective only as a callable, and nothing of search or journal.

    slots are announced by SlotsChanged happenings; the search starts at most that many attempts at once
    start(attempt)       begins one attempt; returns at once
    wait(timeout)     -> happenings since the last call, after at least one came or ``timeout`` seconds passed
    stop(trial, attempt)     has the attempt's reports return True, from the next one on; it still answers: with
                         ``leave`` that it was preempted and left its state; one that cannot hears nothing of it
    cancel(trial, attempt)   the attempt is wanted no more; it may still answer
    wind_down(workers)       so many are still of use: others that are idle may go
    close()              ends every process that the executor started

Every started attempt is answered exactly once by this executor: with its outcome, or with Failed("lost", ...) when its
worker is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from nas.records import Attempt, Happening


class Executor(Protocol):
    def start(self, attempt: Attempt) -> None: ...

    def stop(self, trial: int, attempt: int, *, leave: bool = False) -> None: ...

    def cancel(self, trial: int, attempt: int) -> None: ...

    def wait(self, timeout: float) -> Sequence[Happening]: ...

    def wind_down(self, workers: int) -> None: ...

    def close(self) -> None: ...
