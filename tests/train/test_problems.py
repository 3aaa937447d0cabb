"""Kinds of tasks: their losses and metrics against values worked by hand; batches must not matter."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas.train import kinds, metrics, problems

CPU = torch.device("cpu")
REGRESSION = {"kind": "regression", "targets": 1, "deviation": 10.0}
LANGUAGE = {"kind": "language_model", "length": 2, "vocabulary": 4}


def judged(task: problems.Task, outputs: Tensor, targets: Tensor, batch: int) -> dict[str, float]:
    judgement = problems.problem(task).judgement(task, CPU)
    for part in range(0, len(outputs), batch):
        judgement.add(outputs[part : part + batch], targets[part : part + batch])
    return judgement.result()


def test_regression_by_hand() -> None:
    # r2 = 1 - 2 / 8 for errors 1, 0, -1, 0 about targets of squared deviation 8; rmse in the person's unit.
    targets = torch.tensor([[1.0], [-1.0], [3.0], [1.0]])
    outputs = targets + torch.tensor([[1.0], [0.0], [-1.0], [0.0]])
    expected = {"r2": 0.75, "rmse": 10 * math.sqrt(0.5), "loss": 0.5}
    assert judged(REGRESSION, outputs, targets, 4) == pytest.approx(expected)
    assert float(problems.problem(REGRESSION).loss(outputs, targets)) == 0.5


@pytest.mark.parametrize(("error", "r2"), [(0.0, 1.0), (0.5, 0.0)])
def test_r2_of_targets_that_are_all_the_same(error: float, r2: float) -> None:
    # Divided by a variance of 0 it would be NaN, and a trial be lost.
    targets = torch.full((4, 1), 2.0)
    assert judged(REGRESSION, targets + error, targets, 4)["r2"] == r2


def test_r2_of_the_mean_is_0_and_far_values_lose_no_digits() -> None:
    # A sum of squares in fp32 would drown the variance of targets far from 0.
    targets = torch.randn(1000, 1) + 1000
    assert judged(REGRESSION, targets.mean().expand(1000, 1), targets, 1000)["r2"] == pytest.approx(0, abs=1e-4)


def test_language_model_by_hand() -> None:
    # A uniform guess over 4 characters is 2 bits for each.
    outputs, targets = torch.zeros(3, 2, 4), torch.tensor([[0, 1], [0, 2], [0, 0]])
    found = judged(LANGUAGE, outputs, targets, 3)
    assert found == pytest.approx({"bits_per_character": 2.0, "accuracy": 4 / 6, "loss": math.log(4)})
    assert float(problems.problem(LANGUAGE).loss(outputs, targets)) == pytest.approx(math.log(4))


@pytest.mark.parametrize("kind", ["regression", "language_model", "classification"])
def test_batches_do_not_matter(kind: str) -> None:
    # Metrics of batches of different sizes, averaged, would be those of nothing.
    torch.manual_seed(0)
    task, outputs, targets = {
        "regression": (REGRESSION, torch.randn(10, 1), torch.randn(10, 1)),
        "language_model": (LANGUAGE, torch.randn(10, 2, 4), torch.randint(0, 4, (10, 2))),
        "classification": ({"kind": kind, "classes": 7}, torch.randn(10, 7), torch.randint(0, 7, (10,))),
    }[kind]
    assert judged(task, outputs, targets, 3) == pytest.approx(judged(task, outputs, targets, 10))


def test_every_metric_of_every_kind_is_computed_and_has_a_direction() -> None:
    # `reward: {maximize: rmse}` is refused by this table; a metric that it forgets would be maximised.
    torch.manual_seed(0)
    samples = {
        "regression": (REGRESSION, torch.randn(8, 1), torch.randn(8, 1)),
        "language_model": (LANGUAGE, torch.randn(8, 2, 4), torch.randint(0, 4, (8, 2))),
        "classification": ({"kind": "classification", "classes": 7}, torch.randn(8, 7), torch.randint(0, 7, (8,))),
        "segmentation": (
            {"kind": "segmentation", "classes": 3, "height": 4, "width": 4},
            torch.randn(8, 3, 4, 4),
            torch.randint(0, 3, (8, 4, 4)),
        ),
    }
    assert samples.keys() == problems.PROBLEMS.keys() == metrics.METRICS_OF.keys()
    for kind, (task, outputs, targets) in samples.items():
        found = judged(task, outputs, targets, 4)
        assert found.keys() == set(metrics.METRICS_OF[kind])  # type: ignore[index]
        assert all(name in metrics.METRICS for name in found)
        assert outputs.shape[1:] == kinds.output_shape(task)
