"""The shipped objective: train a candidate on a task, and say how good, how large and how fast it was."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nas import seeds
from nas.errors import Diverged, InvalidCandidate, OutOfMemory
from nas.train import data, memory, network, optimizers, plugins, precision, problems, sources
from nas.train.augmentation import Augmentation
from nas.train.averaging import Average
from nas.train.fit import Recipe, Result, fit
from nas.train.fitting import fitting_batch
from nas.train.hyperparameters import chosen_optimizer, chosen_regularisation, read_hyperparameters, require_suited
from nas.train.modules.auxiliary import auxiliaries
from nas.train.plugin_files import Plugin
from nas.train.precision import Precision, Work
from nas.train.precision.policy import MAY_OVERFLOW, named
from nas.train.settings import Numbers, PrecisionName, TaskSettings, TrainSettings

if TYPE_CHECKING:
    from nas.objective import Context
    from nas.space import Candidate


@dataclass(frozen=True, slots=True)
class Trainer:
    """``trainer(candidate, context) -> metrics``; picklable, and the same for every trial of a run.

    Metrics: those of the kind of task (metrics.py; of the validation split, after the last epoch), parameters, flops,
    epochs, images_per_second (training alone), train_seconds (likewise), peak_memory (bytes; see memory.peak). Notes:
    dtype and why, fallbacks (to another dtype), device, batch_size (and why, where it was to fit), micro_batch and why
    where it is smaller, optimizer, learning_rate, regularisation where there is any, noise_scale where asked for,
    weight_norm before and after, and what modules observed (modules/auxiliary.py).

    The same seed, device, number of threads and precision give the same metrics but for times and memory, bit for bit,
    whatever the process trained before. On a GPU this asks cuDNN for deterministic kernels. What diverged in 16 or 8
    bits is trained once more in fp32, from the same initial weights, before it counts as diverged.
    """

    settings: TrainSettings
    task: TaskSettings
    seed: int = 0  # the run's: it cuts the validation split
    data_dir: str | None = None
    steps: int | None = None  # see Recipe.steps
    plugins: tuple[Plugin, ...] = ()  # by value: a worker needs no file
    recorded: Numbers | None = None  # the precision of a trial that is repeated: it goes before whatever was asked for
    recorded_batch: tuple[int, str] | None = None  # likewise, where it was to fit: and why

    def __call__(self, candidate: Candidate, context: Context) -> dict[str, float]:
        """Raises InvalidCandidate, Diverged, OutOfMemory; and InputError where the data can not be read."""
        device = torch.device(context.device)
        with _reproducible(context, device), _out_of_memory():
            memory.forget_peak(device)
            return self._train(candidate, context, device)

    def one_batch(self) -> Trainer:
        """The same, ending after one batch: whether a candidate trains at all (``nas search --smoke``)."""
        return replace(self, steps=1)

    def repeating(self, notes: Mapping[str, Any]) -> Trainer:
        """The same, in the precision and with the batch that a trial with these notes was trained in, whatever ``auto``
        and ``fit`` find now.
        """
        found = (notes["batch_size"], notes["batch_size_reason"]) if "batch_size_reason" in notes else None
        return replace(self, recorded=named(notes.get("dtype")), recorded_batch=found)

    def _train(self, candidate: Candidate, context: Context, device: torch.device) -> dict[str, float]:
        parts = plugins.load(self.plugins)
        task = sources.describe(self.task, self.data_dir, parts.datasets)
        costs = network.costs(candidate, task, parts.layers)
        hyperparameters = read_hyperparameters(candidate.hyperparameters)
        chosen, name = chosen_optimizer(hyperparameters, self.settings.optimizer)
        regularisation = chosen_regularisation(hyperparameters, self.settings)
        require_suited(regularisation, task)
        if regularisation.label_smoothing and self.settings.loss:
            raise InvalidCandidate("hyperparameters.label_smoothing is for the task's own loss; leave out train.loss")

        samples = data.resident(self.task, "train", self.data_dir, context.device, parts)
        train, validation = data.split_resident(samples, self.task.validation, self.seed)
        context.note(
            optimizer=name,
            device=_device_name(device),
            **({"regularisation": said} if (said := regularisation.regularisation()) else {}),
        )
        problem = plugins.extended(
            problems.problem(task, regularisation.label_smoothing or 0.0), self.settings.loss, parts
        )

        def initial() -> nn.Module:
            torch.manual_seed(context.seed)  # weights, then dropout
            model = network.build(candidate, task, parts.layers)
            return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

        asked = hyperparameters.batch_size or self.settings.batch_size
        if asked == "fit":
            asked, reason = self.recorded_batch or fitting_batch(initial(), problem, samples, train)
            context.note(batch_size_reason=reason)
        batch = min(asked, len(train))
        rate = optimizers.scaled(chosen.learning_rate, batch, self.settings.scale_learning_rate)
        context.note(batch_size=batch, learning_rate=rate)

        def trained(model: nn.Module, policy: Precision) -> Result:
            context.note(**policy.notes())
            policy.adapt(model, device)
            if unfit := problem.unfit(model, samples.batch(train[:2])[0]):
                raise InvalidCandidate(unfit)
            initial_norm = optimizers.weight_norm(model)
            with policy.kernels():
                result = fit(
                    model,
                    problem,
                    lambda: problem.judgement(task, device),
                    optimizers.make(chosen, model),
                    samples,
                    train,
                    validation if self.steps is None else validation[:batch],
                    self._recipe(batch, rate, policy),
                    torch.Generator(device).manual_seed(seeds.derive(context.seed, "shuffle")),
                    context.report,
                    augmentation=Augmentation(regularisation, context.seed) if regularisation.augments else None,
                    average=Average(model, regularisation.average) if regularisation.average else None,
                )
            context.note(**result.notes(batch))
            context.note(weight_norm={"initial": initial_norm, "final": optimizers.weight_norm(model)})
            return result

        model = initial()
        work = Work(model, problem.loss, lambda count: samples.batch(train[:count]), batch, costs["flops"])
        policy = self._precision(hyperparameters.precision, device, work)
        diverged = ""
        try:
            result = trained(model, policy)
        except Diverged as error:
            if policy.name not in MAY_OVERFLOW:
                raise
            diverged = str(error)
        if diverged:  # not within `except`: the error's frames hold the network that it ends
            model = initial()
            result = trained(model, policy.instead("fp32", f"{policy.name} diverged: {diverged}"))
        observed = {name: seen for name, module in auxiliaries(model).items() if (seen := module.observed())}
        if observed:
            context.note(observed=observed)
        return {
            **result.metrics,
            **costs,
            "epochs": result.epochs,
            "images_per_second": result.images_per_second,
            "train_seconds": result.train_seconds,
            "peak_memory": float(memory.peak(device)),
        }

    def _recipe(self, batch: int, rate: float, policy: Precision) -> Recipe:
        settings = self.settings
        return Recipe(
            settings.epochs,
            batch,
            rate,
            settings.warmup_epochs,
            policy,
            self.steps,
            settings.micro_batch,
            settings.noise_scale,
        )

    def _precision(self, proposed: PrecisionName | None, device: torch.device, work: Work) -> Precision:
        if self.recorded:
            return precision.recorded(device, self.recorded)
        return precision.choose(device, proposed or self.settings.precision, work, fixed=proposed is None)


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


@contextmanager
def _reproducible(context: Context, device: torch.device) -> Iterator[None]:
    """Threads and kernels as the context says; what the process had is put back, its random numbers too."""
    threads = torch.get_num_threads()
    gpus = [device] if device.type == "cuda" else []
    torch.set_num_threads(context.threads)
    try:
        with (
            torch.random.fork_rng(gpus),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _out_of_memory() -> Iterator[None]:
    """Torch's several ways of saying that memory ended, as one."""
    try:
        yield
    except RuntimeError as error:
        if memory.is_ended(error):
            raise OutOfMemory(str(error).partition("\n")[0]) from error
        raise
