"""Percentiles with failures, the paired test and its correction: what a comparison's verdict rests on."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from bench_problems import write
from scipy import stats

from nas.bench import spec as specs
from nas.bench import table as tables
from nas.bench.measures import better_than, curve, holm, incumbent, measures, quantile, reached
from nas.bench.recorded import Recorded, join, read_space
from nas.bench.trace import Trace

INF = math.inf


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Recorded:
    said, document = specs.load(str(write(tmp_path_factory.mktemp("toy"))))
    table = tables.read(tables.Path(document.file).with_name("toy.csv"))
    return join(said, document, read_space(said, document), table, "all", "query", said.protocols["query"])


def test_quantiles_are_numpys_where_all_is_finite():
    values = [random.Random(1).random() for _ in range(37)]
    for share in (0.0, 0.1, 0.5, 0.9, 1.0):
        assert quantile(values, share) == pytest.approx(float(np.quantile(values, share)))


def test_a_failure_is_infinite_and_no_nan_comes_of_it():
    assert quantile([1, 2, 3, INF, INF], 0.5) == 3
    assert quantile([1, 2, INF, INF], 0.5) == INF
    assert quantile([INF, INF], 0.9) == INF
    assert quantile([4.0], 0.1) == 4.0
    assert quantile([-INF, 5, 6], 0.1) == -INF  # of what is better when higher


@pytest.mark.parametrize("n", [8, 20, 60, 200])
def test_the_signed_rank_test_is_scipys(n):
    rng = np.random.default_rng(n)
    ours, theirs = rng.normal(0.2, 1, n), rng.normal(0, 1, n)
    p = better_than(dict(enumerate(ours)), dict(enumerate(theirs)), higher=True)
    how = {"method": "exact"} if n <= 25 else {"method": "asymptotic", "correction": True}
    assert p == pytest.approx(stats.wilcoxon(ours, theirs, alternative="greater", **how).pvalue, rel=1e-9)


def test_ties_and_zeros_in_the_signed_rank_test_are_scipys():
    rng = np.random.default_rng(5)
    ours, theirs = rng.integers(0, 6, 80).astype(float), rng.integers(0, 5, 80).astype(float)
    p = better_than(dict(enumerate(ours)), dict(enumerate(theirs)), higher=True)
    wanted = stats.wilcoxon(
        ours, theirs, alternative="greater", method="asymptotic", correction=True, zero_method="wilcox"
    )
    assert p == pytest.approx(wanted.pvalue, rel=1e-9)


def test_failures_in_pairs():
    # Seed 0: both failed, which says nothing; 1 to 5: only they failed. Five wins of five: 1/32.
    ours, theirs = {0: INF, **dict.fromkeys(range(1, 6), 9.0)}, dict.fromkeys(range(6), INF)
    assert better_than(ours, theirs, higher=False) == pytest.approx(1 / 32)
    assert better_than(theirs, ours, higher=False) == pytest.approx(1.0)
    assert better_than({1: 2.0}, {2: 3.0}, higher=False) == 1.0  # no seed in common


def test_holm_by_hand():
    # Sorted: 0.01 * 3, 0.03 * 2, 0.04 * 1 -> 0.03, 0.06, and no less than the one before: 0.06.
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_measures_of_a_trace_by_hand(toy):
    # Rewards of rows 0, 5, 31 and 35: 1, 5, 27 and 30; 31 is an equal of the best, 35. The second evaluation failed.
    rows = [0, -1, 5, 31, 35]
    trace = Trace(rows, [(1, 0), (3, 5), (4, 31), (5, 35)], 50.0, 0.1, "budget")
    assert toy.goal is not None
    assert toy.goal.nonzero()[0].tolist() == [31, 35]
    assert reached(toy, trace) == 4  # the equal counts
    assert [incumbent(trace, end) for end in (1, 2, 3, 4, 9)] == [0, 0, 5, 31, 35]
    found = {measure.name: measure.values[0] for measure in measures(toy, [trace])}
    assert found["reached"] == 4
    assert found["score@5"] == toy.final[35] == 30.5
    assert found["regret@30"] == 0.0
    assert found["log_regret@30"] == pytest.approx(math.log10(1.0))  # the next best row is 1 away
    assert curve(toy, trace, [1, 3, 5]) == [29.0, 25.0, 0.0]


def test_a_run_that_had_only_failures_is_infinitely_bad(toy):
    trace = Trace([-1, -1], [], 20.0, 0.1, "budget")
    found = {measure.name: measure for measure in measures(toy, [trace])}
    assert found["reached"].values == (INF,)
    assert found["score@5"].values == (-INF,)
    assert found["regret@5"].values == (INF,)
    assert found["reached"].failures == 1
