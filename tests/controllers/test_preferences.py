"""What several objectives are worth as one number: fair to the front, shared by ties, and the reward itself for one."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import pytest

from nas.controllers.preferences import Preferences
from nas.pareto import dominates


@dataclass(frozen=True)
class Trial:
    number: int
    vector: tuple[float, ...] | None


def cloud(count=40, seed=1):
    """Two objectives against each other, the second in units of a million."""
    rng = Random(seed)
    found = []
    for number in range(count):
        x = rng.random()
        found.append(Trial(number, (x, 1e6 * (1 - x**2) * rng.uniform(0.5, 1))))
    return [*found, Trial(count, None)]


def told(trials):
    objectives = next(len(trial.vector) for trial in trials if trial.vector)
    preferences = Preferences(3, objectives)
    for trial in trials:
        preferences.told(trial.vector)
    return preferences


def test_one_objective_is_worth_its_reward_and_no_wish_changes_that():
    preferences = told([Trial(0, (0.5,)), Trial(1, None), Trial(2, (-3.0,)), Trial(3, (0.5,))])
    preferences.renew(4)
    assert preferences.worth((-3.0,)) == -3.0
    standings = [preferences.standing(vector) for vector in ((0.5,), None, (-3.0,))]
    assert standings == pytest.approx([2 / 3, -1, -1 / 3])
    assert [one.number for one in preferences.lasting([Trial(0, (0.5,)), Trial(1, (0.9,))], 1)] == [1]


def test_the_best_is_on_the_front_and_many_wishes_reach_much_of_it():
    """A wish whose best were dominated would teach the policy to waste an objective."""
    trials = cloud()
    preferences = told(trials)
    sound = [trial.vector for trial in trials if trial.vector]
    reached = set()
    for wish in range(60):
        preferences.renew(wish)
        (best,) = preferences.best(trials, 1)
        assert not any(dominates(other, best.vector) for other in sound)
        reached.add(best.vector)
    front = {one for one in sound if not any(dominates(other, one) for other in sound)}
    assert len(reached) > len(front) / 2 > 2


def test_units_mean_nothing_and_a_wish_is_that_of_its_count():
    trials = cloud()
    scaled = [Trial(one.number, one.vector and (one.vector[0] - 7.0, one.vector[1] * 1e-9)) for one in trials]
    one, other = told(trials), told(scaled)
    orders = []
    for wish in (5, 9, 5):
        one.renew(wish)
        other.renew(wish)
        orders.append([trial.number for trial in one.best(trials, 40)])
        assert orders[-1] == [trial.number for trial in other.best(scaled, 40)]
    assert orders[0] == orders[2] != orders[1]


def test_equal_vectors_share_their_places_and_failures_are_last():
    preferences = told([Trial(0, (0.0, 0.0)), Trial(1, (1.0, 1.0)), Trial(2, (1.0, 1.0)), Trial(3, None)])
    preferences.renew(4)
    standings = [preferences.standing(vector) for vector in ((1.0, 1.0), (0.0, 0.0), None)]
    assert standings == pytest.approx([2 / 3, -1 / 3, -1])


def test_what_lasts_is_by_front_and_keeps_both_ends():
    trials = [
        Trial(0, (0.0, 9.0)),
        Trial(1, (0.1, 8.9)),
        Trial(2, (0.1, 8.8)),
        Trial(3, (9.0, 0.0)),
        Trial(4, (5.0, 5.0)),
    ]
    preferences = told(trials)
    assert [one.number for one in preferences.lasting(trials, 3)] == [0, 3, 4]
    assert 2 not in [one.number for one in preferences.lasting(trials, 4)]
