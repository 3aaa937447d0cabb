"""The only joiner: it carries what the search machine decides to journal, cluster and screen, and what they say back.

    run(plan, folder, observe)   -> Ended     a new run, or the rest of one that stopped

One turn of the loop: wait for the executor, hand each happening to the machine, put every event of the turn into the
journal with one sync, and only then start attempts. A kill between any two statements loses nothing that was
acknowledged: the journal is replayed, results that attempts left in the run's folder are adopted, the rest runs again.
"""

from __future__ import annotations

import math
import os
import shlex
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nas import controllers, provenance, retries, reward, schedulers, seeds, snapshots, store, warm_start
from nas.cluster import Executor
from nas.cluster.batch.walltime import TERM_GRACE
from nas.cluster.connect import visible_gpus
from nas.cluster.inline import InlineExecutor
from nas.config import RunConfig
from nas.durable import within
from nas.errors import DiskFull, InputError, Interrupted
from nas.history import History, Trial
from nas.instructions import AskToStop, Cancel, End, EndReason, Forget, Instruction, Launch, Record
from nas.latecomers import Latecomers
from nas.limits import Budget, Stop
from nas.machine import Search
from nas.objective import Context, evaluate, resumable
from nas.originals import Originals
from nas.plan import Plan, going_on
from nas.records import (
    Adopted,
    Answered,
    Attempt,
    BudgetChanged,
    Event,
    Failed,
    Happening,
    Noted,
    Outcome,
    Proposal,
    RunStarted,
    StopRequested,
    Taught,
    Tick,
)
from nas.replication import Wanted, unfinished
from nas.results import forget_state, read_attempt, read_results
from nas.schedulers.settings import whole_length
from nas.space import Candidate
from nas.stragglers import Stragglers
from nas.verdict import must_halve

TURN = 0.5  # seconds that one turn waits at most: how late a time budget may be noticed
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
GRACE = 45.0  # seconds that what runs is waited for after SIGUSR1, which warns of a kill in a minute or two
ROOM = 1.0  # seconds between two looks whether a full disk has room again
SHOW = 0.25  # seconds between two looks of an observer, which may cost more than a turn ...
OBSERVED = 20  # ... so that many times as long as its last look took is left before the next


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended, and the exit code that says so to a shell."""

    reason: EndReason
    message: str
    folder: Path
    history: History
    again: bool = False  # interrupted by the end of a batch job's time: another one is to go on

    @property
    def exit_code(self) -> int:
        if self.reason == "interrupted":
            return Interrupted.exit_code
        reached = self.history.tally["completed"] or self.history.tally["paused"]
        return 0 if reached and self.reason != "diagnosis" else 3


Observer = Callable[[Search, float], None]  # the machine, and the time now; called once a turn


def run(
    plan: Plan,
    folder: Path,
    observe: Observer = lambda search, now: None,
    *,
    salvage: bool = False,
    opened: Callable[[History], None] = lambda history: None,
    note: snapshots.Note = lambda line: None,
    until: tuple[float, float] = (math.inf, math.inf),
) -> Ended:
    """Run a search in ``folder`` until it ends; go on where an earlier driver stopped.

    ``opened`` is called once, when the run is ours and what earlier drivers left is taken in. ``note`` is given a line
    where no snapshot could be used, or written, when the disk is full, and while no worker comes. ``until``, both in
    time.monotonic(): from when on nothing more begins, and when the driver leaves, whatever runs; a batch job's time is
    up then.

    Raises:
        RunHeld: another driver is alive on the folder, or has taken the run over.
        InputError: the folder holds another search, its journal is damaged, or the cluster cannot be had.
        DiskFailed: the journal could not be written.
        Interrupted: asked to stop a second time, or told to go at once.
    """
    taught, journal, search = _claim(plan, folder, note, salvage=salvage)
    keeper = snapshots.Keeper(journal, search, note)
    leave = _Leave(*until, resumable(plan.objective))
    try:
        drive = _Drive(plan, folder, journal, search, keeper, leave, note)
        drive.open(taught)
        opened(search.history)
        with _stop_signals(leave):
            drive.loop(observe)
            keeper.close()
        assert search.over is not None
        again = leave.again and search.over.reason == "interrupted"
        return Ended(search.over.reason, search.over.message, folder, search.history, again)
    except KeyboardInterrupt:
        journal.require_ours()  # of one that was stopped meanwhile: it has nobody begin again
        go_on = shlex.join(["nas", "resume", str(folder)])
        raise Interrupted(f"stopped at once; go on with: {go_on}", again=leave.again) from None
    finally:
        keeper.wait()
        journal.close()


def begin(plan: Plan, folder: Path) -> History:
    """Record a new run, or what ``plan`` changes about one that is there, and run nothing: a batch job goes on with it.

    Raises:
        RunHeld, InputError, DiskFailed: as ``run``.
    """
    taught, journal, search = _claim(plan, folder, lambda line: None)
    keeper = snapshots.Keeper(journal, search, lambda line: None)
    try:
        _Drive(plan, folder, journal, search, keeper, _Leave(math.inf, math.inf), lambda line: None).open(taught)
        return search.history
    finally:
        keeper.wait()
        journal.close()


def _claim(
    plan: Plan, folder: Path, note: snapshots.Note, *, salvage: bool = False
) -> tuple[Taught | None, store.Journal, Search]:
    taught = None if store.exists(folder / "journal") else lessons(plan)  # refused before there is a folder
    journal, search = snapshots.claim(
        folder, partial(machine, plan), lambda history: going_on(plan, history, folder), note, salvage=salvage
    )
    return taught, journal, search


def run_again(plan: Plan, folder: Path, number: int) -> Outcome:
    """Train a recorded trial once more, in this process, with its seed and precision; nothing is recorded.

    Raises:
        InputError: the run has no such trial.
    """
    from nas.train import Trainer

    trials = store.history(folder).trials
    if number not in trials:
        raise InputError(f"{folder} has no trial {number}; it has {len(trials)}, from 0")
    device = "cuda" if visible_gpus(os.environ) else "cpu"
    trial, objective = trials[number], plan.objective
    threads = plan.config.cluster.threads or 1
    context = Context(number, _seed(plan, trial.proposal), device, threads, halve=must_halve(trial))
    if isinstance(objective, Trainer) and trial.outcome is not None:
        objective = objective.repeating(trial.outcome.notes)
    return evaluate(objective, Candidate.of(trial.proposal.candidate), context)


def _seed(plan: Plan, proposal: Proposal, replicate: int = 0) -> int:
    """Of every attempt at this training."""
    number = proposal.number if proposal.repeats is None else proposal.repeats
    return seeds.derive(plan.config.seed, "train", number, *([replicate] if replicate else []))


def machine(plan: Plan) -> Search:
    """The search machine of a plan, in the state of a run that has not begun."""
    config = plan.config
    with config.blaming("controller"):
        controller = (
            plan.controller()
            if plan.controller
            else controllers.make(config.controller, plan.space, config.seed, len(config.reward.wishes))
        )
    try:
        assignments = plan.space.count().exact
    except InputError:
        assignments = None  # too entangled to count; a thousand repeats in a row will tell
    with config.blaming("replicate"):
        _require_replicable(config)
    budget, stop = config.budget, config.stop
    with config.blaming("stop", "reward"):
        target = stop.target(config.reward)
    with config.blaming("scheduler"):
        scheduler = schedulers.make(config.scheduler, config.seed, plan.epochs, len(config.reward.wishes))
    return Search(
        controller,
        partial(reward.compute, config.reward),
        Budget(budget.trials, budget.time, budget.device_seconds, budget.epochs),
        Originals(assignments),
        Stop(target, stop.patience, stop.device_seconds),
        whole_length(config.scheduler, plan.epochs),
        Wanted(config.replicate.top, config.replicate.seeds),
        scheduler,
        partial(reward.progress, config.reward),
        None if config.cluster.kind == "inline" else Stragglers(),
    )


def _require_replicable(config: RunConfig) -> None:
    """Raises InputError where there would be no telling which trials are best, or no time to train them again."""
    if not config.replicate.seeds:
        return
    if config.reward.objectives:
        raise InputError("replicate is for one objective; of several there is no mean to rank by")
    stop = config.stop
    if config.budget.trials is None and stop.reward is None and stop.patience is None and stop.device_seconds is None:
        raise InputError(
            "replicate begins when the search has ended by budget.trials or a rule of stop; the other budgets are for "
            "both, and would leave it nothing: give --trials N too, or --set budget.trials=N where the run is resumed"
        )


def lessons(plan: Plan) -> Taught | None:
    """What the earlier run teaches that the config names, if it names one. Raises InputError."""
    config = plan.config
    if config.warm_start is None:
        return None
    with config.blaming("warm_start"):
        return warm_start.read(Path(config.warm_start), plan.space, config.reward)


@dataclass(slots=True)
class _Drive:
    plan: Plan
    folder: Path
    journal: store.Journal
    search: Search
    keeper: snapshots.Keeper
    leave: _Leave
    note: snapshots.Note
    executor: Executor | None = None
    latecomers: Latecomers = field(init=False)

    def __post_init__(self) -> None:
        self.latecomers = Latecomers(self._read)

    def open(self, taught: Taught | None) -> None:
        """Record the run's first event or what changed since, and adopt the results that attempts left behind."""
        history = self.search.history
        changes = going_on(self.plan, history, self.folder)
        if history.started is None:
            store.write_texts(self.folder, self.plan.config.plain(), self.plan.space.source)
            self._record(self._run_started())
        if history.taught is None and not history.trials and (taught := taught or lessons(self.plan)):
            self._record(taught)
        if changes:
            self._record(BudgetChanged(changes))
        self.latecomers.remember(history)
        self._act([Adopted(list(self._left_behind()))])

    def _left_behind(self) -> Iterator[Answered]:
        history = self.search.history
        for trial, replicate in [*((trial, 0) for trial in history.open.values()), *unfinished(history)]:
            self._sweep(trial.number)
            known = {a.attempt for a in trial.training(replicate) if a.outcome is None}
            for attempt, outcome in read_results(self._attempt(trial, 0, replicate)):
                if attempt in known:
                    yield Answered(trial.number, attempt, outcome)

    def loop(self, observe: Observer) -> None:
        if self.search.over:
            return
        self.executor = self.plan.connect(self.folder)
        if isinstance(self.executor, InlineExecutor):  # which is in an attempt while it waits
            self.executor.hear = lambda report: self._act([report, *self._stop_requests()])
        next_look = 0.0
        try:
            while not self.search.over:
                happenings = [*self.executor.wait(TURN), *self._stop_requests()]
                happenings += self.latecomers.come(time.monotonic())
                self._act(happenings or [Tick()])
                if (useful := self.search.useful(time.time())) is not None:
                    self.executor.wind_down(useful)
                self.keeper.look()
                if time.monotonic() >= next_look:
                    looked = time.monotonic()
                    observe(self.search, time.time())
                    next_look = max(looked + SHOW, time.monotonic() + OBSERVED * (time.monotonic() - looked))
        finally:
            self.executor.close()

    def _stop_requests(self) -> list[Happening]:
        """What the search has not yet been told of being asked to stop. Raises KeyboardInterrupt."""
        asked, leaving = self.leave.asked(), self.leave.leaving and self.leave.resumable
        told = self.search.stopping and self.search.leaving >= leaving
        return [StopRequested(leaving)] if asked and not told else []

    def _act(self, happenings: Sequence[Happening]) -> None:
        """One turn: decide, record everything with one sync, and only then act."""
        instructions: list[Instruction] = []
        for happening in happenings:
            instructions += self.search.handle(happening, time.time())
            self.latecomers.hear(happening)
            if isinstance(happening, Noted):
                self.note(happening.line)
            if isinstance(happening, Answered) and isinstance(happening.outcome, Failed):
                self._sweep(happening.trial)
        self._append([(i.event, i.time) for i in instructions if isinstance(i, Record)])
        for instruction in instructions:
            match instruction:
                case Launch():
                    assert self.executor is not None, "nothing is launched before there are slots"
                    if not instruction.attempt:  # an earlier driver may have launched it, and a torn journal not know
                        self._sweep(instruction.trial)
                    trial = self.search.history.trials[instruction.trial]
                    replicate = trial.attempts[instruction.attempt].replicate
                    self.executor.start(self._attempt(trial, instruction.attempt, replicate, fresh=instruction.fresh))
                case AskToStop(number, attempt, leave) if self.executor is not None:
                    self.executor.stop(number, attempt, leave=leave)
                case Cancel(number, attempt) if self.executor is not None:
                    self.executor.cancel(number, attempt)
                case Forget(number, attempt):
                    replicate = self.search.history.trials[number].attempts[attempt].replicate
                    folder = self._trial_folder(number)
                    forget_state(folder / f"r{replicate}" if replicate else folder, attempt)
                case Record() | AskToStop() | Cancel() | End():
                    pass

    def _append(self, events: Sequence[tuple[Event, float]]) -> None:
        """To the journal. Where the disk is full nothing is begun until there is room; what answers waits meanwhile.

        Raises:
            KeyboardInterrupt: asked to stop while there is none; the next driver does again what was not recorded.
        """
        paused = False
        while True:
            try:
                self.journal.append(events)
                break
            except DiskFull as error:
                if not paused:
                    self.note(f"{error}: the search pauses until there is room; nothing that was recorded is lost")
                paused = True
                if self.leave.asked():
                    raise KeyboardInterrupt from None
                time.sleep(ROOM)
        if paused:
            self.note("there is room again: the search goes on")

    def _sweep(self, trial: int) -> None:
        """Remove what killed children half wrote."""
        for pattern in ("*/.*.tmp", "r*/*/.*.tmp"):
            for half_written in self._trial_folder(trial).glob(pattern):
                half_written.unlink(missing_ok=True)

    def _read(self, number: int, attempt: int) -> Outcome | None:
        """What an earlier attempt wrote."""
        trial = self.search.history.trials[number]
        return read_attempt(self._attempt(trial, attempt, trial.attempts[attempt].replicate))

    def _attempt(self, trial: Trial, attempt: int, replicate: int, *, fresh: bool = False) -> Attempt:
        number, proposal, folder = trial.number, trial.proposal, self._trial_folder(trial.number)
        this = trial.attempts[attempt] if attempt < len(trial.attempts) else None
        training = within(folder, f"r{replicate}") if replicate else folder
        within(training, str(attempt))  # refused here; a worker could only fail
        return Attempt(
            run=self._run_id(),
            trial=number,
            attempt=attempt,
            candidate=proposal.candidate,
            hash=proposal.hash,
            seed=_seed(self.plan, proposal, replicate),
            folder=str(training),
            fresh=fresh,
            deadline=self.plan.deadline,
            until=this.until if this else None,
            saved=this.saved if this else None,
            since=0 if replicate else trial.since,
            replicate=replicate,
            avoid=retries.avoided(trial, replicate),
            halve=must_halve(trial, replicate),
        )

    def _record(self, event: Event) -> None:
        now = time.time()
        self.journal.append([(event, now)])
        self.search.apply(event, now)

    def _run_started(self) -> RunStarted:
        return RunStarted(
            run=uuid.uuid4().hex,
            name=self.plan.config.name,
            config=self.plan.config.plain(),
            space=self.plan.space.source,
            task=self.plan.space.task,
            seed=self.plan.config.seed,
            versions=provenance.versions(),
            hardware=provenance.hardware(),
        )

    def _run_id(self) -> str:
        assert self.search.history.started is not None
        return self.search.history.started.run

    def _trial_folder(self, number: int) -> Path:
        """Raises InputError where it is a link, or the folder of trials is."""
        return within(self.folder.absolute(), "trials", str(number))


@dataclass(slots=True)
class _Leave:
    """Whether this driver was asked to stop; both times are in time.monotonic()."""

    stop_at: float  # begin nothing more from then on
    gone_by: float  # leave, whatever runs
    resumable: bool = False  # what runs can leave its state
    heard: bool = False
    leaving: bool = False  # there is no time to wait for the end of what runs
    again: bool = False

    def asked(self) -> bool:
        """Raises KeyboardInterrupt when the time to leave has come."""
        now = time.monotonic()
        if now >= self.stop_at:
            self.again = self.leaving = True
        if now >= self.gone_by:
            raise KeyboardInterrupt
        return self.heard or self.leaving

    def hear(self, number: int, frame: object) -> None:
        """A signal came. Leaving at once is a KeyboardInterrupt: an objective in this process does not take it for its.

        SIGINT once: stop when what runs has ended. SIGUSR1: so too, but soon. SIGTERM: when what runs has left its
        state, if it can. SIGINT or SIGTERM again, or SIGHUP: at once.
        """
        if number == signal.SIGUSR1:
            self.again = self.leaving = True
            self.gone_by = min(self.gone_by, time.monotonic() + GRACE)
        elif number == signal.SIGTERM and self.resumable and not self.leaving:
            self.leaving = True
            self.gone_by = min(self.gone_by, time.monotonic() + TERM_GRACE)
        elif self.leaving or self.heard or number != signal.SIGINT:
            self.again = False
            raise KeyboardInterrupt
        else:
            self.heard = True


@contextmanager
def _stop_signals(leave: _Leave) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = [number for number in STOP_SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores one
    before = {number: signal.signal(number, leave.hear) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
