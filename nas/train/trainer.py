"""The shipped objective: train a candidate on a task, and say how good, how large and how fast it was."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from nas.errors import DiskFailed, Diverged, OutOfMemory, Preempted
from nas.space.canonical import canonical
from nas.train import checkpoint, compiling, memory, plugins, precision
from nas.train.checkpoint import Checkpoint, Identity, NotUsable
from nas.train.fit import Training, fit
from nas.train.fitting import fitting_batch
from nas.train.modules.auxiliary import auxiliaries
from nas.train.plugin_files import Plugin
from nas.train.precision import Precision, Work
from nas.train.precision.policy import MAY_OVERFLOW, named
from nas.train.scores import scored
from nas.train.settings import SMALLEST_FIT, Numbers, TaskSettings, TrainSettings
from nas.train.spent import peak_flops, share_of_peak
from nas.train.trial import Decided, Trial

if TYPE_CHECKING:
    from nas.objective import Context
    from nas.space import Candidate


@dataclass(frozen=True, slots=True)
class Trainer:
    """``trainer(candidate, context) -> metrics``; picklable, and the same for every trial of a run.

    Metrics: those of the kind of task (metrics.py; of the validation split, after the last epoch), parameters, flops,
    epochs, rows_per_second (samples, training alone), train_seconds (likewise), share_of_peak (where a peak could be
    measured; see spent.py), peak_memory (bytes, of training and judging; see memory.peak), and zero-cost scores where
    asked for (scores/; with no epochs, these and the costs alone). Notes: score_seconds, undefined_scores and why,
    spent (seconds by phase), peak_flops (a second), dtype and why, fp32_layers (how many of which kind are not in it),
    fallbacks (to another dtype), compiled and why, where that was thought of, device, batch_size (and why, where it was
    to fit), micro_batch and why where it is smaller, optimizer, learning_rate, regularisation where there is any,
    noise_scale where asked for, weight_norm before and after, what modules observed (modules/auxiliary.py); checkpoint
    where one was written, and continued_from_epoch, or begun_anew and why.

    The same seed, device, number of threads and precision give the same metrics but for times and memory, bit for bit,
    whatever the process trained before. On a GPU this asks cuDNN for deterministic kernels. What diverged in 16 or 8
    bits is trained once more in fp32, from the same initial weights, before it counts as diverged. With
    ``context.halve`` it begins as after an end of memory, of which a process that is killed hears nothing: half of the
    micro-batch passes at once, and is not halved again; a batch that is to fit is the least one.

    Told to stop before its last epoch it leaves a checkpoint in ``context.folder``, if there is one, and returns what
    was reached; from such a folder in ``context.saved`` it goes on as if it had never paused (checkpoint.py).
    """

    resumable: ClassVar[bool] = True

    settings: TrainSettings
    task: TaskSettings
    seed: int = 0  # the run's: it cuts the validation split
    data_dir: str | None = None
    steps: int | None = None  # see Recipe.steps
    plugins: tuple[Plugin, ...] = ()  # by value: a worker needs no file
    recorded: Numbers | None = None  # the precision of a trial that is repeated: it goes before whatever was asked for
    recorded_batch: tuple[int, str] | None = None  # likewise, where it was to fit: and why
    reported: tuple[str, ...] = ()  # metrics that each report holds too, of those that are known before training

    def __call__(self, candidate: Candidate, context: Context) -> dict[str, float]:
        """Raises InvalidCandidate, Diverged, OutOfMemory; and InputError where the data can not be read."""
        device = torch.device(context.device)
        try:
            with _reproducible(context, device), _out_of_memory():
                return self._train(candidate, context, device)
        finally:
            memory.give_back(device)

    def one_batch(self) -> Trainer:
        """The same, ending after one batch: whether a candidate trains at all (``nas search --smoke``)."""
        return replace(self, steps=1)

    def repeating(self, notes: Mapping[str, Any]) -> Trainer:
        """The same, in the precision, compiled or not, and with the batch that a trial with these notes was trained in,
        whatever ``auto`` and ``fit`` find now.
        """
        found = (notes["batch_size"], notes["batch_size_reason"]) if "batch_size_reason" in notes else None
        settings = self.settings.model_copy(update={"compile": "on" if notes.get("compiled") else "off"})
        return replace(self, settings=settings, recorded=named(notes.get("dtype")), recorded_batch=found)

    def _train(self, candidate: Candidate, context: Context, device: torch.device) -> dict[str, float]:
        parts = plugins.load(self.plugins)
        trial = Trial.read(
            candidate,
            context.seed,
            context.device,
            self.settings,
            self.task,
            parts,
            self.data_dir,
            self.seed,
            halve=context.halve,
        )
        context.note(**trial.notes(), device=_device_name(device))
        if not self.settings.epochs:
            trial.require_fit(trial.network())
            return {**_scores(trial, context), **trial.costs}
        saved = _saved(context, self._identity(trial)) if context.saved else None
        decided = saved.decided if saved else replace(self._decide(trial, context), scores=_scores(trial, context))
        decided = self._compiling(trial, decided, context, going_on=saved is not None)
        diverged = ""
        try:
            return self._trained(trial, decided, context, saved)
        except Diverged as error:
            if decided.precision.name not in MAY_OVERFLOW:
                raise
            diverged = str(error)
        for name in _OF_A_TRAINING:
            context.notes.pop(name, None)
        # Not within `except`: until it is left, the error's frames hold the network that diverged, and here it would
        # stand in memory beside its successor. For the same reason no network is a variable of this method.
        return self._trained(trial, decided.in_fp32(diverged), context)

    def _decide(self, trial: Trial, context: Context) -> Decided:
        """Batch, then precision: what a pass costs decides it."""

        def numbers(work: Work | None) -> Precision:
            if self.recorded:
                return precision.recorded(trial.device, self.recorded)
            proposed = trial.asked_precision
            return precision.choose(trial.device, proposed or self.settings.precision, work, fixed=proposed is None)

        asked, reason = trial.asked_batch, ""
        if asked == "fit" and self.recorded_batch:
            asked, reason = self.recorded_batch
        elif asked == "fit" and context.halve:  # to look again may be to be killed again
            asked, reason = SMALLEST_FIT, "fit: the least, as an earlier attempt ran out of memory"
        elif asked == "fit":
            limit = context.memory if trial.device.type == "cpu" else None
            asked, reason = fitting_batch(
                trial.network(), trial.problem, trial.samples, trial.train, numbers(None), limit
            )
        batch = min(asked, len(trial.train))
        return Decided(numbers(trial.work(batch)), batch, reason)

    def _compiling(self, trial: Trial, decided: Decided, context: Context, *, going_on: bool) -> Decided:
        """With whether its passes are compiled; for a training that goes on, as it was if this machine can."""
        recipe, samples = trial.recipe(decided, self.steps), len(trial.train)
        steps = min(recipe.total(samples), (context.until or recipe.epochs) * recipe.batches(samples))
        asked = self.settings.compile
        if going_on:
            asked = "on" if decided.compiled else "off"
        passes = steps * math.ceil(decided.batch / trial.at_once(decided.batch))
        yes, why = compiling.choose(asked, trial.work(decided.batch), decided.precision, passes)
        return replace(decided, compiled=yes, compile_reason=why)

    def _trained(
        self, trial: Trial, decided: Decided, context: Context, saved: Checkpoint | None = None
    ) -> dict[str, float]:
        recipe = trial.recipe(decided, self.steps)
        context.note(**decided.notes(), learning_rate=recipe.learning_rate)
        training = trial.begin(recipe, decided.precision, compiled=decided.compiled)
        if saved:
            saved.restore(training, trial.device)
        if training.accumulation.micro < recipe.batch:
            context.note(**training.accumulation.parts())
        training.accumulation.note = context.note
        if kept := decided.precision.fp32_layers(training.network, trial.device):
            context.note(fp32_layers=kept)
        known: dict[str, float] = {**trial.costs, **decided.scores}
        said = {name: known[name] for name in self.reported if name in known}
        memory.forget_peak(trial.device)  # what probes, scores and the reading of a checkpoint took is not its own
        with decided.precision.kernels():
            metrics = fit(
                training,
                trial.judgement,
                trial.samples,
                trial.train,
                trial.validation if self.steps is None else trial.validation[: recipe.batch],
                recipe,
                lambda epoch, reached: context.report(epoch, {**reached, **said}),
                augmentation=trial.augmentation,
            )
        # Before the device's peak is measured, which takes some memory.
        peak_memory = float(max(memory.peak(trial.device), saved.peak_memory if saved else 0))
        if context.folder and not training.ended:
            _pause(context, self._identity(trial), decided, training, trial.device, peak_memory)
        training.finish()
        context.note(**training.notes(recipe.batch))
        modules = auxiliaries(training.network)
        if observed := {name: seen for name, module in modules.items() if (seen := module.observed())}:
            context.note(observed=observed)
        with decided.precision.kernels():
            peak = peak_flops(trial.device, decided.precision.name)
        context.note(peak_flops=peak)
        measured = {**training.measured(), "peak_memory": peak_memory}
        if peak:
            measured["share_of_peak"] = share_of_peak(trial.costs["flops"], measured["rows_per_second"], peak)
        return {**metrics, **trial.costs, **measured, **decided.scores}

    def _identity(self, trial: Trial) -> Identity:
        """What a training's bits depend on; of two that differ in one of these neither goes on from the other."""
        settings = self.settings.model_dump_json(exclude={"deadline"})
        plugin_texts = "\0".join(plugin.text for plugin in self.plugins)
        return {
            # Not its hash: who calls the trainer may write layers as bare words, as no space does.
            "candidate": canonical([trial.candidate.architecture, trial.candidate.hyperparameters]).decode(),
            "seed": f"{trial.seed} {self.seed}",
            "configuration": f"{settings} {self.task.model_dump_json()} {self.steps}",
            "plugin": sha256(plugin_texts.encode()).hexdigest(),
            "version of the code": checkpoint.code(),
            "kind of device": trial.device.type,
        }


_OF_A_TRAINING = ("fp32_layers", "micro_batch", "micro_batch_reason")  # notes of one that need not be true of the next


def _scores(trial: Trial, context: Context) -> dict[str, float]:
    if not trial.settings.scores:
        return {}
    began = time.perf_counter()
    found = scored(trial, trial.settings.scores)
    context.note(score_seconds=time.perf_counter() - began)
    if found.undefined:
        context.note(undefined_scores=found.undefined)
    return found.scores


def _saved(context: Context, identity: Identity) -> Checkpoint | None:
    """Where an earlier attempt of the trial paused; None where there is nothing to go on from, which is noted."""
    assert context.saved
    try:
        saved = checkpoint.read(context.saved, identity)
    except NotUsable as error:
        context.note(begun_anew=str(error))
        return None
    context.note(continued_from_epoch=saved.epoch)
    return saved


def _pause(
    context: Context, identity: Identity, decided: Decided, training: Training, device: torch.device, peak_memory: float
) -> None:
    """Write a checkpoint. What a full disk refuses costs the epochs until here if the trial is to go on, no more.

    Raises Preempted where the checkpoint was all that it stopped for.
    """
    assert context.folder
    try:
        size = checkpoint.write(context.folder, identity, decided, training, device, peak_memory)
        context.note(checkpoint={"epoch": training.epoch, "bytes": size})
    except DiskFailed as error:
        context.note(checkpoint={"epoch": training.epoch, "not_written": str(error)})
        if context.until is None or training.epoch < context.until:
            raise Preempted(f"its checkpoint could not be written: {error}") from error


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
