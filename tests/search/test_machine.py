"""The state machine alone: happenings in, instructions out, no cluster, no clock, no disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from nas import controllers
from nas.controllers.random import RandomController
from nas.instructions import Cancel, End, Instruction, Launch, Record
from nas.limits import Budget
from nas.machine import Search
from nas.originals import Originals
from nas.records import (
    Answered,
    AttemptAnswered,
    AttemptStarted,
    CandidateFailure,
    DriverTookOver,
    Event,
    Failed,
    FailureKind,
    LateResult,
    Outcome,
    Proposal,
    Proposed,
    Reported,
    Reward,
    RunEnded,
    SlotsChanged,
    StopRequested,
    Succeeded,
    Tick,
    TrialEnded,
    TrialReported,
    WorkersChanged,
)
from nas.reward import RewardSettings, compute
from nas.space import Space
from nas.verdict import MACHINE_RETRIES, must_halve

FLOATS = {"hyperparameters": {"x": {"float": [0.0, 1.0]}}}
FOUR = {"hyperparameters": {"x": {"choice": [1, 2]}, "y": {"choice": ["a", "b"]}}}
HOST = DriverTookOver("host", 1, 1.0, "boot")


def machine(
    space: Mapping[str, Any] = FLOATS, trials: int | None = 10, seconds: float | None = None, controller: str = "random"
) -> Search:
    read = Space.read(space)
    search = Search(
        controllers.make(controllers.parse(controller), read, 1),
        partial(compute, RewardSettings(maximize="value")),
        Budget(trials, seconds),
        Originals(read.count().exact),
    )
    search.apply(HOST, 0.0)
    return search


class Listening(RandomController):
    """What a search tells its controller."""

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__(space, seed)
        self.told: list[tuple[bool, float | None]] = []

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        assert isinstance(result, Reward)
        self.told.append((result.again, result.seconds))


def events(instructions: list[Instruction], *kinds: type) -> list[Event]:
    return [i.event for i in instructions if isinstance(i, Record) and (not kinds or isinstance(i.event, kinds))]


def launches(instructions: list[Instruction]) -> list[tuple[int, int, bool]]:
    return [(i.trial, i.attempt, i.fresh) for i in instructions if isinstance(i, Launch)]


def good(value: float = 0.5) -> Succeeded:
    return Succeeded({"value": value}, 1.0)


def bad(kind: FailureKind, message: str = "why", fresh: bool = True) -> Failed:
    return Failed(kind, message, fresh=fresh)


def run_out(search: Search, outcome: Callable[[int, int], Outcome], slots: int = 1) -> list[Instruction]:
    """Answer every launch, first come first served, until the machine ends."""
    everything = list(search.handle(SlotsChanged(slots), 1.0))
    queue = launches(everything)
    now = 1.0
    while queue and search.over is None:
        trial, attempt, _ = queue.pop(0)
        now += 1.0
        instructions = search.handle(Answered(trial, attempt, outcome(trial, attempt)), now)
        queue += launches(instructions)
        everything += instructions
    return everything


def test_proposals_are_recorded_before_their_launch_and_slots_are_never_exceeded() -> None:
    search = machine()
    assert search.handle(Tick(), 0.5) == []  # no slot yet
    instructions = search.handle(SlotsChanged(2), 1.0)
    kinds = [type(i.event if isinstance(i, Record) else i) for i in instructions]
    assert kinds == [WorkersChanged, Proposed, AttemptStarted, Launch, Proposed, AttemptStarted, Launch]
    assert search.handle(Tick(), 2.0) == []
    instructions = search.handle(Answered(1, 0, good()), 3.0)
    kinds = [type(i.event if isinstance(i, Record) else i) for i in instructions]
    assert kinds == [AttemptAnswered, TrialEnded, Proposed, AttemptStarted, Launch]


def test_the_budget_counts_trials_and_ends_when_the_last_has_ended() -> None:
    search = machine(trials=5)
    instructions = run_out(search, lambda trial, attempt: good(), slots=2)
    assert len(events(instructions, TrialEnded)) == 5
    assert instructions[-1] == End("budget", "5 trials are done (budget.trials); a larger budget goes on")
    ended = events(instructions, RunEnded)[0]
    assert isinstance(ended, RunEnded)
    assert ended.reason == "budget"


def test_a_time_budget_counts_active_seconds_over_all_drivers() -> None:
    search = machine(trials=None, seconds=10.0)
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Answered(0, 0, good()), 6.0)
    search.apply(HOST, 1000.0)  # a long pause between two drivers costs nothing
    assert launches(search.handle(SlotsChanged(1), 1000.0)) == [(1, 1, False)]
    assert launches(search.handle(Answered(1, 1, good()), 1003.0)) == [(2, 0, False)]


def test_when_time_is_up_what_runs_is_cut_off_and_charged_to_nobody() -> None:
    search = machine(trials=None, seconds=10.0)
    search.handle(SlotsChanged(2), 0.0)
    search.handle(Answered(0, 0, good()), 6.0)
    assert search.handle(Tick(), 9.9) == []
    instructions = search.handle(Tick(), 10.0)
    assert [i for i in instructions if not isinstance(i, Record)] == [
        Cancel(1, 0),
        Cancel(2, 0),
        End("budget", "time is up (budget.time): 2 trials were cut off, and not counted; a larger budget goes on"),
    ]
    assert events(instructions, TrialEnded) == []
    assert [search.history.trials[n].state for n in range(3)] == ["completed", "pending", "pending"]


@pytest.mark.parametrize("kind", ["lost", "preempted"])
def test_what_machines_do_is_retried_and_told_to_nobody(kind: FailureKind) -> None:
    search = machine(trials=1, controller="evolution")
    search.handle(SlotsChanged(1), 1.0)
    before = search.controller.save()
    for attempt in range(MACHINE_RETRIES):
        now = 1000.0 * (attempt + 1)
        launched = launches(search.handle(Answered(0, attempt, bad(kind)), now) + search.handle(Tick(), now + 500))
        assert launched == [(0, attempt + 1, False)]
    instructions = search.handle(Answered(0, MACHINE_RETRIES, bad(kind)), 30_000.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", MACHINE_RETRIES)]
    assert search.controller.save() == before
    assert search.history.trials[0].outcome == bad(kind)
    told = machine(trials=1, controller="evolution")
    told.handle(SlotsChanged(1), 1.0)
    told.handle(Answered(0, 0, bad("diverged")), 2.0)
    assert told.controller.save() != before, "a state that no tell changes would prove nothing"


def test_a_second_loss_in_a_row_is_waited_after_and_others_are_trained_meanwhile() -> None:
    """Else a host out of order is given the same trial twenty times within a second, and the trial is given up."""
    search = machine(trials=2)
    search.handle(SlotsChanged(1), 1.0)
    assert launches(search.handle(Answered(0, 0, bad("lost")), 2.0)) == [(0, 1, False)]  # the first costs no time
    assert launches(search.handle(Answered(0, 1, bad("lost")), 3.0)) == [(1, 0, False)]
    assert search.wakes(3.5) == 4.0
    assert launches(search.handle(Answered(1, 0, good()), 3.5)) == []
    assert search.handle(Tick(), 3.9) == []
    assert launches(search.handle(Tick(), 4.0)) == [(0, 2, False)]
    assert launches(search.handle(Answered(0, 2, bad("lost")), 5.0)) == []
    assert launches(search.handle(Tick(), 6.9)) == []
    assert launches(search.handle(Tick(), 7.0)) == [(0, 3, False)]  # 1 s, 2 s, ...
    assert launches(search.handle(Answered(0, 3, bad("lost")), 8.0)) == []
    assert launches(search.handle(Tick(), 1.0)) == [(0, 4, False)], "a clock that was set back keeps nobody waiting"
    assert search.wakes(9.0) is None


def test_no_more_trials_wait_for_another_attempt_than_there_are_slots() -> None:
    """On a cluster where everything is lost the controller would be asked for the whole budget's trials, untaught."""
    search = machine(trials=100)
    now, queue = 1.0, launches(search.handle(SlotsChanged(3), 1.0))
    while queue:
        trial, attempt, _ = queue.pop()
        now += 0.01
        queue += launches(search.handle(Answered(trial, attempt, bad("lost")), now))
    assert len(search.history.trials) <= 3 + 3 + 1


def died(host: str, message: str = "the worker tcp://10.0.0.1:4711 died") -> Failed:
    return Failed("lost", message, place=host, died=True)


def test_a_candidate_that_takes_its_worker_down_alike_on_two_hosts_is_set_aside_and_told() -> None:
    """It would take twenty-one workers down; and its controller would propose more of its kind."""
    search = machine(trials=2, controller="evolution")
    search.handle(SlotsChanged(2), 0.0)
    before = search.controller.save()
    search.handle(Answered(0, 0, died("n1")), 10.0)
    search.handle(Reported(0, 1, 1, {}), 15.0)
    search.handle(Answered(0, 1, died("n2")), 20.0)
    assert search.history.trials[0].open, "at another step: that is not the same way"
    search.handle(Tick(), 21.0)
    search.handle(Answered(0, 2, died("n1")), 31.0)
    assert search.history.trials[0].open, "a host that is out of order is no candidate's fault"
    assert launches(search.handle(Tick(), 100.0)) == [(0, 3, False)]
    instructions = search.handle(Answered(0, 3, died("n3", "the worker tcp://10.0.0.3:80 died")), 110.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", 3, set_aside=True)]
    outcome = search.history.trials[0].outcome
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.message[:29]) == ("crashed", "in the same way on two hosts:")
    assert search.controller.save() != before


@pytest.mark.parametrize(
    "outcomes",
    [
        [died("n1"), died("")],  # who knows where
        [died("n1"), died("n2", "the slot's fork server is gone")],
        [bad("preempted"), bad("preempted")],
        [replace(died("n1"), died=False), replace(died("n2"), died=False)],  # as where a disk is full
    ],
)
def test_what_may_be_the_machines_doing_is_charged_to_nobody(outcomes: list[Failed]) -> None:
    search = machine(trials=1)
    search.handle(SlotsChanged(1), 0.0)
    for attempt, outcome in enumerate(outcomes):
        search.handle(Answered(0, attempt, outcome), 10.0 * (attempt + 1))
    assert search.history.trials[0].open


def test_a_candidate_that_takes_its_driver_down_every_time_is_given_up() -> None:
    search = machine(trials=1)
    for driver in range(MACHINE_RETRIES + 1):
        assert len(launches(search.handle(SlotsChanged(1), float(driver)))) == 1
        search.apply(HOST, float(driver) + 0.5)
    instructions = search.handle(SlotsChanged(1), 100.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", MACHINE_RETRIES)]
    outcome = search.history.trials[0].outcome
    assert isinstance(outcome, Failed)
    assert outcome.kind == "lost"


def test_a_clock_that_steps_back_changes_no_verdict() -> None:
    search = machine(trials=1)
    search.handle(SlotsChanged(1), 2000.0)
    search.handle(Answered(0, 0, bad("lost")), 2001.0)
    instructions = search.handle(Answered(0, 1, bad("error")), 1001.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", 1)]


@pytest.mark.parametrize("kind", ["out_of_memory", "crashed", "timeout"])
def test_what_a_reused_child_may_be_to_blame_for_is_repeated_once_in_a_fresh_one(kind: FailureKind) -> None:
    search = machine(trials=2)
    search.handle(SlotsChanged(1), 1.0)
    assert launches(search.handle(Answered(0, 0, bad(kind, fresh=False)), 2.0)) == [(0, 1, True)]
    instructions = search.handle(Answered(0, 1, bad(kind, fresh=True)), 3.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", 1)]
    instructions = search.handle(Answered(1, 0, bad(kind, fresh=True)), 4.0)  # fresh at once: charged at once
    assert events(instructions, TrialEnded) == [TrialEnded(1, "failed", 0)]


def test_what_was_killed_for_memory_is_repeated_once_in_halves() -> None:
    # Be it in a fresh child or not, and also where a machine takes the repeat; a replicate begins whole again.
    search = machine(trials=1)
    search.handle(SlotsChanged(1), 1.0)
    trial = search.history.trials[0]
    killed = replace(bad("out_of_memory", fresh=True), may_halve=True)
    assert launches(search.handle(Answered(0, 0, killed), 2.0)) == [(0, 1, True)] and must_halve(trial)
    assert launches(search.handle(Answered(0, 1, bad("lost")), 3.0)) == [(0, 2, True)] and must_halve(trial)
    instructions = search.handle(Answered(0, 2, bad("out_of_memory", fresh=True)), 4.0)
    assert events(instructions, TrialEnded) == [TrialEnded(0, "failed", 2)] and not must_halve(trial, 1)


def test_the_first_answer_counts_and_later_ones_are_kept_as_late() -> None:
    search = machine(trials=3)
    search.handle(SlotsChanged(1), 1.0)
    search.apply(HOST, 2.0)
    search.handle(SlotsChanged(1), 2.0)  # attempt 1 of trial 0 runs, attempt 0 was abandoned
    instructions = search.handle(Answered(0, 0, good(0.7)), 3.0)  # an adopted result
    assert events(instructions, TrialEnded) == [TrialEnded(0, "completed", 0)]
    assert Cancel(0, 1) in instructions
    assert launches(instructions) == []  # its slot is still taken
    instructions = search.handle(Answered(0, 1, good(0.9)), 4.0)
    assert events(instructions, LateResult) == [LateResult(0, 1, good(0.9))]
    assert launches(instructions) == [(1, 0, False)]
    assert events(search.handle(Answered(0, 1, good(0.9)), 5.0), LateResult, TrialEnded) == [
        LateResult(0, 1, good(0.9))
    ]
    assert search.history.trials[0].outcome == good(0.7)


def test_reports_of_running_attempts_are_recorded_and_those_of_others_are_not() -> None:
    search = machine()
    search.handle(SlotsChanged(1), 1.0)
    report = Reported(0, 0, 1, {"value": 0.1})
    assert events(search.handle(report, 2.0)) == [TrialReported(0, 0, 1, {"value": 0.1})]
    assert events(search.handle(Reported(0, 7, 1, {"value": 0.1}), 2.0)) == []
    assert search.history.trials[0].curve() == [(1, {"value": 0.1})]


def test_a_duplicate_is_not_trained_not_counted_and_told_what_its_original_was() -> None:
    search = machine(FOUR, trials=None)
    trained: list[int] = []

    def outcome(trial: int, attempt: int) -> Outcome:
        trained.append(trial)
        return good()

    instructions = run_out(search, outcome, slots=2)
    hashes = [search.history.trials[number].proposal.hash for number in trained]
    assert len(hashes) == len(set(hashes)) == 4
    assert isinstance(instructions[-1], End)
    assert instructions[-1].reason == "exhausted"
    duplicates = [trial for trial in search.history.trials.values() if trial.state == "duplicate"]
    for trial in duplicates:
        assert trial.outcome == good()
        assert trial.attempts == []
    assert len(events(instructions, TrialEnded)) == len(search.history.trials)


def test_a_duplicate_of_a_pending_trial_waits_for_it() -> None:
    search = machine(FOUR, trials=None)
    search.handle(SlotsChanged(4), 1.0)
    waiting = [t for t in search.history.trials.values() if t.duplicate_of is not None]
    assert waiting, "four draws of four candidates were meant to repeat"
    original = waiting[0].duplicate_of
    assert original is not None
    assert waiting[0].state == "pending"
    ended = events(search.handle(Answered(original, 0, good()), 2.0), TrialEnded)
    assert ended[:2] == [TrialEnded(original, "completed", 0), TrialEnded(waiting[0].number, "duplicate")]
    assert waiting[0].outcome == good()


def test_a_stop_request_starts_nothing_more_and_waits_for_what_runs() -> None:
    search = machine()
    search.handle(SlotsChanged(2), 1.0)
    assert search.handle(StopRequested(), 2.0) == []
    assert launches(search.handle(Answered(0, 0, good()), 3.0)) == []
    instructions = search.handle(Answered(1, 0, good()), 4.0)
    assert instructions[-1] == End("interrupted")
    assert search.handle(SlotsChanged(5), 5.0) == []


def test_the_same_failure_in_most_recent_candidates_stops_the_run_with_a_diagnosis() -> None:
    search = machine(trials=50)

    def outcome(trial: int, attempt: int) -> Outcome:
        return good() if trial % 5 == 0 else bad("error", f"ValueError: no file /data/{trial}.bin")

    instructions = run_out(search, outcome, slots=2)
    end = instructions[-1]
    assert isinstance(end, End)
    assert (end.reason, end.look_at) == ("diagnosis", 7)
    assert end.message.startswith(
        "6 of the last 8 candidates failed alike (trials 1, 2, 3, 4, 6, 7): error: ValueError"
    )
    assert len(events(instructions, TrialEnded)) == 8


def test_different_failures_do_not_stop_a_run() -> None:
    search = machine(trials=20)
    kinds: list[FailureKind] = ["error", "diverged", "timeout", "out_of_memory", "invalid"]
    end = run_out(search, lambda trial, attempt: bad(kinds[trial % 5], "x" * (trial % 3)))[-1]
    assert isinstance(end, End)
    assert end.reason == "budget"


def test_a_success_without_the_reward_s_metric_is_a_failure_that_says_so() -> None:
    search = machine(trials=1)
    search.handle(SlotsChanged(1), 1.0)
    search.handle(Answered(0, 0, Succeeded({"accuracy": 0.9}, 1.0)), 2.0)
    outcome = search.history.trials[0].outcome
    assert isinstance(outcome, Failed)
    assert outcome.kind == "error"
    assert "no metric is called 'value'" in outcome.message
    assert outcome.notes["metrics"] == {"accuracy": 0.9}


@pytest.mark.parametrize("controller", ["random", "evolution", "rl"])
def test_replaying_the_events_gives_the_live_state(controller: str) -> None:
    live = machine(FOUR if controller == "random" else FLOATS, trials=12, controller=controller)
    kinds: list[FailureKind] = ["diverged", "lost"]

    def outcome(trial: int, attempt: int) -> Outcome:
        return good(trial / 10) if (trial + attempt) % 3 else bad(kinds[(trial + attempt) % 2])

    recorded = [i for i in run_out(live, outcome, slots=3) if isinstance(i, Record)]
    replayed = machine(FOUR if controller == "random" else FLOATS, trials=12, controller=controller)
    for record in recorded:
        replayed.apply(record.event, record.time)
    ended = recorded[-1].event
    assert isinstance(ended, RunEnded)
    assert replayed.digest() == live.digest() == ended.digest


def test_a_trial_stays_ended_though_a_rival_attempt_of_it_ran_when_its_driver_left() -> None:
    search = machine()
    search.handle(SlotsChanged(1), 1.0)
    search.apply(HOST, 2.0)
    assert launches(search.handle(SlotsChanged(1), 2.0)) == [(0, 1, False)]
    search.handle(Answered(0, 0, good()), 3.0)  # the earlier driver's attempt answers first
    search.apply(RunEnded("interrupted"), 4.0)
    assert search.history.trials[0].state == "completed"
