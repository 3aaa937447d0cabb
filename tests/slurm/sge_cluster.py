"""A real Grid Engine on this host: one qmaster, one execd, all of their state in one folder.

Needs root, and what Debian's gridengine packages have in /usr/lib/gridengine and /usr/share/gridengine. These may be
unpacked there instead of installed: the package of its commands conflicts with that of SLURM's qsub.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from slurm_cluster import free_ports

PROGRAMS, SHARED = Path("/usr/lib/gridengine"), Path("/usr/share/gridengine")
BOOTSTRAP = """
admin_user          none
default_domain      none
ignore_fqdn         true
spooling_method     classic
spooling_lib        libspoolc
spooling_params     {spool}
binary_path         {folder}/bin
qmaster_spool_dir   {folder}/spool/qmaster
security_mode       none
listener_threads    1
worker_threads      1
scheduler_threads   1
"""
CONFIGURATION = {"execd_spool_dir": "{folder}/spool/execd", "min_uid": "0", "min_gid": "0", "mailer": "/bin/true",
                 "load_report_time": "00:00:01"}  # fmt: skip
SCHEDULER = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
QUEUE = {"qname": "all.q", "hostlist": "{host}", "slots": "8", "shell": "/bin/bash", "pe_list": "smp",
         "load_thresholds": "NONE", "rerun": "TRUE"}  # fmt: skip


def lacking() -> str:
    """Why no Grid Engine can be started here; empty where one can."""
    missing = [name for name in ("sge_qmaster", "sge_execd", "qsub", "qstat") if not (PROGRAMS / name).exists()]
    if missing:
        return f"no {', '.join(missing)} in {PROGRAMS}: see .ci/run"
    return "" if os.geteuid() == 0 else "a Grid Engine of one's own needs root"


class SgeCluster:
    """Up when it is made, until ``stop``. ``environment``: what a program must have to speak to it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nas-sge-"))
        self.folder.chmod(0o755)
        self.host = socket.gethostname().partition(".")[0]
        ports = free_ports(2)
        self.environment = {
            "SGE_ROOT": str(self.folder), "SGE_CELL": "default", "SGE_CLUSTER_NAME": "test",
            "SGE_QMASTER_PORT": str(ports[0]), "SGE_EXECD_PORT": str(ports[1]),
            "PATH": f"{PROGRAMS}:{os.environ.get('PATH', '')}",
        }  # fmt: skip
        try:
            self._spool()
            self._start()
        except BaseException:
            self.stop()
            raise

    def _spool(self) -> None:
        common, spool = self.folder / "default/common", self.folder / "spool"
        for folder in (common, spool / "qmaster/job_scripts", spool / "execd"):
            folder.mkdir(parents=True)
        (self.folder / "util").symlink_to(SHARED / "util")
        arch = self.run(str(SHARED / "util/arch")).strip()
        for name in ("bin", "utilbin", "lib"):
            (self.folder / name).mkdir()
            (self.folder / name / arch).symlink_to(PROGRAMS)
        where = f"{common};{spool / 'qmaster'}"
        (common / "bootstrap").write_text(BOOTSTRAP.lstrip().format(folder=self.folder, spool=where))
        (common / "act_qmaster").write_text(f"{self.host}\n")
        (common / "host_aliases").write_text(f"{self.host} localhost\n")
        configuration = self._file((SHARED / "default-configuration").read_text(), CONFIGURATION)
        self.run("spoolinit", "classic", "libspoolc", where, "init")
        for kind, what in (("configuration", configuration), ("complexes", str(SHARED / "util/resources/centry")),
                           ("usersets", str(SHARED / "util/resources/usersets")), ("managers", "root")):  # fmt: skip
            self.run("spooldefaults.bin", kind, what)

    def _start(self) -> None:
        self.run("sge_qmaster")
        until = time.monotonic() + 60
        while not self.run("qconf", "-sh", check=False):
            assert time.monotonic() < until, f"no qmaster: {(self.folder / 'spool/qmaster/messages').read_text()}"
            time.sleep(0.1)
        self.run("qconf", "-as", self.host)
        self.run("qconf", "-Msconf", self._file(self.run("qconf", "-ssconf"), SCHEDULER))
        self.run("qconf", "-Ap", str(SHARED / "util/resources/pe/smp"))
        self.run("sge_execd")
        self.run("qconf", "-Aq", self._file(self.run("qconf", "-sq"), QUEUE))

    def _file(self, text: str, settings: dict[str, str]) -> str:
        """A file of these settings among the others."""
        for key, value in settings.items():
            said = f"{key} {value.format(folder=self.folder, host=self.host)}"
            text = re.sub(rf"^{key}\s.*$", said, text, flags=re.MULTILINE)
        file = self.folder / "settings"
        file.write_text(text)
        return str(file)

    def run(self, *words: str, check: bool = True) -> str:
        """What the command prints."""
        done = subprocess.run(
            words, env=os.environ | self.environment | {"LD_LIBRARY_PATH": str(PROGRAMS)}, capture_output=True,
            text=True, stdin=subprocess.DEVNULL, timeout=60, cwd=self.folder,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout} {done.stderr}"
        return done.stdout

    def jobs(self) -> list[str]:
        """Numbers of the jobs that are there, each task of an array apart."""
        return re.findall(r"<JB_job_number>(\d+)<", self.run("qstat", "-xml", "-g", "d"))

    def _processes(self) -> Sequence[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                ours = entry.name.isdecimal() and int(entry.name) != os.getpid()
                if ours and f"SGE_ROOT={self.folder}\0".encode() in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
        return found

    def stop(self) -> None:
        """End every process of it, and remove the folder."""
        with contextlib.suppress(AssertionError, OSError, subprocess.SubprocessError):
            self.run("qdel", "-f", "-u", "*", check=False)
        for pid in self._processes():  # SIGTERM the qmaster takes 10 s to end of
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        shutil.rmtree(self.folder, ignore_errors=True)
