"""Data on a device: a source's arrays, split and batched.

Inputs stay in the type that the source gives (pixels: uint8) and are put on the device once per process; a batch is
picked and normalised there. The search reads the part ``train`` alone and cuts its validation split from it; what
``test`` is, each source says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nas import seeds
from nas.train import sources
from nas.train.plugins import BUILT_IN, Parts
from nas.train.settings import TaskSettings
from nas.train.sources import Part, Splitting, splits

AT_ONCE = 4 << 20  # bytes, as fp32
Indices = npt.NDArray[np.int64]


def split(targets: npt.NDArray[Any], share: float, seed: int, how: Splitting = "stratified") -> tuple[Indices, Indices]:
    """Indices to train on and to validate on (see splits.choose). The same for every trial: ``seed`` is the run's."""
    chosen = splits.choose(targets, share, seeds.derive(seed, "validation"), how)
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


@dataclass(frozen=True, eq=False)
class Resident:
    """A source's arrays on a device: inputs (count, *shape) as they came; class numbers as int64, else fp32."""

    inputs: Tensor
    targets: Tensor
    mean: Tensor | None  # of an input, broadcast over a sample; None where inputs are no quantities (tokens)
    scale: Tensor | None  # 1 / deviation
    splitting: Splitting

    @property
    def device(self) -> torch.device:
        return self.inputs.device

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised fp32 inputs (maps in channels_last order), or tokens as int64; and targets."""
        picked = self.inputs.index_select(0, indices)
        if self.mean is None or self.scale is None:
            return picked.long(), self.targets[indices]
        order = torch.channels_last if picked.ndim == 4 else torch.contiguous_format
        picked = picked.to(torch.float32, memory_format=order)  # picked already: what follows spoils no sample
        return picked.sub_(self.mean).mul_(self.scale), self.targets[indices]

    def batches(self, order: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """``batch`` of so many at a time, in this order. Where all together are small they are picked at once: picking
        costs a batch of a table as much as a layer.
        """
        if len(order) * self.inputs[:1].numel() * 4 > AT_ONCE:
            yield from map(self.batch, torch.split(order, size))
        else:
            inputs, targets = self.batch(order)
            yield from zip(torch.split(inputs, size), torch.split(targets, size), strict=True)


@lru_cache(maxsize=2)
def resident(task: TaskSettings, part: Part, data_dir: str | None, device: str, parts: Parts = BUILT_IN) -> Resident:
    """The part on the device; kept for the process, so that a warm child loads it once.

    Raises:
        InputError: see sources.load.
    """
    arrays = sources.load(task, part, data_dir, parts.datasets)
    inputs = torch.from_numpy(arrays.inputs).to(device)
    targets = torch.from_numpy(arrays.targets).to(device)
    mean = scale = None
    if arrays.mean:
        sample = (-1, *(1 for _ in inputs.shape[2:]))  # over the channels of a map, the features of a vector
        mean = torch.tensor(arrays.mean, device=device).view(sample)
        scale = 1 / torch.tensor(arrays.deviation, device=device).view(sample)
    targets = targets.to(torch.float32 if targets.is_floating_point() else torch.int64)
    return Resident(inputs, targets, mean, scale, arrays.splitting)


@lru_cache(maxsize=8)
def split_resident(data: Resident, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """``split``, as tensors on the device; kept likewise."""
    train, validation = split(data.targets.cpu().numpy(), share, seed, data.splitting)
    return torch.from_numpy(train).to(data.device), torch.from_numpy(validation).to(data.device)
