"""Several slots on one GPU: how many it takes, and what may train on it at once.

``slots_per_gpu: auto`` begins with one slot on each GPU. Once ENOUGH attempts have told their ``peak_memory``, a GPU is
divided by what all but the largest of them needed; the workers for it are started then, and fewer of them are given
work again where later candidates need more.

A candidate that does not fit beside its neighbours has not failed: an end of memory, a crash or a passed deadline on a
shared GPU counts only where the attempt was a ``fresh`` one, and such an attempt is given the GPU to itself (see
records.settles). What neighbours keep while they are idle is a CUDA context and their data, not what they trained with.

Left out: the memory that other programs take, and MIG; whoever divides a card so has several cards.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

PEAK = "peak_memory"  # the metric, in bytes; an objective that does not record it stays at one slot a GPU
ENOUGH = 8  # attempts
RECENT = 200  # of them are looked at
QUANTILE = 0.95  # of their peaks must fit: the few beyond it are trained again, alone
HEADROOM = 1.25  # what torch reserves beyond what it allocates, in pieces that do not fit
MEASURING = 3 << 27  # bytes that the device's own peak is measured with, once, when a training has let go of its own
CONTEXT = 3 << 28  # bytes that CUDA and its libraries take in each process
SHARE = 0.95  # of the GPU's memory
MOST = 16  # slots


def fitting(peaks: Iterable[float], memory: int, most: int) -> int:
    """How many slots a GPU of so many bytes takes, of attempts that needed so much each.

    >>> fitting([1e9] * 7, 80 << 30, 16), fitting([1e9] * 8, 16 << 30, 16), fitting([60e9] * 8, 80 << 30, 16)
    (1, 7, 1)
    """
    ranked = sorted(peaks)
    if len(ranked) < ENOUGH:
        return 1
    need = max(HEADROOM * ranked[math.ceil(QUANTILE * len(ranked)) - 1], MEASURING) + CONTEXT
    return max(1, min(most, int(SHARE * memory / need)))


@dataclass(slots=True)
class Sharing:
    """One host's GPUs, and how many slots each has: ``most``, or as many as fit, by what is measured."""

    gpus: int
    most: int
    memory: int | None = None  # bytes of the smallest; None: ``most`` was said
    peaks: list[float] = field(default_factory=list)

    @property
    def slots(self) -> int:
        """Of each GPU."""
        return self.most if self.memory is None else fitting(self.peaks, self.memory, self.most)

    @property
    def workers(self) -> int:
        """Of all of them."""
        return self.gpus * self.slots

    def learn(self, metrics: Mapping[str, float]) -> None:
        """What an attempt needed that succeeded."""
        if PEAK in metrics:
            self.peaks = [*self.peaks[1 - RECENT :], metrics[PEAK]]


@dataclass(frozen=True, slots=True)
class Room:
    """Where the next attempt may go. ``busy``: how many train on each GPU; ``alone``: those that one has to itself.

    Where an attempt waits that must be alone, the GPU that will soonest be empty is kept free of others.
    """

    slots: int
    busy: Counter[str]
    alone: frozenset[str]
    kept: str | None  # for the attempt that waits

    @classmethod
    def of(cls, slots: int, gpus: Iterable[str], running: Iterable[tuple[str, bool]], waits: bool) -> Room:
        """``running``: the GPU of each attempt, and whether it has it to itself. ``waits``: one that must."""
        attempts = list(running)
        busy = Counter(gpu for gpu, _ in attempts)
        alone = frozenset(gpu for gpu, by_itself in attempts if by_itself)
        shared = sorted({*gpus} - alone)
        kept = min(shared, key=lambda gpu: busy[gpu], default=None) if waits else None
        return cls(slots, busy, alone, kept)

    def takes(self, gpu: str, by_itself: bool) -> bool:
        if by_itself:
            return gpu == self.kept and not self.busy[gpu]
        return gpu != self.kept and gpu not in self.alone and self.busy[gpu] < self.slots

    def size(self, gpu: str) -> int:
        """How many attempts are to be on it, as things are."""
        if gpu == self.kept or gpu in self.alone:
            return max(1, self.busy[gpu])
        return max(self.slots, self.busy[gpu])
