"""Data sets from their public homes into a cache, each file under the checksum that is stated in catalog.DATASETS.

A file counts only once it is whole and right: it is written under a temporary name and renamed. idx files are stored
uncompressed, so that they can be memory-mapped.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import InputError

if TYPE_CHECKING:
    from nas.train.sources.catalog import Dataset

TIMEOUT = 20.0  # seconds without a byte


def cache_folder(name: str) -> Path:
    """Where downloads of a data set are kept: below XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nas" / name


def download(dataset: Dataset) -> str:
    """Fetch every file of the data set that the cache lacks. Returns why that was not possible, or "".

    Raises:
        InputError: the cache can not be written.
    """
    folder = cache_folder(dataset.name)
    problem = ""
    for name, checksum in dataset.checksums:
        if (folder / name).exists():
            continue
        for mirror in dataset.mirrors:
            try:
                content = _fetch(mirror if mirror.endswith(".tar.gz") else f"{mirror}{name}.gz", checksum)
                _store(folder, name, content)
                break
            except (OSError, ValueError, EOFError, zlib.error, tarfile.TarError) as error:
                problem = f"{mirror}: {error}"
        else:
            return problem
    return ""


def _fetch(url: str, checksum: str) -> bytes:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
        content: bytes = answer.read()
    if not url.endswith(".tar.gz"):
        content = gzip.decompress(content)
    found = (hashlib.md5 if len(checksum) == 32 else hashlib.sha256)(content).hexdigest()
    if found != checksum:
        raise ValueError(f"what came has the checksum {found}, not {checksum}")
    return content


def _store(folder: Path, name: str, content: bytes) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not name.endswith(".tar.gz"):
            _write(folder / name, content)
            return
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for member in archive:  # by base name alone: nothing can land outside the folder
                stream = archive.extractfile(member) if member.isfile() else None
                if stream and member.name.endswith(".bin"):
                    _write(folder / Path(member.name).name, stream.read())
    except OSError as error:
        raise InputError(f"{folder}: downloaded data can not be kept there: {error}") from error


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
