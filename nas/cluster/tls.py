"""TLS keys of one run: whoever can read its folder may speak to its scheduler and workers, and nobody else.

RUN/cluster/tls/{cert,key}.pem (0600, in folders of 0700): one certificate for scheduler, workers and client, signed by
itself, and its own only authority. Dask asks both sides of every connection for it.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from nas.durable import within, write_whole
from nas.errors import DiskFailed, InputError

BACKDATED = datetime.timedelta(days=1)  # hosts' clocks differ: a certificate of this second is not valid yet elsewhere
VALID = datetime.timedelta(days=3650)


def make_keys(folder: Path) -> None:
    """Put keys into ``folder``/tls, unless there are some.

    Raises:
        InputError: the package cryptography is not there, or the folder is a link to another.
        DiskFailed: the keys could not be written.
    """
    cert, key = _files(folder)
    try:
        if cert.exists() and key.exists():
            for path, mode in ((folder, 0o700), (cert.parent, 0o700), (key, 0o600), (cert, 0o600)):
                path.chmod(mode)  # a run that was copied has what modes its new folder gave it
            return
        certificate, private = _pair()
        for private_folder in (folder, cert.parent):
            private_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_folder.chmod(0o700)
        # The key first: where there is a certificate, there is its key.
        for path, data in ((key, private), (cert, certificate)):
            write_whole(path, data, mode=0o600)
    except OSError as error:
        raise DiskFailed(f"{cert.parent}: {error.strerror or error}") from error


def security(folder: Path) -> Any:
    """A distributed.Security of the keys in ``folder``/tls. Raises InputError where there are none."""
    from distributed import Security

    cert, key = _files(folder)
    if not (cert.exists() and key.exists()):
        raise InputError(f"{cert.parent} has no TLS keys; `nas submit` and `nas search --cluster slurm` make them")
    files = {f"tls_{role}_{what}": str(path) for role in ("client", "scheduler", "worker")
             for what, path in (("cert", cert), ("key", key))}  # fmt: skip
    return Security(tls_ca_file=str(cert), require_encryption=True, **files)


def _files(folder: Path) -> tuple[Path, Path]:
    """Raises InputError where one is a link, or its folder."""
    cert, key = (within(folder.parent, folder.name, "tls", name) for name in ("cert.pem", "key.pem"))
    return cert, key


def require_cryptography() -> None:
    """Raises InputError where keys cannot be made."""
    try:
        import cryptography  # noqa: F401 - whether it is there
    except ImportError as error:
        raise InputError(
            f"workers on other hosts are spoken to with TLS, whose keys need the package cryptography ({error}): "
            "pip install 'nas-orchestrator[tls]'"
        ) from None


def _pair() -> tuple[bytes, bytes]:
    """A certificate that signs itself, and its key, as PEM."""
    require_cryptography()
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "nas-run")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private
