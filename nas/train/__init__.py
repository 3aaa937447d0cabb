"""Training: how a candidate becomes a network and a number. Names are imported when used: torch takes a second."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.train.network import build, costs
    from nas.train.settings import DatasetTask, TaskSettings, TrainSettings
    from nas.train.sources import describe, prepare
    from nas.train.trainer import Trainer

_HOMES = {
    "DatasetTask": "settings",
    "TaskSettings": "settings",
    "TrainSettings": "settings",
    "Trainer": "trainer",
    "build": "network",
    "costs": "network",
    "describe": "sources",
    "prepare": "sources",
}

__all__ = ["DatasetTask", "TaskSettings", "TrainSettings", "Trainer", "build", "costs", "describe", "prepare"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
