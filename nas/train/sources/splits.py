"""Which samples are set aside: to validate on, for a run; to test on, for ever."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from nas import seeds
from nas.errors import InputError
from nas.train.sources import Arrays, Part, Splitting

TEST_SHARE = 0.2
FEWEST = 2  # samples to train on: batch norm has no deviation of one


def choose(targets: npt.NDArray[Any], share: float, seed: int, how: Splitting) -> npt.NDArray[np.bool_]:
    """A mask of ``share`` of the samples, rounded, and at least one.

    ``stratified``: that share of each class. ``random``: of all. ``end``: the last ones, in the order of the file.
    """
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(targets), np.bool_)
    everything = np.arange(len(targets))
    groups = [np.flatnonzero(targets == label) for label in np.unique(targets)] if how == "stratified" else [everything]
    for members in groups:
        order = members[::-1] if how == "end" else rng.permutation(members)
        chosen[order[: max(1, round(share * len(members)))]] = True
    return chosen


def held_out(targets: npt.NDArray[Any], part: Part, how: Splitting) -> npt.NDArray[np.bool_]:
    """A mask of the samples of ``part``, where a person's files say nothing of a test part."""
    test = choose(targets, TEST_SHARE, seeds.derive(0, "test"), how)
    return test if part == "test" else ~test


def require_training(arrays: Arrays, share: float) -> None:
    """Raises InputError where validation with ``share`` leaves too little to train on: of some class nothing."""
    left = arrays.targets[~choose(arrays.targets, share, 0, arrays.splitting)]
    lost = np.setdiff1d(arrays.targets, left).tolist() if arrays.splitting == "stratified" else []
    if len(left) < FEWEST or lost:
        without = f", and none of class {lost[0]}" if lost else ""
        raise InputError(
            f"validation on {share} of the samples leaves {len(left)} of {len(arrays.targets)} to train on{without}; "
            "write 0.1, say"
        )
