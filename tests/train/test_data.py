"""Data sets: found where people keep them, read from standard files, refused when broken, split without leaks."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from nas.errors import InputError
from nas.train import data
from nas.train.settings import DatasetTask
from nas.train.sources import Part, catalog, formats


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (20, 28, 28), np.uint8)


@pytest.fixture
def folder(tmp_path: Path, images: np.ndarray) -> Path:
    """A tiny MNIST, images gzipped and labels not; training part only."""
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 10))
    return tmp_path


DIGITS_TASK = DatasetTask(dataset="digits")
DIGITS = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"  # of scikit-learn's copy


def test_digits_are_whole_and_built_in() -> None:
    # The quickstart needs no network and no folder; a damaged array would only show as a poor accuracy.
    images, labels = formats.load("digits", "train")
    test_images, test_labels = formats.load("digits", "test")
    assert images.shape == (1438, 1, 8, 8) and test_images.shape == (359, 1, 8, 8)
    everything = np.concatenate([images, test_images]).tobytes() + np.concatenate([labels, test_labels]).tobytes()
    assert hashlib.sha256(everything).hexdigest() == DIGITS
    assert images.max() == 16 and labels[:10].tolist() == list(range(10))


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "cifar10"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_real_files_load(name: str, part: Part) -> None:
    # The formats as their authors publish them, not only as this test would write them.
    dataset = catalog.DATASETS[name]
    where = [f for f in (os.environ.get("NAS_DATA"), catalog.DEBIAN) if f]
    if not any(catalog.files_below(Path(root), dataset, part) for root in where):
        pytest.skip(f"{name} is not on this machine: set NAS_DATA, or install dataset-fashion-mnist")
    images, labels = formats.load(name, part)
    assert images.shape[1:] == (dataset.channels, dataset.height, dataset.width)
    counts = {"cifar10": (50_000, 10_000)}.get(name, (60_000, 10_000))
    assert len(images) == len(labels) == counts[part == "test"]
    assert set(np.unique(labels)) == set(range(10))
    if part == "train":  # the constants that normalise
        assert images.mean((0, 2, 3)) == pytest.approx(dataset.mean, abs=0.01)
        assert images.std((0, 2, 3)) == pytest.approx(dataset.deviation, abs=0.01)


def test_folder_is_found_by_argument_and_by_environment(
    folder: Path, images: np.ndarray, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # People keep one folder for each data set, or one for all of them.
    loaded, labels = formats.load("mnist", "train", str(folder))
    assert np.array_equal(loaded[:, 0], images) and labels.tolist() == [n % 10 for n in range(20)]
    above = tmp_path_factory.mktemp("above")
    (above / "mnist").symlink_to(folder)
    monkeypatch.setenv("NAS_DATA", str(above))
    assert np.array_equal(formats.load("mnist", "train")[0], loaded)


def test_a_folder_of_another_name_is_passed_over(tmp_path: Path, folder: Path) -> None:
    # MNIST and Fashion-MNIST share their file names: one must not be trained on under the name of the other.
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / "fashion-mnist").symlink_to(folder)
    with pytest.raises(InputError):
        formats.load("mnist", "train", str(tmp_path / "all" / "fashion-mnist"))
    assert catalog.files_below(tmp_path / "all", catalog.DATASETS["fashion_mnist"], "train")


def test_the_search_needs_no_test_files(folder: Path) -> None:
    # The fixture holds no test part: a search that touched it would fail here.
    assert catalog.prepare(DatasetTask(dataset="mnist"), str(folder)) == str(folder)
    with pytest.raises(InputError, match="t10k-images-idx3-ubyte"):
        formats.load("mnist", "test", str(folder))


def test_missing_data_names_the_three_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A person without a network must learn here what to install or to name.
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(catalog, "DEBIAN", tmp_path / "nothing")
    closed = replace(catalog.DATASETS["fashion_mnist"], mirrors=("http://127.0.0.1:9/",))
    for data_dir in (None, str(tmp_path)):
        with pytest.raises(InputError) as error:
            catalog.find(closed, "train", data_dir)
        message = str(error.value)
        assert all(way in message for way in ("--data DIR or NAS_DATA=DIR", "dataset-fashion-mnist", "network"))
        assert "train-images-idx3-ubyte" in message and "\n" not in message


BROKEN = {
    "truncated gzip": ("train-images-idx3-ubyte.gz", lambda raw: raw[:-40], "truncated or damaged"),
    "no gzip": ("train-images-idx3-ubyte.gz", lambda raw: b"<html>not found</html>", "truncated or damaged"),
    "truncated": ("train-labels-idx1-ubyte", lambda raw: raw[:-3], r"says \(20,\) and holds 17 bytes"),
    "empty": ("train-labels-idx1-ubyte", lambda raw: b"", "is no idx file"),
    "other file": ("train-labels-idx1-ubyte", lambda raw: b"PK\3\4" + raw, "is no idx file"),
    "other count": ("train-labels-idx1-ubyte", lambda raw: idx(np.zeros(19)), "do not go with"),
    "other labels": ("train-labels-idx1-ubyte", lambda raw: idx(np.arange(20)), "a label is 19, and there are 10"),
    "huge size": ("train-labels-idx1-ubyte", lambda raw: bytes([0, 0, 8, 3]) + b"\xff" * 12, "holds 0 bytes"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_named(folder: Path, case: str) -> None:
    # A half-finished download must not become a puzzling traceback in every trial.
    name, damage, message = BROKEN[case]
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(InputError, match=message) as error:
        formats.load("mnist", "train", str(folder))
    assert name in str(error.value) or "label" in case


def test_cifar_records(tmp_path: Path) -> None:
    # Planes in the wrong order would train, with wrong colours.
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (10, 3, 32, 32), np.uint8)
    for batch in range(5):
        rows = [bytes([n]) + pixels[n].tobytes() for n in (2 * batch, 2 * batch + 1)]
        (tmp_path / f"data_batch_{batch + 1}.bin").write_bytes(b"".join(rows))
    images, labels = formats.load("cifar10", "train", str(tmp_path))
    assert np.array_equal(images, pixels) and labels.tolist() == list(range(10))
    (tmp_path / "data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(InputError, match=r"data_batch_3.bin: 5 bytes are no whole number of 3073-byte records"):
        formats.load("cifar10", "train", str(tmp_path))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path):
    (tmp_path / "served").mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path / "served")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path / "served", f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


def test_download_keeps_only_what_has_the_right_checksum(
    mirror: tuple[Path, str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A mirror's error page or another version of the data would silently change every result.
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(catalog, "DEBIAN", tmp_path / "nothing")
    served, url = mirror
    content = {
        "train-images-idx3-ubyte": gzip.decompress((folder / "train-images-idx3-ubyte.gz").read_bytes()),
        "train-labels-idx1-ubyte": (folder / "train-labels-idx1-ubyte").read_bytes(),
    }
    for name, raw in content.items():
        (served / f"{name}.gz").write_bytes(gzip.compress(raw))
    checksums = tuple((name, hashlib.sha256(raw).hexdigest()) for name, raw in content.items())
    dataset = replace(catalog.DATASETS["mnist"], checksums=checksums, mirrors=("http://127.0.0.1:9/", url))
    found = catalog.find(dataset, "train")
    assert [path.read_bytes() for path in found] == list(content.values())

    for path in found:
        path.unlink()
    (served / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(b"something else"))
    with pytest.raises(InputError, match="checksum"):
        catalog.find(dataset, "train")


def test_downloaded_archive_lands_in_the_cache_alone(
    mirror: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Names within an archive are somebody else's words: none may lead out of the folder.
    monkeypatch.delenv("NAS_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    served, url = mirror
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in [*catalog.DATASETS["cifar10"].train, "../../../escaped.bin"]:
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = 3073
            archive.addfile(member, io.BytesIO(bytes(3073)))
    (served / "all.tar.gz").write_bytes(packed.getvalue())
    checksum = hashlib.md5(packed.getvalue()).hexdigest()
    dataset = replace(catalog.DATASETS["cifar10"], checksums=(("all.tar.gz", checksum),), mirrors=(f"{url}all.tar.gz",))
    assert len(catalog.find(dataset, "train")) == 5
    assert {path.parent for path in tmp_path.rglob("*.bin")} == {tmp_path / "cache" / "nas" / "cifar10"}


def test_split_is_stratified_and_the_runs_own() -> None:
    # Trials of one run are compared on the same images; another seed must not be judged on the same draw.
    labels = np.repeat(np.arange(10), np.arange(10, 110, 10)).astype(np.uint8)
    train, validation = data.split(labels, 0.2, 1)
    assert sorted([*train, *validation]) == list(range(len(labels)))
    assert np.bincount(labels[validation]).tolist() == [2 * n for n in range(1, 11)]
    assert np.array_equal(data.split(labels, 0.2, 1)[1], validation)
    assert not np.array_equal(data.split(labels, 0.2, 2)[1], validation)
    assert np.bincount(labels[data.split(labels, 0.001, 1)[1]]).tolist() == [1] * 10


def test_batches_are_normalised_and_the_data_stays_bytes() -> None:
    # fp32 on the device would take four times the memory for the whole run.
    resident = data.resident(DIGITS_TASK, "train", None, "cpu")
    assert resident.inputs.dtype is torch.uint8
    inputs, labels = resident.batch(torch.arange(1438))
    assert inputs.mean().item() == pytest.approx(0, abs=1e-3) and inputs.std().item() == pytest.approx(1, abs=1e-3)
    assert labels.dtype is torch.int64
    assert data.resident(DIGITS_TASK, "train", None, "cpu") is resident


def test_describing_a_task_imports_no_torch() -> None:
    # `nas space check` and every start of a search ask what the task is; torch takes a second.
    code = "import sys; from nas.train import describe, DatasetTask; print(describe(DatasetTask(dataset='cifar10')))"
    code += "; assert not {'torch', 'numpy'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = {"kind": "classification", "classes": 10, "channels": 3, "height": 32, "width": 32, "outputs": 10}
    assert done.stdout.strip() == str(expected)
