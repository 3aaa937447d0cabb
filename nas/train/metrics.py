"""The metrics of each kind of task by name, and which way is better. How they are computed stands in problems.py.

No torch: configs are checked by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from nas.documents import hint
from nas.reward import Direction
from nas.train.settings import Kind, ScoreName, TrainSettings

DIRECTIONS: tuple[Direction, ...] = ("maximize", "minimize")


@dataclass(frozen=True, slots=True)
class Metric:
    better: Direction
    meaning: str


METRICS: dict[str, Metric] = {
    "accuracy": Metric("maximize", "share of the samples (of pixels, of characters) whose class is right"),
    "top5": Metric("maximize", "share of the samples whose class is among the five likeliest"),
    "r2": Metric("maximize", "share of the targets' variance that is explained; 0 is what their mean does"),
    "rmse": Metric("minimize", "root of the mean squared error, in the targets' own unit"),
    "bits_per_character": Metric("minimize", "mean of -log2 of the probability that the next character was given"),
    "mean_iou": Metric("maximize", "intersection over union, its mean over the classes"),
    "loss": Metric("minimize", "what was trained on, its mean over the validation samples; nats for classes"),
}

AMONG = 5  # of so many classes, or fewer, top5 would always be 1, and is not recorded

# The first is what a reward is taken from where the config names none.
METRICS_OF: dict[Kind, tuple[str, ...]] = {
    "classification": ("accuracy", "top5", "loss"),
    "regression": ("r2", "rmse", "loss"),
    "language_model": ("bits_per_character", "accuracy", "loss"),
    "segmentation": ("mean_iou", "accuracy", "loss"),
}


# What the trainer records of every trial, beside these; `seconds` is the whole attempt's (see nas.reward).
AT_THE_END = ("epochs", "rows_per_second", "train_seconds", "share_of_peak", "peak_memory", "seconds")
MEASURED = ("parameters", "flops", *AT_THE_END)


WITHOUT_TRAINING = ("parameters", "flops", "seconds")  # of these what there is with no epochs


def names(kind: Kind, train: TrainSettings) -> tuple[str, ...]:
    """Every metric that a trial of such a task has: what a reward can be made of."""
    return (METRICS_OF[kind] + MEASURED if train.epochs else WITHOUT_TRAINING) + train.scores


def needs_classes(name: str) -> bool:
    """Whether it depends on the number of classes that a trial has this metric."""
    return name == "top5"


def unrecorded(name: str, classes: int) -> str:
    """Why no trial of a task of so many classes has this metric, which its kind knows; "" where all have it.

    >>> unrecorded("top5", 3)
    'top5 is recorded where there are more than 5 classes, and this task has 3; take accuracy or loss'
    """
    if not needs_classes(name) or classes > AMONG:
        return ""
    return f"{name} is recorded where there are more than {AMONG} classes, and this task has {classes}; " + (
        "take accuracy or loss"
    )


def lacking(name: str, train: TrainSettings) -> str:
    """Why no trial has this metric of the trainer's, as it is set; "" where that is not why.

    >>> lacking("naswot", TrainSettings())
    'naswot is recorded where train names it: `scores: [naswot]`'
    >>> lacking("accuracy", TrainSettings(epochs=0, scores=("naswot",)))
    'with epochs: 0 nothing is trained, and no trial has accuracy; there are naswot, parameters, flops, seconds'
    """
    if name in get_args(ScoreName) and name not in train.scores:
        return f"{name} is recorded where train names it: `scores: [{', '.join((*train.scores, name))}]`"
    if not train.epochs and (name in METRICS or name in MEASURED) and name not in WITHOUT_TRAINING:
        there = ", ".join((*train.scores, *WITHOUT_TRAINING))
        return f"with epochs: 0 nothing is trained, and no trial has {name}; there are {there}"
    return ""


def better(name: str) -> Direction | None:
    """Which way a metric goes that the trainer records; None where it records none of that name."""
    if name in get_args(ScoreName):
        return "maximize"
    if name in METRICS:
        return METRICS[name].better
    if name in MEASURED:
        return "maximize" if name in ("rows_per_second", "share_of_peak") else "minimize"
    return None


def default_reward(kind: Kind, train: TrainSettings) -> dict[str, str]:
    """What is wished for where a config says nothing: the kind's first metric, its better way; with no epochs the first
    score.
    """
    if not train.epochs:
        return {"maximize": train.scores[0]}
    name = METRICS_OF[kind][0]
    return {METRICS[name].better: name}


def wrong_reward(kind: Kind, direction: Direction, name: str, *, several: bool = False) -> str:
    """What is wrong with this wish for a task of this kind; "" where nothing is, or the name is none of ours.

    ``several``: it is one of several objectives, which are written the other way round.

    >>> wrong_reward("classification", "maximize", "loss")
    'loss is better the lower it is; write `minimize: loss`'
    """
    metric = METRICS.get(name)
    if metric is None:
        return ""
    if name not in METRICS_OF[kind]:
        return f"{name} is no metric of {kind}{hint(name, METRICS_OF[kind])}"
    if metric.better != direction:
        return f"{name} is better the {'lower' if metric.better == 'minimize' else 'higher'} it is; " + (
            f"write `{name}: {metric.better}`" if several else f"write `{metric.better}: {name}`"
        )
    return ""
