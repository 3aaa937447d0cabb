"""The inline executor: the whole program in one process, in a scripted order of completions.

    executor = InlineExecutor(lambda candidate, context: 1.0, slots=4, order=lambda running: len(running) - 1)

``start`` queues, ``wait`` runs one attempt to its end; ``order`` picks which of the started attempts completes next.
Left out: deadlines, memory limits and log.txt, which need a process to kill or to redirect (see slot.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from nas import results
from nas.cluster.attempts import run_attempt
from nas.objective import Objective
from nas.records import Answered, Attempt, Failed, Happening, Outcome, Reported, SlotsChanged


class InlineExecutor:
    def __init__(
        self, objective: Objective, slots: int = 1, order: Callable[[Sequence[Attempt]], int] = lambda started: 0
    ) -> None:
        self.objective = objective
        self.order = order
        self.started: list[Attempt] = []
        self.happenings: list[Happening] = [SlotsChanged(slots)]

    def start(self, attempt: Attempt) -> None:
        self.started.append(attempt)

    def cancel(self, trial: int, attempt: int) -> None:
        for one in [one for one in self.started if (one.trial, one.attempt) == (trial, attempt)]:
            self.started.remove(one)
            self.happenings.append(Answered(trial, attempt, Failed("preempted", "cancelled")))

    def wait(self, timeout: float) -> Sequence[Happening]:
        """Never sleeps: what is not queued here happens nowhere else."""
        if not self.happenings and self.started:
            attempt = self.started.pop(self.order(self.started))
            outcome = self._run(attempt)
            self.happenings.append(Answered(attempt.trial, attempt.attempt, outcome))
        happenings, self.happenings = self.happenings, []
        return happenings

    def close(self) -> None:
        self.started.clear()

    def _run(self, attempt: Attempt) -> Outcome:
        answered = results.read_result(attempt.folder, attempt.run, attempt.trial, attempt.hash)
        if answered:
            return answered[1]

        def publish(step: int, metrics: Mapping[str, float]) -> bool:
            self.happenings.append(Reported(attempt.trial, attempt.attempt, step, metrics))
            return False

        try:
            return run_attempt(self.objective, attempt, publish=publish, place="inline")
        except SystemExit as error:
            return Failed("crashed", f"ended with exit code {error.code}", place="inline")
