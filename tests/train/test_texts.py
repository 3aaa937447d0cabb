"""Texts: characters numbered, cut into samples, divided in order; and the language model that predicts them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from nas.errors import InputError, InvalidCandidate
from nas.objective import Context
from nas.space import Candidate
from nas.train import Trainer, TrainSettings, data, network, sources
from nas.train.settings import TextTask

CORIOLANUS = Path(sources.__file__).parent.parent / "datasets" / "coriolanus.txt"


def text(folder: Path, content: str | bytes, **given: Any) -> TextTask:
    file = folder / "text.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return TextTask(text=str(file), **given)


def test_characters_are_numbered_by_falling_frequency(tmp_path: Path) -> None:
    # hashed_embedding gives the first items rows of their own: they must be the frequent ones.
    task = text(tmp_path, "cab" * 10 + "ca" * 10 + "c" * 50, length=5)
    train = sources.load(task, "train")
    assert train.inputs[0].tolist() == [0, 1, 2, 0, 1]
    assert sources.describe(task) == {"kind": "language_model", "length": 5, "vocabulary": 3}


def test_targets_are_what_follows_and_parts_are_in_order(tmp_path: Path) -> None:
    # Off by one, the network would learn to copy; and samples drawn from between others would be remembered.
    content = "".join(chr(200 + i % 40) for i in range(1003))
    task = text(tmp_path, content, length=10)
    train, test = sources.load(task, "train"), sources.load(task, "test")
    assert train.inputs.shape == (80, 10) and test.inputs.shape == (20, 10)
    inputs = np.concatenate([train.inputs, test.inputs]).flatten()
    targets = np.concatenate([train.targets, test.targets]).flatten()
    assert (inputs[1:] == targets[:-1]).all()
    resident = data.resident(task, "train", None, "cpu")
    train_rows, validation_rows = data.split_resident(resident, 0.25, 1)
    assert validation_rows.tolist() == list(range(60, 80)) and train_rows.tolist() == list(range(60))
    batch, _ = resident.batch(validation_rows)
    assert batch.dtype == torch.int64


def test_more_characters_than_a_byte_holds(tmp_path: Path) -> None:
    # Chinese texts have thousands; in a byte they would wrap around.
    content = "".join(chr(0x4E00 + i % 700) for i in range(2000)) + "\U0001f600"
    task = text(tmp_path, content, length=20)
    assert sources.describe(task)["vocabulary"] == 701
    assert sources.load(task, "train").inputs.max() > 255


WRONG = [
    (b"", {}, "has 0 different characters"),
    (b"a" * 5000, {}, "has 1 different characters"),
    (b"ab" * 300, {}, "600 characters make 9 samples of 64, and at least 10 are needed"),
    (b"ab\n\xff" * 5000, {}, r"text.txt:2: is no UTF-8: byte 0xff"),
    (b"ab\n\x00" * 5000, {}, r"text.txt:2: holds a zero byte"),
]


@pytest.mark.parametrize(("content", "given", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_wrong_texts_are_named(tmp_path: Path, content: bytes, given: dict[str, Any], message: str) -> None:
    # Before a run's folder is made, not in every worker.
    with pytest.raises(InputError, match=message):
        sources.describe(text(tmp_path, content, **given))


# The language model --------------------------------------------------------------------------------------------------

GRU: list[Any] = [{"embedding": {"units": 16, "vocabulary": 61}}, {"gru": 32}, {"linear": 61}]


def trained(architecture: list[Any], **settings: Any) -> dict[str, float]:
    task = TextTask(text=str(CORIOLANUS), length=32)
    recipe = TrainSettings(
        **{"epochs": 1, "batch_size": 32, "optimizer": {"adamw": {"learning_rate": 1e-2}}, **settings}
    )
    return Trainer(recipe, task, 1)(Candidate(architecture, {}), Context(0, 1))


def test_a_text_is_learned() -> None:
    # One epoch over a play: well below log2(61) = 5.9 bits, and the 4.5 of knowing how frequent each character is.
    metrics = trained(GRU)
    assert 2 < metrics["bits_per_character"] < 3.7
    assert metrics["loss"] == pytest.approx(metrics["bits_per_character"] * math.log(2))
    assert 0.2 < metrics["accuracy"] < 0.6


@pytest.mark.parametrize(
    "layer",
    [
        {"attention": {"heads": 2}},
        {"attention": {"heads": 2, "window": 4}},
        {"transformer_block": {"heads": 2, "positions": "rotary"}},
        {"gru": {"units": 8, "bidirectional": True}},
        {"residual": [{"transformer_block": {"heads": 2}}]},
        "flatten",
    ],
    ids=str,
)
def test_layers_that_look_ahead_make_no_language_model(layer: Any) -> None:
    # It would win every search with a loss near 0, having learned to look.
    tail = [{"linear": 32 * 61}] if layer == "flatten" else [{"linear": 61}]
    with pytest.raises(InvalidCandidate, match=r"causal: true|the task needs \(32, 61\)"):
        trained([GRU[0], layer, *tail])


def test_causal_networks_pass() -> None:
    # The check above must not refuse what is sound: norms, experts and dropout among them.
    block = {"transformer_block": {"heads": 2, "causal": True, "window": 4, "dropout": 0.1}}
    experts = {"mixture_of_experts": {"experts": 2}}
    metrics = trained([GRU[0], block, experts, {"norm": "batch"}, {"linear": 61}], epochs=1)
    assert metrics["bits_per_character"] < 5


READERS = [
    ([{"linear": 61}], "architecture.0.linear: what comes are items"),
    ([GRU[0], GRU[0]], "architecture.1.embedding: reads items, and what comes are numbers"),
    ([{"embedding": {"units": 3, "vocabulary": 60}}, {"linear": 61}], "has 60 rows, and the task has 61 items"),
    ([GRU[0], {"gru": 3}], r"architecture.1.gru: ends in \(32, 3\), and the task needs \(32, 61\), one for each item"),
]


@pytest.mark.parametrize(("architecture", "message"), READERS, ids=[m for _, m in READERS])
def test_items_are_read_by_embeddings_alone(architecture: list[Any], message: str) -> None:
    # A matrix times character codes trains without complaint, and means nothing.
    task = {"kind": "language_model", "length": 32, "vocabulary": 61}
    with pytest.raises(InvalidCandidate, match=message):
        network.costs(Candidate(architecture, {}), task)
