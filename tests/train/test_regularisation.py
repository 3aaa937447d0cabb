"""What is done to batches, targets and weights so that a network does not learn its samples by heart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_trials import TIMES
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nas import documents
from nas.config import Config
from nas.errors import InputError, InvalidCandidate
from nas.objective import Context
from nas.plan import plan
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, augmentation
from nas.train.augmentation import Augmentation, Targets
from nas.train.averaging import Average
from nas.train.hyperparameters import unsuited
from nas.train.problems import Classification
from nas.train.settings import Regularisation

NETWORK: list[Any] = [
    {"conv": 8},
    {"norm": "batch"},
    {"activation": "relu"},
    {"global_pool": "average"},
    {"linear": 10},
]
ALL = {"label_smoothing": 0.1, "mixup": 0.2, "cutmix": 1.0, "crop": 1, "flip": True, "cutout": 2, "average": 0.9}


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def maps(count: int = 40, height: int = 6, width: int = 5) -> torch.Tensor:
    """Each pixel of each map has a number of its own, from 1."""
    return 1 + torch.arange(float(count * 2 * height * width)).view(count, 2, height, width)


def test_a_crop_is_a_window_of_the_padded_map() -> None:
    # A wrong index mixes samples, or channels, and the network still learns something.
    given = maps()
    padded = F.pad(given, (2, 2, 2, 2))
    windows = [(y, x) for y in range(5) for x in range(5)]
    found = []
    for index, cropped in enumerate(augmentation.crop(given, 2, generator())):
        where = [(y, x) for y, x in windows if torch.equal(padded[index, :, y : y + 6, x : x + 5], cropped)]
        assert len(where) == 1
        found += where
    assert {y for y, _ in found} == {x for _, x in found} == set(range(5))
    assert any(y != x for y, x in found)


def test_about_half_of_the_maps_are_mirrored() -> None:
    given = maps(400)
    flipped = augmentation.flip(given, generator())
    same = (flipped == given).flatten(1).all(1)
    assert torch.equal(flipped[~same], given[~same].flip(3))
    assert 150 < int(same.sum()) < 250


def test_a_square_is_cut_out_with_its_centre_anywhere() -> None:
    # The paper lets the square reach over the edge; one always inside hides the middle far too often.
    cut = augmentation.cutout(maps(400), 3, generator()) == 0
    assert torch.equal(cut[:, 0], cut[:, 1])
    rows, columns = cut[:, 0].any(2).sum(1), cut[:, 0].any(1).sum(1)
    assert torch.equal(cut[:, 0].flatten(1).sum(1), rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3}
    assert (cut[:, 0].float().mean(0) > 0).all()


def test_mixing_is_that_of_the_papers() -> None:
    # The loss of a mixed target is the mix of two losses (Zhang et al. 2018); cutmix weighs by the area left.
    inputs, others = torch.zeros(4, 1, 8, 8), torch.ones(4, 1, 8, 8)
    host = np.random.default_rng(1)
    mixed, share = augmentation.mixup(inputs, others, 0.3, host)
    assert share == 0.3 and torch.allclose(mixed, torch.tensor(0.7))
    for drawn in (0.0, 0.3, 0.75, 1.0):
        mixed, share = augmentation.cutmix(inputs, others, drawn, host)
        assert 1 - share == pytest.approx(float(mixed.mean())) and share >= drawn - 1e-9
    outputs, first, second = torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2])
    soft = 0.3 * F.one_hot(first, 3) + 0.7 * F.one_hot(second, 3)
    loss = Targets(first, second, 0.3).loss(Classification().loss, outputs)
    assert torch.allclose(loss, -(soft * outputs.log_softmax(1)).sum(1).mean())


def test_label_smoothing_by_hand() -> None:
    # Szegedy et al. 2016, eq. 6: the label's share is 1 - e, and e / K of all classes, its own among them.
    outputs, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    soft = 0.8 * F.one_hot(labels, 4) + 0.2 / 4
    assert torch.allclose(Classification(0.2).loss(outputs, labels), -(soft * outputs.log_softmax(1)).sum(1).mean())


def test_an_augmentation_is_a_function_of_seed_and_step() -> None:
    # A trial that goes on elsewhere must see the batches it would have seen; and nobody else's randomness may move.
    one = Augmentation(Regularisation(**ALL), 3)
    inputs, labels = torch.randn(16, 1, 8, 8), torch.arange(16)
    random = torch.get_rng_state()
    (a, targets), (b, again), (c, _) = (one(inputs, labels, step) for step in (5, 5, 6))
    assert torch.equal(a, b) and torch.equal(targets.second, again.second) and targets.share == again.share
    assert not torch.equal(a, c)
    other, _ = Augmentation(Regularisation(**ALL), 4)(inputs, labels, 5)
    assert not torch.equal(a, other) and torch.equal(torch.get_rng_state(), random)


def trained(**hyperparameters: Any) -> tuple[dict[str, float], Context]:
    context = Context(0, 1)
    settings = TrainSettings(epochs=2, batch_size=64, precision="fp32", mixup=0.4)
    metrics = Trainer(settings, DatasetTask(dataset="digits"), seed=5)(Candidate(NETWORK, hyperparameters), context)
    return {name: value for name, value in metrics.items() if name not in TIMES}, context


def test_each_is_done_in_training_and_repeats_to_the_bit() -> None:
    # One that is read and never reaches the loop would be searched over for nothing.
    plain, context = trained(mixup=0)
    assert context.notes["regularisation"] == {"mixup": 0.0}  # a candidate's 0 turns the config's off
    seen = {tuple(plain.items())}
    for name, value in ALL.items():
        metrics, context = trained(**{"mixup": 0, name: value})
        assert context.notes["regularisation"][name] == value
        seen.add(tuple(metrics.items()))
    assert len(seen) == 8
    assert trained(**ALL)[0] == trained(**ALL)[0]


def test_the_average_is_torchs_but_for_the_begin() -> None:
    # The rate at step t is t / (t + 9) until it reaches the decay. torch's copy serves where no forward was replaced.
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    average = Average(network, 0.3)
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.3), use_buffers=True)
    theirs.update_parameters(network)  # the first is a copy
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(1, 20):
        network(torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
        if step <= 3:  # of both the same three
            theirs.multi_avg_fn = get_ema_multi_avg_fn(step / (step + 9))
        else:
            theirs.multi_avg_fn = get_ema_multi_avg_fn(0.3)
        average.update()
        theirs.update_parameters(network)
    raw = [p.detach().clone() for p in network.parameters()]
    inputs = torch.randn(8, 3)
    with average.in_place():
        assert torch.allclose(network.eval()(inputs), theirs.module.eval()(inputs), atol=1e-6)
    assert all(torch.equal(p, before) for p, before in zip(network.parameters(), raw, strict=True))


TABLE = {"kind": "classification", "features": 4, "classes": 2}
MASKS = {"kind": "segmentation", "channels": 1, "height": 8, "width": 8, "classes": 2}


@pytest.mark.parametrize(
    ("setting", "value", "task", "message"),
    [
        ("flip", True, TABLE, "flip is for images"),
        ("crop", 2, MASKS, "crop moves or hides pixels"),
        ("mixup", 0.2, MASKS, "mixup is for classification"),
        ("cutout", 8, {**MASKS, "kind": "classification"}, "cutout: 8 pixels are too many for images of 8 x 8"),
        ("mixup", 0.2, TABLE, ""),
        ("flip", False, TABLE, ""),
        ("average", 0.9, MASKS, ""),
    ],
)
def test_what_makes_no_sense_is_said(setting: str, value: Any, task: Any, message: str) -> None:
    # A flip of a table is a column's values in another's place; better refused than learned.
    assert unsuited(setting, value, task).startswith(message) and bool(unsuited(setting, value, task)) == bool(message)


CONFIG = """space: {space}
task: {{dataset: digits}}
train: {train}
"""


def test_what_makes_no_sense_is_said_at_its_place(tmp_path: Any) -> None:
    # At line and column, before anything is trained.
    def planned(train: str, hyperparameters: str) -> None:
        (tmp_path / "s.yaml").write_text(
            f"architecture: [flatten, {{linear: =task.classes}}]\nhyperparameters: {hyperparameters}\n"
        )
        text = CONFIG.format(space=tmp_path / "s.yaml", train=train)
        plan(documents.validate(Config, documents.parse(f"name: x\n{text}", "c.yaml")))

    with pytest.raises(InputError, match=r"s\.yaml:2:\d+: crop: 8 pixels are too many"):
        planned("{}", "{crop: {choice: [1, 8]}}")
    with pytest.raises(InputError, match="cutout: 9 pixels are too many"):
        planned("{cutout: 9}", "{batch_size: 32}")
    with pytest.raises(InvalidCandidate, match=r"hyperparameters\.crop: 8 pixels"):
        trained(crop=8)
