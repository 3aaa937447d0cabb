"""Where a trial's time goes, and what share of its device's peak it makes use of."""

from __future__ import annotations

import time
from collections.abc import Hashable, Mapping
from typing import Any, Literal, get_args

import torch

from nas.train.precision.devices import unit
from nas.train.settings import Numbers

Phase = Literal["data", "forward", "backward", "optimizer", "evaluation"]
PHASES: tuple[Phase, ...] = get_args(Phase)
TRAINING = PHASES[:-1]


class Spent:
    """Seconds by phase. ``begin(phase)`` says what follows, until the next or ``end``: so they add up to all of it.

    data: picking, normalising, augmenting. forward: the loss with it. optimizer: the averaging of weights with it, and
    looking whether the loss is finite. On a CPU a change of phase reads a clock (0.3 µs). A GPU works long after it was
    asked to: there an event is put into its stream, which nothing waits for, and ``settle`` reads them where the loop
    waits for the GPU anyway. What the GPU waits for the host then counts for the phase that the host was in.

    ``seconds`` and ``rows`` (samples trained on) are plain numbers: with them a later one goes on where this one ended.
    """

    def __init__(self, device: torch.device, seconds: Mapping[str, float] | None = None, rows: int = 0) -> None:
        self.seconds: dict[str, float] = {**dict.fromkeys(PHASES, 0.0), **(seconds or {})}
        self.rows = rows
        self._on_gpu = device.type == "cuda"
        self._phase: Phase | None = None
        self._since: Any = None
        self._unread: list[tuple[Phase, Any, Any]] = []  # on a GPU: phase, events of its beginning and end

    def begin(self, phase: Phase | None) -> None:
        now = self._now()
        if self._phase is not None:
            if self._on_gpu:
                self._unread.append((self._phase, self._since, now))
            else:
                self.seconds[self._phase] += now - self._since
        self._phase, self._since = phase, now

    def end(self) -> None:
        """What follows is no part of the trial."""
        self.begin(None)
        self.settle()

    def settle(self) -> None:
        """Read what a GPU has done so far; to be called where it was waited for."""
        for phase, since, until in self._unread:
            until.synchronize()
            self.seconds[phase] += since.elapsed_time(until) / 1e3
        self._unread.clear()

    @property
    def training(self) -> float:
        """Seconds without evaluation."""
        return sum(self.seconds[phase] for phase in TRAINING)

    @property
    def rows_per_second(self) -> float:
        """Of training alone."""
        return self.rows / self.training

    def _now(self) -> Any:
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


# The peak ------------------------------------------------------------------------------------------------------------

PEAK_SECONDS = 0.05  # of measuring, once for a process, device, dtype and number of threads
# Of the matrices: large enough for the device, small enough for the time and for the memory of a card that others share
# (0.4 GB at most, for which cluster/sharing.py leaves room).
SIDE = {"cpu": 768, "cuda": 4096}
SMALLEST = 128
_TYPES: Mapping[Numbers, torch.dtype] = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "fp8": torch.bfloat16,  # most layers' type, so the share may be above 1
    "fp64": torch.float64,
}


def share_of_peak(flops: float, rows_per_second: float, peak: float) -> float:
    """What training made of the peak. ``flops``: of the forward pass of a sample, by closed form; the backward pass
    takes twice as many, as it multiplies for inputs and for weights. What is no product (norms, activations, the
    optimizer, picking data) counts as nothing, and recomputation would too.

    >>> share_of_peak(1e6, 2_000, peak=6e10)
    0.1
    """
    return 3 * flops * rows_per_second / peak


def peak_flops(device: torch.device, name: Numbers) -> float | None:
    """FLOPs a second of the best of some products of square matrices in this precision, with torch's threads.

    Measured once for a process, in about 0.05 s, so it is what a processor gives to this process at that moment: on a
    machine that others use as well, it is less than the data sheet's, and shares of it scatter, above 1 too. Where
    memory is short, smaller matrices have to do, which reach less; None where there is none for any.
    """
    key = (str(device), name, torch.get_num_threads())
    side = SIDE.get(device.type, SIDE["cpu"])
    while key not in _PEAKS and side >= SMALLEST:
        try:
            _PEAKS[key] = _measured(device, name, side)
        except RuntimeError:  # whatever it is: what was trained is not lost for it
            side //= 2
    return _PEAKS.get(key)


_PEAKS: dict[Hashable, float] = {}


def _measured(device: torch.device, name: Numbers, side: int) -> float:
    # Emulated types are a hundred times slower: of their products a strip has to do.
    emulated = name in ("bf16", "fp16") and not unit(device, name)
    rows = side // 64 if emulated else side
    generator = torch.Generator(device).manual_seed(0)  # the trial's own random numbers stay what they are
    # Random: on GPUs products of constants take less power, and so run faster than any that are of use.
    left, right = torch.rand(2, side, side, device=device, generator=generator).to(_TYPES[name]).unbind()
    best, end = 0.0, time.perf_counter() + PEAK_SECONDS
    while time.perf_counter() < end:
        _wait(device)
        began = time.perf_counter()
        torch.mm(left[:rows], right)
        _wait(device)
        best = max(best, 2 * rows * side * side / (time.perf_counter() - began))
    return best


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
