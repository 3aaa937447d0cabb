"""What schedulers lose of the best, on recorded curves: not more often than ARCHITECTURE.md says.

Without this a scheduler that stops the wrong trials would look like one that saves a lot.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

CURVES = Path(__file__).parents[2] / "benchmarks" / "curves"
sys.path.append(str(CURVES))
from play import Recorded, play  # noqa: E402  (it lies beside the curves, which benchmarks play on, too)

SEARCHES = 25
# Share of searches in which the best of 60 random candidates is not the one that leads in the end, at most; and share
# of the epochs of 60 full trainings, at most.
STATED = {"asha": (0.2, 0.17), "hyperband": (0.25, 0.35), "median": (0.05, 0.55),
          "extrapolate": (0.1, 0.5)}  # fmt: skip


@pytest.fixture(scope="module")
def recorded() -> Recorded:
    return Recorded.read(CURVES / "digits.csv")


@pytest.mark.parametrize("scheduler", STATED)
def test_the_eventual_best_is_lost_no_more_often_than_stated(recorded: Recorded, scheduler: str) -> None:
    rate, share = STATED[scheduler]
    played = [play(recorded, "random", scheduler, seed, trials=60) for seed in range(SEARCHES)]
    assert sum(one.lost for one in played) / SEARCHES <= rate
    assert statistics.median(one.epochs for one in played) <= share * 60 * recorded.length


def test_who_decides_at_random_would_be_found_out(recorded: Recorded) -> None:
    """The same count of trainings in full, of trials picked by chance, loses the best in most searches."""
    lost = 0
    for seed in range(SEARCHES):
        one = play(recorded, "random", "none", seed, trials=60)
        picked = [curve[-1] for curve in one.candidates[:8] if curve]  # as many epochs as asha takes
        lost += max(picked) < max(curve[-1] for curve in one.candidates if curve)
    assert lost / SEARCHES > 0.5


def test_a_search_under_a_scheduler_ends_the_same_way_each_time(recorded: Recorded) -> None:
    first, second = (play(recorded, "evolution", "hyperband", 3, epochs=300) for _ in range(2))
    assert first == second
    assert first.epochs == 300
