"""What a run was made with: versions and hardware, as its first event records them."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("nas-orchestrator", "torch", "optuna", "distributed", "numpy")


def versions() -> dict[str, str]:
    """Versions of what a result may depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The host's processor, cores that this process may use, and memory in bytes."""
    model = platform.processor() or platform.machine()
    with Path("/proc/cpuinfo").open() as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"host": platform.node(), "cpu": model, "cores": len(os.sched_getaffinity(0)), "memory": memory}


@cache
def code() -> str:
    """A digest of what a replay's result may depend on besides the journal: our sources, versions, and byte order."""
    home = Path(__file__).parent
    digest = sha256(repr((sorted(versions().items()), sys.byteorder)).encode())
    for path in sorted(home.rglob("*.py")):
        digest.update(f"{path.relative_to(home)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()
