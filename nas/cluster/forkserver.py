"""A process that imports once, has no thread, and forks one child at a time: a child with torch loaded in some 10 ms.

    parent = ForkServer(preload=["torch"])        in the worker
    connection, pid = parent.fork()               a child running child.serve on the other end of the connection
    parent.kill(); parent.control                 readable when the child has ended; parent.status() then says how

Not multiprocessing's forkserver: there each child inherits the write end of the pipe whose closing is to end the
server, so that a killed worker leaves both alive; it starts a resource tracker besides, and its children import the
program's ``__main__`` again. Here nothing outlives the worker: when its socket to the worker closes, the server kills
the child's whole process group and ends; while it still imports, PR_SET_PDEATHSIG ends it. The child dies with the
server, by PR_SET_PDEATHSIG too.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection

from nas.cluster.environment import compiled
from nas.cluster.signals import TERMINAL, WARNINGS, die_with_parent, leave_to_driver, wake_when_parent_ends

_BOOT = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from nas.cluster.forkserver import main; main()"
CLOSE_LIMIT = 1.0  # seconds
_FORK, _KILL = b"fork", b"kill"


class ForkServerError(Exception):
    """The server ended, and its child with it."""


class ForkServer:
    """The worker's end. Make it in a thread that outlives the preload (PR_SET_PDEATHSIG is by thread, not process)."""

    def __init__(self, preload: Sequence[str] = ()) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = [json.dumps(sys.path), str(theirs.fileno()), str(os.getpid()), *preload]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *arguments],
                env={**os.environ, **compiled(os.environ)},  # from the beginning: importing torch settles it
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C is for the driver alone
            )
        self.pid = self._process.pid

    def fork(self) -> tuple[Connection, int]:
        """A new child, and the connection to it. The one before must have ended."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._send(_FORK, [theirs.fileno()])
        connection = Connection(ours.detach())
        return connection, int(self._receive())

    def kill(self) -> None:
        """SIGKILL the child and what it started; ``status`` follows. Safe from any thread, and when there is none."""
        with contextlib.suppress(ForkServerError):
            self._send(_KILL)

    def status(self) -> int:
        """The exit code of the child that ended, or minus the signal that ended it; waits for it."""
        return int(self._receive())

    def close(self) -> None:
        """End the server and its child."""
        self.control.close()
        try:
            self._process.wait(CLOSE_LIMIT)
        except subprocess.TimeoutExpired:  # it still imports, and has no child
            self._process.kill()
            self._process.wait()

    def _send(self, message: bytes, descriptors: Sequence[int] = ()) -> None:
        try:
            socket.send_fds(self.control, [message], descriptors)
        except OSError as error:
            raise ForkServerError(str(error)) from error

    def _receive(self) -> bytes:
        try:
            message = self.control.recv(64)
        except OSError as error:
            raise ForkServerError(str(error)) from error
        if not message:
            raise ForkServerError(f"the fork server ended with exit code {self._process.wait()}")
        return message


# In the server's own process -----------------------------------------------------------------------------------------


def main() -> None:
    """``argv``: sys.path as JSON, the control socket's descriptor, the worker's pid, modules to import."""
    descriptor, parent, *preload = sys.argv[2:]
    die_with_parent(int(parent))
    leave_to_driver(*TERMINAL, *WARNINGS)
    sys.argv[:] = [""]
    for module in preload:
        with contextlib.suppress(Exception):  # the objective that needs it will say so better
            importlib.import_module(module)
    import nas.cluster.child  # imported here, so that children do not

    gc.collect()
    gc.freeze()  # what is imported is never garbage: collections in children skip it, and leave its pages shared
    wake_when_parent_ends()  # from here on the socket tells, and leaves time to end what a child has started
    serve(socket.socket(fileno=int(descriptor)), nas.cluster.child.serve)


def serve(control: socket.socket, run_child: object) -> None:
    """Fork on request, report each child's end, and kill what lives when the worker is gone."""
    ended, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    child = 0
    while True:
        select.select([control.fileno(), ended], [], [])
        with contextlib.suppress(BlockingIOError):
            os.read(ended, 4096)
        if child and (status := _reap(child)) is not None:
            child = 0
            _tell(control, status)
        try:
            message, descriptors, *_ = socket.recv_fds(control, 16, 1, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        except OSError:
            message, descriptors = b"", []
        if message == _FORK:
            child = _fork(control, descriptors[0], run_child)
            _tell(control, child)
        elif child:  # _KILL, or nothing at all: the worker is gone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
        if not message:
            os._exit(0)


def _reap(child: int) -> int | None:
    """The child's exit status, if it has ended. What it started ends before its process id can be used again."""
    if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        return None
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _tell(control: socket.socket, number: int) -> None:
    with contextlib.suppress(OSError):  # the worker is gone: the next turn of the loop sees it
        control.send(b"%d" % number)


def _fork(control: socket.socket, descriptor: int, run_child: object) -> int:
    server = os.getpid()
    child = os.fork()
    if child:
        os.close(descriptor)
        with contextlib.suppress(OSError):
            os.setpgid(child, child)  # here and in the child: whoever comes first
        return child
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *WARNINGS):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        die_with_parent(server)
        control.close()
        assert callable(run_child)
        run_child(Connection(descriptor))
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1 if error.code else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
