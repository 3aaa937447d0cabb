"""nas: neural architecture search, from one YAML file, or from Python:

import nas

space = {"hyperparameters": {"x": {"float": [-1.0, 1.0]}}}
run = nas.search(space, lambda candidate, context: -candidate.hyperparameters["x"] ** 2, trials=50)
print(run.best.hyperparameters, run.best.reward)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.errors import Diverged, InputError, InvalidCandidate, NasError, OutOfMemory, Preempted
    from nas.objective import Context
    from nas.python import Run, search
    from nas.space import Candidate, Space

_HOMES = {
    "Candidate": "nas.space",
    "Context": "nas.objective",
    "Diverged": "nas.errors",
    "InputError": "nas.errors",
    "InvalidCandidate": "nas.errors",
    "NasError": "nas.errors",
    "OutOfMemory": "nas.errors",
    "Preempted": "nas.errors",
    "Run": "nas.python",
    "Space": "nas.space",
    "search": "nas.python",
}

__all__ = [
    "Candidate",
    "Context",
    "Diverged",
    "InputError",
    "InvalidCandidate",
    "NasError",
    "OutOfMemory",
    "Preempted",
    "Run",
    "Space",
    "search",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'nas' has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
