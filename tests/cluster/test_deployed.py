"""`--cluster ssh=FILE`, Dask's own ssh cluster: for real with an sshd on loopback, and what is refused beforehand."""

import contextlib
import getpass
import os
import shutil
import socket
import ssl
import subprocess
import time
from pathlib import Path

import dask
import pytest
from aftermath import settled
from distributed.utils import get_ip
from process_tree import LOOPBACK, descendants, listeners, wait_until_gone

import nas
from nas import cli
from nas.cluster import deployed
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
SERVER = """
ListenAddress 127.0.0.1:{port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/me.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
"""
CLIENT = """
Host 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/me
"""
TRAINED = """
space: digits_cnn
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 1}
train: {epochs: 1, precision: fp32}
"""


@pytest.fixture
def sshd(tmp_path, monkeypatch):
    """A server of our own, and a home whose .ssh knows it."""
    pytest.importorskip("asyncssh")
    pytest.importorskip("cryptography")
    if not SSHD or not shutil.which("ssh-keygen"):
        why = "no sshd here: apt-get install openssh-server"
        pytest.skip(why)
    home = tmp_path / "home"
    folder = home / ".ssh"
    folder.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    for name in ("host", "me"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    said = {"port": port, "folder": folder, "user": getpass.getuser()}
    (folder / "server").write_text(SERVER.format(**said))
    (folder / "config").write_text(CLIENT.format(**said))
    host_key = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "server"], stderr=(folder / "log").open("w")) as server:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
        monkeypatch.setenv("HOME", str(home))
        yield server
        server.terminate()


@pytest.mark.timeout(120)
def test_workers_over_ssh_serve_a_search_by_tls_and_are_gone_after_it(sshd, tmp_path):
    hosts, run = tmp_path / "hosts.txt", tmp_path / "run"
    hosts.write_text("# mine\n\n127.0.0.1  # this one\n")
    certificates: set[str] = set()

    def observe(search, now):
        if search.history.tally["completed"] >= 2 and not certificates:
            certificates.update(map(certificate, beyond_loopback({os.getpid(), *descendants(sshd.pid)})))

    done = nas.search(
        {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}},
        lambda candidate, context: time.sleep(0.2) or candidate.hyperparameters["x"],
        trials=6, controller="random", run=run, observe=observe,
        cluster={"kind": "ssh", "hosts": str(hosts), "workers": 2},
    )  # fmt: skip
    trials = done.history.trials.values()
    assert [trial.state for trial in trials] == ["completed"] * 6
    assert len({trial.outcome.place for trial in trials}) >= 2
    assert certificates <= {(run / "cluster" / "tls" / "cert.pem").read_text()}, "somebody listens who is not the run's"
    assert certificates or get_ip() == "127.0.0.1"
    assert dask.config.get("distributed.comm.tls.ca-file") is None, "left as it was found"
    assert wait_until_gone(descendants(sshd.pid), 20) == set()


@pytest.mark.timeout(120)
def test_the_command_has_its_workers_by_ssh(sshd, tmp_path, monkeypatch):
    (tmp_path / "hosts.txt").write_text("127.0.0.1\n")
    (tmp_path / "mine.yaml").write_text(TRAINED)
    monkeypatch.chdir(tmp_path)
    cli.app(["search", "mine.yaml", "--cluster", "ssh=hosts.txt", "--run", "run"], standalone_mode=False)
    settled(tmp_path / "run", 1)
    assert wait_until_gone(descendants(sshd.pid), 20) == set()


def beyond_loopback(pids: set[int]) -> list[int]:
    return [int(where.rpartition(":")[2], 16) for where in listeners(pids) if not where.startswith(LOOPBACK)]


def certificate(port: int) -> str:
    return ssl.get_server_certificate((get_ip(), port), timeout=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("a b\n", "'a b' is no host"),
        ("-oProxyCommand=id\n", "is no host"),
        (None, "cannot be read"),
    ],
)
def test_a_file_of_hosts_that_is_none_is_refused(tmp_path, text, message):
    file = tmp_path / "hosts.txt"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=message):
        deployed.read_hosts(file)


def test_a_configuration_that_describes_no_jobs_is_told(tmp_path, monkeypatch):
    pytest.importorskip("dask_jobqueue")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("{space: digits_cnn, task: {dataset: digits, validation: 0.2}}")
    with pytest.raises(InputError, match=r"describes jobs of none .* --cluster jobqueue=SYSTEM"):
        cli.app(["search", "mine.yaml", "--cluster", "jobqueue"], standalone_mode=False)
    assert not (tmp_path / "runs").exists()


def test_the_words_of_a_config_are_those_of_the_flags(tmp_path):
    assert ClusterSettings(kind="ssh", hosts="hosts.txt").hosts == "hosts.txt"
    for wrong in ({"kind": "ssh"}, {"kind": "ssh", "hosts": "h", "time": 9}, {"kind": "jobqueue", "partition": "p"}):
        with pytest.raises(ValueError, match=r"say hosts|knows no"):
            ClusterSettings(**wrong)
