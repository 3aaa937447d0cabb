"""What a candidate says beside its architecture. No torch here."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel

from nas import documents
from nas.errors import InputError, InvalidCandidate
from nas.train.kinds import Task, kind_of
from nas.train.settings import Hyperparameters, Optimizer, OptimizerSettings, Regularisation, TrainSettings, Usual


@dataclass(frozen=True, slots=True)
class Section:
    """What a mapping of settings may hold, for the reader of spaces: it knows no trainer, and places the mistakes.

    >>> sorted(SECTION.within("optimizer").setting_names())
    ['adamw', 'lamb', 'lars', 'muon', 'rmsprop', 'sgd']
    >>> SECTION.wrong_value("learning_rate", -3)
    'learning_rate: -3 is wrong here: it should be greater than 0'
    """

    model: type[BaseModel]
    task: Task | None = None  # where it is known, what makes no sense with it is wrong

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
        return unsuited(setting, value, self.task) if self.task and self.model is Hyperparameters else ""

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


def chosen_regularisation(given: Hyperparameters, default: TrainSettings) -> Regularisation:
    """The settings' own, but for what a candidate says itself."""
    return Regularisation(**{**default.regularisation(), **given.regularisation()})


def require_suited(chosen: Regularisation, task: Task) -> None:
    """Raises InvalidCandidate where something of it makes no sense with the task."""
    for setting, value in chosen.regularisation().items():
        if message := unsuited(setting, value, task):
            raise InvalidCandidate(f"hyperparameters.{message}")


def unsuited(setting: str, value: Any, task: Task) -> str:
    """Why a way to regularise makes no sense with a task; "" where it does, or is turned off."""
    if not value or setting not in Regularisation.model_fields:
        return ""
    kind = kind_of(task)
    if setting in ("label_smoothing", "mixup", "cutmix") and kind != "classification":
        return f"{setting} is for classification, and this task is {kind}; leave it out"
    if setting in ("crop", "flip", "cutout", "cutmix"):
        if "channels" not in task:
            return f"{setting} is for images, and this task has none; leave it out"
        if kind == "segmentation":
            return f"{setting} moves or hides pixels, and the masks of this task would stay; leave it out"
        smaller = min(task["height"], task["width"])
        if setting in ("crop", "cutout") and value >= smaller:
            return f"{setting}: {value} pixels are too many for images of {task['height']} x {task['width']}"
    if setting == "mixup" and "vocabulary" in task:
        return "mixup mixes numbers, and this task has items; leave it out"
    return ""


def chosen_optimizer(given: Hyperparameters, default: Optimizer) -> tuple[OptimizerSettings, str]:
    """The optimizer's settings, with a learning rate or weight decay that stands beside it, and its name."""
    optimizer = given.optimizer or default
    beside = given.model_dump(include={"learning_rate", "weight_decay"}, exclude_none=True)
    twice = beside.keys() & (given.optimizer.settings.model_fields_set if given.optimizer else set())
    if twice:
        names = ", ".join(sorted(twice))
        raise InvalidCandidate(f"hyperparameters: {names} stands beside the optimizer and within it; say it once")
    return optimizer.settings.model_copy(update=beside), optimizer.name
