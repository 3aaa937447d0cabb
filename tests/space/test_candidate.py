"""Candidates: hash, JSON, the readable line."""

import pickle
from hashlib import sha256

import pytest

from nas.space import Candidate, Space


def test_the_hash_is_sha256_of_canonical_json() -> None:
    candidate = Candidate([{"conv": {"kernel": 3, "filters": 16.0}}], {"rate": 1e-3})
    text = '{"architecture":[{"conv":{"filters":16,"kernel":3}}],"hyperparameters":{"rate":0.001}}'
    assert candidate.hash == sha256(text.encode()).hexdigest()
    assert Candidate([{"conv": {"filters": 16, "kernel": 3}}], {"rate": 0.001}).hash == candidate.hash


def test_order_of_layers_changes_the_hash_and_order_of_settings_does_not() -> None:
    assert Candidate([{"a": {}}, {"b": {}}], {}).hash != Candidate([{"b": {}}, {"a": {}}], {}).hash
    assert Candidate([], {"a": 1, "b": 2}).hash == Candidate([], {"b": 2, "a": 1}).hash
    assert Candidate([], {}).hash != Candidate(None, {}).hash


@pytest.mark.parametrize(
    "value",
    [
        "=x",
        {"choice": [1, 2]},
        {"chioce": [1]},
        {"a": {"int": [1, 2]}},
        ["=x", {"literal": 1}],
        {"new": "x", "more": 1},
    ],
)
def test_a_value_that_looks_like_the_language_survives_as_a_literal(value: object) -> None:
    """Lost without it: a replayed candidate means something else than the one that was trained."""
    for candidate in (Candidate(None, {"a": value}), Candidate([{"layer": {"setting": value}}], {})):
        assert Candidate.of(candidate.json()) == candidate
        assert Space.read(candidate.json()).replay({}).candidate == candidate
        assert Space.read(candidate.json()).decisions == ()


@pytest.mark.parametrize(
    "value", [["flip", "crop"], [{"a": None}], ["x", 1], [], [[1], [2]], [{"a": {}}, {"b": ["c"]}]]
)
def test_a_list_as_main_value_is_read_back_as_it_was(value: object) -> None:
    candidate = Candidate([{"layer": value}], {})
    assert Space.read(candidate.json()).replay({}).candidate == candidate


def test_a_mapping_that_is_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="not a candidate: it has decisions"):
        Candidate.of({"architecture": [], "decisions": {}})


def test_a_candidate_travels_to_a_worker() -> None:
    candidate = Candidate([{"a": {}}], {"b": 1})
    assert candidate.hash == pickle.loads(pickle.dumps(candidate)).hash


@pytest.mark.parametrize(
    ("architecture", "line"),
    [
        ([{"conv": {"filters": 32, "kernel": 3}}, {"activation": "relu"}, {"linear": {"units": 10}}],
         "conv 32 k3 > relu > linear 10"),
        ([{"conv": {"filters": 8, "kernel": 5, "stride": 2, "groups": 4, "dilation": 2}}],
         "conv 8 k5 s2 g4 dilation=2"),
        ([{"conv": {"filters": 32, "kernel": [1, 7], "stride": 1}}], "conv 32 k1x7"),
        ([{"conv": {"filters": 8, "kernel": 1, "stride": 1, "groups": 1}}], "conv 8 k1"),
        ([{"max_pool": {"kernel": 2, "stride": 2}}, {"global_pool": "average"}, {"flatten": {}}],
         "max_pool k2 s2 > global_pool average > flatten"),
        ([{"residual": [{"conv": {"filters": 8}}, {"norm": "batch"}]}] * 2, "2x[residual(conv 8 > norm batch)]"),
        ([{"a": {}}, {"b": {}}] * 3 + [{"c": {}}], "3x[a > b] > c"),
        ([{"dropout": {"rate": 0.123456}}, {"x": {"y": None, "z": True}}], "dropout 0.1235 > x y=null z=true"),
        ([{"adaptive_pool": [2, 2]}, {"augment": ["flip", "crop"]}], "adaptive_pool [2, 2] > augment(flip, crop)"),
        ([], ""),
    ],
)  # fmt: skip
def test_one_line(architecture: list, line: str) -> None:
    assert Candidate(architecture, {}).one_line() == line


def test_without_an_architecture_the_line_has_the_hyperparameters() -> None:
    candidate = Candidate(None, {"rate": 0.001, "optimizer": {"sgd": {"momentum": 0.9}}})
    assert candidate.one_line() == "rate=0.001, optimizer={sgd: {momentum: 0.9}}"
