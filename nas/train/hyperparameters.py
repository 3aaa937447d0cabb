"""What a candidate says beside its architecture. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from nas import documents
from nas.errors import InputError, InvalidCandidate
from nas.train.settings import Hyperparameters, Optimizer, OptimizerSettings, Usual


@dataclass(frozen=True, slots=True)
class Section:
    """What a mapping of settings may hold, for the reader of spaces: it knows no trainer, and places the mistakes.

    >>> sorted(SECTION.within("optimizer").setting_names())
    ['adamw', 'lamb', 'lars', 'muon', 'rmsprop', 'sgd']
    >>> SECTION.wrong_value("batch_size", -3)
    'batch_size: -3 is wrong here: it should be greater than or equal to 1'
    """

    model: type[BaseModel]

    def setting_names(self) -> Collection[str]:
        return self.model.model_fields

    def within(self, setting: str) -> Section | None:
        """What the mapping of this setting may hold; None where it can be no mapping, or is no setting."""
        field = self.model.model_fields.get(setting)
        held = get_args(field.annotation) if field else ()
        models = (one for one in held if isinstance(one, type) and issubclass(one, BaseModel))
        return next(map(Section, models), None)

    def wrong_value(self, setting: str, value: Any) -> str:
        """Why a setting can not have this value (plain JSON), whatever the others are; "" where it can."""
        try:
            documents.validate(self.model, documents.plain({setting: value}, ""))
        except InputError as error:
            return "; ".join(problem.message for problem in error.problems)
        return ""

    def usual_range(self, setting: str) -> tuple[float, float, bool] | None:
        field = self.model.model_fields.get(setting)
        usual = next((one for one in field.metadata if isinstance(one, Usual)), None) if field else None
        return (usual.low, usual.high, usual.log) if usual else None


SECTION = Section(Hyperparameters)


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
