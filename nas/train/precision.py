"""In which numbers to train, chosen for a device and returned together with the reason.

bf16 means autocast: weights, optimizer and loss stay fp32, convolutions and matrix products run in bfloat16, whose
range is that of fp32, so that no loss scaling is needed. Maps are kept in channels_last order in every precision: it is
not slower. Measured on a CPU with AMX and small CNNs on 28x28 images, both together give 1.6 to 3.4 times the images
per second of fp32 in the default order (benchmarks/trainer.py).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from nas.train.modules.attention import Everything
from nas.train.modules.recurrent import RecurrentModule
from nas.train.settings import PrecisionName


@dataclass(frozen=True, slots=True)
class Precision:
    """A policy: what convolutions and matrix products are computed in, and why."""

    dtype: torch.dtype
    reason: str

    @property
    def name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    def adapt(self, network: nn.Module, device: torch.device) -> None:
        """Keep in fp32 what this device computes only so, or faster so: see ``_better_in_fp32``."""
        if device.type == "cpu" and self.dtype is torch.bfloat16:
            for module in filter(_better_in_fp32, network.modules()):
                module.forward = _in_fp32(module.forward)

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        return torch.autocast(device.type, torch.bfloat16, enabled=self.dtype is torch.bfloat16)


def choose(device: torch.device, requested: PrecisionName) -> Precision:
    """The precision asked for, or for ``auto`` bf16 where the device computes it natively, else fp32."""
    if requested == "fp32":
        return Precision(torch.float32, "fp32 was asked for")
    if requested == "bf16":
        return Precision(torch.bfloat16, "bf16 was asked for")
    unit = _bf16_unit(device)
    if unit:
        return Precision(torch.bfloat16, f"auto: {unit} computes bf16 natively")
    return Precision(torch.float32, f"auto: this {device.type} has no native bf16")


def _bf16_unit(device: torch.device) -> str:
    """What computes bf16 on the device; "" where it would be emulated, and so slower than fp32."""
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        return f"compute capability {major}.{minor}" if major >= 8 else ""
    if device.type == "cpu":
        return next((flag for flag in ("amx_bf16", "avx512_bf16", "bf16") if flag in _cpu_flags()), "")
    return ""


def _better_in_fp32(module: nn.Module) -> bool:
    """Whether a CPU takes 2 to 4 times as long for it in bf16 as in fp32, forward and backward together (torch 2.13,
    AMX): group norm in channels_last order, depthwise convolutions but for those of 3x3, torch's attention without a
    mask, and GRUs that are not wide (whose steps are computed one by one; an LSTM's are fused). And LSTMs on CPUs
    without native bf16, where torch has no such kernel and raises.
    """
    if isinstance(module, RecurrentModule):
        if isinstance(module.cell, nn.LSTM):
            return not _bf16_unit(torch.device("cpu"))
        return module.cell.hidden_size <= 128
    if isinstance(module, nn.Conv2d):
        return module.groups == module.in_channels > 1 and module.kernel_size != (3, 3)
    return isinstance(module, nn.GroupNorm | Everything)


def _in_fp32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def in_fp32(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(*(x.float() for x in inputs)).to(inputs[0].dtype)

    return in_fp32


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """Of the first processor, as Linux lists them ("flags" on x86, "Features" on ARM); empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.lower().startswith(("flags", "features"))), "").split())
