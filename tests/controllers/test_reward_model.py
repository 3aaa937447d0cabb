"""What the reward model is told of candidates, what it expects of them, and what it chooses.

Without it the controller would still run, and would propose by chance what it should propose for a reason.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from nas import documents
from nas.controllers.cost_model import CostModel
from nas.controllers.encoding import Block, Encoder
from nas.controllers.reward_model import JITTER, RewardModel, choose
from nas.space import Space

CELL = Path(__file__).parents[2] / "search_spaces" / "nasbench201.yaml"
IMAGES = {"classes": 10, "outputs": 10, "channels": 3, "height": 32, "width": 32}


def encoder(space: Space) -> Encoder:
    return Encoder(space, [space.prior(random.Random(seed)) for seed in range(64)])


def row(one: Encoder, space: Space, decisions: dict[str, int | float]) -> np.ndarray:
    draw = space.replay(decisions)
    return one.row(draw.decisions, draw.candidate.architecture)


def test_isomorphic_cells_have_the_same_paths_and_others_do_not() -> None:
    """A cell known under another name must not be trained as if nothing were known of it."""
    space = Space.read(documents.read(CELL), IMAGES)
    paths, labels = list(space.by_path), space.decisions[0].labels  # type: ignore[union-attr]
    edges = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2))
    assert all(path.endswith(f".node[{n}].edge[{e}].op") for path, (n, e) in zip(paths, edges, strict=True))
    one = encoder(space)
    block = one.blocks[-1]

    def cell(*words: str) -> np.ndarray:
        return row(one, space, {path: labels.index(word) for path, word in zip(paths, words, strict=True)})

    def reached(*words: str) -> list[float]:
        return cell(*words)[block.start : block.stop].tolist()

    # conv3 by way of node 1, by way of node 2, or at once
    by_one = reached("conv3", "none", "none", "none", "identity", "none")
    assert by_one == reached("none", "conv3", "none", "none", "none", "identity")
    assert by_one == reached("none", "none", "none", "conv3", "none", "none")
    assert by_one == reached("none", "none", "conv1", "conv3", "none", "none")  # an edge from nothing
    assert by_one != reached("none", "none", "none", "conv1", "none", "none")
    assert by_one != reached("conv3", "none", "none", "conv3", "identity", "none")  # two such paths
    assert not any(reached("conv3", "conv3", "conv3", "none", "none", "none"))  # no path to the output


def test_choices_that_differ_are_at_distance_one_and_ordered_ones_at_the_square_of_their_steps() -> None:
    space = Space.read(
        {
            "hyperparameters": {
                "a": {"choice": ["x", "y", "z"]},
                "b": {"choice": [1, 2, 5]},
                "c": {"float": [1, 100], "log": True},
            }
        }
    )
    one = encoder(space)
    rows = [
        row(one, space, {"hyperparameters.a": a, "hyperparameters.b": b, "hyperparameters.c": c})
        for a, b, c in ((0, 0, 1.0), (1, 0, 1.0), (2, 1, 1.0), (0, 0, 10.0))
    ]
    apart = [[float(((x - y) ** 2).sum()) for x in rows] for y in rows]
    assert apart[0] == pytest.approx([0.0, 1.0, 1.25, 0.25])
    assert apart[1][2] == pytest.approx(1.25)


def test_equal_options_are_counted_over_the_decisions_that_share_them() -> None:
    space = Space.read(
        {"hyperparameters": {key: {"choice": ["x", "y"]} for key in "abcd"} | {"e": {"choice": ["x", "z"]}}}
    )
    one = encoder(space)
    (start, stop) = one.blocks[1].start, one.blocks[1].stop
    values = {f"hyperparameters.{key}": at for key, at in zip("abcde", (0, 1, 1, 0, 1), strict=True)}
    assert row(one, space, values)[start:stop] == pytest.approx([1.0, 1.0])  # two of four each, over the root of four


def test_a_decision_that_is_not_active_is_no_value() -> None:
    space = Space.read(
        {"hyperparameters": {"a": {"choice": [{"u": {"r": {"float": [0, 1]}}}, {"v": {"s": {"float": [0, 1]}}}]}}}
    )
    one = encoder(space)
    paths = list(space.by_path)
    first, second = row(one, space, {paths[0]: 0, paths[1]: 0.5}), row(one, space, {paths[0]: 1, paths[2]: 0.5})
    assert np.count_nonzero(first[2:4]) and not np.count_nonzero(first[4:6])
    assert np.count_nonzero(second[4:6]) and not np.count_nonzero(second[2:4])


# The process ---------------------------------------------------------------------------------------------------------

BLOCKS = [Block(0, 3, (0, 0, 1)), Block(3, 5, (0, 0))]


def some(count: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 5)))


def model(rows: torch.Tensor, ascents: int = 0) -> RewardModel:
    one = RewardModel(BLOCKS, some(64, 0), numbers=False)
    one.fit(rows, scored(len(rows)), ascents)
    return one


def chosen(one: RewardModel, pool: torch.Tensor, pending: torch.Tensor, count: int, optimism: float) -> list[int]:
    return choose([one.outlook(pool, pending, count)], alone, count, optimism)[0]


def alone(scores: Sequence[torch.Tensor]) -> torch.Tensor:
    (only,) = scores
    return only


def exponential(count: int) -> torch.Tensor:
    """Scores of ranks 0 to count - 1, less their mean."""
    scores = scored(count)
    return scores - scores.mean()


def scored(count: int) -> torch.Tensor:
    return torch.tensor([-math.log(1 - (i + 0.5) / count) for i in range(count)], dtype=torch.float64)


def log_posterior(one: RewardModel, rows: torch.Tensor, state: torch.Tensor) -> float:
    """Rewards' log likelihood and the log prior, constants aside, written out once more: no shared code."""
    amplitudes, scales, noise = state[:2].exp(), state[2:5].exp(), state[5].exp()
    apart = (rows[:, None] - rows) ** 2
    covariance = amplitudes[0] * (-(apart[..., :3] * scales[[0, 0, 1]]).sum(2)).exp()
    covariance = covariance + amplitudes[1] * (-(apart[..., 3:] * scales[2]).sum(2)).exp()
    covariance = covariance + (noise + JITTER) * torch.eye(len(rows)).double()
    count = len(rows)
    scores = exponential(count)
    likelihood = -0.5 * scores @ torch.linalg.solve(covariance, scores) - 0.5 * torch.logdet(covariance)
    return float(likelihood - 0.5 * ((state - RewardModel(BLOCKS, some(64, 0), numbers=False).state) ** 2).sum())


def test_an_ascent_goes_where_finite_differences_of_the_log_posterior_say() -> None:
    rows = some(12, 1)
    before = model(rows).state
    moved = model(rows, ascents=1).state - before
    step = 1e-5
    for at in range(len(before)):
        ahead, behind = before.clone(), before.clone()
        ahead[at] += step
        behind[at] -= step
        one = model(rows)
        slope = (log_posterior(one, rows, ahead) - log_posterior(one, rows, behind)) / (2 * step)
        assert float(moved[at]) == pytest.approx(0.1 * slope / (abs(slope) + 1.0), rel=1e-4, abs=1e-7)


def test_ascents_raise_the_posterior() -> None:
    rows = some(30, 2)
    states = [model(rows, ascents).state for ascents in (0, 10, 40)]
    heights = [log_posterior(model(rows), rows, state) for state in states]
    assert heights == sorted(heights) and heights[2] > heights[0] + 0.1


def test_expectations_and_bounds_are_those_of_a_gaussian_process() -> None:
    """Against the textbook's formula, with an inverse (Rasmussen and Williams 2006, eq. 2.25 and 2.26)."""
    rows, pool = some(10, 3), some(6, 4)
    one = model(rows)

    def covariance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        amplitudes, scales = one.state[:2].exp(), one.state[2:5].exp()
        apart = (a[:, None] - b) ** 2
        first = amplitudes[0] * (-(apart[..., :3] * scales[[0, 0, 1]]).sum(2)).exp()
        return first + amplitudes[1] * (-(apart[..., 3:] * scales[2]).sum(2)).exp()

    inverse = torch.linalg.inv(covariance(rows, rows) + (one.state[5].exp() + JITTER) * torch.eye(10).double())
    across = covariance(pool, rows)
    scores = exponential(10)
    variance = covariance(pool, pool).diagonal() - (across @ inverse * across).sum(1)
    outlook = one.outlook(pool, torch.zeros(0, 5).double(), 1)
    expected = outlook.expected
    picks, bounds = choose([outlook], alone, 1, 1.5)
    assert expected.tolist() == pytest.approx((across @ inverse @ scores).tolist(), rel=1e-6)
    assert bounds.tolist() == pytest.approx((expected + 1.5 * variance.sqrt()).tolist(), rel=1e-6)
    assert picks == [int(bounds.argmax())]


def test_what_is_pending_or_picked_is_not_chosen_again_beside_itself() -> None:
    """With many workers, all would else train neighbours of one good candidate."""
    rows = some(8, 5)
    one = model(rows)
    far = torch.full((1, 5), 3.0).double()
    pool = torch.cat([far, far + 1e-3, -far, some(3, 6)])
    nothing = torch.zeros(0, 5).double()
    first = chosen(one, pool, nothing, 1, 3.0)
    assert first[0] in (0, 1, 2)
    both = chosen(one, pool, nothing, 2, 3.0)
    assert set(both) != {0, 1}
    if first[0] != 2:
        again = chosen(one, pool, far, 1, 3.0)
        assert again[0] not in (0, 1)
    picks = chosen(one, pool, nothing, 100, 3.0)
    assert sorted(picks) == list(range(len(pool)))


def test_where_there_are_numbers_little_is_taken_for_noise() -> None:
    """Else what small moves of a number change is noise to it, and a search of numbers stands still early."""
    rows = some(20, 7)

    def off(*, numbers: bool) -> float:
        one = RewardModel(BLOCKS, some(64, 0), numbers=numbers)
        one.fit(rows, scored(20), 0)
        return float((one.expected(rows) - exponential(20)).abs().max())

    assert off(numbers=True) < off(numbers=False) / 3
    choices, settled = {"a": {"choice": [1, 2]}}, {"b": {"int": [3, 3]}}
    assert not Space.read({"name": "n", "hyperparameters": choices | settled}).numbers
    assert Space.read({"name": "n", "hyperparameters": choices | {"c": {"int": [3, 4]}}}).numbers


def test_a_wish_chooses_between_what_two_models_promise() -> None:
    """One of two objectives alone: what its own model would choose; both alike: neither model's favourite need win."""
    rows, pool, nothing = some(20, 7), some(40, 8), torch.zeros(0, 5).double()
    one, other = model(rows), RewardModel(BLOCKS, some(64, 0), numbers=False)
    other.fit(rows, scored(20).flip(0), 0)

    def picks(*weights: float) -> list[int]:
        outlooks = [each.outlook(pool, nothing, 5) for each in (one, other)]
        return choose(outlooks, lambda scores: sum(map(torch.mul, scores, map(torch.tensor, weights))), 5, 1.5)[0]

    assert picks(1.0, 0.0) == chosen(one, pool, nothing, 5, 1.5)
    assert picks(0.0, 1.0) == chosen(other, pool, nothing, 5, 1.5)
    assert picks(1.0, 0.0) != picks(0.0, 1.0)


def test_a_penalty_is_half_of_the_logarithm_of_seconds_and_nothing_where_none_or_one_is_known() -> None:
    cost, rows = CostModel(RewardModel(BLOCKS, some(64, 0), numbers=True)), some(30, 7)
    assert cost.penalty(rows).tolist() == [0.0] * 30
    cost.fit(rows[:1], torch.ones(1).double(), 1)
    assert cost.penalty(rows).tolist() == [0.0] * 30
    logs = rows[:, 0] + 0.5 * rows[:, 3]
    cost.fit(rows, (7.0 + logs).exp(), 1)
    assert cost.penalty(rows).tolist() == pytest.approx((0.5 * (logs - logs.mean())).tolist(), abs=0.1)
    cost.fit(rows, torch.full((30,), 4.0).double(), 1)
    assert cost.penalty(rows).tolist() == pytest.approx([0.0] * 30, abs=1e-6)


def test_a_penalty_lowers_the_bound_by_which_one_is_chosen() -> None:
    pool, nothing = some(10, 8), torch.zeros(0, 5).double()
    outlook = [model(some(20, 7)).outlook(pool, nothing, 3)]
    (first, second, _), bounds = choose(outlook, alone, 3, 0.0)
    penalty = torch.zeros(10).double()
    penalty[first] = bounds[first] - bounds[second] + 1e-3
    picks, lowered = choose([model(some(20, 7)).outlook(pool, nothing, 2)], alone, 2, 0.0, penalty)
    assert picks == [second, first]
    assert lowered.tolist() == pytest.approx((bounds - penalty).tolist())


def test_what_is_expected_has_the_rank_of_the_told_that_it_equals() -> None:
    rows = some(9, 9)
    one = model(rows)
    assert one.ranks(exponential(9)).tolist() == pytest.approx([(i + 0.5) / 9 for i in range(9)])
