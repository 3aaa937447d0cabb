"""The schema of a config: pydantic's own of the settings classes, mended where they read more than they hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from nas.config import Config
from nas.controllers.settings import EvolutionSettings, OptunaSettings, RandomSettings, RLSettings
from nas.schedulers.settings import (
    AshaSettings,
    ExtrapolateSettings,
    HyperbandSettings,
    MedianSettings,
    NoneSettings,
)
from nas.schema.parts import DRAFT, Schema, any_of, grouped, mapping, ref, tidied
from nas.train.settings import Optimizer

SAID = {
    "name": "What the run is called: its folder is runs/<name>. The file's name where it is not given.",
    "space": "The search space: the name of a shipped one, or a path, from beside this file.",
    "task": "What is learned, and which share of the training data judges the candidates.",
    "data": "The folder that holds data sets.",
    "seed": "Of the search, the validation split and every training.",
    "controller": "What proposes candidates: rl, evolution, random, optuna:SAMPLER, or {name: {setting: value}}.",
    "scheduler": "How long each trial trains: none, asha, hyperband, median, extrapolate, or {name: {setting: value}}.",
    "reward": "What a trial is worth: a metric to maximize or minimize with limits on others, or several objectives.",
    "budget": "When the search ends, over all its workers: at whichever comes first.",
    "stop": "When it stops before that: a reward reached, no new best for so many trials, or device-seconds.",
    "replicate": "Train the best trials again, with other seeds, when the search has ended; rank them by their means.",
    "train": "How every candidate is trained; a candidate's own hyperparameters win.",
    "cluster": "Where trials run, and what each may use.",
}
CONTROLLERS: tuple[type[BaseModel], ...] = (RLSettings, EvolutionSettings, RandomSettings, OptunaSettings)
SCHEDULERS: tuple[type[BaseModel], ...] = (
    NoneSettings,
    AshaSettings,
    HyperbandSettings,
    MedianSettings,
    ExtrapolateSettings,
)
# Samplers that people ask for; any class of optuna.samplers is taken.
SAMPLERS = ("tpe", "gp", "cmaes", "nsgaii", "nsgaiii", "qmc", "random", "bruteforce")


def config_schema() -> Schema:
    """For files that `nas search` takes."""
    schema = Config.model_json_schema(mode="validation", ref_template="#/$defs/{model}")
    properties = schema["properties"]
    del properties["plugins"], schema["$defs"]["PluginFile"]  # which no file may name
    for key, text in SAID.items():
        properties[key] = {**properties[key], "description": text}
    properties["controller"] = {"description": SAID["controller"], **_controller(schema["$defs"])}
    properties["scheduler"] = {"description": SAID["scheduler"], **_named(SCHEDULERS, schema["$defs"])}
    schema["$defs"][Optimizer.__name__] = _one_of(schema["$defs"][Optimizer.__name__])
    schema["required"] = [key for key in schema["required"] if key != "name"]  # taken from the file's name
    head: Schema = {"$schema": DRAFT, "title": "A config of nas", "description": "What `nas search` runs."}
    return {
        **head,
        **grouped(tidied({key: value for key, value in schema.items() if key not in ("title", "description")})),
    }


def _controller(defs: Schema) -> Schema:
    optuna = [f"optuna:{sampler}" for sampler in SAMPLERS]
    return _named(CONTROLLERS, defs, optuna, {"type": "string", "pattern": "^optuna:.+$"})


def _named(kinds: tuple[type[BaseModel], ...], defs: Schema, more: Sequence[str] = (), *forms: Schema) -> Schema:
    """A name, or a mapping of one name to its settings (null: all defaults)."""
    for settings in kinds:
        defs[settings.__name__] = settings.model_json_schema()
    names = {str(getattr(settings, "kind")): settings.__name__ for settings in kinds}  # noqa: B009 - a ClassVar
    with_settings = {kind: any_of(ref(name), {"type": "null"}) for kind, name in names.items()}
    return any_of(
        {"type": "string", "enum": [*names, *more]}, *forms, mapping(with_settings, minProperties=1, maxProperties=1)
    )


def _one_of(schema: Schema) -> Schema:
    """An optimizer: its name, or a mapping of one name to its settings."""
    kinds: dict[str, Any] = {name: held["anyOf"][0] for name, held in schema["properties"].items()}
    return {
        "description": schema["description"],
        "anyOf": [{"type": "string", "enum": list(kinds)}, mapping(kinds, minProperties=1, maxProperties=1)],
    }
