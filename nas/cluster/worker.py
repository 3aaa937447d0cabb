"""A local Dask worker: one process, one thread, one slot. ``python -c <BOOT> <sys.path> <scheduler> <name> <folder>``.

The worker itself stays light: attempts run in its slot's child. It ends when its standard input closes, that is when
the driver is gone, however it went; its child ends with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import threading
from pathlib import Path

from nas.cluster.signals import TERMINAL, WARNINGS, leave_to_driver, wake_when_parent_ends

BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from nas.cluster.worker import main; main()"

CONFIG = {
    "distributed.worker.profile.enabled": False,  # a thread that samples every 10 ms, for a dashboard that is not there
    "distributed.worker.daemon": False,
    "distributed.worker.use-file-locking": False,
}


def main() -> None:
    """Serve until the scheduler closes the worker or the driver goes."""
    address, name, folder = sys.argv[2:]
    leave_to_driver(*TERMINAL, *WARNINGS)
    wake_when_parent_ends()
    threading.Thread(target=_end_with_driver, args=[folder], daemon=True).start()
    import dask

    dask.config.set(CONFIG)
    asyncio.run(_serve(address, name, folder))


async def _serve(address: str, name: str, folder: str) -> None:
    from distributed import Worker

    worker = Worker(
        address,
        nthreads=1,
        name=name,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        memory_limit=0,  # the slot limits its child; the worker holds nothing
        local_directory=folder,
    )
    async with worker:
        (Path(folder) / name).touch()  # tells the driver that this one came up
        await worker.finished()


def _end_with_driver(folder: str) -> None:
    os.read(0, 1)  # nothing is ever written: this returns when the driver has closed its end, or is gone
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)
