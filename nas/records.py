"""What happened, as values: every journal event, and the words that pass between driver, controllers and executors.

Nothing here does anything. An event's JSON form carries its kind under ``event``; fields added in later versions have
defaults, so that a journal written by any released version still reads.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, get_args

FailureKind = Literal["invalid", "out_of_memory", "diverged", "error", "crashed", "timeout", "lost", "preempted"]
FAILURE_KINDS: tuple[str, ...] = get_args(FailureKind)
MACHINE_FAILURES = frozenset({"lost", "preempted"})  # what the machines did: retried, and charged to nobody
# A reused child may be to blame, or who else is on the GPU.
SUSPECT_WHEN_REUSED = frozenset({"out_of_memory", "crashed", "timeout"})


# What a controller proposes and is told ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Proposal:
    """One trial as its controller proposed it; journaled before anything is launched, and never asked for again."""

    number: int  # of the trial, from 0
    decisions: Mapping[str, int | float]  # active decisions only: path -> index, integer or real, in the order drawn
    candidate: Mapping[str, Any]  # plain JSON; see space.Candidate
    hash: str  # SHA-256 of the candidate's canonical JSON
    log_probability: float | None = None  # under the policy that drew it; None where a controller has none
    policy: int = 0  # version of the policy that drew it: how many updates it had seen
    notes: Mapping[str, Any] = field(default_factory=dict)  # the controller's own, plain JSON, handed back on replay
    invalid: str = ""  # why it cannot be trained, where that is known before training
    rejected: int = 0  # draws of the same ask that violated a constraint before this one did not
    repeats: int | None = None  # the trial of an audited run that this one trains again, with that one's seed


@dataclass(frozen=True, slots=True)
class Lesson:
    """An ended trial of an earlier run, as this run's space has it. What it is worth is computed, as of any trial."""

    trial: int  # its number there
    decisions: Mapping[str, int | float]  # as a proposal's: of this space, active ones only
    hash: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    failure: FailureKind | None = None  # instead of metrics; a candidate's, never a machine's


@dataclass(frozen=True, slots=True)
class Exhausted:
    """A controller's answer when there is nothing left to propose."""

    reason: str


@dataclass(frozen=True, slots=True, init=False)
class Reward:
    """What a finished trial is worth; higher is better. Never NaN nor infinite: those are refused here, at birth.

    >>> Reward(0.9).value, Reward((0.9, -2e6)).vector                   # one objective, and two
    (0.9, (0.9, -2000000.0))
    """

    vector: tuple[float, ...]  # by objective: one, or as many as the run has
    metrics: Mapping[str, float]
    curve: Sequence[
        tuple[int, tuple[float, ...]]
    ]  # under a scheduler: its vectors by rung; see controllers/fidelity.py
    again: bool  # this trial was told before, of a shorter training: this takes that one's place
    seconds: float | None  # where time is all that ends the search: what it took, by the step under a scheduler

    def __init__(
        self,
        worth: float | Sequence[float],
        metrics: Mapping[str, float] | None = None,
        curve: Sequence[tuple[int, tuple[float, ...]]] = (),
        again: bool = False,
        seconds: float | None = None,
    ) -> None:
        vector = tuple(worth) if isinstance(worth, Sequence) else (worth,)
        if not vector or not all(map(math.isfinite, vector)):
            raise ValueError(f"a reward must be finite, not {worth}")
        object.__setattr__(self, "vector", vector)
        object.__setattr__(self, "metrics", {} if metrics is None else metrics)
        object.__setattr__(self, "curve", curve)
        object.__setattr__(self, "again", again)
        object.__setattr__(self, "seconds", seconds)

    @property
    def value(self) -> float:
        """Of the only objective. Raises ValueError where there are several."""
        (value,) = self.vector
        return value


@dataclass(frozen=True, slots=True)
class CandidateFailure:
    """What the candidate itself did wrong. Controllers count it as the worst reward told so far (see controllers)."""

    kind: FailureKind
    again: bool = False  # as of a reward


# What an attempt is and how it ends ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempt:
    """Everything that a worker needs to train one candidate once."""

    run: str  # run id: a result that names another is as if absent
    trial: int
    attempt: int  # from 0 within the trial
    candidate: Mapping[str, Any]
    hash: str
    seed: int  # derived from (run seed, "train", trial[, replicate]): the same for every attempt at this training
    folder: str  # of this training, RUN/trials/<trial>[/r<replicate>]; the attempt's own is <folder>/<attempt>
    fresh: bool = False  # must run in a child process that has trained nothing before, beside nobody on its GPU
    deadline: float | None = None  # seconds allowed, from the attempt's start
    until: int | None = None  # the step at which it pauses, and leaves its state; None: it goes to its end
    saved: int | None = None  # the earlier attempt that paused or was preempted, from whose state it goes on
    since: int = 0  # results of attempts from this one on answer for it too; those before it paused earlier
    replicate: int = 0  # of the trial, with a seed of its own; 0 is the search's own training
    avoid: tuple[str, ...] = ()  # hosts that lost an earlier attempt at it
    halve: bool = False  # an earlier attempt was killed for memory: it begins with half of what passes at once


@dataclass(frozen=True, slots=True)
class Succeeded:
    """Training ended; every metric is finite."""

    metrics: Mapping[str, float]
    seconds: float = 0.0  # from the attempt's start in its child to its end
    notes: Mapping[str, Any] = field(default_factory=dict)  # plain JSON: chosen dtype and why, device, ...
    fresh: bool = True  # the child had trained nothing before, and its GPU was not to be shared
    place: str = ""  # host/pid of the child
    step: int = 0  # of its last report; 0 where it made none
    stopped: bool = False  # it was told to stop there, and not because it was to pause
    outcome: str = field(default="succeeded", init=False)

    def __post_init__(self) -> None:
        bad = [name for name, value in self.metrics.items() if not math.isfinite(value)]
        if bad:
            raise ValueError(f"not finite: {', '.join(bad)}")


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure is a value: what kind, one line of why, and the traceback where there is one."""

    kind: FailureKind
    message: str
    traceback: str = ""
    seconds: float = 0.0
    notes: Mapping[str, Any] = field(default_factory=dict)
    fresh: bool = True
    place: str = ""  # host/pid of the child, or the host alone
    step: int = 0  # preempted: of the state that it left, from which another attempt goes on; 0: it left none
    died: bool = False  # lost with the worker that ran it, be it the machine's doing or the candidate's
    may_halve: bool = False  # out of memory by a kill, which left it no time to halve: another attempt begins so
    outcome: str = field(default="failed", init=False)


Outcome = Succeeded | Failed


def settles(outcome: Outcome) -> bool:
    """Whether the outcome says something of the candidate, and so ends its trial.

    Machine failures do not, nor does a failure for which a reused child or a shared GPU may be to blame: that is
    repeated in a fresh child, with the GPU to itself, before it is charged. So is a kill for memory, with half of what
    passed at once: who is killed can not halve it, as who is told that memory ended does.
    """
    match outcome:
        case Succeeded():
            return True
        case Failed(kind, fresh=fresh, may_halve=may_halve):
            return kind not in MACHINE_FAILURES and not may_halve and (fresh or kind not in SUSPECT_WHEN_REUSED)


# What an executor reports to the search ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SlotsChanged:
    """How many attempts can run at once, from now on."""

    slots: int


@dataclass(frozen=True, slots=True)
class Answered:
    trial: int
    attempt: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Adopted:
    """What attempts of earlier drivers left in the run's folder, found when a run is gone on with."""

    answers: Sequence[Answered]


@dataclass(frozen=True, slots=True)
class Reported:
    trial: int
    attempt: int
    step: int  # what the objective counts: epochs, for the shipped trainer
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed and nothing else did."""


@dataclass(frozen=True, slots=True)
class StopRequested:
    """A person or a batch system asked the run to stop: start nothing more, wait for what runs."""

    leave: bool = False  # there is no time for that: what runs is to leave its state, where it can


@dataclass(frozen=True, slots=True)
class Noted:
    """Something that a person should know of the workers, and that the search has nothing to do about."""

    line: str


Happening = SlotsChanged | Adopted | Answered | Reported | Tick | StopRequested | Noted


# Journal events ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RunStarted:
    run: str  # a random id, in every result of this run
    name: str
    config: Mapping[str, Any]  # whole, defaults filled in
    space: Mapping[str, Any]  # the space's document, as read
    task: Mapping[str, Any]  # what `task.*` was in the space's expressions
    seed: int
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    event: str = field(default="run_started", init=False)


@dataclass(frozen=True, slots=True)
class Taught:
    """What the controller was taught of an earlier run before its first proposal; that run is not needed again."""

    source: str  # the earlier run's folder, as it was given
    run: str  # and its id
    lessons: Sequence[Lesson]
    left_out: Mapping[str, int] = field(default_factory=dict)  # why -> how many trials
    settled: int = 0  # lessons with decisions that the earlier run did not have
    event: str = field(default="taught", init=False)


@dataclass(frozen=True, slots=True)
class DriverTookOver:
    """The first line of every segment: who writes it, and how much of the earlier segments it builds on."""

    host: str
    pid: int
    process_started: float  # with pid, names one process for ever (clock ticks since boot)
    boot: str  # the host's boot id
    accepted: Mapping[str, Any] = field(default_factory=dict)  # earlier segment -> {"length": bytes, "checksum": hex}
    job: str = ""  # of a batch system, "" outside one
    restart: int = 0  # how often that job had been requeued
    event: str = field(default="driver_took_over", init=False)


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """On going on, budget and cluster may differ from the recorded config; the change is journaled."""

    changes: Mapping[str, Any]  # dotted key -> new value
    event: str = field(default="budget_changed", init=False)


@dataclass(frozen=True, slots=True)
class WorkersChanged:
    """How many attempts can run at once, from now on: what utilisation is measured against."""

    workers: int
    event: str = field(default="workers_changed", init=False)


@dataclass(frozen=True, slots=True)
class Proposed:
    proposal: Proposal
    duplicate_of: int | None = None  # the trial with the same hash: this one is not trained
    event: str = field(default="proposed", init=False)


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    trial: int
    attempt: int
    fresh: bool = False
    replicate: int = 0  # 0 is the search's own training
    until: int | None = None  # the step at which it pauses; None: it goes to its end
    saved: int | None = None  # the attempt that paused or was preempted, and from whose state it goes on
    event: str = field(default="attempt_started", init=False)


@dataclass(frozen=True, slots=True)
class AttemptAnswered:
    """The first answer of an attempt whose trial, or replicate, was still open."""

    trial: int
    attempt: int
    outcome: Outcome
    event: str = field(default="attempt_answered", init=False)


@dataclass(frozen=True, slots=True)
class TrialReported:
    trial: int
    attempt: int
    step: int
    metrics: Mapping[str, float]
    event: str = field(default="trial_reported", init=False)


@dataclass(frozen=True, slots=True)
class AttemptStopped:
    """The scheduler's word at a report: the attempt is asked to end with what it has reached."""

    trial: int
    attempt: int
    step: int  # that it had reported
    reason: str
    event: str = field(default="attempt_stopped", init=False)


@dataclass(frozen=True, slots=True)
class AttemptCut:
    """It took far longer than its like (stragglers.py), and is cut off."""

    trial: int
    attempt: int
    reason: str
    event: str = field(default="attempt_cut", init=False)


@dataclass(frozen=True, slots=True)
class TrialPaused:
    """It reached its rung and waits there; a later attempt may go on."""

    trial: int
    attempt: int  # whose answer counts, and whose state is gone on from
    step: int  # the rung
    event: str = field(default="trial_paused", init=False)


@dataclass(frozen=True, slots=True)
class TrialEnded:
    """At most one for each trial, however many attempts it took; none for one that stays paused."""

    trial: int
    state: Literal["completed", "failed", "duplicate"]
    attempt: int | None = None  # whose answer counts; None for a duplicate or one never launched
    short: bool = False  # a scheduler had it end before it was trained in full
    set_aside: bool = False  # it took its worker down twice in the same way (verdict.py): charged as crashed
    event: str = field(default="trial_ended", init=False)


@dataclass(frozen=True, slots=True)
class ReplicationBegun:
    """The best trials are trained again, with other seeds. Which they are is fixed here, before a launch."""

    trials: Sequence[int]  # the best first
    replicates: int  # of each, beside the search's own training
    event: str = field(default="replication_begun", init=False)


@dataclass(frozen=True, slots=True)
class ReplicateEnded:
    """Exactly one for each replicate of a trial, however many attempts it took."""

    trial: int
    replicate: int  # from 1
    attempt: int  # of the trial's, whose answer counts
    set_aside: bool = False  # as of a trial
    event: str = field(default="replicate_ended", init=False)


@dataclass(frozen=True, slots=True)
class LateResult:
    """An answer that came when its trial was already closed, or its attempt already answered. Kept, and not counted."""

    trial: int
    attempt: int
    outcome: Outcome
    event: str = field(default="late_result", init=False)


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run is over, or was stopped on request (``interrupted``; a later segment then goes on)."""

    reason: Literal["budget", "stopped", "exhausted", "diagnosis", "interrupted"]
    message: str = ""
    digest: str = ""  # of the live state; replaying the journal up to here must give the same
    look_at: int | None = None  # of a diagnosis: one of the trials that failed alike
    event: str = field(default="run_ended", init=False)


Event = (
    RunStarted
    | Taught
    | DriverTookOver
    | BudgetChanged
    | WorkersChanged
    | Proposed
    | AttemptStarted
    | AttemptAnswered
    | TrialReported
    | AttemptStopped
    | AttemptCut
    | TrialPaused
    | TrialEnded
    | ReplicationBegun
    | ReplicateEnded
    | LateResult
    | RunEnded
)

EVENTS: dict[str, type] = {kind.__dataclass_fields__["event"].default: kind for kind in get_args(Event)}


def event_from_json(data: Mapping[str, Any]) -> Event:
    """The event that ``orjson.dumps(event)`` came from; keys that this version does not know are dropped.

    Raises:
        ValueError: the kind is unknown (a journal of a newer version), or a field is missing.
    """
    kind = EVENTS.get(data.get("event", ""))
    if kind is None:
        raise ValueError(f"unknown journal event {data.get('event')!r}: was it written by a newer version of nas?")
    values = _known_fields(kind, data)
    if "proposal" in values:
        values["proposal"] = Proposal(**_known_fields(Proposal, values["proposal"]))
    if "lessons" in values:
        values["lessons"] = [Lesson(**_known_fields(Lesson, lesson)) for lesson in values["lessons"]]
    if "outcome" in values:
        values["outcome"] = outcome_from_json(values["outcome"])
    try:
        event: Event = kind(**values)
    except TypeError as error:
        raise ValueError(f"journal event {data['event']!r}: {error}") from None
    return event


def outcome_from_json(data: Mapping[str, Any]) -> Outcome:
    """The outcome that ``orjson.dumps(outcome)`` came from. Raises ValueError where it is neither kind."""
    match data.get("outcome"):
        case "succeeded":
            return Succeeded(**_known_fields(Succeeded, data))
        case "failed":
            return Failed(**_known_fields(Failed, data))
        case other:
            raise ValueError(f"unknown outcome {other!r}")


def _known_fields(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in _fields(kind) if name in data}


@cache
def _fields(kind: Any) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(kind) if f.init)
