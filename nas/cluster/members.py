"""Who provides a Dask scheduler and its workers: this host (local.py), a batch system's jobs (batch/workers.py), what
Dask deploys (deployed.py), or somebody else (visit.py).
"""

from __future__ import annotations

from typing import Any, Protocol


class Members(Protocol):
    """The executor calls it, from one thread."""

    shared: bool  # with other programs: the executor leaves no trace then

    @property
    def client(self) -> Any: ...  # a distributed.Client

    def keep_up(self, workers: int) -> str:
        """Called every half second, with how many are there; returns what a person is to be told, if anything."""

    def lost(self) -> None: ...  # a worker went that had not been let go

    def want(self, workers: int) -> bool: ...  # no more are needed from now on; whether idle ones are to be let go

    def close(self) -> None: ...
