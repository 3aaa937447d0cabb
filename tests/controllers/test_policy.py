"""The policy's mathematics against values worked by hand: probabilities, densities, and NumPy against torch.

A log-probability that is off by a little trains the wrong thing for ever, and no other test would notice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from search_problems import CONSTRAINED, EVERY_KIND, FLAT, read

from nas.controllers.bins import bins_of
from nas.controllers.policy import Policy, Scores
from nas.space import Index, Integer, Real, draw_prior

TWO_BRANCHES: dict[str, Any] = {
    "hyperparameters": {
        "o": {
            "choice": [{"a": {"x": {"choice": ["p", "q", "r"]}}}, {"b": {"y": {"float": [0.0, 4.0]}}}],
            "weights": [3, 1],
            "name": "o",
        }
    }
}
A_P = {"o": 0, "o:a.x": 0}
A_R = {"o": 0, "o:a.x": 2}
B = {"o": 1, "o:b.y": 1.3}


def policy_of(document: Mapping[str, Any], seed: int = 1) -> Policy:
    return Policy(read(document), 8, seed)


def shaken(document: Mapping[str, Any], seed: int = 1) -> Policy:
    """A policy that has learned something, whatever it is."""
    policy = policy_of(document, seed)
    noise = torch.randn(len(policy.theta), generator=torch.Generator().manual_seed(seed))
    policy.theta = policy.theta + 0.5 * noise
    policy.refresh()
    return policy


def with_biases(o: list[float], x: list[float]) -> Policy:
    """Two branches with known logits: heads have zero weights, so only these biases and the prior count."""
    policy = policy_of(TWO_BRANCHES)
    assert [bins.decision.path for bins in policy.bins] == ["o", "o:a.x", "o:b.y"]
    policy._parts(policy.theta)["head_bias"][:5] = torch.tensor([*o, *x])
    policy.refresh()
    return policy


def scored(policy: Policy, decisions: Mapping[str, int | float], floor: float) -> Scores:
    steps = policy.encoded(decisions)
    return policy.score(policy.theta, policy.sequences([(steps, [True] * len(steps))]), torch.tensor([floor]))


def test_an_untrained_policy_is_the_prior() -> None:
    policy = policy_of(TWO_BRANCHES)
    assert policy.log_probability(A_P, 0.0) == pytest.approx(math.log(3 / 4 / 3), abs=1e-6)
    assert policy.log_probability(B, 0.0) == pytest.approx(math.log(1 / 4 / 4), abs=1e-6)  # density 1/4 on [0, 4]


def test_two_branches_worked_by_hand() -> None:
    """o: (3/4)e^1 against (1/4)e^0; below a: e^0, e^0, e^2, each times 1/3. The mixture is by decision, floor 0.2."""
    policy = with_biases([1.0, 0.0], [0.0, 0.0, 2.0])
    a = 3 * math.e / (3 * math.e + 1)
    p, r = 1 / (2 + math.e**2), math.e**2 / (2 + math.e**2)
    assert policy.log_probability(A_P, 0.0) == pytest.approx(math.log(a * p), abs=1e-6)
    assert policy.log_probability(A_R, 0.0) == pytest.approx(math.log(a * r), abs=1e-6)
    assert policy.log_probability(B, 0.0) == pytest.approx(math.log((1 - a) / 4), abs=1e-6)
    mixed = (0.8 * a + 0.2 * 0.75) * (0.8 * r + 0.2 / 3)
    assert policy.log_probability(A_R, 0.2) == pytest.approx(math.log(mixed), abs=1e-6)
    assert scored(policy, A_R, 0.2).log_mixture.item() == pytest.approx(math.log(mixed), abs=1e-6)
    assert scored(policy, A_R, 0.2).log_policy.item() == pytest.approx(math.log(a * r), abs=1e-6)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_the_density_of_a_real_integrates_to_one(log: bool, floor: float) -> None:
    policy = shaken({"hyperparameters": {"x": {"float": [0.01, 10.0], "log": log}}})
    (path,) = policy.index
    edges = np.geomspace(0.01, 10, 32 * 40 + 1) if log else np.linspace(0.01, 10, 32 * 40 + 1)
    middles, widths = (edges[1:] + edges[:-1]) / 2, np.diff(edges)
    density = np.array([math.exp(policy.log_probability({path: float(x)}, floor)) for x in middles])
    assert (density * widths).sum() == pytest.approx(1.0, abs=1e-4)
    assert density.max() / density.min() > 2  # it is not the prior that was integrated


@pytest.mark.parametrize("domain", [{"int": [1, 40]}, {"int": [8, 256], "log": True}, {"int": [-3, 5]}])
def test_the_chances_of_an_integer_sum_to_one(domain: dict[str, Any]) -> None:
    policy = shaken({"hyperparameters": {"k": domain}})
    (path,), (low, high) = policy.index, domain["int"]
    chances = [math.exp(policy.log_probability({path: k}, 0.1)) for k in range(low, high + 1)]
    assert sum(chances) == pytest.approx(1.0, abs=1e-6)


DECISIONS = [
    Index("i", 3, ("a", "b", "c"), weights=(0.5, 0.3, 0.2)),
    Index("steps", 200, ("",) * 200, ordered=True),
    Index("one", 1, ("a",)),
    Integer("k", -3, 5),
    Integer("wide", 0, 1000),
    Integer("log", 1, 5000, log=True),
    Integer("narrow", 4, 16, log=True),
    Real("x", -1.0, 2.5),
    Real("y", 1e-5, 1e-1, log=True),
    Real("point", 2.0, 2.0),
]


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.path)
def test_bins_hold_what_the_prior_draws_as_often_as_they_say(decision: Any) -> None:
    bins = bins_of(decision)
    assert sum(bins.prior) == pytest.approx(1.0)
    rng = Random(3)
    counts = np.zeros(bins.size)
    for _ in range(20_000):
        counts[bins.bin_of(draw_prior(decision, rng))] += 1
    spread = np.sqrt(np.array(bins.prior) / 20_000)
    assert np.all(np.abs(counts / 20_000 - bins.prior) < 5 * spread + 1e-9)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda decision: decision.path)
def test_a_value_drawn_in_a_bin_is_valid_and_in_that_bin(decision: Any) -> None:
    bins = bins_of(decision)
    for at in range(bins.size):
        for uniform in (0.0, 0.5, 0.999):
            value = bins.draw(at, uniform)
            assert decision.accept(value) == value
            assert bins.bin_of(value) == at or (isinstance(decision, Real) and uniform == 0.0)
    assert bins.draw(bins.size - 1, 1.0 - 2**-53) <= getattr(decision, "high", bins.edges[-1])


@pytest.mark.parametrize("document", [EVERY_KIND, FLAT, TWO_BRANCHES])
def test_drawing_and_learning_agree(document: dict[str, Any]) -> None:
    """NumPy draws, torch learns: were they to differ, every ratio would be wrong."""
    policy = shaken(document)
    rng = Random(5)
    for _ in range(20):
        drawn = policy.draw(rng, 0.15)
        decisions = drawn.draw.decisions
        again = scored(policy, decisions, 0.15).log_mixture.item() + policy.density_of(decisions, decisions)
        assert drawn.log_probability == pytest.approx(again, abs=2e-4)
        assert drawn.log_probability == pytest.approx(policy.log_probability(decisions, 0.15), abs=1e-9)


def test_both_ways_to_compute_logits_agree() -> None:
    """The second is for spaces of thousands of decisions, which would otherwise need gigabytes."""
    policy = shaken(EVERY_KIND)
    decisions = policy.draw(Random(9), 0.1).draw.decisions
    one, other = ([], [])
    for found, few in ((one, True), (other, False)):
        policy._few_bins = few
        scores = scored(policy, decisions, 0.1)
        found += [scores.log_policy.item(), scores.log_mixture.item()]
    assert one == pytest.approx(other, abs=1e-5)


def test_padding_and_batch_mates_change_nothing() -> None:
    """Trials of different length are learned from together."""
    policy = shaken(EVERY_KIND)
    rng = Random(6)
    drawn = [policy.draw(rng, 0.1).draw.decisions for _ in range(8)]
    steps = [policy.encoded(decisions) for decisions in drawn]
    batch = policy.sequences([(one, [True] * len(one)) for one in steps])
    together = policy.score(policy.theta, batch, torch.full((8,), 0.1))
    for row, decisions in enumerate(drawn):
        alone = scored(policy, decisions, 0.1)
        assert together.log_mixture[row].item() == pytest.approx(alone.log_mixture.item(), abs=1e-4)


def test_draws_come_as_often_as_their_probability_says() -> None:
    policy = with_biases([1.0, 0.0], [0.0, 0.0, 2.0])
    rng = Random(7)
    draws = [policy.draw(rng, 0.2).draw.decisions for _ in range(4_000)]
    share = sum(d == A_R for d in draws) / 4_000
    assert share == pytest.approx(math.exp(policy.log_probability(A_R, 0.2)), abs=0.03)


def test_what_is_kept_is_kept_and_not_counted() -> None:
    """The log-probability of an edit is of what was drawn, given what was kept."""
    policy = with_biases([1.0, 0.0], [0.0, 0.0, 2.0])
    drawn = policy.draw(Random(8), 0.0, kept={"o": 0})
    assert drawn.drawn == ("o:a.x",)
    chance = {0: 1 / (2 + math.e**2), 1: 1 / (2 + math.e**2), 2: math.e**2 / (2 + math.e**2)}
    assert drawn.log_probability == pytest.approx(math.log(chance[int(drawn.draw.decisions["o:a.x"])]), abs=1e-6)


def test_neighbours_of_an_ordered_decision_learn_together() -> None:
    """A learning rate of 0.31 says something of 0.30; without this 32 bins would need 32 times the trials."""
    policy = policy_of({"hyperparameters": {"x": {"float": [0.0, 1.0]}}})
    (path,) = policy.index
    policy.theta = policy.theta.requires_grad_()
    scored(policy, {path: 0.5}, 0.0).log_policy.sum().backward()
    gradient = policy.theta.grad
    policy.theta = (policy.theta + gradient).detach()
    policy.refresh()
    near, far = (policy.log_probability({path: x}, 0.0) for x in (0.54, 0.9))
    assert near > 0.1
    assert far < 0.0


# Many at once --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [EVERY_KIND, FLAT, CONSTRAINED], ids=["conditional", "flat", "constrained"])
def test_many_draws_have_the_log_probability_that_each_has_alone(document: Any) -> None:
    """A pool is drawn in columns and proposals are learned from one by one: both must mean the same policy."""
    policy = shaken(document)
    floors = np.linspace(0.0, 0.9, 40)
    many = policy.draw_many(np.random.default_rng(1), floors)
    for row, floor in enumerate(floors):
        decisions = many.batch.row(row)
        assert list(decisions) == list(policy.space.replay(decisions).decisions)
        assert many.log_probability[row] == pytest.approx(policy.log_probability(decisions, floor), abs=1e-4)
        assert all(many.drawn[path][row] for path in decisions)


def test_many_draws_keep_what_they_are_told_to_keep() -> None:
    policy = shaken(EVERY_KIND)
    parents = [dict(policy.space.prior(Random(seed)).decisions) for seed in range(30)]
    rng = np.random.default_rng(2)
    kept = [{path: value for path, value in parent.items() if rng.random() < 0.7} for parent in parents]
    many = policy.draw_many(rng, np.full(30, 0.5), kept)
    held = 0
    for row, keeping in enumerate(kept):
        decisions = many.batch.row(row)
        for path, value in decisions.items():
            assert many.drawn[path][row] == (path not in keeping)
            if path in keeping:
                assert value == keeping[path]
                held += 1
    assert held > 30


def test_many_draws_are_distributed_as_single_ones() -> None:
    policy = shaken(FLAT)
    many = policy.draw_many(np.random.default_rng(3), np.full(4000, 0.3)).batch
    rng = Random(4)
    single = [policy.draw(rng, 0.3).draw.decisions for _ in range(4000)]
    for path, column in many.columns.items():
        bins = policy.bins[policy.index[path]]
        one = np.bincount([bins.bin_of(draw[path]) for draw in single], minlength=bins.size)
        other = np.bincount(bins.many_of(column.values), minlength=bins.size)
        spread = ((one - other) ** 2 / np.maximum(one + other, 1)).sum()  # chi-squared, bins.size - 1 degrees
        assert spread < bins.size - 1 + 5 * (2 * bins.size) ** 0.5
