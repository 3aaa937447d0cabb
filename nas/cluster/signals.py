"""What the processes of a worker make of signals, and of the end of the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal

TERMINAL = (signal.SIGINT, signal.SIGHUP)  # Ctrl-C and a hang-up; to another session only a script sends them
WARNINGS = (signal.SIGTERM, signal.SIGUSR1)  # of a batch system: to all processes of a job, some time before SIGKILL
# What people, shutdowns and batch systems send; these last send SIGUSR1 or SIGUSR2 as a warning before.
ASKED_TO_END = frozenset({*TERMINAL, *WARNINGS, signal.SIGUSR2})
_PR_SET_PDEATHSIG = 1


def leave_to_driver(*numbers: signal.Signals) -> None:
    """Ignore them: the driver hears them too, and says what is to end, and what may yet leave its state."""
    for number in numbers:
        signal.signal(number, signal.SIG_IGN)


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL this process when its parent (the thread that started it) ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it had ended before we asked
        os._exit(1)


def wake_when_parent_ends() -> None:
    """Have the kernel send SIGCONT then: who is stopped would not hear the end of a pipe, and stay for ever."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGCONT)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value):
        raise OSError(ctypes.get_errno(), "prctl")
