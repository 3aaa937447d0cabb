"""``task: {npz: FILE}``: a NumPy archive (numpy.savez), for ``kind: classification`` (the default), ``regression`` or
``segmentation``.

Keys: ``x_train`` and ``y_train``, with ``x_test`` and ``y_test`` beside them or not; or ``x`` and ``y``. Without a test
part of its own, a fifth is held out as one (see the package).

    x   (n, features)                                  a table
        (n, height, width)                             grey images
        (n, channels, height, width)                   images; (n, height, width, channels) where the last is 1, 3 or 4
                                                       and the second is not
        Bytes (uint8) stay bytes, all other numbers become fp32.
    y   classification: (n,) class numbers from 0
        regression:     (n,) or (n, targets) numbers
        segmentation:   (n, height, width) class numbers from 0; 255 is neither trained on nor judged

Inputs are normalised by mean and deviation of each channel or feature over the training part. Regression targets are
centred, and divided by one deviation for all of them.

Left out: object arrays (they are pickles), several files, arrays larger than memory.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.errors import InputError
from nas.train.settings import ArraysTask, Kind
from nas.train.sources import Arrays, Part, Splitting, files, splits

Array = npt.NDArray[Any]
Pair = tuple[Array, Array]  # x and y

UNLABELLED = 255  # as in problems.py
MOST_CLASSES = 100_000


def describe(task: ArraysTask, data_dir: str | None = None) -> Mapping[str, float | str]:
    """See sources.describe. Reads and checks the whole archive."""
    return description(_read(task), task.kind)


def prepare(task: ArraysTask, data_dir: str | None = None) -> str:
    """See sources.prepare."""
    _read(task)
    return task.npz


def load(task: ArraysTask, part: Part, data_dir: str | None = None) -> Arrays:
    """See sources.load."""
    return normalised(_read(task), part, task.kind)


# Parts, wherever they are from ---------------------------------------------------------------------------------------


def description(parts: Mapping[Part, Pair], kind: Kind) -> dict[str, float | str]:
    """What ``describe`` says of them."""
    x, y = parts["train"]
    described: dict[str, float | str] = {"kind": kind}
    if kind == "regression":
        described |= {"targets": y.shape[1], "deviation": _spread(y)}
    else:
        described |= {"classes": _classes(y)}
    if x.ndim == 2:
        return described | {"features": x.shape[1]}
    return described | {"channels": x.shape[1], "height": x.shape[2], "width": x.shape[3]}


def normalised(parts: Mapping[Part, Pair], part: Part, kind: Kind) -> Arrays:
    """What ``load`` gives of them."""
    mean, deviation = moments(parts["train"][0])
    x, y = parts[part]
    if kind == "regression":
        training = parts["train"][1]
        y = ((y - training.mean(0)) / _spread(training)).astype(np.float32)
    return Arrays(x, y, mean, deviation, splitting(kind))


def splitting(kind: Kind) -> Splitting:
    """How samples of a kind are split: by class where each has one."""
    return "stratified" if kind == "classification" else "random"


def moments(x: Array) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel or feature; the deviation of a constant one counts as 1."""
    axes = (0, *range(2, x.ndim))
    deviation = x.std(axes, dtype=np.float64)
    return tuple(x.mean(axes, dtype=np.float64).tolist()), tuple(np.where(deviation > 0, deviation, 1.0).tolist())


def _spread(targets: Array) -> float:
    return float(targets.std(0).mean())


# Reading -------------------------------------------------------------------------------------------------------------


def _read(task: ArraysTask) -> Mapping[Part, Pair]:
    return _read_once(task.npz, task.kind, *files.stamp(task.npz))


@lru_cache(maxsize=1)
def _read_once(file: str, kind: Kind, modified: int, size: int) -> Mapping[Part, Pair]:
    """Read again where the file changed."""
    return divided(_arrays(file), file, kind)


def divided(given: Mapping[str, Array], file: str, kind: Kind) -> Mapping[Part, Pair]:
    """Both parts, checked. Raises InputError, which begins with ``file``, where arrays are missing or wrong."""
    parts: dict[Part, Pair] = {}
    if "x_train" in given:
        parts["train"] = _pair(given, file, kind, "_train")
        if "x_test" in given or "y_test" in given:
            parts["test"] = _pair(given, file, kind, "_test")
    elif "x" in given:
        parts["train"] = _pair(given, file, kind, "")
    else:
        raise InputError(f"{file}: needs the keys x_train and y_train, or x and y; it has {', '.join(given) or 'none'}")
    x, y = parts["train"]
    _enough(file, kind, y, 2 if "test" in parts else 3)
    if "test" not in parts:
        test, train = (splits.held_out(y, part, splitting(kind)) for part in ("test", "train"))
        return {"train": (x[train], y[train]), "test": (x[test], y[test])}
    if parts["test"][0].shape[1:] != x.shape[1:]:
        shapes = f"{x.shape[1:]} and {parts['test'][0].shape[1:]}"
        raise InputError(f"{file}: the samples of x_train and x_test differ in shape: {shapes}")
    if kind != "regression" and _classes(parts["test"][1]) > _classes(y):
        raise InputError(f"{file}: y_test has a class {_classes(parts['test'][1]) - 1}, and y_train none so high")
    return parts


def _arrays(file: str) -> dict[str, Array]:
    try:
        with np.load(file, allow_pickle=False) as archive:
            if isinstance(archive, np.lib.npyio.NpzFile):
                return {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
        said = str(error)
        if "Object arrays" in said:
            said = "it holds objects, not numbers"
        elif "allow_pickle" in said:  # numpy takes for a pickle whatever begins as none of its files
            raise InputError(f"{file}: is no NumPy archive; numpy.savez(FILE, x=..., y=...) writes one") from error
        raise InputError(f"{file}: is no sound NumPy archive (.npz): {said}") from error
    except TypeError:  # one array alone is no context
        pass
    raise InputError(f"{file}: holds one array; save both in one file: numpy.savez(FILE, x=..., y=...)")


def _pair(given: Mapping[str, Array], file: str, kind: Kind, suffix: str) -> Pair:
    for name in ("x" + suffix, "y" + suffix):
        if name not in given:
            raise InputError(f"{file}: has no key {name}; it has {', '.join(given)}")
    x = _inputs(given["x" + suffix], f"{file}: x{suffix}")
    return x, _targets(given["y" + suffix], x, kind, f"{file}: y{suffix}")


def _inputs(x: Array, place: str) -> Array:
    if x.dtype.kind not in "buif":
        raise InputError(f"{place}: numbers are needed, not {x.dtype}")
    if x.ndim not in (2, 3, 4) or 0 in x.shape:
        wanted = "a table (n, features) or images such as (n, 3, 32, 32) are needed"
        raise InputError(f"{place}: its shape is {x.shape}; {wanted}")
    if x.dtype.kind == "f" and not np.isfinite(x).all():
        raise InputError(f"{place}: {int((~np.isfinite(x)).sum())} of its numbers are NaN or infinite")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in (1, 3, 4) and x.shape[1] not in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x, np.uint8 if x.dtype == np.uint8 else np.float32)


def _targets(y: Array, x: Array, kind: Kind, place: str) -> Array:
    if kind == "segmentation" and x.ndim != 4:
        raise InputError(f"{place}: segmentation needs images, and x is a table of {x.shape[1]} features")
    if kind == "regression":
        return _numbers(y, len(x), place)
    if kind == "classification" and y.shape == (len(x), 1):
        y = y[:, 0]
    needed = (len(x),) if kind == "classification" else (len(x), *x.shape[2:])
    if y.shape != needed:
        raise InputError(f"{place}: its shape is {y.shape}, and that of x asks for {needed}")
    if y.dtype.kind not in "buif" or not np.isfinite(y).all() or (y != np.floor(y)).any() or (y < 0).any():
        raise InputError(f"{place}: class numbers from 0 are needed: whole, none negative, none missing")
    if y.max() >= MOST_CLASSES:
        raise InputError(f"{place}: its largest class number is {y.max()}; they should be 0, 1, 2, ...")
    return y.astype(np.int64)


def _numbers(y: Array, count: int, place: str) -> Array:
    """Regression targets as (n, targets) doubles."""
    if y.ndim not in (1, 2) or len(y) != count or 0 in y.shape:
        raise InputError(f"{place}: its shape is {y.shape}, and that of x asks for ({count},) or ({count}, targets)")
    if y.dtype.kind not in "buif" or not np.isfinite(y).all():
        raise InputError(f"{place}: numbers are needed, none NaN or infinite, not {y.dtype}")
    return y.reshape(count, -1).astype(np.float64)


def _classes(y: Array) -> int:
    """How many; pixels without a label count for nothing."""
    labelled = y if y.ndim == 1 else y[y != UNLABELLED]
    return int(labelled.max(initial=-1)) + 1


def _enough(file: str, kind: Kind, y: Array, fewest: int) -> None:
    """At least two classes, and of each a sample to train on, one to validate on, and one to test on."""
    if len(y) < fewest:
        raise InputError(f"{file}: {len(y)} samples are too few; {fewest} are needed")
    if kind == "regression":
        if not _spread(y) > 0:
            raise InputError(f"{file}: all targets in y are the same, and there is nothing to learn")
        return
    counts = np.bincount(y if kind == "classification" else y[y != UNLABELLED])
    if (counts > 0).sum() < 2:
        raise InputError(f"{file}: there is only one class in y, and nothing to learn")
    if kind == "classification" and counts.min() < fewest:
        scarce = f"class {counts.argmin()} (of 0 to {len(counts) - 1}) has {counts.min()} samples"
        raise InputError(f"{file}: {scarce}, and {fewest} of each are needed")
