"""A training that pauses and goes on is, to the last bit, the training that did not; and nothing false is believed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_trials import TIMES

from nas import durable
from nas.errors import DiskFailed
from nas.objective import Context
from nas.space import Candidate
from nas.train import Trainer, TrainSettings, checkpoint, tensor_file, trainer
from nas.train.checkpoint import NotUsable
from nas.train.plugin_files import Plugin
from nas.train.settings import ArraysTask, TextTask

EPOCHS = 3
TIMES_IN_NOTES = {"spent", "peak_flops"}
IMAGES: list[Any] = [
    {"conv": 6},
    {"norm": "batch"},
    {"activation": "relu"},
    {"depthwise_conv": 3},
    {"norm": "group"},
    {"global_pool": "average"},
    {"dropout": 0.2},
    {"linear": 3},
]
EXPERTS: list[Any] = [
    {"flatten": {}},
    {"linear": 8},
    {"mixture_of_experts": {"experts": 3, "top_k": 2, "hidden": 8}},
    {"linear": 3},
]
RECURRENT: list[Any] = [{"embedding": {"units": 6, "vocabulary": 5}}, {"lstm": 8}, {"dropout": 0.2}, {"linear": 5}]
# Activations double 20 times, which is past the end of fp16 and nothing to fp32; the norm brings them back.
OVERFLOWING: list[Any] = [
    {"flatten": {}},
    {"linear": 8},
    *({"residual": [{"identity": {}}]} for _ in range(20)),
    {"norm": "batch"},
    {"linear": 3},
]
CRAMPED = Plugin(
    "cramped.py",
    """
import torch
from nas.plugin import Layer

class Cramped(Layer):
    name = "cramped"
    judging: bool = False
    def build(self, shape):
        return Room(self.judging)

class Room(torch.nn.Module):
    def __init__(self, judging):
        super().__init__()
        self.judging, self.room = judging, 5 if judging else 9
    def forward(self, x):
        if len(x) > self.room and self.training != self.judging:
            raise torch.OutOfMemoryError("no room")
        return x
""",
)
EVERYTHING = {"average": 0.9, "mixup": 0.3, "flip": True, "crop": 1, "label_smoothing": 0.1}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 images and a text, small enough that an epoch takes milliseconds."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)
    y = random.integers(0, 3, 80)
    x = random.normal(size=(80, 6, 6, 1)) + y[:, None, None, None]
    np.savez(folder / "images.npz", x=x.astype(np.float32), y=y)
    (folder / "text.txt").write_text("".join(random.choice(list("abcd "), 1500)))
    return folder


def made(files: Path, architecture: list[Any], **settings: Any) -> tuple[Trainer, Candidate]:
    plugins = (CRAMPED,) if "cramped" in architecture[0] else ()
    text = architecture is RECURRENT
    task = TextTask(text=str(files / "text.txt"), length=8) if text else ArraysTask(npz=str(files / "images.npz"))
    given = TrainSettings(**{"epochs": EPOCHS, "batch_size": 16, "precision": "fp32", **settings})
    return Trainer(given, task, seed=5, plugins=plugins), Candidate(architecture, {})


def attempt(
    one: tuple[Trainer, Candidate], *, until: int | None = None, saved: Path | None = None, folder: Path | None = None
) -> tuple[dict[str, Any], dict[int, Any], dict[str, Any]]:
    """Metrics but for times, what was reported, and notes."""
    reports: dict[int, Any] = {}
    context = Context(0, 1, until=until, saved=saved, folder=folder)
    context.on_report = lambda step, metrics: bool(reports.update({step: dict(metrics)}))
    metrics = one[0](one[1], context)
    return without(TIMES, metrics), reports, without(TIMES_IN_NOTES, context.notes)


def without(names: set[str], given: Any) -> dict[str, Any]:
    return {name: value for name, value in given.items() if name not in names}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return tensor_file.read(folder / checkpoint.FILE)[0]


CASES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    **{
        name: (IMAGES, {"optimizer": name, **EVERYTHING})
        for name in ("sgd", "adamw", "lars", "lamb", "muon", "rmsprop")
    },
    "momentum": (IMAGES, {"optimizer": {"rmsprop": {"momentum": 0.5}}}),
    "fp16": (IMAGES, {"precision": "fp16", "optimizer": "sgd", "average": 0.9}),
    "bf16": (IMAGES, {"precision": "bf16", "optimizer": "muon"}),
    "fp64": (IMAGES, {"precision": "fp64", "optimizer": "lamb"}),
    "parts and noise": (IMAGES, {"micro_batch": 5, "noise_scale": True}),
    "experts": (EXPERTS, {"optimizer": "adamw"}),
    "text": (RECURRENT, {"optimizer": "adamw", "average": 0.9}),
    "repeated in fp32": (OVERFLOWING, {"precision": "fp16"}),
    "out of memory": ([{"cramped": {}}, *IMAGES], {}),
    "out of memory in judging": ([{"cramped": {"judging": True}}, *IMAGES], {"average": 0.9}),
}


@pytest.mark.parametrize(("architecture", "settings"), CASES.values(), ids=CASES)
def test_a_training_paused_after_every_epoch_is_the_whole_one(
    architecture: list[Any], settings: dict[str, Any], files: Path, tmp_path: Path
) -> None:
    # What a scheduler promotes must be the trial that it would have been: else rungs are compared that are of no trial.
    one = made(files, architecture, **settings)
    whole, curve, notes = attempt(one)
    attempt(one, until=2, folder=tmp_path / "whole")
    saved, paused = None, {}
    for epoch in range(1, EPOCHS + 1):
        folder = tmp_path / str(epoch)
        reached, reports, said = attempt(one, until=epoch, saved=saved, folder=folder)
        paused |= reports
        assert reached["epochs"] == epoch and list(reports) == [epoch]
        assert said.pop("continued_from_epoch", 0) == epoch - 1
        if epoch < EPOCHS:
            size = (folder / checkpoint.FILE).stat().st_size
            assert said.pop("checkpoint") == {"epoch": epoch, "bytes": size}
        saved = folder
    assert paused == curve and reached == whole and said == notes and reached["epochs"] == EPOCHS
    assert not (tmp_path / str(EPOCHS)).exists()  # of an ended training nothing goes on
    halves, at_once = tensors(tmp_path / "2"), tensors(tmp_path / "whole")
    assert halves.keys() == at_once.keys()
    assert all(torch.equal(halves[name], at_once[name]) for name in halves)


CHILD = """
import json, pickle, sys
from nas.objective import Context
(trainer, candidate), saved = pickle.loads(sys.stdin.buffer.read())
context = Context(0, 1, saved=saved)
print(json.dumps([trainer(candidate, context), context.notes]))
"""


def test_another_process_goes_on_with_it(files: Path, tmp_path: Path) -> None:
    # It is promoted to whichever slot is free: nothing of it may be left behind in the process that paused it.
    one = made(files, IMAGES, precision="bf16", optimizer="adamw", noise_scale=True, **EVERYTHING)
    whole, _, notes = attempt(one)
    attempt(one, until=1, folder=tmp_path)
    given = pickle.dumps((one, tmp_path))
    done = subprocess.run([sys.executable, "-c", CHILD], input=given, capture_output=True, check=True)
    metrics, said = json.loads(done.stdout)
    assert without(TIMES, metrics) == whole
    assert without(TIMES_IN_NOTES, said) == {**notes, "continued_from_epoch": 1}


def test_times_and_counts_are_of_the_whole(files: Path, tmp_path: Path) -> None:
    # Rows per second of a promoted trial would else be those of its last rung, and its cost too small.
    one = made(files, IMAGES)
    context = Context(0, 1, until=2, folder=tmp_path)
    first = one[0](one[1], context)
    going_on = Context(0, 1, saved=tmp_path)
    second = one[0](one[1], going_on)
    assert second["train_seconds"] > first["train_seconds"] > 0
    assert second["rows_per_second"] * second["train_seconds"] == pytest.approx(
        EPOCHS / 2 * first["rows_per_second"] * first["train_seconds"]
    )
    assert all(going_on.notes["spent"][phase] > seconds > 0 for phase, seconds in context.notes["spent"].items())
    assert second["peak_memory"] >= first["peak_memory"]


def test_an_end_of_memory_in_judging_halves_what_passes_at_once_as_one_in_training_does(files: Path) -> None:
    # A candidate that trains well would fail for the batch that it is judged by.
    _, _, notes = attempt(made(files, [{"cramped": {"judging": True}}, *IMAGES]))
    assert notes["micro_batch"] == 3
    assert notes["micro_batch_reason"] == "out of memory with 6 at once, judged after epoch 1"


def test_a_training_that_is_killed_for_memory_where_it_goes_on_goes_on_in_halves(files: Path, tmp_path: Path) -> None:
    # What it goes on from was whole; with its parts it would be killed again, and with the epochs before be lost.
    one = made(files, IMAGES)
    attempt(one, until=1, folder=tmp_path)
    context = Context(0, 1, saved=tmp_path, halve=True)
    one[0](one[1], context)
    notes = context.notes
    assert (notes["continued_from_epoch"], notes["batch_size"], notes["micro_batch"]) == (1, 16, 8)
    assert notes["micro_batch_reason"] == "out of memory in an earlier attempt"


def test_parts_are_noted_when_memory_ends_and_not_when_training_has(files: Path, tmp_path: Path) -> None:
    # What is killed for its time or memory after that could say nothing of it; nor could an attempt that went on.
    one = made(files, [{"cramped": {}}, *IMAGES])
    said: list[dict[str, Any]] = []
    first = Context(0, 1, until=1, folder=tmp_path, on_note=said.append)
    first.on_report = lambda step, metrics: said.append({"reported": step}) or False
    one[0](one[1], first)
    halved = {"micro_batch": 8, "micro_batch_reason": "out of memory with 16 at once, in step 1"}
    assert said.index(halved) < said.index({"reported": 1})
    second = Context(0, 1, saved=tmp_path, on_note=said.append)
    second.on_report = lambda step, metrics: said.append({"reported": step}) or False
    said.clear()
    one[0](one[1], second)
    assert said.index(halved) < said.index({"reported": 2})


def test_what_was_decided_by_measuring_is_not_decided_again(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another batch or precision than before the pause would make it another trial.
    one = made(files, IMAGES, batch_size="fit", precision="auto")
    _, _, decided = attempt(one, until=1, folder=tmp_path)
    whole, _, _ = attempt((one[0].repeating(decided), one[1]))  # by itself it might find another batch this time
    monkeypatch.setattr(trainer, "fitting_batch", None)
    monkeypatch.setattr(trainer.precision, "choose", None)
    metrics, _, said = attempt(one, saved=tmp_path)
    assert metrics == whole
    names = ("batch_size", "batch_size_reason", "dtype", "dtype_reason")
    assert [said[name] for name in names] == [decided[name] for name in names]


# What is not believed ------------------------------------------------------------------------------------------------


@pytest.fixture
def paused(files: Path, tmp_path: Path) -> tuple[tuple[Trainer, Candidate], Path]:
    one = made(files, IMAGES, optimizer="adamw")
    attempt(one, until=1, folder=tmp_path)
    return one, tmp_path


def test_a_changed_byte_anywhere_is_noticed(paused: tuple[tuple[Trainer, Candidate], Path]) -> None:
    # Half a network from a bad disk would train on, and be nobody's trial.
    _, folder = paused
    sound = (folder / checkpoint.FILE).read_bytes()
    header = 8 + int.from_bytes(sound[:8], "little")
    for at in [0, 5, 9, header // 3, header // 2, header - 20, header, header + 1, len(sound) - 1]:
        (folder / checkpoint.FILE).write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        with pytest.raises(NotUsable, match=r"^the checkpoint is damaged: (it is no file of tensors|its digest) "):
            checkpoint.read(folder, {})
    for length in (0, 7, 8, header - 1, header, len(sound) - 1):
        (folder / checkpoint.FILE).write_bytes(sound[:length])
        with pytest.raises(NotUsable, match="damaged"):
            checkpoint.read(folder, {})


def test_a_trial_whose_checkpoint_is_of_no_use_begins_anew_and_says_so(
    paused: tuple[tuple[Trainer, Candidate], Path], files: Path
) -> None:
    # The epochs are lost, the trial is not; and who wonders about its seconds finds why.
    one, folder = paused
    whole, _, notes = attempt(one)
    for spoil, why in [
        (lambda file: file.write_bytes(file.read_bytes()[:-1]), "the checkpoint is damaged: it is no file of tensors"),
        (lambda file: file.write_bytes(b"{}"), "the checkpoint is damaged: it is no file of tensors"),
        (lambda file: (file.unlink(), file.mkdir()), "the checkpoint can not be read: "),
        (lambda file: file.rmdir(), "there is no checkpoint"),
    ]:
        spoil(folder / checkpoint.FILE)
        metrics, _, said = attempt(one, saved=folder)
        assert said.pop("begun_anew").startswith(why)
        assert metrics == whole and said == notes


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("candidate", lambda one: (one[0], Candidate(IMAGES, {"batch_size": 8}))),
        ("seed", lambda one: (Trainer(one[0].settings, one[0].task, seed=6), one[1])),
        ("configuration", lambda one: (Trainer(TrainSettings(epochs=9), one[0].task, seed=5), one[1])),
        ("plugin", lambda one: (Trainer(one[0].settings, one[0].task, seed=5, plugins=(CRAMPED,)), one[1])),
    ],
)
def test_a_checkpoint_of_something_else_is_not_gone_on_from(
    what: str, change: Any, paused: tuple[tuple[Trainer, Candidate], Path]
) -> None:
    one, folder = paused
    _, reports, said = attempt(change(one), saved=folder, until=1)
    assert said["begun_anew"] == f"the checkpoint is of another {what}" and list(reports) == [1]


def test_a_checkpoint_of_other_code_is_not_gone_on_from(
    paused: tuple[tuple[Trainer, Candidate], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A mended loop would train the second half of a trial whose first half was trained by the broken one.
    one, folder = paused
    monkeypatch.setattr(checkpoint, "code", lambda: "another")
    assert attempt(one, saved=folder, until=1)[2]["begun_anew"] == "the checkpoint is of another version of the code"


@pytest.mark.parametrize("at", ["half written", "before the sync", "before the rename"])
def test_a_kill_while_it_is_written_leaves_what_was_there(at: str, tmp_path: Path) -> None:
    # kill -9 at the worst moment: what is found is the old file, whole; and without one, none.
    file = tmp_path / checkpoint.FILE

    def killed() -> None:
        if child := os.fork():
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
            return

        def die(*_: Any) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

        if at == "half written":
            write = os.write
            durable.os.write = lambda where, data: write(where, data[: len(data) // 2]) if len(data) > 8 else die()
        elif at == "before the sync":
            durable.os.fsync = die
        else:
            Path.replace = die
        tensor_file.write(file, {"x": torch.ones(64)}, {})
        os._exit(0)

    killed()
    assert not file.exists()
    with pytest.raises(NotUsable, match="there is no checkpoint"):
        checkpoint.read(tmp_path, {})
    tensor_file.write(file, {"x": torch.zeros(3)}, {"old": "yes"})
    killed()
    assert tensor_file.read(file)[1] == {"old": "yes"}


def test_a_full_disk_costs_the_checkpoint_and_not_the_trial(files: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    _, _, said = attempt(made(files, IMAGES), until=1, folder=tmp_path / "file" / "state")
    assert said["checkpoint"]["epoch"] == 1 and "Not a directory" in said["checkpoint"]["not_written"]
    with pytest.raises(DiskFailed, match="Not a directory"):
        durable.write_whole(tmp_path / "file" / "state", b"x")


# The format ----------------------------------------------------------------------------------------------------------

KEPT = {
    "wide": torch.tensor([1.5, -2.0], dtype=torch.float64),
    "half": torch.tensor([[1.0], [2.0]], dtype=torch.bfloat16),
    "flags": torch.tensor([True, False, True]),
    "number": torch.tensor(7),
    "nothing": torch.empty(0, 4),
    "transposed": torch.arange(6, dtype=torch.float32).view(2, 3).T,
}


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    file = tmp_path / checkpoint.FILE
    assert tensor_file.write(file, KEPT, {"said": "ä"}) == file.stat().st_size
    found, said = tensor_file.read(file)
    assert said == {"said": "ä"} and found.keys() == KEPT.keys()
    assert all(torch.equal(found[name], KEPT[name]) for name in KEPT)
    assert all(found[name].dtype is KEPT[name].dtype and found[name].shape == KEPT[name].shape for name in KEPT)
