"""From the precision asked for to the one used: whether the device has it, and what ``auto`` means here.

    auto     what the device computes natively: bf16, else on a GPU with matrix units fp16, else fp32. Casting costs
             some microseconds for each layer, which small steps do not earn back: for those the network itself is timed
             (probe.py), and where nothing gains 5 % it is fp32
    fp8      where the GPU has it, linear layers are large enough and a measurement says that it pays; else bf16
    others   as asked for, where the device has them

What a device lacks is an error where a person fixed it for all trials, and a fallback to fp32 where a search proposed
it: the trial is worth something all the same, and its record says what it was trained in.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from nas.errors import InputError
from nas.train.precision import float8, probe
from nas.train.precision.devices import lack, unit
from nas.train.precision.policy import Precision
from nas.train.precision.probe import Work
from nas.train.settings import Numbers, PrecisionName

# FLOPs of a step, forward and backward, under which a rule leaves doubt: some 20 ms of a CPU core with AMX, 1 ms of a
# GPU.
DOUBTFUL = {"cpu": 2e9, "cuda": 1e11}
__all__ = ["Work", "choose", "recorded"]


def choose(
    device: torch.device, requested: PrecisionName, work: Work | None = None, *, fixed: bool = True
) -> Precision:
    """The precision to train ``work`` in; None: nothing can be timed, and rules alone decide.

    Raises:
        InputError: the device lacks what was asked for, and it is ``fixed`` for all trials.
    """
    if requested == "auto":
        return _auto(device, work)
    asked = Precision(requested, f"{requested} was asked for")
    if lacking := lack(device, requested):
        if fixed:
            raise InputError(f"train.precision: {lacking}; write fp32, or auto for what suits the device")
        return asked.instead("fp32", lacking)
    if requested == "fp8":
        pays, reason = _fp8_pays(work)
        return Precision("fp8", f"{asked.reason}; {reason}") if pays else asked.instead("bf16", reason)
    return asked


def recorded(device: torch.device, name: Numbers) -> Precision:
    """That of an earlier trial, which is repeated; fp32 where the device lacks it."""
    known = Precision(name, f"{name} is recorded")
    lacking = lack(device, name)
    return known.instead("fp32", lacking) if lacking else known


def _auto(device: torch.device, work: Work | None) -> Precision:
    half: Numbers = "bf16" if unit(device, "bf16") or not unit(device, "fp16") else "fp16"
    if device.type == "cpu":
        half = "bf16"  # a CPU with fp16 units has bf16 ones too
    native = unit(device, half)
    if not native:
        return Precision("fp32", f"auto: this {device.type} has no native bf16")
    clear = Precision(half, f"auto: {native} computes {half} natively")
    if work is None or work.step_flops >= DOUBTFUL[device.type]:
        return clear
    return probe.decided(work, ("fp32", half)) or clear


def _fp8_pays(work: Work | None) -> tuple[bool, str]:
    """Whether fp8 is worth it for this network, on a device that has it, and why."""
    if not hasattr(F, "scaled_mm"):
        return False, f"torch {torch.__version__} has no product in fp8; 2.10 has"
    if work is None or not float8.eligible(work.network):
        least, multiple = float8.LEAST, float8.MULTIPLE
        return False, f"no linear layer has at least {least:,} features in and out, both multiples of {multiple}"
    seconds, earlier = probe.timed_once(work, ("bf16", "fp8"))
    if not seconds:
        return False, f"no step could be timed in {probe.SECONDS:g} s, so nothing says that fp8 pays"
    bf16, fp8 = seconds["bf16"], seconds["fp8"]
    if not math.isfinite(fp8):
        return False, f"a step in fp8 raises, or takes far longer than in bf16{earlier}"
    if fp8 * probe.GAIN > bf16:
        return False, f"a step takes {fp8 * 1e3:.3g} ms in fp8, {bf16 * 1e3:.3g} ms in bf16{earlier}"
    return True, f"a step takes {fp8 * 1e3:.3g} ms, in bf16 {bf16 * 1e3:.3g} ms{earlier}"
