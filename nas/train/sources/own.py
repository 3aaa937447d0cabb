"""``task: {plugin: NAME}``: a data set that a plugin's function makes (nas/plugin.py).

It gives what an .npz file would hold, under the same keys and rules (arrays.py): NumPy arrays, or tensors. It is called
once in a process, and must give the same each time: the validation split is by number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nas.errors import InputError
from nas.train.settings import Kind, PluginTask
from nas.train.sources import Arrays, Part, arrays


@dataclass(frozen=True, slots=True)
class OwnDataset:
    """``function(folder)`` gives arrays by the names that an .npz file has; the folder is that of ``--data``."""

    name: str
    function: Callable[[str | None], Mapping[str, Any]]
    kind: Kind

    def describe(self, task: PluginTask, data_dir: str | None = None) -> Mapping[str, float | str]:
        """See sources.describe. Makes the data."""
        if task.kind not in (None, self.kind):
            raise InputError(f"task.kind: the plugin's data set {self.name!r} is a {self.kind}, not a {task.kind}")
        return arrays.description(_made(self, data_dir), self.kind)

    def prepare(self, task: PluginTask, data_dir: str | None = None) -> str:
        """See sources.prepare."""
        _made(self, data_dir)
        return f"made by the plugin's {self.name}"

    def load(self, task: PluginTask, part: Part, data_dir: str | None = None) -> Arrays:
        """See sources.load."""
        return arrays.normalised(_made(self, data_dir), part, self.kind)


@lru_cache(maxsize=1)
def _made(dataset: OwnDataset, folder: str | None) -> Mapping[Part, arrays.Pair]:
    place = f"the plugin's data set {dataset.name!r}"
    try:
        given = dataset.function(folder)
        made = {str(key): np.asarray(value) for key, value in dict(given).items()}
    except Exception as error:  # whatever the person's code does is the person's to mend
        raise InputError(f"{place}: {type(error).__name__}: {error}") from error
    return arrays.divided(made, place, dataset.kind)
