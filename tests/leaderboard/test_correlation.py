"""Rank correlations against SciPy and by hand, and how often their intervals hold the truth."""

import math
import random

import pytest

from nas.correlation import Correlation, kendall, spearman

stats = pytest.importorskip("scipy.stats", reason="the reference is SciPy's")


@pytest.mark.parametrize("ties", [3, 1000])
def test_estimates_are_scipy_s_with_ties_and_without(ties):
    lot = random.Random(ties)
    for n in range(2, 25):
        one, other = ([float(lot.randrange(ties)) for _ in range(n)] for _ in range(2))
        for ours, theirs in ((kendall, stats.kendalltau), (spearman, stats.spearmanr)):
            if min(len(set(one)), len(set(other))) > 1:
                assert ours(one, other).estimate == pytest.approx(theirs(one, other).statistic, abs=1e-12)


def test_tau_b_by_hand():
    # Of six pairs four agree, one does not, one is tied on one side: (4 - 1) / sqrt(6 * 5).
    assert kendall([1, 2, 3, 4], [1, 3, 2, 3]).estimate == pytest.approx(3 / math.sqrt(30))


def test_an_interval_by_hand():
    # tau = 18 / 28 with n = 8: tanh(atanh(18 / 28) -+ 1.95996 * sqrt(0.437 / 4))
    found = kendall([1, 2, 3, 4, 5, 6, 7, 8], [3, 1, 2, 5, 4, 8, 6, 7])
    discordant = 2 + 1 + 2
    assert found.estimate == pytest.approx((28 - 2 * discordant) / 28)
    reach = 1.959964 * math.sqrt(0.437 / 4)
    expected = [math.tanh(math.atanh(found.estimate) + side * reach) for side in (-1, 1)]
    assert (found.low, found.high) == pytest.approx(expected, abs=1e-6)


def test_perfect_order_of_eight_is_no_proof_and_of_four_has_no_interval():
    whole = list(range(8))
    assert kendall(whole, whole).estimate == kendall(whole, whole).high == 1.0
    assert 0.8 < kendall(whole, whole).low < 0.95
    assert spearman(whole, whole[::-1]).high == pytest.approx(-spearman(whole, whole).low)
    assert kendall(whole[:4], whole[:4]) == Correlation(1.0)
    assert kendall(whole, [1.0] * 8) == spearman(whole, [1.0] * 8) == Correlation(None)


def test_what_failed_is_the_last_of_an_order_whatever_the_others_are():
    assert kendall([1, 2, 3], [-math.inf, 0.1, 0.2]).estimate == 1.0
    assert spearman([1, 2, 3], [-math.inf, 0.1, 0.2]).estimate == pytest.approx(1.0)


@pytest.mark.parametrize("n", [8, 12])
@pytest.mark.parametrize(("true", "least"), [(0.0, 0.91), (0.5, 0.91), (0.8, 0.91), (0.9, 0.84)])
def test_intervals_hold_the_truth_about_nineteen_times_in_twenty(n, true, least):
    # Of normal pairs with correlation r the truth is known: tau 2 / pi asin(r), rho 6 / pi asin(r / 2).
    lot = random.Random(n)
    tau, rho = 2 / math.pi * math.asin(true), 6 / math.pi * math.asin(true / 2)
    held, times = [0, 0], 600
    for _ in range(times):
        one = [lot.gauss(0, 1) for _ in range(n)]
        other = [true * x + math.sqrt(1 - true * true) * lot.gauss(0, 1) for x in one]
        for at, (found, truth) in enumerate(((kendall(one, other), tau), (spearman(one, other), rho))):
            held[at] += found.low <= truth <= found.high
    assert min(held) / times > least
