"""Every shipped space, sampled: what it proposes can be built and trained, and stays within the limits that it states.

Every shipped space has a define ``width``. For 100 candidates it is replaced by a small number, on small inputs; 20 are
as the space stands, for its own task. A new space needs a line in SPACES; nothing else here knows it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas import documents
from nas.space import Draw, Space
from nas.space.constraints import Costs
from nas.train import kinds, network, problems
from nas.train.hyperparameters import SECTION
from nas.train.layers import LAYERS, assemble, flops_of, parameters_of

FOLDER = Path(__file__).parents[2] / "search_spaces"
Task = Mapping[str, Any]


@dataclass(frozen=True)
class Tried:
    """A space's own task, and how it is made small."""

    task: Task
    width: float  # instead of the space's `define: width`
    smaller: Task  # what differs of the task then


def images(side: int, classes: int = 10, kind: str = "classification") -> Task:
    return {"kind": kind, "classes": classes, "outputs": classes, "channels": 1, "height": side, "width": side}


SMALL = {"height": 8, "width": 8}
TABLE = {"kind": "regression", "targets": 1, "outputs": 1, "features": 9}
TEXT = {"kind": "language_model", "vocabulary": 60, "outputs": 60, "length": 64}
SHORT = {"length": 16}
SPACES = {
    "darts_cell": Tried(images(32), 2, SMALL),
    "digits_cnn": Tried(images(8), 8, {}),
    "enas_macro": Tried(images(32), 2, SMALL),
    "fashion_cnn": Tried(images(28), 4, SMALL),
    "mlp_tabular": Tried(TABLE, 8, {}),
    "mobilenet_v3": Tried(images(28), 0.25, SMALL),
    "moe_mlp": Tried(images(8), 16, {}),
    "nasbench201": Tried(images(32), 4, SMALL),
    "nasnet_cell": Tried(images(32), 4, SMALL),
    "optimizers": Tried(images(8), 8, {}),
    "recurrent_text": Tried(TEXT, 16, SHORT),
    "resnet": Tried(images(28), 4, SMALL),
    "transformer_text": Tried(TEXT, 16, SHORT),
    "unet_segmentation": Tried(images(32, 4, "segmentation"), 2, SMALL),
}


def test_every_shipped_space_is_tried() -> None:
    assert SPACES.keys() == {file.stem for file in FOLDER.glob("*.yaml")}


@pytest.mark.parametrize("name", SPACES)
def test_100_narrow_candidates_train(name: str) -> None:
    tried = SPACES[name]
    document = documents.read(FOLDER / f"{name}.yaml")
    data = {**document.data, "define": {**document.data["define"], "width": tried.width}}
    _try(replace(document, data=data), {**tried.task, **tried.smaller}, 100)


@pytest.mark.parametrize("name", SPACES)
def test_20_candidates_train(name: str) -> None:
    _try(documents.read(FOLDER / f"{name}.yaml"), SPACES[name].task, 20)


def _try(document: documents.Document, task: Task, count: int) -> None:
    limits = document.data.get("constraints", [])
    priced = Costs(lambda one: network.costs(one, task), ("parameters", "flops")) if limits else None
    space = Space.read(document, task, layers=LAYERS, hyperparameters=SECTION, costs=priced)
    inputs, targets = _batch(task)
    for number in range(count):
        draw = _drawn(space, number)
        assert not draw.invalid, draw.invalid
        torch.manual_seed(number)
        links = network.linked(draw.candidate, task)
        model = assemble(links).train()
        parameters = sum(p.numel() for p in model.parameters())
        assert parameters == parameters_of(links)
        # A constraint is an expression of Python's too: what was built decides it here, not our own reading.
        assert all(eval(limit, {}, {"parameters": parameters, "flops": flops_of(links)}) for limit in limits)
        _train_once(model, inputs, targets, task)


def _drawn(space: Space, number: int) -> Draw:
    """The first of a seed's draws that violates nothing."""
    rng = random.Random(number)
    return next(draw for draw in (space.sample(rng) for _ in range(1000)) if not draw.violated)


def _batch(task: Task) -> tuple[Tensor, Tensor]:
    """Two samples, at random."""
    torch.manual_seed(0)
    shape = (2, *kinds.input_shape(task))
    match task["kind"]:
        case "language_model":
            return torch.randint(task["vocabulary"], shape), torch.randint(task["vocabulary"], shape)
        case "regression":
            return torch.randn(shape), torch.randn(2, task["targets"])
        case "segmentation":
            return torch.randn(shape), torch.randint(task["classes"], (2, task["height"], task["width"]))
    return torch.randn(shape), torch.randint(task["classes"], (2,))


def _train_once(model: nn.Module, inputs: Tensor, targets: Tensor, task: Task) -> None:
    problem = problems.problem(task)
    outputs = model(inputs)
    assert outputs.shape[1:] == kinds.output_shape(task)
    loss = problem.loss(outputs, targets)
    loss.backward()
    assert loss.isfinite()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert any(bool((gradient != 0).any()) for gradient in gradients)
