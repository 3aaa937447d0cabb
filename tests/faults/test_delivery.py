"""Answers that come twice, late, or in any order, and results of several attempts: one outcome, and all on record."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aftermath import settled
from distributed import Worker, WorkerPlugin
from hypothesis import given, settings
from hypothesis import strategies as st

from nas import controllers, driver, results, store
from nas.cluster import Executor
from nas.cluster.connect import connect
from nas.cluster.dask import DaskExecutor
from nas.cluster.inline import InlineExecutor
from nas.cluster.settings import ClusterSettings
from nas.config import CallableConfig
from nas.limits import Budget
from nas.machine import Launch, Record, Search
from nas.plan import Plan
from nas.records import (
    Adopted,
    Answered,
    Attempt,
    AttemptAnswered,
    AttemptStarted,
    DriverTookOver,
    Failed,
    LateResult,
    Outcome,
    Proposed,
    SlotsChanged,
    Succeeded,
    Tick,
    TrialEnded,
    settles,
)
from nas.reward import RewardSettings, compute
from nas.space import Space
from nas.stragglers import Stragglers

SPACE = {"name": "line", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}
OUTCOMES: dict[str, Outcome] = {
    "good": Succeeded({"value": 0.5}, 1.0),
    "better": Succeeded({"value": 0.7}, 1.0),
    "error": Failed("error", "why"),
    "crashed": Failed("crashed", "why", fresh=False),
    "lost": Failed("lost", "why"),
}


def machine() -> Search:
    space = Space.read(SPACE)
    reward = partial(compute, RewardSettings(maximize="value"))
    controller = controllers.make(controllers.parse("evolution"), space, 1)
    return Search(controller, reward, Budget(13, None), stragglers=Stragglers())


Step = tuple[str, int, str]  # what happens, to which of the attempts so far, and with which outcome
STEPS = st.tuples(
    st.sampled_from(["answer", "answer", "answer", "again", "takeover", "adopt", "slots", "later"]),
    st.integers(0, 30),
    st.sampled_from(sorted(OUTCOMES)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=60))
def test_whatever_comes_in_whatever_order_each_trial_has_one_outcome(steps: list[Step]) -> None:
    """Of all attempts that anybody ever began, answered never, once or often, by this driver or one before it.

    Also of copies that the last trials have, and of what was cut off.
    """
    live, recorded, clock = machine(), [], itertools.count(1)
    passed = 0.0

    def now() -> float:
        return passed + next(clock)

    begun: list[tuple[int, int]] = []
    delivered: dict[tuple[int, int], int] = defaultdict(int)

    def apply(event: DriverTookOver) -> None:
        recorded.append(Record(event, now()))
        live.apply(event, recorded[-1].time)

    def handle(happening: Any) -> None:
        for instruction in live.handle(happening, now()):
            if isinstance(instruction, Record):
                recorded.append(instruction)
            elif isinstance(instruction, Launch):
                begun.append((instruction.trial, instruction.attempt))

    apply(DriverTookOver("host", 1, 1.0, "boot"))
    handle(SlotsChanged(2))
    for what, which, how in [*steps, *[("answer", n, "good") for n in range(60)]]:
        chosen = [one for one in begun if what != "answer" or not delivered[one]]
        if what in ("answer", "again") and chosen and live.over is None:
            one = chosen[which % len(chosen)]
            delivered[one] += 1
            handle(Answered(*one, OUTCOMES[how]))
        elif what == "adopt" and begun:
            answers = [Answered(*one, OUTCOMES[how]) for one in sorted({*begun}) if settles(OUTCOMES[how])]
            handle(Adopted(answers[which % len(answers) :] if answers else []))
        elif what == "takeover" and live.over is None:
            apply(DriverTookOver("host", 2, 2.0, "boot"))
            handle(SlotsChanged(2))
        elif what == "slots":
            handle(SlotsChanged(1 + which % 3))
        elif what == "later":
            passed += 100.0  # longer than pauses between retries, and than what a straggler is given
            handle(Tick())

    events = [record.event for record in recorded]
    ended = [event.trial for event in events if isinstance(event, TrialEnded)]
    assert len(ended) == len({*ended})
    answered: dict[tuple[int, int], Outcome] = {}
    closed: dict[int, int | None] = {}
    for event in events:
        if isinstance(event, AttemptAnswered):
            assert event.trial not in closed and (event.trial, event.attempt) not in answered
            answered[event.trial, event.attempt] = event.outcome
        elif isinstance(event, TrialEnded):
            closed[event.trial] = event.attempt
            said = [one for (trial, _), one in answered.items() if trial == event.trial and settles(one)]
            assert not said or said[0] is answered[event.trial, event.attempt], (
                "the first answer that settles it counts"
            )
        elif isinstance(event, LateResult):
            assert event.trial in closed or (event.trial, event.attempt) in answered
    late = sum(isinstance(event, LateResult) for event in events)
    if not any(what == "adopt" for what, _, _ in steps):
        assert len(answered) + late == sum(delivered.values()), "every answer is on record"

    replayed = machine()
    for record in recorded:
        replayed.apply(record.event, record.time)
    assert replayed.digest() == live.digest()


def planned(objective: Any, connect: Callable[[Path], Executor], trials: int) -> Plan:
    config = {"name": "line", "space": "line", "objective": "objective", "controller": "random",
              "reward": {"maximize": "value"}, "budget": {"trials": trials}}  # fmt: skip
    return Plan(CallableConfig.model_validate(config), Space.read(SPACE), objective, connect)


def inline(trained: list[int]) -> Plan:
    def objective(candidate: Any, context: Any) -> float:
        trained.append(context.trial)
        return 0.9

    return planned(objective, lambda folder: InlineExecutor(objective), 1)


FILES = [None, "torn", "good", "error", "lost"]


def outcome(attempt: int, what: str) -> Outcome:
    """Told from that of any other attempt."""
    return replace(OUTCOMES.get(what, OUTCOMES["good"]), seconds=float(attempt))


@pytest.fixture
def run_with_three_lost_attempts(memory_path: Path) -> Path:
    """Of its only trial, each with a driver that was killed."""
    run, plan = memory_path / "run", inline([])
    driver.begin(plan, run)
    for attempt in range(3):
        journal, _ = store.Journal.claim(run / "journal", now=1.0)
        first = [] if attempt else [Proposed(controllers.make(plan.config.controller, plan.space, 0, 1).ask(0))]  # type: ignore[arg-type]
        journal.append([(event, 2.0) for event in [*first, AttemptStarted(0, attempt)]])
        journal.close()
    return run


def test_of_the_results_of_several_attempts_the_first_one_that_says_something_counts(
    run_with_three_lost_attempts: Path, memory_path: Path
) -> None:
    """In whatever order they were written: 125 runs, each with what its three attempts left."""
    history = store.history(run_with_three_lost_attempts)
    assert history.started is not None
    orders = itertools.cycle(itertools.permutations(range(3)))
    for left, order in zip(itertools.product(FILES, repeat=3), orders):  # noqa: B905 - as many as there are of left
        run, trained = memory_path / "copy", list[int]()
        shutil.copytree(run_with_three_lost_attempts, run)
        folder = str(run.absolute() / "trials/0")
        for number in order:
            write(Attempt(history.started.run, 0, number, {}, history.trials[0].proposal.hash, 1, folder), left[number])
        driver.run(inline(trained), run)
        after = settled(run, 1).trials[0]
        counted = [n for n, what in enumerate(left) if what in OUTCOMES and settles(OUTCOMES[what])]
        if counted:
            assert after.outcome == outcome(counted[0], left[counted[0]])
        assert trained == ([] if counted else [0])
        assert len(after.attempts) == 3 + (not counted)
        shutil.rmtree(run)


def write(attempt: Attempt, what: str | None) -> None:
    if what is None:
        return
    results.write_result(attempt, outcome(attempt.attempt, what))
    path = Path(attempt.folder) / str(attempt.attempt) / results.FILE
    if what == "torn":
        path.write_bytes(path.read_bytes()[:-9])


# On the way from real workers ----------------------------------------------------------------------------------------


class Stutter(WorkerPlugin):  # type: ignore[misc]
    """Has a worker say all things twice, both times when it comes to it: also what it reported after how it ended."""

    def setup(self, worker: Worker) -> None:
        say, chance = worker.log_event, random.Random(worker.address)

        def stutter(topic: str, message: Any) -> None:
            for latest in (0.1, 0.4):
                threading.Timer(chance.uniform(0.0, latest), say, (topic, message)).start()

        worker.log_event = stutter


def test_what_real_workers_say_twice_and_in_any_order_counts_once(tmp_path: Path) -> None:
    """The attempt of one is lost, too: what is still said of it comes when its trial is made once more."""
    executors: list[DaskExecutor] = []
    heard: list[list[Any]] = []

    def objective(candidate: Any, context: Any) -> float:
        for step in (1, 2, 3):
            context.report(step, {"value": step / 10})
        if context.trial == 5 and not (tmp_path / "lost").exists():
            (tmp_path / "lost").touch()
            os.kill(os.getppid(), signal.SIGKILL)  # its fork server, and with it this process
            time.sleep(60)
        return 0.9

    def connected(folder: Path) -> Executor:
        executor = connect(ClusterSettings(workers=2), objective, folder=folder)
        executor.client.register_plugin(Stutter())  # type: ignore[attr-defined]
        executors.append(executor)  # type: ignore[arg-type]
        return executor

    def observe(search: Search, now: float) -> None:
        heard[:] = [message for _, message in executors[0].client.get_events(executors[0].name)]

    driver.run(planned(objective, connected, 12), tmp_path / "run", observe)
    history = settled(tmp_path / "run", 12)
    assert [len(trial.attempts) for trial in history.trials.values()] == [1] * 5 + [2] + [1] * 6
    answered: Counter[str] = Counter()
    late = 0
    for what, key, *_ in heard:
        answered[key] += what == "answered"
        late += what == "reported" and answered[key] > 0
    assert list(answered.values()).count(2) >= 4 and late, "nothing came twice, or all of it in order"
