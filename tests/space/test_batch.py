"""Many draws at once: each row must be a draw that a single walk could have made, as often."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from nas import inspect, shipped
from nas.errors import InputError
from nas.space import Decision, Index, Integer, Real, Space, draw_prior
from nas.space.batch import prior_values

ROWS = 60


def fixed(value: float) -> random.Random:
    class Fixed(random.Random):
        def random(self) -> float:
            return value

    return Fixed()


def assert_rows_are_draws(space: Space) -> None:
    """The uniform number of each decision and row is kept, and a single walk that is given it makes the same draw."""
    numbers: dict[str, np.ndarray] = {}
    rng = np.random.default_rng(5)

    def choose(decision: Decision, rows: np.ndarray) -> np.ndarray:
        kept = numbers.setdefault(decision.path, rng.random(ROWS))
        return prior_values(decision, kept[rows])

    batch = space.walk_many(ROWS, choose)
    assert set(batch.columns) <= set(space.by_path)
    for row in range(ROWS):
        drawn = space.walk(lambda decision, row=row: draw_prior(decision, fixed(numbers[decision.path][row])))
        assert batch.row(row) == pytest.approx(drawn.decisions, rel=1e-12)
        assert set(batch.row(row)) == set(drawn.decisions)


@pytest.mark.parametrize("name", sorted(shipped.names("search_spaces")))
def test_rows_of_shipped_spaces_are_draws(name: str) -> None:
    assert_rows_are_draws(inspect.open_space(name, costs=False).space)


BRANCH = {"new": "tree", "depth": 3}
SPACES = {
    "repeats of a tied and of a computed number": {
        "define": {"deep": {"choice": [1, 2]}, "wide": {"int": [1, 4]}},
        "architecture": [
            {"repeat": {"times": "=deep + 1", "of": [{"conv": {"filters": {"choice": [1, 2]}}}]}},
            {"repeat": {"times": {"choice": [0, 3]}, "of": [{"choice": ["identity", {"new": "cell"}, "=tied"]}]}},
            {"repeat": {"times": "=wide / 2", "of": [{"a": {"float": [0.0, 1.0]}}]}},
        ],
    },
    "recursion": {
        "define": {"tree": {"choice": [{"leaf": {"int": [1, 9]}}, [BRANCH, BRANCH]]}},
        "architecture": [BRANCH],
    },
    "masks": {
        "define": {"a": {"choice": [1, 2, 3, 4], "weights": [1, 2, 3, 4]}, "b": {"int": [1, 40]}},
        "hyperparameters": {"a": "=a", "b": "=b", "c": {"float": [0.5, 8.0], "log": True}},
        "constraints": ["a * b <= 40", "b >= a", "path('hyperparameters.c') <= a"],
    },
    "subsets": {
        "hyperparameters": {
            "any": {"subset": ["x", {"a": {"choice": [1, 2]}}, "z"]},
            "two": {"subset": ["x", {"a": {"choice": [1, 2]}}, {"b": {"int": [3, 9], "log": True}}], "size": 2},
        }
    },
}  # fmt: skip
SPACES["repeats of a tied and of a computed number"]["define"] |= {  # type: ignore[operator]
    "cell": {"choice": [{"pool": {"int": [2, 3]}}, "norm"]},
    "tied": {"choice": ["relu", {"drop": {"float": [0.1, 0.9]}}]},
}


@pytest.mark.parametrize("name", SPACES)
def test_rows_are_draws(name: str) -> None:
    assert_rows_are_draws(Space.read(SPACES[name]))


def test_a_define_is_drawn_once_a_row_wherever_it_is_first_active() -> None:
    space = Space.read(
        {
            "define": {"w": {"int": [1, 1000]}},
            "hyperparameters": {"first": {"choice": ["=w", 0]}, "second": {"choice": ["=w", 0]}},
        }
    )
    batch = space.prior_many(4000, np.random.default_rng(0))
    active = batch.columns["define.w"].active
    either = (batch.columns["hyperparameters.first"].values == 0) | (
        batch.columns["hyperparameters.second"].values == 0
    )
    assert np.array_equal(active, either)
    assert 2800 < active.sum() < 3200


@pytest.mark.parametrize(
    "decision",
    [
        Index("x", 5, tuple("abcde")),
        Index("x", 3, tuple("abc"), weights=(0.1, 0.2, 0.7)),
        Index("x", 4, tuple("abcd"), weights=(0.1, 0.2, 0.3, 0.4), allowed=(0, 3)),
        Index("x", 4, tuple("abcd"), allowed=(1, 2)),
        Integer("x", -3, 7),
        Integer("x", 1, 1000, log=True),
        Real("x", -1.0, 2.0),
        Real("x", 1e-5, 10.0, log=True),
    ],
    ids=str,
)
def test_the_prior_of_many_is_the_prior_of_one(decision: Decision) -> None:
    numbers = np.concatenate([np.linspace(0, 1, 2001)[:-1], [1 - 2**-53]])
    one = [draw_prior(decision, fixed(float(u))) for u in numbers]
    assert prior_values(decision, numbers).tolist() == pytest.approx(one, rel=1e-12)


def test_frequencies_are_those_of_single_draws() -> None:
    space = Space.read(SPACES["masks"])
    batch = space.prior_many(20_000, np.random.default_rng(3))
    many = Counter(
        zip(batch.columns["define.a"].values.tolist(), batch.columns["define.b"].values.tolist(), strict=True)
    )
    rng = random.Random(4)
    single = Counter((d["define.a"], d["define.b"]) for d in (space.prior(rng).decisions for _ in range(20_000)))
    assert many.keys() == single.keys()
    chi2 = sum((many[k] - single[k]) ** 2 / (many[k] + single[k]) for k in many)
    freedom = len(many) - 1
    assert chi2 < freedom + 4 * (2 * freedom) ** 0.5


def test_values_outside_a_view_are_refused() -> None:
    space = Space.read(SPACES["masks"])
    with pytest.raises(ValueError, match="outside of the domain, or ruled out"):
        space.walk_many(3, lambda decision, rows: np.full(len(rows), 40))
    with pytest.raises(TypeError, match="whole numbers"):
        space.walk_many(3, lambda decision, rows: np.full(len(rows), 0.5))
    with pytest.raises(InputError):
        space.replay({})


def test_a_row_has_the_order_of_its_own_walk() -> None:
    """What is drawn at its first active mention comes earlier in some draws than in others."""
    space = Space.read(
        {
            "define": {"n": {"choice": [1, 2]}},
            "hyperparameters": {"a": {"choice": ["=n", 3]}, "b": {"float": [0.0, 1.0]}, "c": "=n"},
        }
    )
    batch = space.prior_many(40, np.random.default_rng(0))
    rows = [batch.row(number) for number in range(40)]
    assert [list(row) for row in rows] == [list(space.replay(row).decisions) for row in rows]
    assert len({tuple(row) for row in rows}) == 2
