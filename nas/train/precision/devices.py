"""Which precisions a device has, and which of them natively. Where it has one not, the words why."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch

from nas.train.settings import ONLY_ON_GPUS, Numbers

TENSOR_CORES = (7, 0)  # compute capabilities: fp16 (Volta) ...
AMPERE = (8, 0)  # ... tf32 and bf16 ...
FLOAT8 = (8, 9)  # ... and fp8 (Ada, Hopper)


def lack(device: torch.device, name: Numbers) -> str:
    """Why the device can not compute in this precision at all; "" where it can, be it slowly."""
    if name in ONLY_ON_GPUS:
        needed = AMPERE if name == "tf32" else FLOAT8
        if device.type != "cuda":
            return f"{name} needs an NVIDIA GPU, and this device is a {device.type}"
        if capability(device) < needed:
            return f"{name} needs compute capability {_dotted(needed)}, and this GPU has {_dotted(capability(device))}"
    if name == "fp64" and device.type == "mps":
        return "this device has no fp64"
    return ""


def capability(device: torch.device) -> tuple[int, int]:
    """Of an NVIDIA GPU."""
    return torch.cuda.get_device_capability(device)


def unit(device: torch.device, name: Numbers) -> str:
    """What computes bf16 or fp16 on the device; "" where it would be emulated, and so slower than fp32."""
    if device.type == "cuda":
        needed = AMPERE if name == "bf16" else TENSOR_CORES
        return f"compute capability {_dotted(capability(device))}" if capability(device) >= needed else ""
    if device.type == "cpu":
        wanted = {"bf16": ("amx_bf16", "avx512_bf16", "bf16"), "fp16": ("amx_fp16", "avx512_fp16")}.get(name, ())
        return next((flag for flag in wanted if flag in _cpu_flags()), "")
    return ""


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


@lru_cache(maxsize=1)
def _cpu_flags() -> frozenset[str]:
    """Of the first processor, as Linux lists them ("flags" on x86, "Features" on ARM); empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line for line in lines if line.lower().startswith(("flags", "features"))), "").split())
