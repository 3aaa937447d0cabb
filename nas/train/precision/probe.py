"""Which precision trains a network fastest: a few of its own steps are timed, in at most half a second, the building
of the network to be tried included.

A copy of the network is trained on (forward and backward, no step of the optimizer), so that the trial's own weights,
statistics and random numbers are as if nothing had been tried. Two samples come first, then eight times as many each
time: what some take says whether more fit into the time. Where a whole batch does not, the caller's rule decides.

What was found is kept for the process by device, threads and shape class (inputs, batch and FLOPs within a factor of
two, kinds of layers), so that a run's trials do not pay for it again and again. It depends on time, and so may differ
from process to process: a trial's record holds what was chosen, and `nas trial --run-again` takes it from there.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from nas.train.precision.policy import Precision
from nas.train.settings import Numbers

SECONDS = 0.5  # at most, for all precisions together
STEPS = 5  # whole batches timed in each, as far as time allows
FEW = 2  # samples of the first step: a batch norm wants more than one
GROWTH = 8
SLOWEST = {
    "cpu": 5e9,
    "cuda": 1e12,
}  # FLOPs a second that even an emulated precision has: the first step is a bet on it
GAIN = 1.05  # that one must be faster than the first named: less is noise, and the first is the safest
LARGEST_COPIES = 2**28  # bytes of weights: copying more takes too much of the time


@dataclass(frozen=True, eq=False)
class Work:
    """What a trial's steps are made of, so that they can be tried. ``flops``: forward, of one sample."""

    build: Callable[[], nn.Module]  # the network; not adapted to any precision
    loss: Callable[[Tensor, Tensor], Tensor]  # of outputs and targets
    samples: Callable[[int], tuple[Tensor, Tensor]]  # inputs and targets of a batch of that size
    batch: int
    flops: float

    @cached_property
    def network(self) -> nn.Module:
        """Built where something looks at it: where rules alone decide, nobody does."""
        return self.build()

    @property
    def step_flops(self) -> float:
        """Forward and backward, which takes twice as many."""
        return 3 * self.flops * self.batch


def decided(work: Work, names: Sequence[Numbers]) -> Precision | None:
    """The fastest, with what was measured as its reason; None where there was no time."""
    seconds, earlier = timed_once(work, names)
    if not seconds:
        return None
    name, measured = _fastest(seconds, names[0])
    return Precision(name, f"auto: {measured}{earlier}")


def timed_once(work: Work, names: Sequence[Numbers]) -> tuple[Mapping[Numbers, float], str]:
    """``timed``, once for a shape class; and the words that say so, where it was for another trial."""
    began = time.perf_counter()
    key = (shape_class(work), *names)  # for which the network is built
    earlier = ", timed for an earlier trial of this shape" if key in _TIMED else ""
    if not earlier:
        _TIMED[key] = timed(work, names, SECONDS - (time.perf_counter() - began))
    return _TIMED[key], earlier


_TIMED: dict[Hashable, Mapping[Numbers, float]] = {}


def _fastest(seconds: Mapping[Numbers, float], first: Numbers) -> tuple[Numbers, str]:
    best = min(seconds, key=lambda name: seconds[name])
    measured = ", ".join(
        f"{name} {took * 1e3:.3g} ms" if math.isfinite(took) else f"{name} longer" for name, took in seconds.items()
    )
    chosen = best if seconds[best] * GAIN <= seconds[first] else first
    return chosen, f"a step takes {measured}"


def timed(
    work: Work, names: Sequence[Numbers], limit: float = SECONDS, clock: Callable[[], float] = time.perf_counter
) -> dict[Numbers, float]:
    """Seconds of a step by precision, the median of some. Those for which there was no time, or that raised, have inf;
    if the first named is one of them, there is nothing to compare with, and the result is empty.
    It is over within ``limit`` by the ``clock``; where two samples alone take longer, when their step is.
    """
    end = clock() + limit
    device = work.samples(1)[0].device
    weights = sum(p.numel() * p.element_size() for p in work.network.parameters())
    first_steps = 2 * 3 * work.flops * min(FEW, work.batch) * len(names)  # two of each, forward and backward
    if weights * len(names) > LARGEST_COPIES or first_steps > limit * SLOWEST.get(device.type, 0):
        return {}
    found: dict[Numbers, float] = {}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        for number, name in enumerate(names):
            now = clock()
            try:
                found[name] = _step_seconds(work, name, device, now + (end - now) / (len(names) - number), clock)
            except RuntimeError:  # no kernel for it here, or no memory: the trial itself will say, if it comes to that
                found[name] = math.inf
            if math.isinf(found[names[0]]):
                return {}
    return found


def _step_seconds(work: Work, name: Numbers, device: torch.device, end: float, clock: Callable[[], float]) -> float:
    """The median of some steps that were over by ``end``; inf where not even one would be."""
    precision = Precision(name, "probe")
    network = deepcopy(work.network).train()
    precision.adapt(network, device)

    step = partial(_step, work, precision, network, clock)
    samples = min(FEW, work.batch)
    step(samples)  # kernels are looked for, or made
    if clock() > end:
        return math.inf
    _, expected = step(samples)
    while samples < work.batch:
        more = min(GROWTH * samples, work.batch)
        if clock() + expected * more / samples > end:
            return math.inf
        samples = more
        _, expected = step(samples)
    took: list[float] = []
    while len(took) <= STEPS and clock() + expected < end:
        seconds, expected = step(work.batch)
        took.append(seconds)
    measured = took[1:] or took  # the first warms up, where there are others
    return sorted(measured)[len(measured) // 2] if measured else math.inf


def _step(
    work: Work, precision: Precision, network: nn.Module, clock: Callable[[], float], samples: int
) -> tuple[float, float]:
    """Seconds of a step, and until the next one may begin."""
    began = clock()
    seconds = step_seconds(work, precision, network, samples)
    network.zero_grad(set_to_none=True)
    return seconds, clock() - began


def step_seconds(work: Work, precision: Precision, forward: Callable[[Tensor], Tensor], samples: int) -> float:
    """Of one pass forward and backward."""
    inputs, targets = work.samples(samples)
    clock = clock_of(inputs.device)
    _wait(inputs.device)
    started = clock()
    with precision.kernels():
        work.loss(precision.outputs(forward, inputs), targets).backward()  # type: ignore[no-untyped-call]
    _wait(inputs.device)
    return clock() - started


def clock_of(device: torch.device) -> Callable[[], float]:
    """On one thread of a CPU the processor's, which what else runs on the machine does not lengthen."""
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def shape_class(work: Work) -> Hashable:
    """Equal for trials whose steps take about as long."""
    inputs, _ = work.samples(1)
    kinds = frozenset(
        type(m).__name__ for m in work.network.modules() if next(m.parameters(recurse=False), None) is not None
    )
    device = torch.cuda.get_device_name(inputs.device) if inputs.device.type == "cuda" else inputs.device.type
    size = (round(math.log2(work.batch)), round(math.log2(max(1.0, work.flops))))
    return (device, torch.get_num_threads(), inputs.shape[1:], size, kinds)
