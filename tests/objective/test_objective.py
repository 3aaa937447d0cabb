"""What an objective may return and note, and what is said when it is something else."""

import numpy as np
import pytest

from nas.objective import Context, evaluate
from nas.records import Failed, Succeeded
from nas.space import Candidate

CANDIDATE = Candidate(None, {"x": 1})


def outcome(result):
    return evaluate(lambda candidate, context: result, CANDIDATE, Context(0, 1))


@pytest.mark.parametrize(
    ("result", "metrics"),
    [(1, {"value": 1.0}), (np.float32(0.5), {"value": 0.5}), ({"a": np.int64(3)}, {"a": 3.0})],
)
def test_numbers_are_metrics(result, metrics):
    done = outcome(result)
    assert isinstance(done, Succeeded)
    assert done.metrics == metrics


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        "0.9",
        b"1",
        True,
        np.True_,
        [0.9],
        (),
        {"a": "0.9"},
        {"a": True},
        {"a": None},
        {"": 1.0},
        {"a\nb": 1.0},
        10**400,
        object(),
    ],
)
def test_anything_else_is_an_error_that_says_what_may_be_returned(result):
    done = outcome(result)
    assert isinstance(done, Failed)
    assert done.kind == "error"
    assert "it may return a number, or a mapping of names to numbers" in done.message


def test_a_wrong_metric_is_named():
    done = outcome({"accuracy": 0.5, "size": "big"})
    assert isinstance(done, Failed)
    assert "returned 'big' as size, a str" in done.message


def test_notes_become_plain_json_when_they_are_made():
    context = Context(0, 1)
    shared = [1]
    context.note(number=np.float64(0.5), many=np.arange(2), nested={"a": (1, None)}, shared=shared)
    shared.append(2)
    assert context.notes == {"number": 0.5, "many": [0, 1], "nested": {"a": [1, None]}, "shared": [1]}


@pytest.mark.parametrize("fact", [object(), {1: 2}, {"inner": {1, 2}}, lambda: 0, 2**80])
def test_a_note_that_is_no_json_is_refused_where_it_is_made(fact):
    """Otherwise the attempt's result could not be written, after the whole training."""
    context = Context(0, 1)
    with pytest.raises(TypeError, match=r"context\.note\(odd=\.\.\.\) is no plain JSON: "):
        context.note(fine=1, odd=fact)
    assert context.notes == {}
