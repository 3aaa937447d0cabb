"""Plugins: what a file may define, how it reaches a worker, and how its errors are answered."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

import nas.plugin
from nas.errors import InputError
from nas.objective import Context
from nas.records import Failed
from nas.space import Candidate, Space
from nas.train import DatasetTask, Trainer, TrainSettings, network, plugins, sources
from nas.train.plugin_files import Plugin, PluginFile, again, read
from nas.train.settings import PluginTask

GOOD = '''
from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.plugin import Auxiliary, InvalidCandidate, Layer, Positive, Shape, dataset, loss, metric


class Maxout(Layer):
    """Goodfellow et al. 2013."""

    name, main = "maxout", "units"
    units: Positive
    pieces: Positive = 2

    def build(self, shape: Shape) -> nn.Module:
        if len(shape) != 1:
            raise InvalidCandidate(f"a vector is needed, not {shape}")
        return Largest(nn.Linear(shape[0], self.units * self.pieces), self.pieces)


class Largest(nn.Module):
    def __init__(self, linear: nn.Linear, pieces: int) -> None:
        super().__init__()
        self.linear, self.pieces = linear, pieces

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).unflatten(1, (-1, self.pieces)).amax(2)


class Shy(Layer):
    name = "shy"

    def build(self, shape: Shape) -> nn.Module:
        return Penalty()


class Penalty(Auxiliary):
    def forward(self, x: Tensor) -> Tensor:
        self.auxiliary_loss = 1e3 + 0 * x.mean()
        return x

    def observed(self):
        return {"seen": 1}


@loss
def hinge(outputs: Tensor, targets: Tensor) -> Tensor:
    return nn.functional.multi_margin_loss(outputs, targets)


@metric(better="maximize")
def worst_class(outputs: Tensor, targets: Tensor) -> float:
    hits = outputs.argmax(1) == targets
    return min(float(hits[targets == c].float().mean()) for c in targets.unique())


@dataset(kind="classification")
def rings(folder: str | None) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 2, generator=random)
    return {"x": x, "y": (x.norm(dim=1) * 2).long().clamp(max=3)}
'''


def plugin(text: str = GOOD, name: str = "my_parts.py") -> Plugin:
    return Plugin(f"/nowhere/{name}", textwrap.dedent(text))


def trainer(**given: Any) -> Trainer:
    settings = TrainSettings(**{"epochs": 2, "batch_size": 32, **given})
    return Trainer(settings, PluginTask(plugin="rings"), 1, plugins=(plugin(),))


NETWORK = Candidate([{"maxout": {"units": 8, "pieces": 3}}, {"linear": 4}], {})


def test_a_trial_of_nothing_but_own_parts() -> None:
    # Layer, loss, metric and data set, each where the built-in one would be.
    reports: list[Any] = []
    context = Context(0, 1, on_report=lambda step, metrics: bool(reports.append(metrics)))
    metrics = trainer(loss="hinge")(NETWORK, context)
    assert metrics["parameters"] == (2 + 1) * 24 + (8 + 1) * 4 and metrics["flops"] == 2 * (2 * 24 + 8 * 4)
    assert 0 <= metrics["worst_class"] <= metrics["accuracy"] <= 1
    assert metrics["loss"] < 1.2 and "worst_class" in reports[0]  # cross-entropy of 4 classes begins at 1.39
    assert trainer()(NETWORK, Context(0, 1))["loss"] != metrics["loss"]


def test_the_text_travels_and_not_the_file(tmp_path: Path) -> None:
    # A worker on another host has no such file; nor may it find another one of that name.
    sent = tmp_path / "trainer.pickle"
    sent.write_bytes(pickle.dumps((trainer(), NETWORK)))
    code = f"""
import pickle
from nas.objective import Context
trainer, candidate = pickle.load(open({str(sent)!r}, 'rb'))
print(trainer(candidate, Context(0, 1, threads=1))["accuracy"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    here = trainer()(NETWORK, Context(0, 1, threads=1))["accuracy"]
    assert float(done.stdout) == here


def test_a_modules_own_loss_and_notes_reach_the_record() -> None:
    # A plugin's module is an Auxiliary like our own experts.
    context = Context(0, 1)
    losses: list[float] = []
    context.on_report = lambda step, metrics: bool(losses.append(metrics["train_loss"]))  # type: ignore[method-assign]
    trainer()(Candidate(["shy", *NETWORK.architecture], {}), context)
    assert losses[0] > 1e3
    assert context.notes["observed"] == {"0": {"seen": 1}}


def test_own_layers_stand_in_spaces_and_only_where_the_plugin_is() -> None:
    # Tables are handed over, not kept in the process: another run knows nothing of them.
    parts = plugins.load((plugin(),))
    document = {"architecture": [{"maxout": {"units": {"choice": [4, 8]}}}, {"linear": 2}]}
    Space.read(document, layers=parts.layers)
    with pytest.raises(InputError, match="unknown layer 'maxout'"):
        Space.read(document, layers=plugins.BUILT_IN.layers)
    task = {"kind": "classification", "features": 5, "classes": 4}
    assert network.measured(NETWORK, task, parts.layers) == network.costs(NETWORK, task, parts.layers)


def test_tracebacks_show_the_plugins_lines() -> None:
    # "my_parts.py, line 9" is worth little where the file is not at hand.
    text = """
    from nas.plugin import metric

    @metric(better="minimize")
    def broken(outputs, targets):
        return outputs.no_such_thing
    """
    from nas.objective import evaluate

    broken = Trainer(TrainSettings(epochs=1), DatasetTask(dataset="digits"), 1, plugins=(plugin(text),))
    outcome = evaluate(broken, Candidate(["flatten", {"linear": 10}], {}), Context(0, 1))
    assert isinstance(outcome, Failed) and outcome.kind == "error"
    assert "my_parts.py" in outcome.traceback and "return outputs.no_such_thing" in outcome.traceback


def test_the_example_of_the_documentation_runs() -> None:
    # It is the only description that people read.
    lines = (nas.plugin.__doc__ or "").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("    from torch"))
    end = next(i for i, line in enumerate(lines) if line.startswith("**Layers**"))
    text = textwrap.dedent("\n".join(lines[start:end])).replace("    ...\n", "    x = y = 0\n")
    parts = plugins.load((plugin(text),))
    assert {"maxout"} <= parts.layers.keys() and set(parts.losses) == {"hinge"} and set(parts.datasets) == {"rings"}
    maxout = parts.layers["maxout"](units=3)
    assert maxout.build((5,))(torch.randn(2, 5)).shape == (2, 3)


WRONG = [
    ("x = (\n", r"my_parts.py:1:\d+: '\(' was never closed"),
    ("import torch\n\n1 / 0\n", r"my_parts.py:3: ZeroDivisionError: division by zero"),
    ("import no_such_module\n", r"my_parts.py:1: ModuleNotFoundError: No module named 'no_such_module'"),
    ("def f():\n    raise SystemExit(3)\nf()\n", r"my_parts.py:2: SystemExit: 3"),
    ("x = 3\n", r"my_parts.py: defines no layer, loss, metric or data set"),
    ("L\nclass Conv(Layer):\n    name = 'conv'\n    def build(self, shape): ...\n", r":3: 'conv' is a built-in layer"),
    (
        "L\nclass C(Layer):\n    name = 'choice'\n    def build(self, shape): ...\n",
        r":3: 'choice' is a word of",
    ),
    ("L\nclass C(Layer):\n    name = 'my-layer'\n    def build(self, shape): ...\n", r":3: 'my-layer' is no name"),
    ("L\nclass C(Layer):\n    name = 'mine'\n", r":3: the layer 'mine' has no `build`"),
    (
        "L\nclass C(Layer):\n    name, main = 'm', 'n'\n    def build(self, s): ...\n",
        r":3: the main setting of 'm'",
    ),
    ("L\nclass C(Layer):\n    def build(self, shape): ...\n", r":3: 'C' is no name for a part"),
    ("L\n@metric(better='maximize')\ndef accuracy(o, t): ...\n", r":4: 'accuracy' is recorded of every trial already"),
    ("L\n@metric(better='maximize')\ndef flops(o, t): ...\n", r":4: 'flops' is a word of the language"),
    ("L\n@metric(better='up')\ndef f(o, t): ...\n", r":3: ValueError: better is 'maximize' or 'minimize', not 'up'"),
    ("L\n@dataset(kind='sound')\ndef f(folder): ...\n", r":3: ValueError: kind is 'classification', 'regression' or"),
    (
        "L\nclass C(Layer):\n    name = 'm'\n    def build(self, s): ...\nclass D(C):\n    pass\n",
        r":6: 'm' is defined in line 3",
    ),
]


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_files_are_named_with_their_line(text: str, message: str) -> None:
    # A person's own code is where most errors are.
    text = text.replace("L\n", "from nas.plugin import *\nfrom nas.plugin import Layer\n", 1)
    with pytest.raises(InputError, match=message):
        plugins.load((plugin(text),))


def test_two_plugins_may_not_give_one_name() -> None:
    # Which of them a space means, nobody could say.
    one = "from nas.plugin import loss\n@loss\ndef mine(o, t): ...\n"
    with pytest.raises(InputError, match=r"b.py:3: 'mine' is in another plugin already"):
        plugins.load((plugin(one, "a.py"), plugin(one + "# b", "b.py")))


DATASETS = [
    ("return {'x': [[1.0]] * 40}", "has no key y"),
    ("return 3", "TypeError: 'int' object is not iterable"),
    ("raise OSError('gone')", "OSError: gone"),
    ("return {'x': [[float('nan')]] * 40, 'y': [0, 1] * 20}", "are NaN or infinite"),
]


@pytest.mark.parametrize(("body", "message"), DATASETS, ids=[m for _, m in DATASETS])
def test_wrong_data_sets_are_named(body: str, message: str) -> None:
    # Checked as a file is, before a run's folder is made.
    text = f"from nas.plugin import dataset\n@dataset(kind='classification')\ndef mine(folder):\n    {body}\n"
    parts = plugins.load((plugin(text),))
    with pytest.raises(InputError, match=f"the plugin's data set 'mine'.*{message}"):
        sources.describe(PluginTask(plugin="mine"), None, parts.datasets)


def test_names_that_no_plugin_has() -> None:
    # The nearest name, and what is missing on the command line.
    parts = plugins.load((plugin(),))
    with pytest.raises(InputError, match=r"no plugin has a data set 'ring'; did you mean 'rings'\?"):
        sources.describe(PluginTask(plugin="ring"), None, parts.datasets)
    with pytest.raises(InputError, match=r"no plugin has a data set 'rings'; none is given on the command line"):
        sources.describe(PluginTask(plugin="rings"))
    with pytest.raises(InputError, match=r"train.loss: no plugin has a loss 'hing'; did you mean 'hinge'\?"):
        trainer(loss="hing")(NETWORK, Context(0, 1))


def test_a_file_that_changed_is_refused_and_one_that_moved_is_found(tmp_path: Path) -> None:
    # Half of a search's candidates trained by other code are no search.
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    recorded = [read(file).record]
    assert again(recorded) == (read(file),)
    moved = file.rename(tmp_path / "moved.py")
    with pytest.raises(InputError, match=r"mine.py: can not be read"):
        again(recorded)
    assert again(recorded, [read(moved)])[0].text == "x = 1\n"
    file.write_text("x = 2\n")
    with pytest.raises(InputError, match=r"mine.py: this plugin has changed since the run was started"):
        again(recorded)
    with pytest.raises(InputError, match=r"moved.py: the run was not started with this plugin"):
        again([], [read(moved)])
    assert PluginFile.model_validate(recorded[0].model_dump()) == recorded[0]
