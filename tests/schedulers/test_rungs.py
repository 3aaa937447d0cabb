"""ASHA and Hyperband by their definitions, worked by hand; and against a plain count over all results of a rung."""

from __future__ import annotations

from random import Random

import pytest

from nas.errors import InputError
from nas.pareto import fronts
from nas.schedulers import Promotion, Scheduler, make, parse
from nas.schedulers.rung import Rung


def asha(length: int | None = 27, **settings: int) -> Scheduler:
    return make(parse({"asha": settings}), 1, length)


def test_rungs_lie_at_powers_of_the_reduction_factor_below_the_whole_length() -> None:
    assert asha().first(0) == 1
    assert list(asha().rungs(26)) == [1, 3, 9]
    assert list(asha(9).rungs(9)) == [1, 3]  # what is trained to its end does not pause there
    assert list(asha(100, min_resource=5, reduction_factor=4).rungs(100)) == [5, 20, 80]


def test_the_best_third_of_a_rung_goes_on_the_highest_rung_first() -> None:
    scheduler = asha()
    for trial, reward in enumerate([0.1, 0.5]):
        scheduler.paused(trial, 1, (reward,))
    assert scheduler.promotion(False) is None  # a third of two is none
    scheduler.paused(2, 1, (0.3,))
    assert scheduler.promotion(False) == Promotion(1, 3)
    scheduler.promoted(1, 1, 3)
    assert scheduler.promotion(False) is None
    for trial, reward in ((3, 0.6), (4, 0.7), (5, 0.2)):
        scheduler.paused(trial, 1, (reward,))
    assert scheduler.promotion(False) == Promotion(4, 3)  # now two of six: 4 and 3, and 1 is not taken back
    scheduler.promoted(4, 1, 3)
    for trial, reward in ((1, 0.8), (4, 0.9), (7, 0.95)):
        if trial == 7:
            scheduler.paused(7, 1, (0.99,))
            scheduler.promoted(7, 1, 3)
        scheduler.paused(trial, 3, (reward,))
    assert scheduler.promotion(False) == Promotion(7, 9)
    scheduler.promoted(7, 3, 9)
    assert scheduler.promotion(False) is None  # two of seven went on
    for trial in (8, 9):
        scheduler.paused(trial, 1, (0.0,))
    assert scheduler.promotion(False) == Promotion(3, 3)


def test_the_last_rung_leads_to_the_end() -> None:
    scheduler = asha(3)
    for trial in range(3):
        scheduler.paused(trial, 1, (float(trial),))
    assert scheduler.promotion(False) == Promotion(2, None)


def test_when_nothing_more_will_come_the_best_is_trained_in_full_if_none_was() -> None:
    """Four trials never fill three rungs: a small search would end without one candidate trained to its end."""
    scheduler = asha()
    for trial in range(4):
        scheduler.paused(trial, 1, (float(trial),))
    scheduler.promoted(3, 1, 3)
    scheduler.paused(3, 3, (1.0,))
    assert scheduler.promotion(False) is None
    assert scheduler.promotion(True) == Promotion(3, 9)
    scheduler.promoted(3, 3, 9)
    scheduler.ended(3, None)  # it failed
    assert scheduler.promotion(True) == Promotion(2, 3)
    scheduler.ended(9, (1.0,))
    assert scheduler.promotion(True) is None


@pytest.mark.parametrize("objectives", [1, 2])
def test_a_rung_says_what_a_plain_count_says_and_reads_back_as_it_was(objectives: int) -> None:
    rng, rung, told, promoted = Random(objectives), Rung(), {}, set()
    for trial in range(60):
        told[trial] = tuple(rng.choice([0.1, 0.2, 0.3, 0.4]) + rng.random() / 10 for _ in range(objectives))
        rung.add(trial, told[trial])
        best = rung.best(within=len(rung) // 3)
        if objectives == 1:
            top = sorted(told, key=lambda one: (-told[one][0], one))[: len(told) // 3]
            assert best == next((one for one in top if one not in promoted), None)
        elif best is not None and trial < 16:
            waiting = [one for one in told if one not in promoted]
            front = dict(zip(told, fronts(list(told.values())), strict=True))
            assert front[best] == min(front[one] for one in waiting)
        if best is not None and rng.random() < 0.7:
            rung.promote(best)
            promoted.add(best)
        again = Rung()
        again.load(rung.save())
        assert again.save() == rung.save()
        assert again.best(within=len(rung) // 2) == rung.best(within=len(rung) // 2)


def test_hyperband_shares_trials_out_by_seed_and_number_alone() -> None:
    one, other = (make(parse("hyperband"), seed, 27) for seed in (1, 2))
    begins = [one.first(trial) for trial in range(2_000)]
    assert begins == [one.first(trial) for trial in range(2_000)]
    assert begins != [other.first(trial) for trial in range(2_000)]
    shares = {first: begins.count(first) / 2_000 for first in set(begins)}
    total = 27 / 4 + 9 / 3 + 3 / 2 + 1
    assert shares == pytest.approx({1: 27 / 4 / total, 3: 3 / total, 9: 1.5 / total, None: 1 / total}, abs=0.04)


def test_hyperbands_ladders_do_not_compete() -> None:
    scheduler = make(parse("hyperband"), 1, 27)
    firsts = {first: [t for t in range(300) if scheduler.first(t) == first][:3] for first in (1, 3)}
    for first, trials in firsts.items():
        for trial in trials[:2]:
            scheduler.paused(trial, first, (float(trial),))
    assert scheduler.promotion(False) is None  # four pause, and no ladder has three of them
    scheduler.paused(firsts[3][2], 3, (-1.0,))
    assert scheduler.promotion(False) == Promotion(firsts[3][1], 9)


@pytest.mark.parametrize(
    ("scheduler", "length", "objectives", "words"),
    [
        ("ascha", 27, 1, "no scheduler is named 'ascha'; did you mean 'asha'"),
        ({"asha": {"reduction_factor": 1}}, 27, 1, "reduction_factor"),
        ({"asha": {"eta": 3}}, 27, 1, "eta"),
        ({"asha": {"min_resource": 27}}, 27, 1, "min_resource is 27, and a whole training has 27 steps"),
        ({"asha": {"max_resource": 9}}, 27, 1, "max_resource is 9, and a training has 27 epochs: leave it out"),
        (
            "hyperband",
            None,
            1,
            'hyperband must know how many steps .* write scheduler={"hyperband": {"max_resource": 27}}',
        ),
        ("median", None, 2, "median compares trials by one number, and the reward has 2 objectives"),
        ({"asha": {}, "median": {}}, 27, 1, "give one scheduler"),
        ({"extrapolate": {"probability": 1.0}}, 27, 1, "probability"),
    ],
)
def test_what_cannot_be_is_refused_with_a_remedy(
    scheduler: object, length: int | None, objectives: int, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        make(parse(scheduler), 1, length, objectives)
