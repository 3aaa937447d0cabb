"""What the kinds of task take and give, as shapes of one sample; what is done with them, problems.py says. No torch.

A task is what ``sources.describe`` says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shape = tuple[int, ...]
Task = Mapping[str, Any]


def kind_of(task: Task) -> str:
    """The kind's name. What runs of before there were kinds recorded is a classification."""
    return str(task.get("kind", "classification"))


def input_shape(task: Task) -> Shape:
    """A map (channels, height, width), a vector (features,), or tokens (length,)."""
    if "channels" in task:
        return task["channels"], task["height"], task["width"]
    return (task["features"],) if "features" in task else (task["length"],)


def output_shape(task: Task) -> Shape:
    """What a network must end in. Raises KeyError where the task lacks a value that it depends on."""
    match kind_of(task):
        case "classification":
            return (task["classes"],)
        case "regression":
            return (task["targets"],)
        case "segmentation":
            return task["classes"], task["height"], task["width"]
        case "language_model":
            return task["length"], task["vocabulary"]
    raise KeyError("kind")


OUTPUT_MEANING = {  # ends "the task needs (10,), ..."
    "classification": "one for each class",
    "regression": "one for each number that is predicted",
    "segmentation": "a map for each class",
    "language_model": "one for each item at each position",
}
