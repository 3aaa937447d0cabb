"""``task: {dataset: shapes}``: generated images for segmentation, the same on every machine.

Discs (class 1), squares (2) and triangles (3), turned at random, on a background (0): 32x32 grey images with one to
three figures, of which later ones hide earlier ones. Figures are brighter or darker than the background, whose
brightness runs from side to side, and all is under noise, so that brightness alone tells no class. 2,000 images to
train, 500 to test, from seeds of their own. It is a toy: for trying segmentation out where there is no data.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from nas import seeds
from nas.train.sources import Part

COUNTS = {"train": 2000, "test": 500}
SIDE = 32
NOISE = 14.0  # standard deviation, of 255

Bytes = npt.NDArray[np.uint8]
Real = npt.NDArray[np.float64]


def generate(part: Part) -> tuple[Bytes, Bytes]:
    """Images (count, 1, 32, 32) and masks (count, 32, 32), both uint8."""
    # Uniform draws alone: of numpy's distributions it is the one whose stream has always been the same.
    rng = np.random.default_rng(seeds.derive(0, "shapes", part))
    count = COUNTS[part]
    row, column = np.mgrid[:SIDE, :SIDE] + 0.5
    angle, base, slope = rng.random((3, count, 1, 1)) * [[[[2 * np.pi]]], [[[80.0]]], [[[40.0]]]]
    across = (np.cos(angle) * (row - SIDE / 2) + np.sin(angle) * (column - SIDE / 2)) / SIDE
    images = 85 + base + slope * across
    masks = np.zeros((count, SIDE, SIDE), np.uint8)
    figures = 1 + (rng.random((count, 1, 1)) * 3).astype(int)
    for number in range(3):
        kinds, inside = _figures(rng, count, row, column)
        inside &= number < figures
        contrast = (35 + 50 * rng.random((count, 1, 1))) * np.where(rng.random((count, 1, 1)) < 0.5, -1, 1)
        images = np.where(inside, 85 + base + contrast, images)
        masks = np.where(inside, kinds, masks).astype(np.uint8)
    noise = sum(rng.random((count, SIDE, SIDE), np.float32) for _ in range(3)) - 1.5  # nearly normal, deviation 1/2
    images = images + 2 * NOISE * noise
    return images.round().clip(0, 255).astype(np.uint8)[:, None], masks


def _figures(rng: np.random.Generator, count: int, row: Real, column: Real) -> tuple[Bytes, npt.NDArray[np.bool_]]:
    """One figure for each image: its class (count, 1, 1), and its pixels (count, side, side)."""
    kind, y, x, size, turn = rng.random((5, count, 1, 1))
    kinds = 1 + (kind * 3).astype(np.uint8)
    down, right = row - (4 + 24 * y), column - (4 + 24 * x)
    size = 4 + 4 * size  # half the width, roughly
    turn = turn * 2 * np.pi
    u, v = np.cos(turn) * down - np.sin(turn) * right, np.sin(turn) * down + np.cos(turn) * right
    disc = u**2 + v**2 <= size**2
    square = np.maximum(abs(u), abs(v)) <= 0.9 * size
    triangle = np.maximum(-u, u / 2 + abs(v) * np.sqrt(3) / 2) <= 0.7 * size  # its three sides' distances
    return kinds, np.where(kinds == 1, disc, np.where(kinds == 2, square, triangle))
