"""What a candidate says beside its architecture. No torch here."""

from __future__ import annotations

from typing import Any

from nas import documents
from nas.errors import InputError, InvalidCandidate
from nas.train.settings import Hyperparameters, Optimizer, OptimizerSettings


def read_hyperparameters(given: dict[str, Any]) -> Hyperparameters:
    """Raises InvalidCandidate."""
    try:
        return documents.validate(Hyperparameters, documents.plain(given, ""))
    except InputError as error:
        raise InvalidCandidate("; ".join(f"hyperparameters.{problem.message}" for problem in error.problems)) from None


def chosen_optimizer(given: Hyperparameters, default: Optimizer) -> tuple[OptimizerSettings, str]:
    """The optimizer's settings, with a learning rate or weight decay that stands beside it, and its name."""
    optimizer = given.optimizer or default
    beside = given.model_dump(include={"learning_rate", "weight_decay"}, exclude_none=True)
    twice = beside.keys() & (given.optimizer.settings.model_fields_set if given.optimizer else set())
    if twice:
        names = ", ".join(sorted(twice))
        raise InvalidCandidate(f"hyperparameters: {names} stands beside the optimizer and within it; say it once")
    return optimizer.settings.model_copy(update=beside), optimizer.name
