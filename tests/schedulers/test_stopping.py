"""The rules that stop a trial at a report, on curves whose verdict can be worked out by hand."""

from __future__ import annotations

import orjson
import pytest

from nas.schedulers import Scheduler, make, parse


def tell(scheduler: Scheduler, trial: int, values: list[float], *, ends: bool = True) -> list[str]:
    """What it says after each report."""
    scheduler.began(trial)
    said = []
    for step, value in enumerate(values, 1):
        scheduler.reported(trial, step, value)
        said.append(scheduler.stops(trial, 4))
    if ends:
        scheduler.ended(trial, (values[-1],))
    return said


def median(**settings: int) -> Scheduler:
    return make(parse({"median": settings}), 1, 4)


def test_below_the_median_of_the_others_averages_a_trial_is_stopped() -> None:
    scheduler = median(min_trials=3)
    for trial, level in enumerate((0.2, 0.4, 0.6)):
        assert not any(tell(scheduler, trial, [level, level + 0.2, level + 0.2, level + 0.2]))
    # Averages after two reports are 0.3, 0.5 and 0.7.
    said = tell(scheduler, 3, [0.45, 0.46, 0.47, 0.1])
    assert said[0] == ""  # the median of 0.2, 0.4, 0.6
    assert said[1] == "its best, 0.46, is below 0.5, the median average of 3 trials"
    assert said[3] == ""  # the last step: there is nothing to save
    assert tell(scheduler, 4, [0.9, 0.1])[1] == ""  # its best counts, not its last


def test_a_trial_that_failed_or_an_attempt_that_was_lost_says_nothing() -> None:
    scheduler = median(min_trials=1)
    tell(scheduler, 0, [0.9, 0.9], ends=False)
    scheduler.ended(0, None)
    tell(scheduler, 1, [0.9], ends=False)
    scheduler.began(1)  # its next attempt
    scheduler.ended(1, (0.9,))
    assert not any(tell(scheduler, 2, [0.1, 0.1]))
    tell(scheduler, 3, [0.9, 0.9], ends=False)
    for step in (1, 2):  # it diverged, and began anew: what it had reached does not save it
        scheduler.reported(3, step, 0.05)
    assert scheduler.stops(3, 4)


def extrapolate(**settings: float) -> Scheduler:
    return make(parse({"extrapolate": settings}), 1, 4)


def test_what_will_hardly_beat_the_best_is_stopped() -> None:
    scheduler = extrapolate(min_resource=3, min_trials=3)
    for trial, end in enumerate((0.7, 0.8, 0.9)):
        assert not any(tell(scheduler, trial, [0.1, 0.2, end - 0.1 - trial / 100, end]))
    # At the third step the others stood at 0.6, 0.69, 0.78 and gained 0.1, 0.11 and 0.12 from there.
    said = tell(scheduler, 3, [0.1, 0.2, 0.5])
    assert said[:2] == ["", ""]
    assert said[2] == "expected to end at 0.61 ± 0.016: 0.0% to beat the best, 0.9"
    assert not any(tell(scheduler, 4, [0.1, 0.2, 0.78]))


def test_only_curves_that_went_to_their_end_are_models_of_others() -> None:
    scheduler = extrapolate(min_trials=2)
    for trial in range(5):
        tell(scheduler, trial, [0.9, 0.9, 0.9])  # stopped
    assert not any(tell(scheduler, 5, [0.1, 0.1, 0.1]))


@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "extrapolate"])
def test_a_scheduler_reads_back_as_it_was(name: str) -> None:
    scheduler, again = (make(parse(name), 1, 9) for _ in range(2))
    for trial in range(12):
        if scheduler.watches:
            scheduler.began(trial)
            for step in range(1, 10 if trial % 3 else 5):
                scheduler.reported(trial, step, trial / 10 + step / 100)
            if trial % 4:
                scheduler.ended(trial, (1.0,))
        elif (first := scheduler.first(trial)) is not None:
            scheduler.paused(trial, first, (trial % 5 / 5,))
            if promotion := scheduler.promotion(False):
                scheduler.promoted(promotion.trial, scheduler.first(promotion.trial) or 0, promotion.until)
    saved = orjson.dumps(scheduler.save())
    again.load(orjson.loads(saved))
    assert orjson.dumps(again.save()) == saved
    assert again.promotion(False) == scheduler.promotion(False)
    assert [again.stops(trial, 9) for trial in range(12)] == [scheduler.stops(trial, 9) for trial in range(12)]
