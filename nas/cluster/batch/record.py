"""RUN/cluster/jobs.jsonl: what was submitted, one checksummed line each. Which jobs are there, the scheduler knows."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nas.durable import DamagedLine, seal, unseal, write_all
from nas.errors import DiskFailed

_FILE = "jobs.jsonl"


@dataclass(frozen=True, slots=True)
class Submitted:
    job: str  # its id
    role: str
    count: int
    kind: str  # of scheduler
    time: float  # since the Unix epoch


def add(folder: Path, job: str, role: str, count: int, kind: str) -> None:
    """``folder``: RUN/cluster. Raises DiskFailed."""
    line = seal({"job": job, "role": role, "count": count, "kind": kind, "time": time.time()})
    try:
        descriptor = os.open(
            folder / _FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644
        )
        try:
            write_all(descriptor, line)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DiskFailed(f"{folder / _FILE}: {error.strerror or error}") from error


def read(folder: Path) -> list[Submitted]:
    """In the order of submission; what cannot be read is left out, as the scheduler has the truth."""
    found = []
    with suppress(OSError):
        for line in (folder / _FILE).read_bytes().splitlines(keepends=True):
            with suppress(DamagedLine, KeyError):
                data = unseal(line)
                found.append(Submitted(*(data[name] for name in ("job", "role", "count", "kind", "time"))))
    return found
