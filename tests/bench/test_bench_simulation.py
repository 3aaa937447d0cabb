"""The virtual clock, held to closed forms: what it says of workers is what the utilisation goals are judged by."""

from __future__ import annotations

import math
from functools import partial

import pytest

from nas.bench.simulation import Simulation
from nas.controllers import make, parse
from nas.instructions import Instruction, Launch, Record
from nas.limits import Budget
from nas.machine import Search
from nas.records import Outcome, RunEnded, Succeeded, TrialEnded
from nas.reward import RewardSettings, compute
from nas.space import Space

SPACE = Space.read({"hyperparameters": {f"x{i}": {"choice": list(range(10))} for i in range(12)}})


def simulation(
    trials: int | None, workers: int, seconds: float = 10.0, *, budget: float | None = None, **more
) -> Simulation:
    def attempt(trial: int, number: int) -> tuple[float, Outcome]:
        return seconds, Succeeded({"value": float(trial)})

    search = Search(
        controller=make(parse("random"), SPACE, 1),
        reward=partial(compute, RewardSettings(maximize="value")),
        budget=Budget(trials, budget),
    )
    return Simulation(search=search, workers=workers, attempts=attempt, seed=1, **more)


def ends(played: Simulation) -> list[float]:
    return [trial.ended for trial in played.search.history.trials.values() if trial.ended is not None]


@pytest.mark.parametrize(("trials", "workers"), [(7, 1), (7, 3), (12, 4), (3, 5)])
def test_trials_of_equal_length_end_in_rounds(trials, workers):
    played = simulation(trials, workers)
    played.run()
    assert sorted(ends(played)) == [10.0 * (1 + i // workers) for i in range(trials)]


def test_one_worker_waits_for_every_decision():
    played = simulation(20, 1, decision=2.5)
    played.run()
    assert max(ends(played)) == 20 * (10 + 2.5)
    assert played.utilisation() == pytest.approx(19 * 10 / (19 * 12.5))  # from the first launch to the last


def test_workers_that_come_back_together_wait_for_one_driver():
    # Three answers at once, one second each: the first starts after 1 s, the second after 2, the third after 3.
    starts: list[float] = []
    played = simulation(6, 3, decision=1.0)
    played.observe = lambda instructions, now: starts.extend(now + 1.0 for i in instructions if isinstance(i, Launch))
    played.run()
    assert starts == [1.0, 1.0, 1.0, 12.0, 13.0, 14.0]


def test_a_time_budget_cuts_off_what_runs():
    played = simulation(None, 2, budget=25.0)
    played.run()
    assert len(ends(played)) == 4
    assert played.search.over is not None
    assert played.search.over.reason == "budget"
    assert played.search.history.ended is not None
    assert played.search.history.last_event == 25.0


def test_the_attempts_of_dead_workers_are_lost_and_run_again():
    played = simulation(200, 4, deaths=0.3, replaced_after=7.0)
    played.run()
    trials = played.search.history.trials
    assert len(trials) == 200
    assert all(trial.state == "completed" for trial in trials.values())
    lost = sum(attempt.lost for trial in trials.values() for attempt in trial.attempts)
    assert lost == len(played.dead) == len(played.busy) - 200
    # Each attempt dies with chance 0.3, so a trial takes 1 / 0.7 attempts: 86 deaths are expected, with deviation 11.
    assert abs(lost - 200 * 0.3 / 0.7) < 4 * math.sqrt(200 * 0.3) / 0.7
    assert all(until - since == pytest.approx(7.0) for since, until in played.dead)


def test_one_worker_that_dies_leaves_nobody_until_it_is_replaced():
    played = simulation(30, 1, deaths=0.4, replaced_after=100.0)
    played.run()
    worked = sum(until - since for since, until in played.busy)
    assert max(ends(played)) == pytest.approx(worked + 100.0 * len(played.dead))
    assert played.utilisation() == pytest.approx(1.0)  # the dead are not counted as idle


def test_measured_decisions_are_charged():
    played = simulation(50, 1, decision=None)
    played.run()
    assert sum(played.turns) > 0
    assert max(ends(played)) == pytest.approx(50 * 10 + sum(played.turns), abs=1.0)
    assert 0.9 < played.utilisation() < 1.0


def test_each_trial_ends_once_with_a_thousand_workers_and_deaths():
    counted: list[Instruction] = []
    played = simulation(3_000, 1_000, deaths=0.05)
    played.observe = lambda instructions, now: counted.extend(instructions)
    played.run()
    ended = [i.event.trial for i in counted if isinstance(i, Record) and isinstance(i.event, TrialEnded)]
    assert sorted(ended) == list(range(3_000))
    assert sum(isinstance(i, Record) and isinstance(i.event, RunEnded) for i in counted) == 1
