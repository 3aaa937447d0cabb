"""A Dask cluster that is there already: its scheduler and workers are its owner's, and stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from distributed import Client

from nas.cluster.scheduler import divert_logs
from nas.errors import InputError

ANSWERS = 30.0  # seconds within which a scheduler must


class _Guest(Client):  # type: ignore[misc]
    """A client that is closed when it cannot start: else Dask would close it as Python ends, and wait for ever."""

    def start(self, **how: Any) -> None:
        try:
            super().start(**how)
        except BaseException:
            self.status = "closed"
            raise


class Visit:
    """A client of somebody's scheduler. TLS keys for ``tls://`` are those of Dask's own configuration.

    Raises:
        InputError: nobody answers there, or answers otherwise.
    """

    def __init__(self, logs: Path | None, *, address: str | None = None, scheduler_file: str | None = None) -> None:
        self.shared = True
        where = {"address": address} if address else {"scheduler_file": scheduler_file}
        if scheduler_file and not Path(scheduler_file).is_file():
            raise InputError(f"cluster.scheduler_file: {scheduler_file} is no file; a Dask scheduler writes it")
        self._restore_logs = divert_logs(logs)
        try:
            self.client: Any = _Guest(**where, timeout=ANSWERS, set_as_default=False)
        except Exception as error:
            self._restore_logs()
            raise InputError(
                f"no Dask scheduler answers at {address or scheduler_file}: {error or type(error).__name__}; is it of "
                "this version of Dask, and are there TLS keys in Dask's configuration (distributed.comm.tls) if it "
                "wants them?"
            ) from error

    def keep_up(self, workers: int) -> str:
        """That is its owner's."""
        return ""

    def lost(self) -> None:
        """That is its owner's, too."""

    def want(self, workers: int) -> bool:
        return False

    def close(self) -> None:
        self.client.close(timeout=2)
        self._restore_logs()
