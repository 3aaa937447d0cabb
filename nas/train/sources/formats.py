"""The files of the catalogued data sets: idx (gzipped or not), CIFAR-10's binary records, the built-in digits.

The shapes are generated (shapes.py).

Uncompressed files are memory-mapped, so that several workers on a host share their pages.

The search reads the part ``train`` alone; ``test`` is another file, or for digits the last fifth in file order. That
file is in the order in which people wrote, so its last fifth is mostly of people whom the rest does not know: expect
less on it than on a validation split, whose writers were all seen.
"""

from __future__ import annotations

import gzip
import zlib
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import numpy.typing as npt

from nas.errors import InputError
from nas.train.sources import Part, shapes
from nas.train.sources.catalog import DATASETS, find

Bytes = npt.NDArray[np.uint8]

CIFAR_RECORD = 1 + 3 * 32 * 32  # a label, then the red, green and blue planes


def load(name: str, part: Part, data_dir: str | None = None) -> tuple[Bytes, Bytes]:
    """Images (count, channels, height, width) and labels (count,), or masks, of one part, both uint8.

    Raises:
        InputError: a file is missing, truncated, or not what its name says.
    """
    dataset = DATASETS[name]
    if name == "digits":
        images, labels = _digits(part)
    elif name == "shapes":
        images, labels = shapes.generate(part)
    elif name == "cifar10":
        images, labels = _cifar(find(dataset, part, data_dir))
    else:
        paths = find(dataset, part, data_dir)
        images, labels = read_idx(paths[0])[:, None], read_idx(paths[1])
        if images.shape[1:] != (1, 28, 28) or labels.ndim != 1 or len(labels) != len(images):
            raise InputError(f"{paths[0]}: {images.shape} images do not go with {labels.shape} labels of {paths[1]}")
    if int(labels.max(initial=0)) >= dataset.classes:
        raise InputError(f"{name}: a label is {labels.max()}, and there are {dataset.classes} classes")
    return images, labels


def _digits(part: Part) -> tuple[Bytes, Bytes]:
    with as_file(files("nas.train").joinpath("datasets", "digits.npz")) as path, np.load(path) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    first = len(images) - len(images) // 5  # 1,438 to train, 359 to test
    return (images[:first], labels[:first]) if part == "train" else (images[first:], labels[first:])


def read_idx(path: Path) -> Bytes:
    """An array of bytes in LeCun's idx format, gzipped or not: two zeros, 8, the rank, the sizes, the bytes."""
    raw = _raw(path)
    rank = int(raw[3]) if raw.size >= 4 and raw[:3].tolist() == [0, 0, 8] else 0
    if not 1 <= rank <= 3 or raw.size < 4 + 4 * rank:
        raise InputError(f"{path}: is no idx file of bytes (its first bytes are {raw[:4].tobytes().hex()})")
    sizes = tuple(int(n) for n in raw[4 : 4 + 4 * rank].view(">u4"))
    body = raw[4 + 4 * rank :]
    if body.size != np.prod(sizes, dtype=object):
        raise InputError(f"{path}: says {sizes} and holds {body.size} bytes; it is truncated or damaged")
    return body.reshape(sizes)


def _cifar(paths: list[Path]) -> tuple[Bytes, Bytes]:
    """CIFAR-10's binary records: one byte of label, then 1,024 each of red, green and blue."""
    parts = [_raw(path) for path in paths]
    for path, raw in zip(paths, parts, strict=True):
        if not raw.size or raw.size % CIFAR_RECORD:
            raise InputError(f"{path}: {raw.size} bytes are no whole number of {CIFAR_RECORD}-byte records")
    images = np.empty((sum(len(raw) for raw in parts) // CIFAR_RECORD, 3, 32, 32), np.uint8)
    labels = np.empty(len(images), np.uint8)
    end = 0
    for raw in parts:
        records = raw.reshape(-1, CIFAR_RECORD)
        start, end = end, end + len(records)
        labels[start:end] = records[:, 0]
        images[start:end] = records[:, 1:].reshape(-1, 3, 32, 32)
    return images, labels


def _raw(path: Path) -> Bytes:
    """A file's bytes: mapped (copy on write, as torch wants writable memory), or decompressed."""
    try:
        if path.suffix != ".gz":
            return np.memmap(path, np.uint8, mode="c") if path.stat().st_size else np.empty(0, np.uint8)
        with gzip.open(path) as stream:
            return np.frombuffer(bytearray(stream.read()), np.uint8)
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        raise InputError(f"{path}: can not be read, truncated or damaged: {error}") from error
