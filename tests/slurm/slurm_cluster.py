"""A real SLURM of several nodes on this host: munged, slurmctld and one slurmd a node, all of it in one folder.

Nothing of the system's own SLURM or munge is touched: keys, sockets, ports and state are the folder's. Needs root, and
the packages slurm-wlm and munge.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=50000,batch_sched_delay=0
JobRequeue=1
KillWait=3
MinJobAge=3600
ReturnToService=2
SlurmdTimeout=10
MailProg=/bin/true
DefMemPerCPU=200
GresTypes=gpu
MpiDefault=none
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdParameters=config_overrides
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=short Nodes=ALL MaxTime=1 State=UP PriorityTier=5 PreemptMode=OFF
PartitionName=low Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=ALL MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


def lacking() -> str:
    """Why no SLURM can be started here; empty where one can."""
    missing = [program for program in PROGRAMS if not shutil.which(program, path=PATH)]
    if missing:
        return f"no {', '.join(missing)} here: apt-get install slurm-wlm munge"
    return "" if os.geteuid() == 0 else "a SLURM of one's own needs root"


class SlurmCluster:
    """Up when it is made, until ``stop``. ``environment``: what a program must have to speak to it."""

    def __init__(self, nodes: int = 3, cpus: int = 4, memory: int = 8000) -> None:
        """``memory``: MB of a node, as SLURM is told; nothing enforces it."""
        self.folder = Path(tempfile.mkdtemp(prefix="nas-slurm-"))
        self.folder.chmod(0o755)
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": PATH}
        self.nodes = [f"n{number}" for number in range(1, nodes + 1)]
        host = socket.gethostname().partition(".")[0]
        ports = free_ports(nodes + 1)
        each = [f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
                f"RealMemory={memory} Gres=gpu:2"
                for name, port in zip(self.nodes, ports[1:], strict=True)]  # fmt: skip
        for name in ("state", *(f"spool.{node}" for node in self.nodes)):
            (self.folder / name).mkdir()
        text = CONF.format(host=host, ports=ports, folder=self.folder, nodes="\n".join(each))
        (self.folder / "slurm.conf").write_text(text)
        for gpu in ("gpu0", "gpu1"):  # of each node; SLURM asks only that they are devices
            (self.folder / gpu).symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-1]\n")
        key = self.folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log",
                 "seed-file": "munge.seed"}  # fmt: skip
        self.run("munged", "--force", "--num-threads=1", *(f"--{k}={self.folder / v}" for k, v in files.items()))
        self.run("slurmctld")
        for node in self.nodes:
            self.start_node(node)
        until = time.monotonic() + 60
        while len(set(self.run("sinfo", "-h", "-N", "-t", "idle", "-o", "%N").split())) < len(self.nodes):
            assert time.monotonic() < until, f"no {len(self.nodes)} idle nodes: {self.run('sinfo', '-N', '-l')}"
            time.sleep(0.05)

    def run(self, *words: str, check: bool = True) -> str:
        """What the command prints."""
        done = subprocess.run(
            words,
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stderr}"
        return done.stdout

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """SIGKILL its slurmd, as a crash of the node does; what it had started is left alone."""
        os.kill(int((self.folder / f"slurmd.{node}.pid").read_text()), signal.SIGKILL)

    def fail_node(self, node: str) -> None:
        """SIGKILL all of it, as a power failure does: slurmd, and the jobs there before they can say that they end.

        SLURM is told, and need not find out by waiting for SlurmdTimeout.
        """
        jobs = self.run("squeue", "-h", "-w", node, "-t", "RUNNING", "-o", "%A").split()
        self.kill_node(node)
        end([pid for pid in _pids() if any(f"slurmstepd: [{job}." in _command(pid) for job in jobs)], signal.SIGKILL)
        end([pid for pid, words in self._processes() if f"SLURMD_NODENAME={node}\0" in words], signal.SIGKILL)
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=failed")

    def down(self) -> set[str]:
        """Nodes whose slurmd is dead."""
        pids = {node: (self.folder / f"slurmd.{node}.pid").read_text().strip() for node in self.nodes}
        return {node for node, pid in pids.items() if pid and not _alive(int(pid))}  # empty: it is just starting

    def states(self) -> dict[str, str]:
        """State by job, an element of an array each."""
        lines = self.run("squeue", "-h", "-r", "-a", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def forget_jobs(self) -> None:
        """End everything, and wait until it has."""
        until = time.monotonic() + 60
        while left := [job for job, state in self.states().items() if state in ACTIVE]:
            self.run("scancel", "--full", "--signal=KILL", *left, check=False)
            self.run("scancel", *left, check=False)
            assert time.monotonic() < until, f"jobs that do not end: {left}"
            time.sleep(0.1)

    def end_strays(self) -> None:
        """End what runs in jobs and is nobody's: SLURM does not reach what ran on a node when its slurmd was killed."""
        end([pid for pid, words in self._processes() if "SLURM_JOB_ID" in words])

    def _processes(self) -> Iterator[tuple[int, str]]:
        """Processes that were started with this SLURM in their environment, and that."""
        for pid in _pids():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")
                if f"SLURM_CONF={self.folder}/" in words and pid != os.getpid():
                    yield pid, words

    def stop(self) -> None:
        """End every process of it, and remove the folder."""
        if (self.folder / "slurmctld.pid").exists():
            with contextlib.suppress(AssertionError, subprocess.SubprocessError):
                self.forget_jobs()
        pids = [int(text) for path in self.folder.glob("*.pid") if (text := path.read_text().strip())]
        end(pids)
        end([pid for pid, _ in self._processes()])
        shutil.rmtree(self.folder, ignore_errors=True)


ACTIVE = ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "REQUEUED")


def free_ports(number: int) -> Sequence[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(number)]
        return [one.getsockname()[1] for one in sockets]


def end(pids: Sequence[int], first: int = signal.SIGTERM) -> None:
    """SIGTERM, then SIGKILL where that does not do; returns when they are gone."""
    for number, seconds in ((first, 10.0), (signal.SIGKILL, 5.0)):
        for pid in filter(_alive, pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        until = time.monotonic() + seconds
        while any(map(_alive, pids)) and time.monotonic() < until:
            time.sleep(0.02)


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return ""


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
