"""Whether a trial's passes are compiled (torch.compile): decided before it begins, and recorded with the reason.

    off     no
    on      yes, unless compiling raises: then not, and the record says why
    auto    on a GPU alone, and only where the trial's steps save more than compiling takes. What it takes and saves is
            measured when a trial is compiled, and holds for the next ones of its shape class (probe.py); the first of
            them is compiled only if it is so long that a vain try costs it a twentieth. On CPUs steps were no shorter
            (docs/log.md)

Compiled is what training passes through. Weights, statistics and names stay the plain network's, which is also what
judges, is paused, averaged and exported. Torch keeps what was compiled in a folder of each user and host, for all slots
of a run and the next run too (cluster/environment.py); not in the run's folder, as it holds programs and pickles.

Left out: CUDA graphs, which want every tensor of a step in its place, also after an end of memory; compiling blocks one
by one, as each candidate's are others. Written without a GPU: TYPICAL is an estimate until one measures.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Hashable
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.train.precision import Precision, Work, probe
from nas.train.settings import CompileName

BACKEND = "inductor"  # torch's own
TYPICAL = 40.0  # seconds of compiling, until some were measured
VAIN = 20  # times that, at least, the steps of a trial take for which it is tried
MARGIN = 2.0  # times what it costs is what it must save
STEPS = 5  # timed on each side
Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Cost:
    """As measured. Seconds."""

    compiling: float
    plain: float  # of a step: forward and backward
    compiled: float

    def pays(self, steps: int) -> bool:
        """Whether a trial of so many steps has more of it than it costs.

        >>> Cost(30.0, 0.010, 0.006).pays(20_000), Cost(30.0, 0.010, 0.006).pays(10_000)
        (True, False)
        """
        return steps * (self.plain - self.compiled) > MARGIN * self.compiling

    def __str__(self) -> str:
        steps = f"a step takes {self.plain * 1e3:.3g} ms, compiled {self.compiled * 1e3:.3g} ms"
        return f"{steps}, and compiling {self.compiling:.3g} s"


def compiled(network: nn.Module) -> Forward:
    """What to pass batches through, of one size. It is compiled at the first pass, unless a copy's was before."""
    return torch.compile(network, dynamic=False, backend=BACKEND)


def choose(asked: CompileName, work: Work, precision: Precision, steps: int) -> tuple[bool, str]:
    """Whether to, for a trial of so many steps, and why; no words where nobody could have expected it.

    A copy of the network is compiled here, and what comes of it serves the trial's own.
    """
    device = work.samples(1)[0].device
    if asked == "off" or (asked == "auto" and device.type != "cuda"):
        return False, ""
    shape = (probe.shape_class(work), precision.name)
    known = _MEASURED.get(shape)
    if asked == "auto" and known and not known.pays(steps):
        return False, f"auto: of {steps} steps; in an earlier trial of this shape {known}"
    if asked == "auto" and known is None:
        step = probe.timed(work, (precision.name,)).get(precision.name, math.inf)
        if too_short := vain(steps * step, [cost.compiling for cost in _MEASURED.values()]):
            return False, f"auto: {too_short}"
    try:
        cost = _MEASURED[shape] = _measured(work, precision, device)
    except Exception as error:  # of a compiler that is not there, or of a layer that it can not digest
        return False, f"{asked}: compiling raised {type(error).__name__}: {str(error).partition(chr(10))[0]:.200}"
    return asked == "on" or cost.plain >= probe.GAIN * cost.compiled, f"{asked}: {cost}"


def vain(seconds: float, known: list[float]) -> str:
    """Why it is not tried for a trial whose steps take so long; "" where it is. ``known``: what compilings took."""
    cost = statistics.median(known) if known else TYPICAL
    if seconds < VAIN * cost:
        return f"the trial's steps take {seconds:.3g} s, and compiling about {cost:.3g} s"
    return "" if math.isfinite(seconds) else "no step could be timed"


_MEASURED: dict[Hashable, Cost] = {}


def _measured(work: Work, precision: Precision, device: torch.device) -> Cost:
    """Of a copy of the network; neither its statistics nor torch's random numbers are touched."""
    network = deepcopy(work.network).train()
    precision.adapt(network, device)

    def seconds(forward: Forward) -> float:
        return statistics.median(probe.step_seconds(work, precision, forward, work.batch) for _ in range(STEPS))

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        probe.step_seconds(work, precision, network, work.batch)  # warms up
        plain = seconds(network)
        torch.compiler.reset()  # what earlier trials compiled: beyond eight of a kind torch compiles no more
        fast, began = compiled(network), time.perf_counter()
        probe.step_seconds(work, precision, fast, work.batch)
        return Cost(time.perf_counter() - began, plain, seconds(fast))
