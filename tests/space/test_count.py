"""Counts that can be worked by hand, or that a paper gives."""

import time

import pytest

from nas.errors import InputError
from nas.space import Count, Space


def count(**sections: object) -> str:
    return str(Space.read(sections, {"classes": 10}).count())


def test_options_add_and_values_multiply() -> None:
    option = {"choice": ["a", {"b": {"x": {"choice": [1, 2, 3]}, "y": {"int": [0, 4]}}}]}
    assert count(hyperparameters={"h": option, "k": {"choice": [1, 2]}}) == str((1 + 3 * 5) * 2)


def test_an_unstepped_float_is_a_symbol_and_a_stepped_one_a_number() -> None:
    floats = {
        "a": {"float": [0, 1]},
        "b": {"choice": [{"x": {"float": [0, 1]}}, 2]},
        "c": {"float": [0, 1], "step": 0.25},
    }
    space = Space.read({"hyperparameters": floats}).count()
    assert str(space) == "5 R + 5 R^2"
    assert (space.finite, space.exact) == (10, None)


def test_repetitions_are_a_sum_of_powers() -> None:
    body = {"conv": {"kernel": {"choice": [1, 3, 5]}}}
    assert count(architecture=[{"repeat": {"times": {"int": [0, 3]}, "of": body}}]) == str(1 + 3 + 9 + 27)


def test_a_tie_counts_once_and_only_where_it_is_active() -> None:
    # width is drawn unless both choices take their other option: (2 * 2 - 1) * 5 + 1
    options = {"choice": [{"conv": {"filters": "=width"}}, "identity"]}
    assert count(define={"width": {"int": [1, 5]}}, architecture=[options, options]) == "16"


def test_a_tie_among_members_counts_once() -> None:
    # w is drawn unless neither member is taken: 3 * 5 + 1; beside it 2 options and the 2 values of v, drawn in any case
    tied = {"subset": [{"x": "=w"}, {"y": "=w"}]}
    hyperparameters = {"a": {"choice": [{"x": "=v"}, 1]}, "s": tied, "b": "=v"}
    assert count(define={"w": {"int": [1, 5]}, "v": {"int": [1, 2]}}, hyperparameters=hyperparameters) == "64"


def test_a_tied_number_of_repetitions_is_the_same_in_both_places() -> None:
    repeat = {"repeat": {"times": "=often", "of": {"conv": {"kernel": {"choice": [3, 5]}}}}}
    assert count(define={"often": {"choice": [1, 2, 3]}}, architecture=[repeat, repeat]) == str(4 + 16 + 64)


def test_subsets() -> None:
    members = [1, 2, 3, {"x": {"choice": ["a", "b"]}}]
    assert count(hyperparameters={"s": {"subset": members}}) == str(2 * 2 * 2 * 3)
    assert count(hyperparameters={"s": {"subset": members, "size": 2}}) == str(3 + 3 * 2)


def test_large_spaces_are_counted_at_once() -> None:
    """Lost without it: `nas space count` that enumerates."""
    body = {
        "choice": [
            {"conv": {"filters": "=w", "kernel": {"choice": [1, 3, 5]}}},
            {"pool": {"rate": {"float": [0, 1]}}},
            None,
        ]
    }
    started = time.monotonic()
    space = Space.read(
        {
            "define": {"w": {"int": [1, 64]}} | {f"d{i}": {"choice": [1, 2]} for i in range(60)},
            "architecture": [
                {"repeat": {"times": {"int": [1, 20]}, "of": {"repeat": {"times": {"int": [0, 4]}, "of": body}}}},
                *({"choice": [{"a": f"=d{i}"}, {"b": [{"c": f"=d{i}"}, f"x{i}"]}, None]} for i in range(60)),
            ],
        }
    )
    assert space.count().finite > 10**40
    assert time.monotonic() - started < 20


def test_defines_too_entangled_to_count_are_said_to_be() -> None:
    sometimes = [{"choice": [{"a": f"=d{i}"}, "b"]} for i in range(20)]
    with pytest.raises(InputError, match="cannot be counted"):
        count(define={f"d{i}": {"choice": [1, 2]} for i in range(20)}, architecture=[*sometimes, *sometimes])


def test_counts_are_printed_with_their_powers() -> None:
    assert str(Space.read({"hyperparameters": {"a": {"int": [1, 1234567]}}}).count()) == "1,234,567"
    assert Space.read({"hyperparameters": {"a": {"int": [1, 1234567]}}}).count().exact == 1_234_567


def test_numbers_that_python_would_not_print_are_printed() -> None:
    assert str(Count((10**4000,))) == f"{10**4000:,}"
    assert str(Count((25 * 10**8999,))) == "2.500e9000"
    assert str(Count((3, 10**5000))) == "3 + 1.000e5000 R"
