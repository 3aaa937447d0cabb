"""The kinds of task: what a network is trained on, and how it is judged. What it takes and gives is in kinds.py.

Adding one is a class here, its line in ``PROBLEMS``, its shapes in kinds.py, its word in settings.Kind, and its metrics
in metrics.METRICS_OF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.train.kinds import Task, kind_of
from nas.train.metrics import AMONG

UNLABELLED = 255  # in a mask: neither trained on nor judged (PASCAL VOC's custom)


class Judgement(Protocol):
    """Sums up outputs and targets, batch by batch, on their device; ``result`` is asked for once, at the end."""

    def add(self, outputs: Tensor, targets: Tensor) -> None: ...
    def result(self) -> dict[str, float]: ...


class Problem(Protocol):
    """One kind of task. Outputs are fp32 (batch, *kinds.output_shape), targets as data.Resident gives them."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor: ...  # the batch's mean
    def terms(self, targets: Tensor) -> Tensor | int: ...  # how many it is the mean of, up to a factor
    def judgement(self, task: Task, device: torch.device) -> Judgement: ...
    def unfit(self, network: nn.Module, inputs: Tensor) -> str: ...  # why it must not be judged; "" where nothing is


def problem(task: Task, label_smoothing: float = 0.0) -> Problem:
    """The problem that a described task is. ``label_smoothing``: of a classification, see there."""
    return Classification(label_smoothing) if label_smoothing else PROBLEMS[kind_of(task)]


class Classification:
    """One class of several for each sample. Outputs are logits (batch, classes).

    ``smoothing``: the share of a target that goes to all classes alike (Szegedy et al. 2016, section 7), in training.
    """

    def __init__(self, smoothing: float = 0.0) -> None:
        self.smoothing = smoothing

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, label_smoothing=self.smoothing)

    def terms(self, targets: Tensor) -> int:
        return len(targets)

    def judgement(self, task: Task, device: torch.device) -> Judgement:
        return ClassJudgement(task["classes"], device)

    def unfit(self, network: nn.Module, inputs: Tensor) -> str:
        return ""


class ClassJudgement:
    """Accuracy, top5 (where there are more than five classes), loss (mean cross-entropy, nats)."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.count = 0
        self.correct, self.among_five, self.loss = torch.zeros(3, device=device).unbind()

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.count += len(targets)
        self.loss += F.cross_entropy(outputs, targets, reduction="sum")
        self.correct += (outputs.argmax(1) == targets).sum()
        if self.classes > AMONG:
            self.among_five += (outputs.topk(AMONG).indices == targets[:, None]).sum()

    def result(self) -> dict[str, float]:
        named = {"accuracy": self.correct, "top5": self.among_five, "loss": self.loss}
        shown = named if self.classes > AMONG else {name: named[name] for name in ("accuracy", "loss")}
        return {name: float(total) / self.count for name, total in shown.items()}


class Segmentation:
    """One class for each pixel. Outputs are logits (batch, classes, height, width), targets (batch, height, width)."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, ignore_index=UNLABELLED, reduction="sum") / self.terms(targets)

    def terms(self, targets: Tensor) -> Tensor:
        return (targets != UNLABELLED).sum().clamp(min=1)  # a batch may have none

    def judgement(self, task: Task, device: torch.device) -> Judgement:
        return PixelJudgement(task["classes"], device)

    def unfit(self, network: nn.Module, inputs: Tensor) -> str:
        return ""


class PixelJudgement:
    """From one confusion matrix over all labelled pixels: accuracy, and mean IoU (Everingham et al. 2015, sec. 4.1).

    The IoU of a class is hits / (labelled + predicted - hits), over all images together, not the mean over images. A
    class that is neither labelled nor predicted anywhere has none and is left out of the mean.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.classes = classes
        self.confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
        self.loss = torch.zeros((), device=device)

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.loss += F.cross_entropy(outputs, targets, ignore_index=UNLABELLED, reduction="sum")
        labelled = targets != UNLABELLED
        pairs = targets[labelled] * self.classes + outputs.argmax(1)[labelled]
        self.confusion += torch.bincount(pairs, minlength=self.classes**2)

    def result(self) -> dict[str, float]:
        confusion = self.confusion.view(self.classes, self.classes).double()  # [labelled, predicted]
        hits, pixels = confusion.diagonal(), confusion.sum()
        union = confusion.sum(0) + confusion.sum(1) - hits
        iou = (hits / union)[union > 0]
        return {
            "mean_iou": float(iou.mean()),
            "accuracy": float(hits.sum() / pixels),
            "loss": float(self.loss / pixels),
        }


class Regression:
    """Numbers for each sample. Outputs and targets are (batch, targets), both in units of the targets' deviation."""

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.mse_loss(outputs, targets)

    def terms(self, targets: Tensor) -> int:
        return len(targets)

    def judgement(self, task: Task, device: torch.device) -> Judgement:
        return NumberJudgement(task["targets"], task.get("deviation", 1.0), device)

    def unfit(self, network: nn.Module, inputs: Tensor) -> str:
        return ""


class NumberJudgement:
    """r2 (of several numbers the mean), rmse in the unit of the targets as they were given, loss (mean square).

    The variance that r2 compares with is that of the samples judged. Where they are all the same it is 0, and r2 is
    then 1 for a perfect prediction and 0 for any other, as in scikit-learn.
    """

    def __init__(self, targets: int, deviation: float, device: torch.device) -> None:
        self.count, self.deviation = 0, deviation
        # Of squared errors, targets and their squares; doubles, as r2 is a difference of sums.
        self.errors, self.sums, self.squares = torch.zeros(3, targets, dtype=torch.float64, device=device).unbind()

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.count += len(targets)
        self.errors += (outputs.double() - targets).square().sum(0)
        self.sums += targets.double().sum(0)
        self.squares += targets.double().square().sum(0)

    def result(self) -> dict[str, float]:
        variation = (self.squares - self.sums**2 / self.count).clamp(min=0)
        same = variation <= 1e-12 * self.squares
        r2 = torch.where(same, (self.errors == 0).double(), 1 - self.errors / variation.where(~same, 1.0))
        loss = float(self.errors.mean()) / self.count
        return {"r2": float(r2.mean()), "rmse": math.sqrt(loss) * self.deviation, "loss": loss}


class LanguageModel:
    """The next item at each position of a text. Outputs are logits (batch, length, vocabulary), targets the items that
    follow (batch, length).
    """

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs.flatten(0, 1), targets.flatten())

    def terms(self, targets: Tensor) -> int:
        return len(targets)

    def judgement(self, task: Task, device: torch.device) -> Judgement:
        return TextJudgement(device)

    @torch.no_grad()
    def unfit(self, network: nn.Module, inputs: Tensor) -> str:
        """Found out by trying: other items in the second half of a text must not change the outputs of the first."""
        network.eval()
        half = inputs.shape[1] // 2
        others = inputs.clone()
        others[:, half:] = (inputs[:, half:] == 0).long()  # item 0 becomes 1, and all others 0
        before, after = network(inputs)[:, :half], network(others)[:, :half]
        if torch.allclose(before, after, rtol=1e-3, atol=1e-4, equal_nan=True):
            return ""
        return (
            "an output depends on items that come later, which it is to predict; give attention `causal: true`, and "
            "leave out layers that mix positions both ways"
        )


class TextJudgement:
    """bits_per_character, accuracy (of the likeliest item), loss (mean cross-entropy, nats): over all positions."""

    def __init__(self, device: torch.device) -> None:
        self.count = 0
        self.correct, self.loss = torch.zeros(2, dtype=torch.float64, device=device).unbind()

    def add(self, outputs: Tensor, targets: Tensor) -> None:
        self.count += targets.numel()
        self.loss += F.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="sum")
        self.correct += (outputs.argmax(2) == targets).sum()

    def result(self) -> dict[str, float]:
        loss = float(self.loss) / self.count
        return {"bits_per_character": loss / math.log(2), "accuracy": float(self.correct) / self.count, "loss": loss}


PROBLEMS: Mapping[str, Problem] = {
    "classification": Classification(),
    "regression": Regression(),
    "segmentation": Segmentation(),
    "language_model": LanguageModel(),
}
