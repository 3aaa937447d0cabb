"""``task: {images: FOLDER}``: a folder of PNG or JPEG files for each class; classes in the order of their names.

``FOLDER/train`` and ``FOLDER/test`` with such folders below are the two parts; without them a fifth of the images of
each class is held out as the test part (see the package). Other files and whatever begins with a dot are passed over.

**Size.** With ``size: 32`` (or ``[24, 32]``: height, width) every image is stretched to it, whatever its proportions,
by pillow's bilinear filter, which looks at all pixels when it shrinks. Without, all must be of one size already.
**Colour.** Grey if all images are, else red, green and blue; transparency is dropped, 16 bits become 8. A camera's note
of the rotation (EXIF) is obeyed. Pixels are normalised by mean and deviation of each channel over the training part.

The files are decoded once in each process. Left out: crops and flips, which belong to training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from nas.errors import InputError
from nas.train.settings import ImagesTask
from nas.train.sources import Arrays, Part, splits
from nas.train.sources.arrays import moments

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
GREY = ("1", "L", "LA", "I", "I;16", "I;16B")  # pillow's modes without colour
ROTATION = 0x0112  # EXIF's tag; 5 to 8 lie on their sides

Found = list[tuple[Path, int]]  # a file and its class
Pair = tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]  # images (count, channels, height, width) and their classes


def describe(task: ImagesTask, data_dir: str | None = None) -> Mapping[str, float | str]:
    """See sources.describe. Opens every file, as far as its header."""
    channels, height, width = _shape(task)
    classes = 1 + max(label for _, label in _parts(task)["train"])
    return {"kind": task.kind, "classes": classes, "channels": channels, "height": height, "width": width}


def prepare(task: ImagesTask, data_dir: str | None = None) -> str:
    """See sources.prepare. Decodes every file of the training part."""
    _decoded(task, "train")
    return task.images


def load(task: ImagesTask, part: Part, data_dir: str | None = None) -> Arrays:
    """See sources.load."""
    images, labels = _decoded(task, part)
    mean, deviation = moments(_decoded(task, "train")[0])
    return Arrays(images, labels, mean, deviation, "stratified")


# Finding -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _parts(task: ImagesTask) -> Mapping[Part, Found]:
    try:
        return _found_parts(Path(task.images))
    except OSError as error:
        raise InputError(f"{error.filename or task.images}: can not be read: {error.strerror}") from error


def _found_parts(root: Path) -> Mapping[Part, Found]:
    if not root.is_dir():
        raise InputError(f"{root}: {'is no folder' if root.exists() else 'there is no such folder'}")
    if (root / "train").is_dir() and (root / "test").is_dir():
        names = _classes(root / "train")
        strange = sorted(set(_classes(root / "test")) - set(names))
        if strange:
            raise InputError(f"{root / 'test'}: {', '.join(strange)} is no class of {root / 'train'}")
        return {"train": _found(root / "train", names, 2), "test": _found(root / "test", names, 0)}
    found = _found(root, _classes(root), 3)
    test = splits.held_out(np.array([label for _, label in found]), "test", "stratified")
    return {
        "train": [one for one, held in zip(found, test, strict=True) if not held],
        "test": [one for one, held in zip(found, test, strict=True) if held],
    }


def _classes(root: Path) -> list[str]:
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if len(names) < 2:
        raise InputError(f"{root}: needs a folder of images for each of two classes or more; it has {len(names)}")
    return names


def _found(root: Path, names: list[str], fewest: int) -> Found:
    found: Found = []
    for label, name in enumerate(names):
        files = [path for path in (root / name).glob("[!.]*") if path.suffix.lower() in SUFFIXES and path.is_file()]
        if len(files) < fewest:
            held = f"holds {len(files)} images (png, jpg, jpeg)"
            raise InputError(f"{root / name}: {held}, and {fewest} of each class are needed")
        found += [(path, label) for path in sorted(files)]
    return found


# Decoding ------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _shape(task: ImagesTask) -> tuple[int, int, int]:
    """Channels, height and width. Raises InputError where sizes differ and the task names none."""
    sizes: dict[tuple[int, int], Path] = {}  # height and width, and the first file of them
    grey = True
    for path, _ in (one for part in _parts(task).values() for one in part):
        with _opened(path) as image:
            grey = grey and image.mode in GREY
            sideways = task.size is None and image.getexif().get(ROTATION, 1) > 4
            sizes.setdefault(image.size if sideways else image.size[::-1], path)
    channels = 1 if grey else 3
    if task.size is not None:
        height, width = (task.size, task.size) if isinstance(task.size, int) else task.size
        return channels, height, width
    if len(sizes) > 1:
        both = " and ".join(f"{path.name} {height}x{width}" for (height, width), path in list(sizes.items())[:2])
        raise InputError(f"{task.images}: the images differ in size ({both}); resize all: `size: 32`, or another side")
    return channels, *next(iter(sizes))


@lru_cache(maxsize=2)
def _decoded(task: ImagesTask, part: Part) -> Pair:
    channels, height, width = _shape(task)
    found = _parts(task)[part]
    images = np.empty((len(found), channels, height, width), np.uint8)
    for index, (path, _) in enumerate(found):
        with _opened(path) as image:
            pixels = np.asarray(_adapted(image, channels, (width, height)))
        images[index] = pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
    return images, np.array([label for _, label in found], np.int64)


def _adapted(image: Image, channels: int, size: tuple[int, int]) -> Image:
    from PIL import ImageOps
    from PIL.Image import Resampling, fromarray

    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        image = fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
    image = image.convert("L" if channels == 1 else "RGB")
    return image if image.size == size else image.resize(size, Resampling.BILINEAR)


@contextmanager
def _opened(path: Path) -> Iterator[Image]:
    """The image; whatever goes wrong with it until it is left is an InputError that names the file."""
    try:
        import PIL.Image
    except ImportError as error:
        raise InputError("image folders are read by pillow; pip install 'nas-orchestrator[images]'") from error
    try:
        with PIL.Image.open(path, formats=("PNG", "JPEG")) as image:
            yield image
    except (OSError, SyntaxError, ValueError, EOFError, PIL.Image.DecompressionBombError) as error:
        raise InputError(f"{path}: is no sound PNG or JPEG image: {error}") from error
