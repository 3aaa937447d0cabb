"""The fold of a journal: what trials there are, and how each one stands.

The search machine keeps one while it runs; `nas leaderboard` and `nas status` fold a journal into one and ask it. No
rewards here: metrics are facts, rewards are opinions about them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import orjson

from nas.records import (
    MACHINE_FAILURES,
    AttemptAnswered,
    AttemptCut,
    AttemptStarted,
    AttemptStopped,
    BudgetChanged,
    DriverTookOver,
    Event,
    Failed,
    LateResult,
    Outcome,
    Proposal,
    Proposed,
    ReplicateEnded,
    ReplicationBegun,
    RunEnded,
    RunStarted,
    Succeeded,
    Taught,
    TrialEnded,
    TrialPaused,
    TrialReported,
    WorkersChanged,
    event_from_json,
)

TrialState = Literal["pending", "running", "paused", "completed", "failed", "duplicate"]


@dataclass(slots=True)
class AttemptRecord:
    attempt: int
    started: float  # seconds since the Unix epoch
    fresh: bool = False
    answered: float | None = None
    outcome: Outcome | None = None
    abandoned: bool = False  # its driver is gone: nobody waits for it, though its result may still be found
    late: bool = False  # it answered when another's answer had counted
    cut: str = ""  # why it was cut off: it took far longer than its like
    step: int = 0  # of its last report, or what its answer says
    epochs: int = 0  # that it has trained: its steps beyond those it went on from, and those before it began anew
    replicate: int = 0  # which training of the trial it is an attempt at; 0: the search's own
    until: int | None = None  # the step at which it pauses
    saved: int | None = None  # the attempt from whose state it goes on
    stopped: str = ""  # why a scheduler had it end with what it reached

    @property
    def running(self) -> bool:
        """Whether somebody waits for it."""
        return self.outcome is None and not self.abandoned and not self.late

    @property
    def host(self) -> str:
        """Where it ran; "" where that is not known, or it has not answered."""
        return self.outcome.place.partition("/")[0] if self.outcome else ""

    @property
    def lost(self) -> bool:
        """Whether machines took it: lost, preempted, or abandoned with its driver and never heard of again."""
        if self.outcome is None:
            return self.abandoned
        return isinstance(self.outcome, Failed) and self.outcome.kind in MACHINE_FAILURES and not self.left_state

    @property
    def left_state(self) -> bool:
        """Whether it was preempted and left a state, so that nothing is lost."""
        return isinstance(self.outcome, Failed) and self.outcome.step > 0


@dataclass(slots=True)
class Trial:
    proposal: Proposal
    proposed: float
    duplicate_of: int | None = None
    state: TrialState = "pending"
    attempts: list[AttemptRecord] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)  # attempts in the order in which they answered
    outcome: Outcome | None = None  # the one that counts, when the trial has ended or paused
    ended: float | None = None
    since: int = 0  # the first attempt after the last pause: those before it answer for nothing any more
    reached: int = 0  # the step at which it ended or paused, where it is known
    whole: bool = True  # nobody cut it short there
    reports: list[tuple[int, int, Mapping[str, float]]] = field(default_factory=list)  # (attempt, step, metrics)
    late: list[tuple[int, Outcome]] = field(default_factory=list)
    replicates: list[Outcome | None] = field(default_factory=list)  # how each one ended, from the first; None: not yet

    @property
    def number(self) -> int:
        return self.proposal.number

    @property
    def open(self) -> bool:
        return self.state in ("pending", "running")

    def training(self, replicate: int = 0) -> list[AttemptRecord]:
        """The attempts at one training of the trial: at the search's own, or at a replicate."""
        return [attempt for attempt in self.attempts if attempt.replicate == replicate]

    def running_attempts(self, replicate: int = 0) -> list[AttemptRecord]:
        """The attempts at a training that somebody waits for: one, and near the end of a search a copy of it."""
        return [one for one in self.training(replicate) if one.running and one.attempt >= self.since]

    def awaits(self, attempt: int) -> bool:
        """Whether the attempt's answer may still say how its training ends."""
        one = self.attempts[attempt]
        return one.outcome is None and (
            self.replicates[one.replicate - 1] is None if one.replicate else self._waits_for(attempt)
        )

    def _waits_for(self, attempt: int) -> bool:
        return self.open and attempt >= self.since

    def curve(self) -> list[tuple[int, Mapping[str, float]]]:
        """(step, metrics) of the attempt that counts, and of those that it went on from: the answered one, else the
        latest that reported.

        Where that began anew (a trial that diverged in bf16 is repeated in fp32), of what it did last.
        """
        wanted = {one.attempt for one in self._counting()}
        curve: list[tuple[int, Mapping[str, float]]] = []
        for attempt, step, metrics in self.reports:
            if attempt in wanted:
                if curve and step <= curve[-1][0]:
                    curve.clear()
                curve.append((step, metrics))
        return curve

    def seconds(self) -> float:
        """What the attempt that counts took, and those that it went on from, as they say; the lost ones say nothing."""
        return sum(one.outcome.seconds for one in self._counting() if one.outcome is not None)

    def _counting(self) -> Iterator[AttemptRecord]:
        answered = [one for one in self.attempts if one.outcome is not None and one.outcome is self.outcome]
        at = answered[0].attempt if answered else self.reports[-1][0] if self.reports else None
        while at is not None:
            yield self.attempts[at]
            at = self.attempts[at].saved


@dataclass(slots=True)
class History:
    """Applied events, in order. Every field is a function of them alone."""

    started: RunStarted | None = None
    taught: Taught | None = None
    config: dict[str, Any] = field(default_factory=dict)  # as recorded, with later changes of budget and cluster
    trials: MutableMapping[int, Trial] = field(default_factory=dict)  # by number, from 0 without a gap
    open: dict[int, Trial] = field(default_factory=dict)  # those that have not ended: what is walked through in a turn
    tally: Counter[str] = field(default_factory=Counter)  # the others, by how they ended ...
    failed: list[int] = field(default_factory=list)  # ... and which of them failed
    rejected: int = 0  # draws that violated a constraint, and were drawn again
    ended: RunEnded | None = None  # the last word of the last driver, if it had one
    driver: DriverTookOver | None = None
    epochs: int = 0  # how many drivers there have been
    workers: int = 0  # slots of the present driver
    last_event: float = 0.0
    epochs_trained: int = 0  # by all attempts
    replication: ReplicationBegun | None = None  # the latest
    replicated: dict[int, int] = field(default_factory=dict)  # trial -> how many replicates of it were wanted at most
    replicates_left: int = 0  # of the latest, that have not ended
    _active: float = 0.0  # seconds that earlier drivers were at it
    _driver_since: float = 0.0
    running: dict[tuple[int, int], float] = field(default_factory=dict)  # (trial, attempt) in a slot -> since when
    _available: float = 0.0  # worker-seconds on offer, up to _available_since
    _available_since: float = 0.0
    _busy: float = 0.0  # worker-seconds spent in attempts that are over, late ones and copies too

    def apply(self, event: Event, time: float) -> None:
        """Take in one event that happened at ``time`` (seconds since the Unix epoch)."""
        match event:
            case RunStarted():
                self.started = event
                self.config = dict(event.config)
            case Taught():
                self.taught = event
            case DriverTookOver():
                self._take_over(event, time)
            case BudgetChanged():
                self.config = _with_changes(self.config, event.changes)
            case WorkersChanged():
                self._available += self.workers * (time - self._available_since)
                self._available_since = time
                self.workers = event.workers
            case Proposed():
                number = event.proposal.number
                self.rejected += event.proposal.rejected
                self.trials[number] = self.open[number] = Trial(event.proposal, time, event.duplicate_of)
            case AttemptStarted():
                self._attempt_started(event, time)
            case AttemptAnswered():
                self._answered(event, time)
            case TrialReported():
                trial = self.trials[event.trial]
                trial.reports.append((event.attempt, event.step, event.metrics))
                self._trained(trial.attempts[event.attempt], event.step, reported=True)
            case AttemptStopped():
                self.trials[event.trial].attempts[event.attempt].stopped = event.reason
            case AttemptCut():
                self.trials[event.trial].attempts[event.attempt].cut = event.reason
            case TrialPaused():
                self._trial_paused(event)
            case TrialEnded():
                self._trial_ended(event, time)
            case ReplicationBegun():
                self._replication_begun(event)
            case ReplicateEnded():
                trial = self.trials[event.trial]
                ended = _counting(trial.training(event.replicate), event.attempt, event.set_aside)
                trial.replicates[event.replicate - 1] = ended
                self.replicates_left -= 1
            case LateResult():
                trial = self.trials[event.trial]
                trial.attempts[event.attempt].late = True
                trial.late.append((event.attempt, event.outcome))
                self._is_over(event.trial, event.attempt, time)
            case RunEnded():
                self.ended = event
                self._abandon(time)
        self.last_event = time

    def active_seconds(self, now: float | None = None) -> float:
        """Summed time that drivers were at work: up to ``now``, or to the last event for a reader of a journal."""
        until = self.last_event if now is None else now
        return self._active + max(0.0, until - self._driver_since if self.epochs else 0.0)

    def utilisation(self, now: float | None = None) -> float:
        """Busy over available worker-seconds, 0 to 1; 0 where no worker has been there yet."""
        until = self.last_event if now is None else now
        available = self._available + self.workers * max(0.0, until - self._available_since)
        return min(1.0, self.device_seconds(now) / available) if available > 0 else 0.0

    def device_seconds(self, now: float | None = None) -> float:
        """Summed time that slots, also those that share a GPU, were busy with attempts, with those of no result too."""
        until = self.last_event if now is None else now
        return self._busy + sum(max(0.0, until - started) for started in self.running.values())

    def _take_over(self, event: DriverTookOver, time: float) -> None:
        if self.epochs:
            self._active += self.last_event - self._driver_since
            self._available += self.workers * (self.last_event - self._available_since)
        self.driver, self.epochs, self.ended, self.workers = event, self.epochs + 1, None, 0
        self._driver_since = self._available_since = time
        self._abandon(self.last_event)

    def _abandon(self, time: float) -> None:
        """Nobody waits any more, since ``time``, for what was running."""
        for number, attempt in list(self.running):
            self.trials[number].attempts[attempt].abandoned = True
            self._is_over(number, attempt, time)
        for trial in self.open.values():
            if trial.state == "running":
                trial.state = "pending"

    def _is_over(self, trial: int, attempt: int, time: float) -> None:
        """Its slot is free; of what an earlier driver ran that is said already."""
        if (started := self.running.pop((trial, attempt), None)) is not None:
            self._busy += time - started

    def _attempt_started(self, event: AttemptStarted, time: float) -> None:
        trial = self.trials[event.trial]
        self.running[event.trial, event.attempt] = time
        begins = 0 if event.saved is None else trial.attempts[event.saved].step
        trial.attempts.append(
            AttemptRecord(
                event.attempt,
                time,
                event.fresh,
                step=begins,
                replicate=event.replicate,
                until=event.until,
                saved=event.saved,
            )
        )
        if event.replicate:
            trial.replicates += [None] * (event.replicate - len(trial.replicates))
            self.replicated.setdefault(trial.number, event.replicate)  # where one trial alone is folded
            return
        if trial.state == "paused":
            self.tally["paused"] -= 1
            self.open[trial.number] = trial
            trial.since = event.attempt
        trial.state = "running"

    def _replication_begun(self, event: ReplicationBegun) -> None:
        self.replication = event
        for number in event.trials:
            self.replicated[number] = max(event.replicates, self.replicated.get(number, 0))
        ended = (outcome for number in event.trials for outcome in self.trials[number].replicates[: event.replicates])
        self.replicates_left = len(event.trials) * event.replicates - sum(outcome is not None for outcome in ended)

    def _answered(self, event: AttemptAnswered, time: float) -> None:
        trial = self.trials[event.trial]
        attempt = trial.attempts[event.attempt]
        self._is_over(event.trial, event.attempt, time)
        attempt.outcome, attempt.answered = event.outcome, time
        self._trained(attempt, max(attempt.step, epochs_of(event.outcome)))  # reports may be lost, or there are none
        trial.answers.append(event.attempt)
        if trial.open and not trial.running_attempts():
            trial.state = "pending"

    def _trained(self, attempt: AttemptRecord, step: int, *, reported: bool = False) -> None:
        """It has come so far. A step back is a new beginning, and so is step 1 once more: what diverged in bf16 is
        repeated in fp32. So is a first report of no further step than what it should have gone on from: the state was
        gone. A later step that is said twice is none: a callable may say one metric after the other.
        """
        again = reported and step == attempt.step and (step == 1 or not attempt.epochs)
        anew = step < attempt.step or again
        more = max(0, step) if anew else step - attempt.step
        attempt.step = step
        attempt.epochs += more
        self.epochs_trained += more

    def _trial_paused(self, event: TrialPaused) -> None:
        trial = self.trials[event.trial]
        trial.state, trial.outcome = "paused", trial.attempts[event.attempt].outcome
        trial.reached, trial.whole = event.step, False
        self.open.pop(trial.number, None)
        self.tally["paused"] += 1

    def _trial_ended(self, event: TrialEnded, time: float) -> None:
        trial = self.trials[event.trial]
        trial.state, trial.ended = event.state, time
        self.open.pop(trial.number, None)
        self.tally[event.state] += 1
        if event.state == "failed":
            self.failed.append(trial.number)
        if event.attempt is not None:
            trial.outcome = _counting(trial.training(), event.attempt, event.set_aside)
            trial.reached, trial.whole = trial.attempts[event.attempt].step, not event.short
        elif event.state == "duplicate" and trial.duplicate_of is not None:
            original = self.trials[trial.duplicate_of]
            trial.outcome, trial.reached, trial.whole = original.outcome, original.reached, original.whole
        elif event.state == "failed":
            trial.outcome = Failed("invalid", trial.proposal.invalid)

    # Snapshot --------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """Everything but the trials, as JSON: these are in the journal."""
        kept = {name: getattr(self, name) for name in _PLAIN}
        numbers = {"open": list(self.open), "running": list(self.running.items())}
        return orjson.dumps({**kept, **numbers, "replicated": list(self.replicated.items())})

    def load(self, saved: bytes, trials: MutableMapping[int, Trial]) -> None:
        """Take on what ``save`` returned; ``trials``: those of the journal up to then."""
        state = orjson.loads(saved)
        for name in _PLAIN:
            value = state[name]
            event = name in _EVENTS and value is not None
            setattr(self, name, event_from_json(value) if event else value)
        self.tally = Counter(state["tally"])
        self.trials = trials
        self.open = {number: self.trials[number] for number in state["open"]}
        self.running = {(trial, attempt): started for (trial, attempt), started in state["running"]}
        self.replicated = dict(state["replicated"])


_EVENTS = ("started", "taught", "driver", "ended", "replication")
_PLAIN = (
    *(*_EVENTS, "config", "epochs", "workers", "last_event", "tally", "failed", "rejected", "epochs_trained"),
    *("replicates_left", "_active", "_driver_since", "_available", "_available_since", "_busy"),
)


def _counting(attempts: Sequence[AttemptRecord], which: int, set_aside: bool) -> Outcome:
    """The outcome of the attempt that counts among those at one training; it may never have been heard of again."""
    outcome = {one.attempt: one.outcome for one in attempts}[which]
    if set_aside and isinstance(outcome, Failed):
        return replace(outcome, kind="crashed", message=f"in the same way on two hosts: {outcome.message}")
    lost = sum(one.lost for one in attempts)
    return outcome or Failed("lost", f"lost {lost} times with the drivers that ran it")


def epochs_of(outcome: Outcome) -> int:
    """The step that an attempt with this outcome came to, as it says or by its metric ``epochs``; 0 where neither."""
    return max(outcome.step, int(outcome.metrics.get("epochs", 0)) if isinstance(outcome, Succeeded) else 0)


def _with_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``config`` with the values at dotted keys replaced."""
    result = dict(config)
    for key, value in changes.items():
        head, _, rest = key.partition(".")
        result[head] = _with_changes(result.get(head) or {}, {rest: value}) if rest else value
    return result
