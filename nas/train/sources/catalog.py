"""``task: {dataset: NAME}``: what is known of each data set before its files are opened, and where its files lie.

Looked for in this order: ``data_dir`` (the command's ``--data``), the folder that NAS_DATA names, Debian's
``dataset-fashion-mnist``, the cache of earlier downloads, and last the network (see download.py). The built-in
``digits`` and the generated ``shapes`` need none of them. No torch here: a command that only reads a space asks what
its task is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import InputError
from nas.train.settings import DatasetTask
from nas.train.sources.download import cache_folder, download

if TYPE_CHECKING:
    from nas.train.sources import Arrays, Part, Splitting

DEBIAN = Path("/usr/share/datasets")


@dataclass(frozen=True, slots=True)
class Dataset:
    """What is known of a data set before its files are opened. Mean and deviation: of pixel values, per channel."""

    name: str
    classes: int
    channels: int
    height: int
    width: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    train: tuple[str, ...] = ()  # file names; images before labels
    test: tuple[str, ...] = ()
    checksums: tuple[tuple[str, str], ...] = ()  # file or archive -> SHA-256 of its content, or MD5 (32 digits)
    mirrors: tuple[str, ...] = ()  # folders of files to which ".gz" is added, or one archive (.tar.gz)

    def names(self, part: Part) -> tuple[str, ...]:
        return self.train if part == "train" else self.test


_IDX_TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
_IDX_TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# SHA-256 are of the uncompressed idx files, so that any mirror's compression will do. CIFAR-10's MD5 is the one that
# its authors publish for the archive.
DATASETS: dict[str, Dataset] = {
    "digits": Dataset("digits", 10, 1, 8, 8, (4.887,), (6.008,)),
    "shapes": Dataset("shapes", 4, 1, 32, 32, (123.99,), (38.61,)),
    "fashion_mnist": Dataset(
        "fashion_mnist", 10, 1, 28, 28, (72.94,), (90.02,), _IDX_TRAIN, _IDX_TEST,
        (
            ("train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
            ("train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
            ("t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
            ("t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
        ),
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
        ),
    ),
    "mnist": Dataset(
        "mnist", 10, 1, 28, 28, (33.32,), (78.57,), _IDX_TRAIN, _IDX_TEST,
        (
            ("train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
            ("train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
            ("t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
            ("t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
        ),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    ),
    "cifar10": Dataset(
        "cifar10", 10, 3, 32, 32, (125.31, 122.95, 113.87), (62.99, 62.09, 66.70),
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",),
        (("cifar-10-binary.tar.gz", "c32a1d4ab5d03f1284b67883e8d87530"),),
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    ),
}  # fmt: skip


def describe(task: DatasetTask, data_dir: str | None = None) -> dict[str, float | str]:
    """See sources.describe. Opens no file."""
    dataset = DATASETS[task.dataset]
    return {
        "kind": task.kind,
        "classes": dataset.classes,
        "channels": dataset.channels,
        "height": dataset.height,
        "width": dataset.width,
    }


def load(task: DatasetTask, part: Part, data_dir: str | None = None) -> Arrays:
    """See sources.load. The test part is a file of its own; of digits, the last fifth in file order."""
    from nas.train.sources import Arrays, formats  # numpy, which nobody needs who only asks what the task is

    dataset = DATASETS[task.dataset]
    images, labels = formats.load(task.dataset, part, data_dir)
    splitting: Splitting = "stratified" if task.kind == "classification" else "random"
    return Arrays(images, labels, dataset.mean, dataset.deviation, splitting)


# Finding files -------------------------------------------------------------------------------------------------------


def prepare(task: DatasetTask, data_dir: str | None = None) -> str:
    """See to it that the training data is on this host, before any worker asks for it; where it lies.

    Raises:
        InputError: it is nowhere; names the ways to give it.
    """
    dataset = DATASETS[task.dataset]
    return "built in" if not dataset.train else str(find(dataset, "train", data_dir)[0].parent)


def find(dataset: Dataset, part: Part, data_dir: str | None = None) -> list[Path]:
    """The files of one part, downloaded where they are nowhere on this host.

    Raises:
        InputError: they are nowhere, and there is no network.
    """
    # A folder that was given must hold the data: nothing else is looked at, lest a slip go unseen.
    roots = [data_dir] if data_dir is not None else [os.environ.get("NAS_DATA"), str(DEBIAN)]
    for root in filter(None, roots):
        found = files_below(Path(root).expanduser(), dataset, part)
        if found:
            return found
    if data_dir is not None:
        raise _nowhere(dataset, part, f"{data_dir} does not hold them")
    cache = cache_folder(dataset.name)
    problem = "" if _files_in(cache, dataset.names(part)) else download(dataset)
    found = _files_in(cache, dataset.names(part))
    if found:
        return found
    raise _nowhere(dataset, part, problem)


def files_below(root: Path, dataset: Dataset, part: Part) -> list[Path]:
    """The files of one part, in a folder of the data set's name below ``root`` or in ``root``; none unless all exist.

    MNIST's and Fashion-MNIST's files have the same names, so a folder that bears another data set's is passed over.
    """
    below = [root / name for name in (dataset.name, dataset.name.replace("_", "-"), "cifar-10-batches-bin")]
    others = DATASETS.keys() - {dataset.name}
    folders = below if root.name.replace("-", "_") in others else [*below, root]
    return next(filter(None, (_files_in(folder, dataset.names(part)) for folder in folders)), [])


def _files_in(folder: Path, names: tuple[str, ...]) -> list[Path]:
    """The files by these names, gzipped or not; none unless all are there."""
    found = [path for name in names for path in (folder / name, folder / f"{name}.gz") if path.is_file()]
    distinct = {path.name.removesuffix(".gz"): path for path in reversed(found)}
    return [distinct[name] for name in names] if len(distinct) == len(names) else []


def _nowhere(dataset: Dataset, part: Part, reason: str) -> InputError:
    ways = [
        "--data DIR or NAS_DATA=DIR, a folder that holds them or one called " + dataset.name + " with them",
        "the network, from which they are downloaded where there is one",
    ]
    if dataset.name == "fashion_mnist":
        ways.insert(1, "Debian's package: apt install dataset-fashion-mnist")
    listed = "; ".join(f"({i}) {way}" for i, way in enumerate(ways, 1))
    names = ", ".join(dataset.names(part))
    return InputError(f"{dataset.name}: the files {names} were not found ({reason}). Ways to give them: {listed}.")
