"""A person's own parts: layers, data sets, losses and metrics from Python files named on the command line.

What a plugin's file looks like, nas/plugin.py says. Here its text becomes ``Parts``: the tables in which an
architecture's layers, ``train: {loss: ...}``, ``task: {plugin: ...}`` and metrics are looked up. They are handed to
whoever needs them and are no global state, so two runs in one process know nothing of each other's plugins.

Left out: optimizers, controllers and kinds of task from plugins.
"""

from __future__ import annotations

import ast
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType, ModuleType
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.documents import hint
from nas.errors import InputError
from nas.errors import Problem as Wrong
from nas.reward import Direction
from nas.space.words import RESERVED
from nas.train.kinds import Task
from nas.train.layers import LAYERS, Layer, Shape
from nas.train.metrics import METRICS
from nas.train.plugin_files import Plugin
from nas.train.problems import Judgement, Problem
from nas.train.settings import ScoreName
from nas.train.sources.own import OwnDataset

RECORDED = {  # beside the metrics: what each trial records already, or a constraint means
    "parameters", "flops", "memory", "depth", "latency", "epochs", "rows_per_second", "share_of_peak", "train_seconds",
    "peak_memory", "train_loss", "seconds", *get_args(ScoreName),
}  # fmt: skip
_WORD = re.compile(r"[a-z][a-z0-9_]*")


# What a file may define ----------------------------------------------------------------------------------------------


class PluginLayer(Layer):
    """A layer whose shapes, parameters and FLOPs are found out rather than known: on torch's meta device, where nothing
    is allocated or computed, once for each shape.

    A class that gives ``parameters`` and ``flops`` by formula is asked for thousands of costs a second; this way it is
    hundreds.
    """

    def infer(self, before: Shape) -> Shape:
        with torch.device("meta"), torch.no_grad():
            module = self.build(before)
            if self.keeps_shape:
                return before
            after: Tensor = module.eval()(torch.empty(2, *before))
        return tuple(after.shape[1:])

    def parameters(self, before: Shape, after: Shape) -> int:
        return _counted(self, before)[0]

    def flops(self, before: Shape, after: Shape) -> int:
        return _counted(self, before)[1]


@lru_cache(maxsize=1 << 12)
def _counted(layer: Layer, before: Any) -> tuple[int, int]:
    shapes = [before] if layer.inputs_from() is None else before
    with torch.device("meta"), torch.no_grad():
        module = layer.build(before).eval()  # outside of the count: shapes within it are inferred by running layers
        with FlopCounterMode(display=False) as counter:
            module(*(torch.empty(1, *shape) for shape in shapes))
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops()


@dataclass(frozen=True, slots=True)
class Loss:
    """``function(outputs, targets)`` gives a scalar: a batch's mean."""

    name: str
    function: Callable[[Tensor, Tensor], Tensor]

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.function(outputs, targets)


@dataclass(frozen=True, slots=True)
class OwnMetric:
    """``function(outputs, targets)`` gives a number for all validation samples together."""

    name: str
    function: Callable[[Tensor, Tensor], Any]
    better: Direction

    def __call__(self, outputs: Tensor, targets: Tensor) -> Any:
        return self.function(outputs, targets)


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """What there is to choose from, the built-in layers included."""

    layers: Mapping[str, type[Layer]] = field(default_factory=lambda: LAYERS)
    losses: Mapping[str, Loss] = field(default_factory=dict)
    metrics: Mapping[str, OwnMetric] = field(default_factory=dict)
    datasets: Mapping[str, OwnDataset] = field(default_factory=dict)


BUILT_IN = Parts()


# Loading -------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def load(plugins: tuple[Plugin, ...]) -> Parts:
    """Run the files in order, and collect what they define. Once in a process for the same texts.

    Raises:
        InputError: a file can not be run, or a name is taken or impossible; with its line.
    """
    if not plugins:
        return BUILT_IN
    tables: dict[type, dict[str, Any]] = {Layer: dict(LAYERS), Loss: {}, OwnMetric: {}, OwnDataset: {}}
    problems: list[Wrong] = []
    for plugin in plugins:
        found = 0
        lines: dict[str, int] = {}
        for name, part, line in _defined(plugin):
            found += 1
            table = tables[Layer if isinstance(part, type) else type(part)]
            if table.get(name) is part:
                continue  # by another word: g = f
            if wrong := _wrong(name, part, table, lines):
                problems.append(Wrong(wrong, plugin.file, line))
            else:
                table[name], lines[name] = part, line
        if not found:
            problems.append(Wrong("defines no layer, loss, metric or data set; see nas.plugin", plugin.file))
    if problems:
        raise InputError(*problems)
    return Parts(*(MappingProxyType(table) for table in tables.values()))


def _defined(plugin: Plugin) -> Iterator[tuple[str, Any, int]]:
    """What stands at a file's top level and is a part: its name, itself, and its line."""
    module = _run(plugin)
    lines = {
        node.name: node.lineno
        for node in ast.parse(plugin.text).body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
    }
    for word, value in vars(module).items():
        is_layer = isinstance(value, type) and issubclass(value, Layer) and value.__module__ == module.__name__
        if is_layer and not word.startswith("_"):
            yield getattr(value, "name", word), value, lines.get(word, 0)
        elif isinstance(value, Loss | OwnMetric | OwnDataset) and value.function.__module__ == module.__name__:
            yield value.name, value, lines.get(word, 0)


def _run(plugin: Plugin) -> ModuleType:
    """The module that the text makes. Tracebacks show its lines, also where there is no such file."""
    name = f"nas_plugin_{plugin.record.sha256}"
    module = ModuleType(name)
    module.__file__ = plugin.file
    linecache.cache[plugin.file] = (len(plugin.text), None, plugin.text.splitlines(keepends=True), plugin.file)
    sys.modules[name] = module  # where pydantic looks up the names in annotations
    try:
        exec(compile(plugin.text, plugin.file, "exec"), vars(module))
    except SyntaxError as error:
        raise InputError(Wrong(f"{error.msg}", plugin.file, error.lineno or 0, error.offset or 0)) from error
    except (Exception, SystemExit) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == plugin.file]
        line = frames[-1].lineno if frames else 0
        raise InputError(Wrong(f"{type(error).__name__}: {error}", plugin.file, line or 0)) from error
    return module


def _wrong(name: Any, part: Any, table: Mapping[str, Any], here: Mapping[str, int]) -> str:
    """What is wrong with a part; "" where nothing is."""
    if not isinstance(name, str) or not _WORD.fullmatch(name):
        return f"{name!r} is no name for a part: a word of a-z, 0-9 and _, beginning with a letter"
    if name in here:
        return f"{name!r} is defined in line {here[name]} already"
    if name in RESERVED:
        return f"{name!r} is a word of the language of search spaces; take another name"
    if isinstance(part, type) and issubclass(part, Layer):
        if name in table:
            built_in = "a built-in layer" if name in LAYERS else "a layer of another plugin"
            return f"{name!r} is {built_in}; take another name"
        if part.main and part.main not in part.model_fields:
            return f"the main setting of {name!r} is {part.main!r}, which is none of its settings"
        return "" if part.build is not Layer.build else f"the layer {name!r} has no `build`"
    if isinstance(part, OwnMetric) and name in METRICS.keys() | RECORDED:
        return f"{name!r} is recorded of every trial already; take another name"
    return f"{name!r} is in another plugin already; take another name" if name in table else ""


# In the place of a task's own ----------------------------------------------------------------------------------------


def extended(own: Problem, loss: str | None, parts: Parts) -> Problem:
    """The problem with a plugin's loss, where ``loss`` names one, and with the metrics of all plugins.

    Raises:
        InputError: no plugin has such a loss.
    """
    if loss is not None and loss not in parts.losses:
        known = hint(loss, parts.losses) if parts.losses else "; none is given on the command line (--plugin FILE)"
        raise InputError(f"train.loss: no plugin has a loss {loss!r}{known}")
    return Extended(own, parts.losses[loss] if loss else None, parts.metrics) if loss or parts.metrics else own


@dataclass(frozen=True, slots=True)
class Extended:
    """A problem whose loss, and some of whose metrics, are a person's own."""

    own: Problem
    own_loss: Loss | None
    metrics: Mapping[str, OwnMetric]

    def unfit(self, network: nn.Module, inputs: Tensor) -> str:
        return self.own.unfit(network, inputs)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self.own_loss(outputs, targets) if self.own_loss else self.own.loss(outputs, targets)

    def terms(self, targets: Tensor) -> Tensor | int:
        return len(targets) if self.own_loss else self.own.terms(targets)

    def judgement(self, task: Task, device: torch.device) -> Judgement:
        return ExtendedJudgement(self.own.judgement(task, device), self.own_loss, self.metrics)


class ExtendedJudgement:
    """Keeps all outputs until the end, as a metric is of all samples together; ``loss`` is what is trained on."""

    def __init__(self, own: Judgement, loss: Loss | None, metrics: Mapping[str, OwnMetric]) -> None:
        self.own, self.loss, self.metrics = own, loss, metrics
        self.outputs: list[Tensor] = []
        self.targets: list[Tensor] = []

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.own.add(outputs, targets)
        self.outputs.append(outputs)
        self.targets.append(targets)

    def result(self) -> dict[str, float]:
        outputs, targets = torch.cat(self.outputs), torch.cat(self.targets)
        found = {name: float(metric(outputs, targets)) for name, metric in self.metrics.items()}
        if self.loss:
            found["loss"] = float(self.loss(outputs, targets))
        return self.own.result() | found
