"""Intervals of means and their quantiles, against SciPy and by hand."""

import math

import pytest

from nas import intervals

stats = pytest.importorskip("scipy.stats", reason="the reference is SciPy's")


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 10, 29, 100])
@pytest.mark.parametrize("probability", [0.5, 0.8, 0.95, 0.975, 0.9995])
def test_quantiles_of_t_are_scipy_s(degrees, probability):
    expected = stats.t.ppf(probability, degrees)
    assert intervals.t_quantile(probability, degrees) == pytest.approx(expected, rel=1e-11, abs=1e-11)


def test_an_interval_by_hand_one_value_has_none_and_equal_values_have_no_width():
    assert intervals.mean([1.0, 3.0]) == pytest.approx((2.0, math.tan(0.475 * math.pi)))  # t of one degree: Cauchy's
    assert intervals.mean([0.7]) == (0.7, None)
    assert intervals.mean([0.7, 0.7, 0.7]) == pytest.approx((0.7, 0.0))


def test_nine_of_ten_intervals_of_normal_means_hold_the_truth_at_90_percent():
    draws = stats.norm.rvs(loc=5.0, scale=2.0, size=(2000, 3), random_state=7)
    held = [abs(mean - 5.0) <= half for mean, half in (intervals.mean(row.tolist(), 0.9) for row in draws)]
    assert sum(held) / len(held) == pytest.approx(0.9, abs=0.02)  # three standard errors
