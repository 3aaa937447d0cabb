"""What listens beyond loopback speaks TLS with the run's own keys, and with nobody who has not got them."""

import asyncio
import os
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from process_tree import LOOPBACK, listeners

pytest.importorskip("cryptography", reason="no TLS keys without the extra [tls]")
from distributed import Client, Security
from distributed.core import connect
from distributed.utils import get_ip

from nas.cluster import tls
from nas.cluster.batch.jobs import SCHEDULER_FILE
from nas.cluster.batch.workers import BatchWorkers
from nas.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run's folder for its jobs, with keys."""
    folder = tmp_path_factory.mktemp("run") / "cluster"
    tls.make_keys(folder)
    return folder


@pytest.fixture(scope="module")
def members(folder, tmp_path_factory):
    """The scheduler of a run, and one worker as its job starts it."""
    members = BatchWorkers(folder, tmp_path_factory.mktemp("logs"))
    command = [sys.executable, "-P", "-m", "nas.cluster.batch.worker", str(folder)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as worker:
        members.client.wait_for_workers(1, timeout=60)
        yield members, worker.pid
        members.close()
        worker.terminate()
        assert worker.wait(timeout=30) == 75, (
            "it was needed, for all that it knew: to be started again, by who does that"
        )


def answers(address: str, security: Security | None) -> bool:
    """Whether somebody there goes through with Dask's own handshake."""

    async def attempt() -> bool:
        arguments = security.get_connection_args("client") if security else {}
        try:
            connection = await connect(address, timeout=2, **arguments)
        except (OSError, RuntimeError, TypeError, ValueError):
            return False
        await connection.close()
        return True

    return asyncio.run(attempt())


def addresses(members) -> list[str]:
    dask, _ = members
    return [dask.client.scheduler.address, *dask.client.scheduler_info()["workers"]]


def test_who_has_the_keys_is_answered(members, folder):
    assert all(address.startswith("tls://") for address in addresses(members))
    assert all(answers(address, tls.security(folder)) for address in addresses(members))


def test_who_has_no_certificate_or_a_wrong_one_is_refused(members, tmp_path, folder):
    tls.make_keys(tmp_path)
    others, own = tls.security(tmp_path), tls.security(folder)
    # Who believes the run's certificate, and shows another or none: it is the server that must refuse.
    strangers = Security(tls_ca_file=own.tls_ca_file, require_encryption=True,
                         tls_client_cert=others.tls_client_cert, tls_client_key=others.tls_client_key)  # fmt: skip
    nobody = Security(tls_ca_file=own.tls_ca_file, require_encryption=True)
    for address in addresses(members):
        for security in (others, strangers, nobody):
            assert not answers(address, security)
        assert not answers(address.replace("tls://", "tcp://"), None)
        assert refused_by_the_server(address, own.tls_ca_file)
    with pytest.raises(OSError):
        Client(members[0].client.scheduler.address, security=strangers, timeout=2)


def refused_by_the_server(address: str, authority: str) -> bool:
    """Without Dask on this side: a client that shows no certificate gets an alert, and not a byte of Dask's."""
    context = ssl.create_default_context(cafile=authority)
    context.check_hostname = False
    host, _, port = address.removeprefix("tls://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as wrapped:
                return wrapped.recv(1) == b""
        except ssl.SSLError as error:
            return "alert" in str(error).lower()
        except ConnectionError:
            return True


def test_nothing_else_hears_the_network(members):
    """Scheduler, worker, dashboards: beyond loopback only those that were just seen to ask for a certificate."""
    heard = listeners({os.getpid(), members[1]})
    beyond = {where.rpartition(":")[2] for where in heard if not where.startswith(LOOPBACK)}
    known = {f"{int(address.rpartition(':')[2]):04X}" for address in addresses(members)}
    if get_ip() != "127.0.0.1":
        assert beyond == known
    assert not beyond - known


def test_keys_are_for_their_owner_alone_and_made_once(folder):
    for path, mode in (("", 0o700), ("tls", 0o700), ("tls/key.pem", 0o600), ("tls/cert.pem", 0o600)):
        assert (folder / path).stat().st_mode & 0o777 == mode
    before = (folder / "tls" / "key.pem").read_bytes()
    for path in (folder, folder / "tls", *(folder / "tls").iterdir()):
        path.chmod(0o755)  # as of a run that was copied
    tls.make_keys(folder)
    assert (folder / "tls" / "key.pem").read_bytes() == before
    assert not [path for path in (folder, *folder.rglob("*")) if path.stat().st_mode & 0o077]


def test_the_schedulers_file_says_where_and_goes_with_it(tmp_path):
    tls.make_keys(tmp_path)
    members = BatchWorkers(tmp_path, tmp_path / "logs")
    file = tmp_path / SCHEDULER_FILE
    assert members.client.scheduler.address in file.read_text()
    file.write_text("{}")  # a later controller's: it is not ours to remove
    members.close()
    assert file.exists()


def test_no_keys_and_no_cryptography_are_said(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="has no TLS keys"):
        tls.security(tmp_path)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(InputError, match=r"pip install 'nas-orchestrator\[tls\]'"):
        tls.make_keys(tmp_path)
    assert list(Path(tmp_path).iterdir()) == []


def test_a_link_is_not_followed_out_of_the_run(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "cluster").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link"):
        tls.make_keys(tmp_path / "cluster")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_certificate_is_valid_on_a_host_whose_clock_is_behind(folder):
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate((folder / "tls" / "cert.pem").read_bytes())
    assert certificate.not_valid_before_utc.timestamp() < time.time() - 3600
