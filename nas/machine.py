"""The search as a state machine: happenings in, instructions out. It reads no clock, opens no file, starts nothing.

    handle(happening, now) -> [Record(event), ..., Launch(trial, attempt), ..., End(reason)]
    apply(event, time)

What a run is changes in ``apply`` alone, and ``handle`` calls it for every event that it asks to be recorded. So it is
a function of the journal, and resuming is feeding the journal to ``apply``: nothing is asked of the controller again.
What only a live driver has stays beside it: that it was asked to stop, that the run is over or winds up, which trials
are to be settled next. The driver performs instructions in order, with every Record journaled and synced before the
first Launch. Why a run ends by its own settings is said in limits.py, what becomes of one trial in verdict.py.

How long a trial trains is its scheduler's to say (schedulers/): one that pauses is open no more, and so costs no turn
anything, until it is promoted into a free slot by another attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any

import orjson

from nas import replication, retries
from nas.controllers import Controller, Teachable
from nas.controllers.fidelity import WHOLE
from nas.errors import InputError
from nas.history import AttemptRecord, History, Trial, epochs_of
from nas.incumbents import Incumbents
from nas.instructions import AskToStop, Cancel, End, Forget, Instruction, Launch, Record
from nas.limits import Budget, Stop, ends_by_time
from nas.originals import Originals
from nas.records import (
    MACHINE_FAILURES,
    Adopted,
    Answered,
    AttemptAnswered,
    AttemptCut,
    AttemptStarted,
    AttemptStopped,
    CandidateFailure,
    DriverTookOver,
    Event,
    Exhausted,
    Failed,
    Happening,
    LateResult,
    Lesson,
    Noted,
    Outcome,
    Proposed,
    ReplicateEnded,
    ReplicationBegun,
    Reported,
    Reward,
    RunEnded,
    SlotsChanged,
    StopRequested,
    Succeeded,
    Taught,
    Tick,
    TrialEnded,
    TrialPaused,
    TrialReported,
    WorkersChanged,
)
from nas.schedulers import NoScheduler, Promotion, Scheduler
from nas.stragglers import Stragglers, judged
from nas.verdict import RECENT, deciding, diagnosed, failure_signature, is_short, needs_fresh_child, took_down, verdict


@dataclass(slots=True)
class Search:
    """One run's search.

    >>> search.handle(SlotsChanged(1), now=0.0)         # a new run with one slot
    [Record(WorkersChanged(1)), Record(Proposed(...)), Record(AttemptStarted(0, 0)), Launch(0, 0, False)]
    """

    controller: Controller
    reward: Callable[[Mapping[str, float], float], Reward]  # of metrics and seconds; InputError where one is missing
    budget: Budget
    originals: Originals = field(default_factory=Originals)
    stop: Stop = field(default_factory=Stop)
    full_length: int | None = None  # epochs of a whole attempt, where they are known
    replicate: replication.Wanted = field(default_factory=replication.Wanted)
    scheduler: Scheduler = field(default_factory=NoScheduler)
    progress: Callable[[Mapping[str, float]], float | None] = lambda metrics: None  # of a report, for the scheduler
    stragglers: Stragglers | None = None  # None: none is cut off, and none copied
    history: History = field(default_factory=History)
    stopping: bool = False
    leaving: bool = False  # and what runs was asked to leave its state
    over: End | None = None
    incumbents: Incumbents = field(default_factory=Incumbents)
    _waiting: set[int] = field(default_factory=set)  # trials that want an attempt
    _unsettled: set[int] = field(default_factory=set)  # open trials that may have to end
    _duplicates: dict[int, list[int]] = field(default_factory=dict)  # original, still open -> trials waiting on it
    _nothing_left: str = ""  # the controller's reason, once it had one
    _looked: float = 0.0  # when stragglers were last looked for
    _reporter: tuple[int, int] | None = None  # whose report is being handled
    _winding_up: dict[tuple[int, int], int] | None = None  # attempts that are let end -> step when that was decided
    _recent: deque[tuple[int, str]] = field(
        default_factory=lambda: deque(maxlen=RECENT)
    )  # (trial, how it failed or "")
    _diagnosis: str = ""  # one failure in most of these, in words
    _closed: str = ""  # digest of the trials that ended, in that order, and of what came late for them

    # Deciding --------------------------------------------------------------------------------------------------------

    def handle(self, happening: Happening, now: float) -> list[Instruction]:
        """What to do about one happening at ``now`` (seconds since the Unix epoch)."""
        out: list[Instruction] = []
        if self.over:
            return out
        self._reporter = None
        match happening:
            case Adopted(answers):
                self._settle(now, out)  # what the journal has comes first, as it would have without the kill
                for answer in answers:
                    if self.history.trials[answer.trial].awaits(answer.attempt):
                        self._answered(answer.trial, answer.attempt, answer.outcome, now, out)
                        self._settle(now, out)
            case SlotsChanged(slots):
                self._record(WorkersChanged(slots), now, out)
            case Answered(trial, attempt, outcome):
                self._answered(trial, attempt, outcome, now, out)
            case Reported(trial, attempt, step, metrics):
                if (trial, attempt) in self.history.running:
                    self._reporter = (trial, attempt)
                    self._record(TrialReported(trial, attempt, step, metrics), now, out)
                    self._look_at(trial, attempt, step, now, out)
            case StopRequested(leave):
                self.stopping = True
                if leave and not self.leaving:
                    self.leaving = True
                    out += [AskToStop(*key, leave=True) for key in sorted(self.history.running)]
            case Tick() | Noted():
                pass
        self._settle(now, out)
        self._cut(now, out)
        self._start(now, out)
        self._replicate(now, out)
        self._end_if_done(now, out)
        return out

    def worth(self, outcome: Succeeded) -> Reward:
        """The reward of an outcome. Raises InputError where a metric that it needs is missing."""
        return self.reward(outcome.metrics, outcome.seconds)

    def digest(self) -> str:
        """SHA-256 of all trials and of the controller's state: live and replayed must agree.

        A trial that ended was digested then, each into the digest before it.
        """
        again = [self.history.trials[number] for number in self.history.replicated]
        trials = orjson.dumps([self._closed, list(self.history.open.values()), again], default=str)
        return sha256(trials + self.controller.save() + orjson.dumps(self.scheduler.save())).hexdigest()

    def _answered(self, number: int, attempt: int, outcome: Outcome, now: float, out: list[Instruction]) -> None:
        trial = self.history.trials[number]
        if not trial.awaits(attempt):
            self._record(LateResult(number, attempt, outcome), now, out)
            return
        outcome = self._scorable(trial, attempt, judged(trial, attempt, outcome))
        self._record(AttemptAnswered(number, attempt, outcome), now, out)
        replicate = trial.attempts[attempt].replicate
        rivals = trial.running_attempts(replicate)  # copies, or the answer is of an earlier driver's attempt
        if rivals and deciding(trial, replicate) is not None:
            out += [Cancel(number, rival.attempt) for rival in rivals]

    def _look_at(self, number: int, attempt: int, step: int, now: float, out: list[Instruction]) -> None:
        """Whether the scheduler has seen enough of a trial that has just reported; it is asked to stop once."""
        seen = self.scheduler.watches and self._is_original(number, attempt)
        if seen and not self.history.trials[number].attempts[attempt].stopped:
            why = self.scheduler.stops(number, self.full_length)
            if why:
                self._record(AttemptStopped(number, attempt, step, why), now, out)
                out.append(AskToStop(number, attempt))

    def _cut(self, now: float, out: list[Instruction]) -> None:
        """Once a second: cut off what takes far longer than its like."""
        if self.stragglers is None or 0 <= now - self._looked < 1.0:
            return
        self._looked = now
        for key in sorted(self.history.running):
            if why := self.stragglers.too_long(self.history, key, now):
                self._record(AttemptCut(*key, why), now, out)
                out.append(Cancel(*key))

    def _scorable(self, trial: Trial, attempt: int, outcome: Outcome) -> Outcome:
        """A success without what reward or scheduler need is a failure of the objective."""
        if isinstance(outcome, Failed):
            return outcome
        try:
            self.worth(outcome)
            self._require_reports(trial, attempt, outcome)
        except InputError as error:
            notes = {**outcome.notes, "metrics": dict(outcome.metrics)}
            return Failed("error", str(error), "", outcome.seconds, notes, outcome.fresh, outcome.place)
        return outcome

    def _require_reports(self, trial: Trial, attempt: int, outcome: Succeeded) -> None:
        """Raises InputError where the scheduler can see nothing of a trial: it would quietly do nothing."""
        if self.scheduler.name == "none":
            return
        remedy = "call context.report(step, metrics) in the objective, or take scheduler none"
        if not trial.attempts[attempt].step and not epochs_of(outcome):
            raise InputError(f"scheduler {self.scheduler.name} looks at reports, and the objective made none: {remedy}")
        said = [metrics for number, _, metrics in trial.reports if number == attempt] if self.scheduler.watches else []
        if said and all(self.progress(metrics) is None for metrics in said):
            raise InputError(
                f"scheduler {self.scheduler.name} looks for the reward's metric in the reports, and these hold "
                f"{', '.join(said[-1]) or 'nothing'}: {remedy}"
            )

    def _settle(self, now: float, out: list[Instruction]) -> None:
        """End the trials whose attempts (or whose original) have said enough."""
        ahead: list[int] = []
        while self._unsettled or ahead:
            for number in self._unsettled:
                heappush(ahead, number)
            self._unsettled.clear()
            trial = self.history.open.get(heappop(ahead))
            ending = self._ending(trial) if trial else None
            if trial and ending is not None:
                self._record(ending, now, out)
                kept = ending.attempt if isinstance(ending, TrialPaused) else None
                out += [Forget(trial.number, one) for one in retries.states(trial, 0) if one != kept]
        for trial, replicate in list(replication.unfinished(self.history)):
            if (attempt := deciding(trial, replicate)) is not None:
                set_aside = took_down(trial, replicate) == attempt
                self._record(ReplicateEnded(trial.number, replicate, attempt, set_aside), now, out)
                out += [Forget(trial.number, one) for one in retries.states(trial, replicate)]

    def _ending(self, trial: Trial) -> TrialEnded | TrialPaused | None:
        if trial.duplicate_of is not None:
            return None if trial.duplicate_of in self.history.open else TrialEnded(trial.number, "duplicate")
        if trial.proposal.invalid:
            return TrialEnded(trial.number, "failed")
        ending = verdict(trial)
        if self.scheduler.watches and isinstance(ending, TrialEnded) and ending.state == "completed":
            return replace(ending, short=is_short(trial, ending, self.full_length))
        return ending

    def _start(self, now: float, out: list[Instruction]) -> None:
        while not self.stopping and not self._diagnosis and len(self.history.running) < self.history.workers:
            if self._used_up(now):
                return
            if (number := min(self._ready(now), default=None)) is not None:
                self._launch(number, now, out)
            elif promotion := self._promotion(now):
                self._promote(promotion, now, out)
            elif wanting := self._wanting(now):
                trial, replicate = self.history.trials[wanting[0]], wanting[1]
                self._begin(trial, replicate, None, retries.state(trial, replicate), now, out)
            elif not self._proposed_all(now) and len(self._waiting) <= self.history.workers:
                proposal = self.controller.ask(len(self.history.trials))
                if isinstance(proposal, Exhausted):
                    self._nothing_left = proposal.reason
                    continue  # what paused may go on
                self._record(Proposed(proposal, self.originals.of(proposal)), now, out)
                self._settle(now, out)
            elif copied := self._to_copy(now):
                trial, one = copied
                self._begin(trial, one.replicate, one.until, one.saved, now, out)
            else:
                return

    def _to_copy(self, now: float) -> tuple[Trial, AttemptRecord] | None:
        """A running attempt, for an idle worker, when nothing else will come."""
        if self.stragglers is None or self._waiting or not self._proposed_all(now):
            return None
        return self.stragglers.to_copy(self.history, now)

    def _launch(self, number: int, now: float, out: list[Instruction]) -> None:
        """A trial's first attempt, or once more what its last one was to do."""
        trial = self.history.trials[number]
        last = next(reversed(trial.training()), None)
        until = last.until if last else self.scheduler.first(number)
        self._begin(trial, 0, until, retries.state(trial, 0), now, out)

    def _promotion(self, now: float) -> Promotion | None:
        """A paused trial for a free slot, unless a rule to stop by holds."""
        if self.scheduler.name == "none" or self._stops(now):
            return None
        no_more = self._trials_are_up() or bool(self._exhausted())
        return self.scheduler.promotion(closing=no_more and not self.history.running and not self._waiting)

    def _promote(self, promotion: Promotion, now: float, out: list[Instruction]) -> None:
        trial = self.history.trials[promotion.trial]
        paused = next(a for a in trial.attempts if a.outcome is not None and a.outcome is trial.outcome)
        self._begin(trial, 0, promotion.until, paused.attempt, now, out)

    def _begin(
        self, trial: Trial, replicate: int, until: int | None, saved: int | None, now: float, out: list[Instruction]
    ) -> None:
        attempt, fresh = len(trial.attempts), needs_fresh_child(trial, replicate)
        self._record(AttemptStarted(trial.number, attempt, fresh, replicate, until, saved), now, out)
        out.append(Launch(trial.number, attempt, fresh))

    def _ready(self, now: float) -> list[int]:
        """The trials that want an attempt and may have one now."""
        return [number for number in self._waiting if not retries.waits(self.history.trials[number], 0, now)]

    def _wanting(self, now: float | None = None) -> tuple[int, int] | None:
        """The next (trial, replicate) to be launched, while replicates are wanted; one that may be, at a time."""
        for number, replicate in replication.waiting(self.history) if self.replicate.seeds else ():
            if now is None or not retries.waits(self.history.trials[number], replicate, now):
                return number, replicate
        return None

    def wakes(self, now: float) -> float | None:
        """When a training that has to wait may begin, if one has to: for who sends no Tick every second."""
        waiting = [(number, 0) for number in self._waiting]
        waiting += replication.waiting(self.history) if self.replicate.seeds else ()
        pauses = (retries.waits(self.history.trials[number], replicate, now) for number, replicate in waiting)
        return min((now + pause for pause in pauses if pause), default=None)

    def _replicate(self, now: float, out: list[Instruction]) -> None:
        """When the search has ended by itself: say which trials are to be replicated, unless all of them are."""
        if (
            not self.replicate.seeds
            or self.history.running
            or self._waiting
            or self._diagnosis
            or self._wanting()
            or self._promotion(now)
        ):
            return
        if not self._proposed_all(now):
            return
        trials = replication.best(self.history, self.worth, self.replicate.top)
        if replication.lacking(self.history, trials, self.replicate.seeds):
            self._record(ReplicationBegun(trials, self.replicate.seeds), now, out)
            self._start(now, out)

    def _end_if_done(self, now: float, out: list[Instruction]) -> None:
        if self._diagnosis:
            self._end(End("diagnosis", self._diagnosis, look_at=self._recent[-1][0]), now, out)
        elif self.budget.time_is_up(self.history, now):
            self._cut_off(now, out)
        elif self.budget.epochs_are_up(self.history):
            self._wind_up(now, out)
        elif self.history.running:
            return
        elif not self.stopping and (self._waiting or self._wanting() or self._promotion(now)):
            return  # for a slot
        elif self._wanting():
            self._end(End("interrupted"), now, out)
        elif not self._waiting and (why := self._stops(now)):
            self._end(End("stopped", f"{why}; a stop that is farther goes on"), now, out)
        elif not self._waiting and self._trials_are_up():
            done = f"{self.originals.counted:,} trials are done (budget.trials)"
            self._end(End("budget", f"{done}; a larger budget goes on"), now, out)
        elif not self._waiting and self._exhausted():
            self._end(End("exhausted", self._exhausted()), now, out)
        elif self.stopping:
            self._end(End("interrupted"), now, out)

    def _wind_up(self, now: float, out: list[Instruction]) -> None:
        """Cut off who is in an epoch more than the budget has; who has trained its last one only has to answer.

        Where it is not known which one is the last, that may be the one whose report used the budget up: it is asked
        to stop, and cut off when it has gone on for two epochs all the same.
        """
        if self._winding_up is None:
            self._winding_up = {key: self._step(key) for key in self.history.running if self._trained_its_last(key)}
            out.extend(Cancel(*key) for key in sorted(self.history.running.keys() - self._winding_up.keys()))
            if self.full_length is None:
                out.extend(AskToStop(*key) for key in self._winding_up)
        heeding = {key for key, then in self._winding_up.items() if self._step(key) < then + 2}
        if not heeding & self.history.running.keys():
            self._cut_off(now, out)

    def _trained_its_last(self, key: tuple[int, int]) -> bool:
        length = self._attempt(key).until or self.full_length
        return key == self._reporter if length is None else self._step(key) >= length

    def _step(self, key: tuple[int, int]) -> int:
        return self._attempt(key).step

    def _attempt(self, key: tuple[int, int]) -> AttemptRecord:
        trial, attempt = key
        return self.history.trials[trial].attempts[attempt]

    def _cut_off(self, now: float, out: list[Instruction]) -> None:
        cut = len(({trial for trial, _ in self.history.running} & self.history.open.keys()) | self._waiting)
        words = f": {cut} trial{'s were' if cut > 1 else ' was'} cut off, and not counted" if cut else ""
        if self.replicate.seeds and self.history.replicates_left:
            words += f"{',' if cut else ':'} {self.history.replicates_left} replicates have not ended"
        self._end(End("budget", f"{self._used_up(now)}{words}; a larger budget goes on"), now, out)

    def _end(self, end: End, now: float, out: list[Instruction]) -> None:
        self.over = end
        out.extend(Cancel(*key) for key in sorted(self.history.running))
        self._record(RunEnded(end.reason, end.message, self.digest(), end.look_at), now, out)
        out.append(end)

    def useful(self, now: float) -> int | None:
        """How many workers still are, when only other attempts at what runs may yet be started; None before that."""
        more_to_come = self._waiting or self.replicate.seeds or self.scheduler.name != "none"
        if more_to_come or not self._proposed_all(now):
            return None
        return len(self.history.running) + (self.stragglers.may_be_copied(self.history) if self.stragglers else 0)

    def _proposed_all(self, now: float) -> bool:
        """Whether no trial more is to be proposed; what runs may end."""
        return self._trials_are_up() or bool(self._stops(now) or self._exhausted())

    def _trials_are_up(self) -> bool:
        return self.budget.trials is not None and self.originals.counted >= self.budget.trials

    def _stops(self, now: float) -> str:
        return self.stop.holds(self.incumbents, self.history, now)

    def _used_up(self, now: float) -> str:
        """The budget, if any, for which no attempt more is to be started."""
        return self.budget.time_is_up(self.history, now) or self.budget.epochs_are_up(self.history)

    def _exhausted(self) -> str:
        return self._nothing_left or self.originals.exhausted()

    # Being told ------------------------------------------------------------------------------------------------------

    def _record(self, event: Event, now: float, out: list[Instruction]) -> None:
        out.append(Record(event, now))
        self.apply(event, now)

    def apply(self, event: Event, time: float) -> None:
        """Take in one journaled event: the only place where the state changes, live and in replay."""
        if isinstance(event, DriverTookOver) and self.history.ended and self.history.ended.reason == "diagnosis":
            self._recent.clear()
            self._diagnosis = ""  # going on after a diagnosis means that its cause was seen to
        paused = self._paused(event)
        self.history.apply(event, time)
        match event:
            case Taught(lessons=lessons) if isinstance(self.controller, Teachable):
                self.controller.teach([(lesson, self._result(lesson)) for lesson in lessons])
            case DriverTookOver():
                self._waiting = {n for n, t in self.history.open.items() if self._wants_attempt(t)}
                self._unsettled |= self._waiting  # some may have been lost too often
            case Proposed():
                self._proposed(event)
            case AttemptStarted(trial, attempt, _, replicate, until, saved):
                self._waiting.discard(trial)
                if paused is not None:
                    self.scheduler.promoted(trial, paused, until)
                if not replicate and saved is None and self._is_original(trial, attempt):
                    self.scheduler.began(trial)
            case TrialReported(trial, attempt, step, metrics) if self.scheduler.watches:
                if self._is_original(trial, attempt) and (value := self.progress(metrics)) is not None:
                    self.scheduler.reported(trial, step, value)
            case AttemptAnswered(trial, attempt):
                if self.stragglers is not None:
                    self.stragglers.answered(self.history.trials[trial], attempt)
                if trial in self.history.open:
                    self._unsettled.add(trial)
                    if not self.history.trials[trial].running_attempts():
                        self._waiting.add(trial)
            case LateResult(trial):
                if trial not in self.history.open:
                    self._close(event)
            case TrialPaused():
                self._trial_paused(event)
            case TrialEnded():
                self._trial_ended(event)

    def _is_original(self, trial: int, attempt: int) -> bool:
        """Whether no other runs that began before it: a copy is nothing to a scheduler."""
        running = self.history.trials[trial].running_attempts()
        return not running or running[0].attempt == attempt

    def _paused(self, event: Event) -> int | None:
        """The rung at which the trial waits that an event promotes; None for any other event."""
        if self.scheduler.name == "none" or not isinstance(event, AttemptStarted):
            return None
        trial = self.history.trials[event.trial]
        return trial.reached if trial.state == "paused" else None

    def _result(self, lesson: Lesson) -> Reward | CandidateFailure:
        return CandidateFailure(lesson.failure) if lesson.failure else self.reward(lesson.metrics, lesson.seconds)

    def _proposed(self, event: Proposed) -> None:
        proposal = event.proposal
        self.controller.began(proposal)
        self.originals.add(event)
        if event.duplicate_of is not None:
            self._duplicates.setdefault(event.duplicate_of, []).append(proposal.number)
            self._unsettled.add(proposal.number)
            return
        (self._unsettled if proposal.invalid else self._waiting).add(proposal.number)

    def _trial_paused(self, event: TrialPaused) -> None:
        trial = self.history.trials[event.trial]
        self._settled(trial)
        if not trial.since:
            self._looked_at(trial)
        assert isinstance(trial.outcome, Succeeded)
        worth = self._told(trial)
        self.scheduler.paused(trial.number, event.step, worth.vector)
        self.controller.tell(trial.proposal, worth)
        self.incumbents.compare(worth.vector, trial)

    def _settled(self, trial: Trial) -> None:
        self._close(trial)
        self._waiting.discard(trial.number)
        self._unsettled.discard(trial.number)
        self._unsettled.update(self._duplicates.pop(trial.number, ()))

    def _looked_at(self, trial: Trial) -> None:
        self._recent.append((trial.number, failure_signature(trial.outcome)))
        self._diagnosis = diagnosed(self._recent, self.history)

    def _told(self, trial: Trial) -> Reward:
        """What the trial is worth by the outcome that counts; under a scheduler with what it was worth at each rung."""
        outcome = trial.outcome
        assert isinstance(outcome, Succeeded)
        worth = self.worth(outcome)
        if self.scheduler.name == "none":
            return Reward(worth.vector, worth.metrics, seconds=self._seconds(trial))
        reports = dict(trial.curve())
        metrics = {
            step: {**outcome.metrics, **reports[step]}
            for step in self.scheduler.rungs(trial.reached)
            if step in reports
        }
        curve = {step: self.reward(known, outcome.seconds).vector for step, known in metrics.items()}
        if trial.whole or trial.state == "paused" or not curve:
            curve[WHOLE if trial.whole else trial.reached] = worth.vector
        again = trial.since > 0
        return Reward(worth.vector, worth.metrics, list(curve.items()), again=again, seconds=self._seconds(trial))

    def _seconds(self, trial: Trial) -> float | None:
        """What its training took, by the step under a scheduler; None where that is not to be told, or is of another
        length than others': of a trial that went on, or of a duplicate's original, which may have.
        """
        if trial.since or trial.duplicate_of is not None or not ends_by_time(self.history.config):
            return None
        return trial.seconds() / (1 if self.scheduler.name == "none" else max(1, trial.reached))

    def _trial_ended(self, event: TrialEnded) -> None:
        trial = self.history.trials[event.trial]
        self._settled(trial)
        if event.state != "duplicate" and (event.state == "failed" or not trial.since):
            self._looked_at(trial)
        match trial.outcome:
            case Succeeded():
                worth = self._told(trial)
                self.controller.tell(trial.proposal, worth)
                if event.state == "completed":
                    self.scheduler.ended(trial.number, worth.vector)
                    self.incumbents.compare(worth.vector, trial)
            case Failed(kind):
                charged = kind not in MACHINE_FAILURES
                if event.state == "failed":
                    self.scheduler.ended(trial.number, None)
                    self.incumbents.failed(trial, charged=charged)
                    if not charged:
                        self.originals.forget(trial.proposal)
                if charged:
                    self.controller.tell(trial.proposal, CandidateFailure(kind, again=trial.since > 0))

    def _close(self, what: Trial | LateResult) -> None:
        self._closed = sha256(self._closed.encode() + orjson.dumps(what, default=str)).hexdigest()

    def _wants_attempt(self, trial: Trial) -> bool:
        return trial.duplicate_of is None and not trial.proposal.invalid and not trial.running_attempts()

    # Snapshot --------------------------------------------------------------------------------------------------------

    def save(self) -> bytes:
        """The state but for history and controller, as JSON."""
        state = {
            "waiting": list(self._waiting),
            "unsettled": list(self._unsettled),
            "duplicates": list(self._duplicates.items()),
            "recent": list(self._recent),
            "diagnosis": self._diagnosis,
            "closed": self._closed,
            "originals": self.originals.save(),
            "incumbents": self.incumbents.save(),
            "scheduler": self.scheduler.save(),
            "stragglers": self.stragglers.save() if self.stragglers else [],
        }
        return orjson.dumps(state)

    def load(self, state: bytes, history: History) -> None:
        """Take on what ``save`` returned, with the history of then; the controller's state is loaded apart."""
        data: dict[str, Any] = orjson.loads(state)
        self.history = history
        self._waiting, self._unsettled = set(data["waiting"]), set(data["unsettled"])
        self._duplicates = dict(data["duplicates"])
        self._recent = deque(((trial, how) for trial, how in data["recent"]), RECENT)
        self._diagnosis, self._closed = data["diagnosis"], data["closed"]
        self.originals.load(data["originals"])
        self.incumbents.load(data["incumbents"])
        self.scheduler.load(data["scheduler"])
        if self.stragglers:
            self.stragglers.load(data["stragglers"])
