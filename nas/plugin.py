"""What a plugin is made of: a Python file with layers, data sets, losses and metrics of one's own.

    nas search CONFIG --plugin my_parts.py          (may be repeated; also for nas space ..., resume, trial)

    from torch import Tensor, nn
    from nas.plugin import Layer, Positive, Shape, dataset, loss, metric

    class Maxout(Layer):                            # in a space: `maxout: 32` or `maxout: {units: 32, pieces: 3}`
        name, main = "maxout", "units"
        units: Positive
        pieces: Positive = 2
        def build(self, shape: Shape) -> nn.Module:
            return Largest(nn.Linear(shape[0], self.units * self.pieces), self.pieces)

    class Largest(nn.Module):
        def __init__(self, linear: nn.Linear, pieces: int) -> None:
            super().__init__()
            self.linear, self.pieces = linear, pieces
        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)

    @loss                                           # in a config: `train: {loss: hinge}`
    def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.multi_margin_loss(outputs, targets)

    @metric(better="maximize")                      # in a config: `reward: {maximize: worst_class}`
    def worst_class(outputs: Tensor, targets: Tensor) -> float:
        hits = outputs.argmax(1) == targets
        return min(float(hits[targets == c].float().mean()) for c in targets.unique())

    @dataset(kind="classification")                 # in a config: `task: {plugin: rings}`
    def rings(folder: str | None) -> dict:
        ...
        return {"x": x, "y": y}

**Layers** are classes at the file's top level; those that begin with an underscore are not offered. ``build(shape)``
gives a module for inputs (batch, *shape); its output shape, parameters and FLOPs are found out on torch's meta device.
``parameters(before, after)`` and ``flops(before, after)`` may give formulas instead, which are faster. A module that is
an ``Auxiliary`` may have a loss of its own. What changes in training should be a parameter or a buffer, and what is
random drawn from torch: a trial that is paused goes on with these. ``InvalidCandidate`` says why a shape is impossible.

**Losses** take outputs (fp32) and targets of a batch and give its mean. **Metrics** take those of all samples that are
judged, at once, and give a number; every metric of a plugin is recorded of every trial. **Data sets** give what an .npz
file would hold (nas/train/sources/arrays.py), as NumPy arrays or tensors; they are called once in each process, with
the folder that ``--data`` names, and must give the same each time.

The file's SHA-256 is recorded with the run, and its text is sent to the workers: it should import torch and this module
alone, as nothing beside it travels. It is run where the command runs: name files that you trust.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from nas.errors import InvalidCandidate
from nas.reward import Direction
from nas.train.layers.layer import PositiveReal, Rate, Shape, needs_map
from nas.train.layers.tokens import needs_sequence
from nas.train.modules.auxiliary import Auxiliary
from nas.train.plugins import Loss, OwnMetric
from nas.train.plugins import PluginLayer as Layer
from nas.train.settings import Kind, Positive
from nas.train.sources.own import OwnDataset

__all__ = [
    "Auxiliary",
    "InvalidCandidate",
    "Layer",
    "Positive",
    "PositiveReal",
    "Rate",
    "Shape",
    "dataset",
    "loss",
    "metric",
    "needs_map",
    "needs_sequence",
]


def loss(function: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """A loss by the function's name."""
    return Loss(function.__name__, function)


def metric(*, better: Direction) -> Callable[[Callable[[Tensor, Tensor], Any]], OwnMetric]:
    """A metric by the function's name; ``better``: maximize or minimize."""
    if better not in ("maximize", "minimize"):
        raise ValueError(f"better is 'maximize' or 'minimize', not {better!r}")
    return lambda function: OwnMetric(function.__name__, function, better)


def dataset(*, kind: Kind = "classification") -> Callable[[Callable[[str | None], Mapping[str, Any]]], OwnDataset]:
    """A data set by the function's name; ``kind``: classification, regression or segmentation."""
    if kind not in ("classification", "regression", "segmentation"):
        raise ValueError(f"kind is 'classification', 'regression' or 'segmentation', not {kind!r}")
    return lambda function: OwnDataset(function.__name__, function, kind)
