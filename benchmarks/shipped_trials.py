"""Trials of the shipped configs for other measurements: sampled candidates, each with its own task and settings."""

from __future__ import annotations

import random
from collections.abc import Iterator

from nas import config as configs
from nas import shipped
from nas.plan import plan
from nas.train.plugins import BUILT_IN
from nas.train.trial import Trial


def trials(count: int, device: str = "cpu") -> Iterator[tuple[str, Trial]]:
    """Of each shipped config its space's name with ``count`` draws, seeds 0, 1, ..."""
    for name in shipped.names("configs"):
        config = configs.load(name)
        space = plan(config).space
        for seed in range(count):
            candidate = space.sample(random.Random(seed)).candidate
            trial = Trial.read(candidate, seed, device, config.train, config.task, BUILT_IN, config.data, 0)
            yield space.name, trial
