"""``task: {text: FILE}``: a text, of which each character is predicted from those before it.

**The file** is UTF-8, taken as it is: upper and lower case, spaces and line ends are characters like others. The
*vocabulary* is all characters that occur, numbered by falling frequency (equally frequent ones by code point), so that
a ``hashed_embedding`` lets the rare ones share rows.

**A sample** is ``length`` consecutive characters, and its targets the ``length`` characters one further on; samples do
not overlap, and what is left over at the end of the file is not used. So the first characters of each sample are
predicted from few before them, and a loss is somewhat higher than one measured with a sliding context.

**The test part** is the last fifth of the samples, and a run's validation split the last of the others: pieces drawn
from between the training text would be remembered rather than predicted.

Left out: words and byte pairs as items, several files, texts larger than memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from nas.errors import InputError
from nas.train.settings import TextTask
from nas.train.sources import Arrays, Part, files, splits

FEWEST_SAMPLES = 10

Items = npt.NDArray[Any]  # uint8 where that is enough, else int32


def describe(task: TextTask, data_dir: str | None = None) -> Mapping[str, int | str]:
    """See sources.describe. Reads the whole file."""
    items, vocabulary = _read(task)
    count = (len(items) - 1) // task.length
    if count < FEWEST_SAMPLES:
        raise InputError(
            f"{task.text}: {len(items)} characters make {max(0, count)} samples of {task.length}, and at least "
            f"{FEWEST_SAMPLES} are needed; take a longer text, or a shorter `length`"
        )
    return {"kind": task.kind, "length": task.length, "vocabulary": len(vocabulary)}


def prepare(task: TextTask, data_dir: str | None = None) -> str:
    """See sources.prepare."""
    describe(task)
    return task.text


def load(task: TextTask, part: Part, data_dir: str | None = None) -> Arrays:
    """See sources.load."""
    items, _ = _read(task)
    count = (len(items) - 1) // task.length
    inputs = items[: count * task.length].reshape(count, task.length)
    targets = items[1 : count * task.length + 1].reshape(count, task.length)
    rows = splits.held_out(targets, part, "end")
    return Arrays(inputs[rows], targets[rows], splitting="end")


def _read(task: TextTask) -> tuple[Items, str]:
    return _read_once(task.text, *files.stamp(task.text))


@lru_cache(maxsize=2)
def _read_once(file: str, modified: int, size: int) -> tuple[Items, str]:
    """The number of each character, and the vocabulary in the order of numbers; read again where the file changed.

    Raises:
        InputError: see files.text; or it has fewer than two different characters.
    """
    text = files.text(file)
    counts = Counter(text)
    if len(counts) < 2:
        raise InputError(f"{file}: has {len(counts)} different characters, and nothing to predict")
    vocabulary = sorted(counts, key=lambda character: (-counts[character], character))
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    table = np.zeros(int(points.max()) + 1, np.uint8 if len(vocabulary) <= 256 else np.int32)
    table[[ord(character) for character in vocabulary]] = np.arange(len(vocabulary))
    return table[points], "".join(vocabulary)
