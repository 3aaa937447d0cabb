"""The inline executor: the whole program in one process, in a scripted order of completions.

    executor = InlineExecutor(lambda candidate, context: 1.0, slots=4, order=lambda running: len(running) - 1)

``start`` queues, ``wait`` runs one attempt to its end; ``order`` picks which of the started attempts completes next.
While it runs nobody else does: who wants to stop or cancel it sets ``hear``, which is called at each report, and
decides in there. Otherwise reports come with the answer, when it is too late for either.
Left out: deadlines, memory limits and log.txt, which need a process to kill or to redirect (see slot.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nas import results
from nas.cluster.attempts import Heard, run_attempt
from nas.objective import Objective, resumable
from nas.records import Answered, Attempt, Failed, Happening, Outcome, Reported, SlotsChanged


class _CutOff(BaseException):
    """Raised out of a report, and through an objective that catches Exception."""


class InlineExecutor:
    def __init__(
        self, objective: Objective, slots: int = 1, order: Callable[[Sequence[Attempt]], int] = lambda started: 0
    ) -> None:
        self.objective = objective
        self.order = order
        self.started: list[Attempt] = []
        self.happenings: list[Happening] = [SlotsChanged(slots)]
        self.hear: Callable[[Reported], None] = self.happenings.append
        self._running: tuple[int, int] | None = None
        self._heard: Heard = ""  # of what runs
        self._cancelled = False  # likewise

    def start(self, attempt: Attempt) -> None:
        self.started.append(attempt)

    def stop(self, trial: int, attempt: int, *, leave: bool = False) -> None:
        if (trial, attempt) == self._running and not (leave and (self._heard or not resumable(self.objective))):
            self._heard = "leave" if leave else "stop"

    def cancel(self, trial: int, attempt: int) -> None:
        self._cancelled |= (trial, attempt) == self._running
        for one in [one for one in self.started if (one.trial, one.attempt) == (trial, attempt)]:
            self.started.remove(one)
            self.happenings.append(Answered(trial, attempt, Failed("preempted", "cancelled")))

    def wait(self, timeout: float) -> Sequence[Happening]:
        """Sleeps only where nothing is started, as then nothing can happen. Raises what ``hear`` does."""
        if not self.happenings and self.started:
            attempt = self.started.pop(self.order(self.started))
            outcome = self._run(attempt)
            self.happenings.append(Answered(attempt.trial, attempt.attempt, outcome))
        if not self.happenings:
            time.sleep(timeout)
        happenings = list(self.happenings)
        self.happenings.clear()
        return happenings

    def wind_down(self, workers: int) -> None:
        pass

    def close(self) -> None:
        self.started.clear()

    def _run(self, attempt: Attempt) -> Outcome:
        answered = results.read_result(attempt)
        if answered:
            return answered[1]
        refused: list[Exception] = []
        notes: dict[str, Any] = {}

        def publish(step: int, metrics: Mapping[str, float]) -> Heard:
            try:
                self.hear(Reported(attempt.trial, attempt.attempt, step, metrics))
            except Exception as error:  # the listener's own, and no failure of the candidate
                refused.append(error)
                raise _CutOff from error
            if self._cancelled:
                raise _CutOff
            return self._heard

        self._running, self._heard, self._cancelled = (attempt.trial, attempt.attempt), "", False
        try:
            return run_attempt(self.objective, attempt, publish=publish, tell=notes.update, place="inline")
        except _CutOff:
            if refused:
                raise refused[0] from None
            return Failed("preempted", "cancelled", notes=notes, place="inline")
        except SystemExit as error:
            return Failed("crashed", f"ended with exit code {error.code}", notes=notes, place="inline")
        finally:
            self._running = None
