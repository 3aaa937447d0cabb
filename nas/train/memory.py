"""How much memory a stretch of work took at most."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import torch


def forget_peak(device: torch.device) -> None:
    """Begin a new peak, of what is in use from here on. The kernel's own is a lifetime's: of a reused process's earlier
    trials too, and of what this one tried before it trains.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        give_back(device)  # what is free stays resident else: workers have malloc keep it
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:  # forbidden in some sandboxes: the peak is then that of the process
            return


def peak(device: torch.device) -> int:
    """Bytes: allocated by torch on a GPU; resident in the whole process (VmHWM) on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 if found else 0


def is_ended(error: RuntimeError) -> bool:
    """Whether this is one of torch's several ways of saying that memory ended; often only the text tells."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _ENDED)


# A CPU's allocator, its counterpart on Windows; CUDA's context, and cuBLAS's and cuDNN's own workspaces.
_ENDED = ("DefaultCPUAllocator", "not enough memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def give_back(device: torch.device) -> None:
    """What torch holds of a GPU's memory without using it, or the C library of the process's: after an end of memory it
    is in the wrong pieces, and after a trial it is what another slot lacks.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    else:
        ctypes.CDLL(None).malloc_trim(0)
