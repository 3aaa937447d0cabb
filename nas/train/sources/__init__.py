"""Where a task's data comes from. One module for each kind of source, with three functions of one signature:

    describe(task, data_dir) -> {"kind": ..., "classes": ..., ...}   what `=task.*` is in a space
    prepare(task, data_dir) -> where it lies                         before any worker asks for it
    load(task, part, data_dir) -> Arrays                             part: "train" or "test"

Adding one is three acts: its settings class in settings.py (with the key that it is known by), its module here, and its
line in ``_source``. All three functions raise InputError where a file is missing or is not what it should be: before a
run's folder is made, because ``describe`` and ``prepare`` are asked first. A source that must open its file to describe
it does so. No torch here, and numpy only where files are read.

**The test part** is touched once, by ``nas retrain``, and never by a search. A catalogued data set has a file of its
own for it. A person's own files may bring one along; where they do not, it is a fifth of all samples, drawn from a seed
that is the same for ever (``splits.held_out``), and the search sees the rest alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from nas.documents import hint
from nas.errors import InputError
from nas.train.settings import ArraysTask, CsvTask, DatasetTask, ImagesTask, PluginTask, TaskSettings, TextTask

if TYPE_CHECKING:
    import numpy.typing as npt

Part = Literal["train", "test"]
Splitting = Literal["stratified", "random", "end"]  # how a validation split is cut, see data.split
HALF = 0.5  # up to which share to validate on every class keeps a sample to train on: sources see to it that it has two


@dataclass(frozen=True, slots=True, eq=False)
class Arrays:
    """One part of a task's data. Mean and deviation are those of the training part, whatever the part."""

    inputs: npt.NDArray[Any]  # (count, channels, height, width) uint8 or fp32; (count, features) fp32; tokens as int
    targets: npt.NDArray[Any]  # class numbers: (count,), for segmentation (count, height, width); numbers as fp32
    mean: tuple[float, ...] = ()  # per channel or feature; none where inputs are tokens
    deviation: tuple[float, ...] = ()
    splitting: Splitting = "random"


class Source(Protocol):
    """What a module of this package is."""

    def describe(self, task: Any, data_dir: str | None = None) -> Mapping[str, float | str]: ...
    def prepare(self, task: Any, data_dir: str | None = None) -> str: ...
    def load(self, task: Any, part: Part, data_dir: str | None = None) -> Arrays: ...


def describe(
    task: TaskSettings, data_dir: str | None = None, own: Mapping[str, Source] | None = None
) -> dict[str, float | str]:
    """What a space's ``task.*`` and ``network.costs`` need to know.

    ``kind`` and ``classes`` (or ``targets``, how many numbers a regression predicts), and either as ``outputs``; of
    images ``channels``, ``height`` and ``width``, of a table ``features``, of text ``length`` and ``vocabulary``.
    ``own``: the data sets of plugins.

    Raises:
        InputError: a file that must be opened for it is missing or wrong.
    """
    described = dict(_source(task, own).describe(task, data_dir))
    outputs = described.get("classes", described.get("targets"))
    return described if outputs is None else described | {"outputs": outputs}


def prepare(task: TaskSettings, data_dir: str | None = None, own: Mapping[str, Source] | None = None) -> str:
    """See to it that the training data is on this host and sound; where it lies. Raises InputError."""
    return _source(task, own).prepare(task, data_dir)


def require_training(task: TaskSettings, data_dir: str | None = None, own: Mapping[str, Source] | None = None) -> None:
    """Raises InputError where the task's validation split leaves too little to train on; see splits."""
    if task.validation > HALF:
        from nas.train.sources import splits

        splits.require_training(load(task, "train", data_dir, own), task.validation)


def load(
    task: TaskSettings, part: Part, data_dir: str | None = None, own: Mapping[str, Source] | None = None
) -> Arrays:
    """The arrays of one part.

    Raises:
        InputError: a file is missing or damaged, or does not hold what it should.
    """
    return _source(task, own).load(task, part, data_dir)


def _source(task: TaskSettings, own: Mapping[str, Source] | None) -> Source:
    match task:
        case PluginTask():
            if task.plugin in (own or {}):
                return (own or {})[task.plugin]
            known = hint(task.plugin, own) if own else "; none is given on the command line (--plugin FILE)"
            raise InputError(f"task.plugin: no plugin has a data set {task.plugin!r}{known}")
        case DatasetTask():
            from nas.train.sources import catalog

            return catalog
        case ArraysTask():
            from nas.train.sources import arrays

            return arrays
        case ImagesTask():
            from nas.train.sources import images

            return images
        case CsvTask():
            from nas.train.sources import tables

            return tables
        case TextTask():
            from nas.train.sources import texts

            return texts
