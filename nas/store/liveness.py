"""Which process writes a journal, and whether it is still there.

On this host a process is known by its id, its start and the host's boot id. Of another host only a heartbeat tells: a
file whose content changes every two seconds, and says "released" when its driver let go.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path

from nas.durable import NEW
from nas.records import DriverTookOver

HEARTBEAT = 2.0  # seconds between a driver's signs of life
STANDSTILL = 30.0  # seconds without one, on our own clock, after which another host's driver counts as gone
RELEASED = b"released"


class Heart:
    """Beats into ``path`` from a thread of its own until it is stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="nas-heartbeat", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Let go: the next driver need not wait for a standstill."""
        self._stopped.set()
        self._thread.join()
        self._write(RELEASED)

    def _beat(self) -> None:
        beat = 0
        while not self._stopped.is_set():
            beat += 1
            self._write(b"%d" % beat)
            self._stopped.wait(HEARTBEAT)

    def _write(self, content: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the heartbeat's thread
            descriptor = os.open(self._path, NEW, 0o644)
            try:
                os.write(descriptor, content)
            finally:
                os.close(descriptor)


def ourselves() -> DriverTookOver:
    """This process, as it signs its segment."""
    pid = os.getpid()
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    job, restart = os.environ.get("SLURM_JOB_ID", ""), os.environ.get("SLURM_RESTART_COUNT", "")
    requeued = int(restart) if restart.isdecimal() else 0
    return DriverTookOver(os.uname().nodename, pid, _process_started(pid) or 0.0, boot, job=job, restart=requeued)


def is_our_requeued_job(driver: DriverTookOver) -> bool:
    """Whether the driver belongs to an earlier run of the job that this process is in, and so has no right any more.

    It may well be alive: after a node failure SLURM begins the job again elsewhere, and what it had started goes on.
    """
    us = ourselves()
    return bool(us.job) and driver.job == us.job and driver.restart < us.restart


def runs_here(driver: DriverTookOver) -> bool | None:
    """Whether the driver's process is alive on this host; None where it belongs to another."""
    us = ourselves()
    if (driver.host, driver.boot) != (us.host, us.boot):
        return None
    return _process_started(driver.pid) == driver.process_started


def released(heartbeat: Path) -> bool:
    """Whether the driver let go."""
    return _read(heartbeat) == RELEASED


def beats(heartbeat: Path) -> bool:
    """Watch a heartbeat until it moves (True), is released, or has stood still for STANDSTILL seconds (False)."""
    before, until = _read(heartbeat), time.monotonic() + STANDSTILL
    while time.monotonic() < until:
        time.sleep(HEARTBEAT / 2)
        now = _read(heartbeat)
        if now != before:
            return now != RELEASED
    return False


def beat_lately(heartbeat: Path) -> bool:
    """A reader's guess, at once, by two hosts' clocks: whether there was a beat within STANDSTILL seconds."""
    try:
        return time.time() - heartbeat.stat().st_mtime < STANDSTILL
    except OSError:
        return False


def _read(heartbeat: Path) -> bytes:
    try:
        return heartbeat.read_bytes()
    except OSError:
        return b""


def _process_started(pid: int) -> float | None:
    """Clock ticks from boot to the start of a process, or None where there is no such (living) process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else float(fields[19])
