"""What the kernel knows of processes: for tests of who is alive, and of who listens where."""

import time
from pathlib import Path


def descendants(pid: int) -> set[int]:
    """Living processes below ``pid``, zombies aside."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))) and stat[0] != "Z":
            parents[int(entry.name)] = int(stat[1])
    below: set[int] = set()
    grown = {pid}
    while grown:
        grown = {child for child, parent in parents.items() if parent in grown} - below
        below |= grown
    return below


def alive(pids: set[int]) -> set[int]:
    """Those that still run."""
    return {pid for pid in pids if (stat := _stat(pid)) and stat[0] != "Z"}


def wait_until_gone(pids: set[int], seconds: float) -> set[int]:
    """Those that are left when ``seconds`` are over; returns early when none is."""
    until = time.monotonic() + seconds
    while alive(pids) and time.monotonic() < until:
        time.sleep(0.02)
    return alive(pids)


def command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def listeners(pids: set[int]) -> dict[str, int]:
    """``address:port`` (as the kernel writes it, in hex) -> pid, for each socket that hears strangers.

    Those are TCP sockets that listen, and UDP ones that are bound and not connected; of IPv4 and of IPv6.
    """
    sockets = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                sockets[str(descriptor.readlink())] = pid
            except OSError:
                continue
    found = {}
    hears = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}  # states, as the kernel numbers them
    for table, state in hears.items():
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == state and f"socket:[{fields[9]}]" in sockets:
                found[fields[1]] = sockets[f"socket:[{fields[9]}]"]
    return found


LOOPBACK = ("0100007F:", "00000000000000000000000001000000:")  # 127.0.0.1 and ::1, in the kernel's byte order


def _stat(pid: int) -> list[str] | None:
    """State, parent, ... : the fields behind the command's name."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
