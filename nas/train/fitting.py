"""``batch_size: fit``: the largest batch that fits in memory and still pays, found by doubling on the very device.

What pays is samples a second. A batch is no longer doubled where that gains less than a twentieth, where an epoch would
have too few steps to learn by, or where the time for it is up. As speeds are measured, another machine, or the same one
under another load, may choose another batch; the choice and its reason are recorded.

What fits: a GPU raises where its memory ends. A slot kills whoever has more resident than it allows, so on a CPU a size
is passed only where GROWTH times what half of it took is still allowed; the least in any case.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from nas.train import memory
from nas.train.accumulation import Accumulation
from nas.train.augmentation import Targets
from nas.train.data import Resident
from nas.train.modules.auxiliary import auxiliaries
from nas.train.precision import LossScaling, Precision, probe
from nas.train.problems import Problem
from nas.train.settings import SMALLEST_FIT

LEAST_GAIN = 1.05  # in samples a second, for a larger batch
LEAST_STEPS = 16  # of an epoch
MOST_SECONDS = 2.0  # for all of it; a pass that has begun ends
GROWTH = 3  # of what passes have resident, at most, from one size to the next: twice, and the holes that malloc leaves
KEPT = 3  # numbers for each weight that training has beside a pass's: the optimizer's, two at most, and the average's
Speed = Callable[[int], float | None]  # samples a second with a batch; None where it does not fit


def fitting_batch(
    network: nn.Module,
    problem: Problem,
    data: Resident,
    train: Tensor,
    precision: Precision,
    limit: int | None = None,
) -> tuple[int, str]:
    """The batch, and why it is not larger. ``precision``: the one that is likely, as what pays is not the same in all.
    ``limit``: bytes that the process may have resident, where the device is its own memory.

    The network's statistics and torch's generators are not what they were: it is for looking alone.
    """
    device = data.device
    precision.adapt(network, device)
    scaling, auxiliary = LossScaling(precision, device), list(auxiliaries(network).values())
    # No batch that does not fit is to be passed in parts: it is what is looked for.
    gradients = Accumulation(network, problem, precision, scaling, auxiliary, len(train), halved="never")
    most = max(SMALLEST_FIT, len(train) // LEAST_STEPS)
    speed: Speed = partial(_speed, gradients, data, train)
    if limit is not None:
        speed = within(limit - KEPT * sum(p.numel() * p.element_size() for p in network.parameters()), speed)
    network.train()
    with precision.kernels():
        found = largest_that_pays(speed, most, time.perf_counter)
    memory.give_back(device)
    return found


def _speed(gradients: Accumulation, data: Resident, train: Tensor, batch: int) -> float | None:
    """Samples a second, of the best of three passes; None where it does not fit."""
    clock, best = probe.clock_of(data.device), float("inf")
    try:
        inputs, labels = data.batch(train[:batch])
        for _ in range(3):
            began = clock()
            float(gradients.gradients(inputs, Targets(labels), 0))  # waits for a GPU
            best = min(best, clock() - began)
    except RuntimeError as error:
        if not memory.is_ended(error):
            raise
        return None
    return batch / best


def within(limit: int, speed: Speed) -> Speed:
    """``speed``, for sizes that double; None where more than so many bytes of the process would be resident."""
    taken, host = 0, torch.device("cpu")

    def measured(batch: int) -> float | None:
        nonlocal taken
        memory.forget_peak(host)  # gives back what is free, which else would hide what the next size takes
        before = memory.peak(host)
        if taken and before + GROWTH * taken > limit:
            return None
        reached = speed(batch)
        taken = max(taken, memory.peak(host) - before)
        return reached

    return measured


def largest_that_pays(speed: Speed, most: int, clock: Callable[[], float]) -> tuple[int, str]:
    """Doubles from the smallest; ``speed`` gives samples a second, or None where a batch does not fit.

    Two doublings that gain too little together end it: one may have been slowed by chance, or by an odd size.
    """
    began, batch = clock(), SMALLEST_FIT
    reached = speed(batch)
    if reached is None:
        return batch, f"fit: not even {batch} fit; it goes in parts"
    size, poor = 2 * batch, ""
    while True:
        if size > most:
            return batch, poor or f"fit: with {size} an epoch would have fewer than {LEAST_STEPS} steps"
        if clock() - began > MOST_SECONDS:
            return batch, f"fit: {MOST_SECONDS:g} s of looking were up"
        doubled = speed(size)
        if doubled is None:
            return batch, poor or f"fit: {size} do not fit in memory"
        if doubled >= LEAST_GAIN * reached:
            batch, reached, poor = size, doubled, ""
        elif poor:
            return batch, poor
        else:
            poor = f"fit: {size} make {doubled / reached:.2f} times the samples a second of {batch}"
        size *= 2
