"""What one trial trains: a candidate and its settings, read and checked, before anything is decided by measuring."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas import seeds
from nas.errors import InvalidCandidate
from nas.train import compiling, data, network, optimizers, plugins, problems, sources
from nas.train.accumulation import Accumulation, NoiseScale
from nas.train.augmentation import Augmentation
from nas.train.averaging import Average
from nas.train.data import Resident
from nas.train.fit import Recipe, Training
from nas.train.hyperparameters import chosen_optimizer, chosen_regularisation, read_hyperparameters, require_suited
from nas.train.kinds import Task
from nas.train.modules.auxiliary import auxiliaries
from nas.train.plugins import Parts
from nas.train.precision import LossScaling, Precision, Work
from nas.train.problems import Judgement, Problem
from nas.train.settings import (
    BatchSize,
    OptimizerSettings,
    PrecisionName,
    Regularisation,
    TaskSettings,
    TrainSettings,
)
from nas.train.spent import Spent

if TYPE_CHECKING:
    from nas.space import Candidate


@dataclass(frozen=True, slots=True)
class Decided:
    """What is found out before training, much of it by measuring: a trial that goes on is not asked again."""

    precision: Precision
    batch: int
    batch_reason: str = ""  # where it was to fit
    scores: Mapping[str, float] = field(default_factory=dict)  # zero-cost ones (scores/)
    compiled: bool = False
    compile_reason: str = ""  # where compiling was thought of

    def in_fp32(self, diverged: str) -> Decided:
        """The same for a trial that is repeated, as its precision made it diverge."""
        return replace(self, precision=self.precision.instead("fp32", f"{self.precision.name} diverged: {diverged}"))

    def notes(self) -> dict[str, Any]:
        said = {"batch_size_reason": self.batch_reason} if self.batch_reason else {}
        compiled = {"compiled": self.compiled, "compile_reason": self.compile_reason} if self.compile_reason else {}
        return {**said, "batch_size": self.batch, **self.precision.notes(), **compiled}


@dataclass(frozen=True, eq=False, slots=True)
class Trial:
    candidate: Candidate
    seed: int
    device: torch.device
    settings: TrainSettings
    task: Task
    parts: Parts
    costs: Mapping[str, int]  # parameters, flops
    asked_batch: BatchSize
    asked_precision: PrecisionName | None  # the candidate's own
    optimizer: OptimizerSettings
    optimizer_name: str
    regularisation: Regularisation
    problem: Problem
    samples: Resident
    train: Tensor  # indices of samples
    validation: Tensor
    halve: bool = False  # see Context.halve

    @classmethod
    def read(
        cls,
        candidate: Candidate,
        seed: int,
        device: str,
        settings: TrainSettings,
        task: TaskSettings,
        parts: Parts,
        data_dir: str | None,
        split_seed: int,
        *,
        halve: bool = False,
    ) -> Trial:
        """Raises InvalidCandidate; and InputError where the data can not be read."""
        described = sources.describe(task, data_dir, parts.datasets)
        costs = network.costs(candidate, described, parts.layers)
        hyperparameters = read_hyperparameters(candidate.hyperparameters)
        optimizer, name = chosen_optimizer(hyperparameters, settings.optimizer)
        regularisation = chosen_regularisation(hyperparameters, settings)
        require_suited(regularisation, described)
        if regularisation.label_smoothing and settings.loss:
            raise InvalidCandidate("hyperparameters.label_smoothing is for the task's own loss; leave out train.loss")
        samples = data.resident(task, "train", data_dir, device, parts)
        train, validation = data.split_resident(samples, task.validation, split_seed)
        problem = problems.problem(described, regularisation.label_smoothing or 0.0)
        return cls(
            candidate,
            seed,
            torch.device(device),
            settings,
            described,
            parts,
            costs,
            hyperparameters.batch_size or settings.batch_size,
            hyperparameters.precision,
            optimizer,
            name,
            regularisation,
            plugins.extended(problem, settings.loss, parts),
            samples,
            train,
            validation,
            halve,
        )

    def network(self) -> nn.Module:
        """With its initial weights; torch's generators then stand where the training's dropout begins."""
        torch.manual_seed(self.seed)
        model = network.build(self.candidate, self.task, self.parts.layers)
        return model.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def at_once(self, batch: int) -> int:
        """How many samples of a batch pass at once, at most."""
        micro = min(self.settings.micro_batch or batch, batch)
        return (micro + 1) // 2 if self.halve else micro

    def work(self, batch: int) -> Work:
        """A pass of it, to be tried: no more than in training is to be in memory at once."""
        return Work(self.network, self.problem.loss, self._samples, self.at_once(batch), self.costs["flops"])

    def recipe(self, decided: Decided, steps: int | None) -> Recipe:
        rate = optimizers.scaled(self.optimizer.learning_rate, decided.batch, self.settings.scale_learning_rate)
        return Recipe(self.settings.epochs, decided.batch, rate, self.settings.warmup_epochs, steps)

    def begin(self, recipe: Recipe, precision: Precision, *, compiled: bool = False) -> Training:
        """A training of which nothing is done. Raises InvalidCandidate where its network must not be judged."""
        model = self.network()
        precision.adapt(model, self.device)
        self.require_fit(model)
        scaling, own = LossScaling(precision, self.device), list(auxiliaries(model).values())
        micro, halved = self.at_once(recipe.batch), "out of memory in an earlier attempt" if self.halve else ""
        noise = NoiseScale() if self.settings.noise_scale else None
        accumulation = Accumulation(
            model, self.problem, precision, scaling, own, micro, noise, halved, spent=Spent(self.device)
        )
        if compiled:
            accumulation.compiled = compiling.compiled(model)
        return Training(
            accumulation,
            optimizers.make(self.optimizer, model),
            torch.Generator(self.device).manual_seed(seeds.derive(self.seed, "shuffle")),
            Average(model, self.regularisation.average) if self.regularisation.average else None,
            optimizers.weight_norm(model),
            recipe.total(len(self.train)),
        )

    def require_fit(self, model: nn.Module) -> None:
        """Raises InvalidCandidate where the network must not be judged."""
        if unfit := self.problem.unfit(model, self._samples(2)[0]):
            raise InvalidCandidate(unfit)

    def judgement(self) -> Judgement:
        return self.problem.judgement(self.task, self.device)

    @property
    def augmentation(self) -> Augmentation | None:
        return Augmentation(self.regularisation, self.seed) if self.regularisation.augments else None

    def notes(self) -> dict[str, Any]:
        said = self.regularisation.regularisation()
        return {"optimizer": self.optimizer_name, **({"regularisation": said} if said else {})}

    def _samples(self, count: int) -> tuple[Tensor, Tensor]:
        return self.samples.batch(self.train[:count])
