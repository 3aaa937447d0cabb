"""Tokens: what attention, feed-forward blocks and experts work on, whatever shape it comes in.

A sequence (length, features) has a token at each position, a map (channels, height, width) one for each pixel, in
raster order, with the channels as its features, and a vector (features,) is one token.
"""

from __future__ import annotations

from math import prod

from nas.errors import InvalidCandidate
from nas.train.layers.layer import Shape


def tokens(shape: Shape) -> tuple[int, int]:
    """How many tokens a shape has, and how many features each."""
    return (prod(shape[1:]), shape[0]) if len(shape) == 3 else (prod(shape[:-1]), shape[-1])


def needs_sequence(shape: Shape) -> Shape:
    """The shape itself, where it is (length, features). Raises InvalidCandidate otherwise."""
    if len(shape) != 2:
        raise InvalidCandidate(f"a sequence (length, features) is needed, and what comes is {shape}")
    return shape
