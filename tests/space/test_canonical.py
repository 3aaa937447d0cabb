"""Canonical JSON: the quick way must write what the reference writes, or the same candidate would have two hashes."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Any

import pytest
import rfc8785
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nas.space.canonical import canonical

BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
DECIMALS = st.builds(lambda digits, power: digits * 10.0**power, st.integers(-(10**17), 10**17), st.integers(-30, 8))
NUMBERS = BITS | DECIMALS | st.floats() | st.integers(-(2**66), 2**66) | st.integers(-20, 20).map(float)
NUMBERS |= st.integers(-(2**53) - 2, -(2**53) + 2) | st.integers(2**53 - 2, 2**53 + 2)
HOSTILE = st.sampled_from(
    ['"', "\\", "null", "1.0", "1e5", "\x00", "\x1f", "\x7f", "\u2028", "\ud800", "\uffff", "\U00010000"]
)
STRINGS = st.text(st.characters(exclude_categories=[]) | HOSTILE.filter(lambda s: len(s) == 1), max_size=8) | HOSTILE
VALUES = st.recursive(
    NUMBERS | STRINGS | st.none() | st.booleans() | st.just(b"bytes"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(STRINGS, inner, max_size=5) | st.tuples(inner),
    max_leaves=8,
)


def written(write: Any, value: Any) -> bytes | str:
    try:
        return write(value)
    except ValueError:
        return "no canonical form"


@settings(max_examples=400, deadline=None)
@given(VALUES)
@example({"\uffff": 1, "\U00010000": 2})
@example([1e21, 1e20, 1e16, 1e-6, 1e-7, 1e-5, -0.0, 0.0, 5e-324, 1.7976931348623157e308])
@example({"a": "\x1b"})
def test_what_is_written_is_what_the_reference_writes(value: Any) -> None:
    assert written(canonical, value) == written(rfc8785.dumps, value)


@settings(max_examples=1000, deadline=None)
@given(NUMBERS)
def test_numbers_are_those_of_the_reference(value: float) -> None:
    assert written(canonical, [value]) == written(rfc8785.dumps, [value])


@pytest.mark.parametrize("value", [{1: 2}, {"a": object()}, {"a": {1, 2}}, float("nan"), [2**53], "\ud800"])
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        canonical(value)


def test_a_plain_candidate_needs_no_reference() -> None:
    """Lost without it: a regular expression that suspects everything, and hashing that is fifty times slower."""
    code = (
        "import sys; from nas.space import Candidate;"
        "Candidate([{'conv': {'filters': 16, 'rate': 0.125}}], {'lr': 0.001}).hash; print('rfc8785' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
