"""Results on disk: one checksummed line for each run of a seed, synced before the next; so a comparison goes on.

A line is found again by a key, a digest of all that its run depends on: space, table, protocol, controller, its
settings and code, seed. What a later version would do otherwise is run again, and old lines stay where they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from nas import durable
from nas.bench.trace import Trace
from nas.errors import DiskFailed

FILE = "results.jsonl"


def key(benchmark: Mapping[str, Any], contender: Mapping[str, Any], seed: int) -> str:
    """Of one run."""
    whole = orjson.dumps([benchmark, contender, seed], option=orjson.OPT_SORT_KEYS)
    return sha256(whole).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Ledger:
    folder: Path

    def read(self, wanted: Iterable[str]) -> dict[str, Trace]:
        """The results that are there, of those wanted, by key. A torn or damaged line is as if absent."""
        keys, found = set(wanted), {}
        path = self.folder / FILE
        try:
            lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        except OSError as error:
            raise DiskFailed(f"{path}: {error.strerror or error}") from error
        for line in lines:
            try:
                record = durable.unseal(line)
                if record["key"] in keys:
                    found[record["key"]] = Trace(**record["trace"])
            except (ValueError, KeyError, TypeError):
                continue
        return found

    def add(self, key: str, trace: Trace, named: Mapping[str, Any]) -> None:
        """Append one result; ``named`` says to people whose it is. Raises DiskFailed."""
        path = self.folder / FILE
        line = durable.seal({"key": key, **named, "trace": asdict(trace)})
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            try:
                size = os.fstat(descriptor).st_size
                torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # a kill came in the middle of a line
                durable.write_all(descriptor, (b"\n" if torn else b"") + line)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DiskFailed(f"{path}: {error.strerror or error}") from error
