"""What a batch goes through before the network sees it, on its device: crop, flip, cutout, and mixing two samples.

Everything random is a function of the trial's seed and the step: nothing is taken from a generator that something else
also draws from, and there is no state to keep. What is cut or padded becomes 0, which after normalising is the mean.

Left out: rotations and colours (each a resampling or a dozen operations per sample; torchvision has them).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas import seeds
from nas.train.settings import Regularisation

Loss = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Targets:
    """What a batch is to give: ``share`` of ``first``, and the rest of ``second`` where two samples were mixed."""

    first: Tensor
    second: Tensor | None = None
    share: float = 1.0

    def loss(self, loss: Loss, outputs: Tensor) -> Tensor:
        if self.second is None:
            return loss(outputs, self.first)
        return self.share * loss(outputs, self.first) + (1 - self.share) * loss(outputs, self.second)

    def split(self, parts: int) -> list[Targets]:
        """As torch.tensor_split does: in so many parts of one size, as nearly as can be, the first ones the larger."""
        firsts = torch.tensor_split(self.first, parts)
        seconds: tuple[Tensor | None, ...] = (None,) * parts
        if self.second is not None:
            seconds = torch.tensor_split(self.second, parts)
        return [Targets(first, second, self.share) for first, second in zip(firsts, seconds, strict=True)]


@dataclass(frozen=True, slots=True)
class Augmentation:
    """``augmentation(inputs, targets, step)``: the batch as it is trained on. Inputs are (batch, *shape)."""

    settings: Regularisation
    seed: int  # the trial's

    def __call__(self, inputs: Tensor, targets: Tensor, step: int) -> tuple[Tensor, Targets]:
        chosen, seed = self.settings, seeds.derive(self.seed, "augmentation", step)
        generator = torch.Generator(inputs.device).manual_seed(seed)
        if chosen.crop:
            inputs = crop(inputs, chosen.crop, generator)
        if chosen.flip:
            inputs = flip(inputs, generator)
        if chosen.cutout:
            inputs = cutout(inputs, chosen.cutout, generator)
        return self._mixed(inputs, targets, np.random.default_rng(seed), generator)

    def _mixed(
        self, inputs: Tensor, targets: Tensor, host: np.random.Generator, generator: torch.Generator
    ) -> tuple[Tensor, Targets]:
        """Of mixup and cutmix one, by the toss of a coin where both are asked for. What is one number for the batch is
        drawn on the host: the device need not be waited for.
        """
        ways = [(alpha, mix) for alpha, mix in ((self.settings.mixup, mixup), (self.settings.cutmix, cutmix)) if alpha]
        if not ways:
            return inputs, Targets(targets)
        alpha, mix = ways[host.integers(len(ways))]
        partners = torch.randperm(len(inputs), generator=generator, device=inputs.device)
        mixed, share = mix(inputs, inputs[partners], float(host.beta(alpha, alpha)), host)
        return mixed, Targets(targets, targets[partners], share)


def crop(maps: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each map padded on all sides, and a window of its old size cut out of it anywhere."""
    count, _, height, width = maps.shape
    device = maps.device
    down, right = torch.randint(0, 2 * padding + 1, (2, count, 1), generator=generator, device=device)
    rows = down + torch.arange(height, device=device)
    columns = right + torch.arange(width, device=device)
    sample = torch.arange(count, device=device)[:, None, None]
    padded = F.pad(maps, (padding,) * 4)
    # Indices stand before what they leave: (batch, height, width, channels), which is channels_last seen otherwise.
    return padded[sample, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(maps: Tensor, generator: torch.Generator) -> Tensor:
    """Each map mirrored left to right, or not."""
    mirrored = torch.rand(len(maps), 1, 1, 1, generator=generator, device=maps.device) < 0.5
    return torch.where(mirrored, maps.flip(3), maps)


def cutout(maps: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A square of each map made 0 (DeVries and Taylor 2017). Its centre is any pixel, so it may reach over the edge."""
    count, _, height, width = maps.shape

    def covered(length: int) -> Tensor:  # (batch, length)
        centre = torch.randint(0, length, (count, 1), generator=generator, device=maps.device)
        from_start = torch.arange(length, device=maps.device) - (centre - side // 2)
        return (from_start >= 0) & (from_start < side)

    square = covered(height)[:, None, :, None] & covered(width)[:, None, None, :]
    return maps.masked_fill(square, 0.0)


def mixup(inputs: Tensor, others: Tensor, share: float, host: np.random.Generator) -> tuple[Tensor, float]:
    """Each sample is ``share`` of itself and the rest of another (Zhang et al. 2018, eq. 1)."""
    return torch.lerp(others, inputs, share), share


def cutmix(maps: Tensor, others: Tensor, share: float, host: np.random.Generator) -> tuple[Tensor, float]:
    """A rectangle of each map is another's (Yun et al. 2019, eq. 1 and 2), and the share what of the area is left.

    Its sides are sqrt(1 - share) of the map's, its centre is anywhere; at an edge it is cut off, and the share grows.
    """
    height, width = maps.shape[2:]
    side = (1 - share) ** 0.5
    (top, bottom), (left, right) = (_interval(length, side, host) for length in (height, width))
    mixed = maps.clone()
    mixed[:, :, top:bottom, left:right] = others[:, :, top:bottom, left:right]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _interval(length: int, share: float, host: np.random.Generator) -> tuple[int, int]:
    centre, half = int(host.integers(length)), int(length * share) // 2
    return max(centre - half, 0), min(centre + half, length)
