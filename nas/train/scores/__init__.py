"""Zero-cost scores: what a network's initial weights say of it, in a second instead of a training.

    synflow     synaptic flow (Tanaka et al. 2020; as a score, Abdelfattah et al. 2021): synflow.py
    naswot      how differently activations see the samples of a batch (Mellor et al. 2021): naswot.py
    grad_norm   the length of the first gradient (Abdelfattah et al. 2021): gradient.py

All are better the higher they are, as their papers have it; how far that holds for a space and a task is to be looked
at (docs/log.md). They are a function of the trial's seed (initial weights) and the run's split (of which the same
samples are taken for every trial). A score gets a network of its own, so the one that is trained is as if there were
none.

Left out: those that need a Hessian (GraSP), and jacob_cov, which naswot's authors replaced by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nas import seeds
from nas.train.scores.gradient import grad_norm
from nas.train.scores.naswot import naswot
from nas.train.scores.synflow import synflow
from nas.train.scores.undefined import Undefined
from nas.train.settings import ScoreName
from nas.train.trial import Trial

SAMPLES = 64  # fewer than the papers' 128 and 256: twice the samples are twice the time


@dataclass(slots=True)
class Scored:
    scores: dict[str, float] = field(default_factory=dict)
    undefined: dict[str, str] = field(default_factory=dict)  # why this network has no such score


def scored(trial: Trial, names: Sequence[ScoreName]) -> Scored:
    """The scores of a trial's network before training; torch's generators are left as they were."""
    found = Scored()
    gpus = [trial.device] if trial.device.type == "cuda" else []
    inputs, targets = _batch(trial)
    for name in names:
        with torch.random.fork_rng(gpus):
            network = trial.network()
            _at_initialisation(network)
            try:
                found.scores[name] = _score(name, network, trial, inputs, targets)
            except Undefined as why:
                found.undefined[name] = str(why)
    return found


def _score(name: ScoreName, network: nn.Module, trial: Trial, inputs: Tensor, targets: Tensor) -> float:
    match name:
        case "synflow":
            return synflow(network, inputs[:1])
        case "naswot":
            return naswot(network, inputs)
        case "grad_norm":
            return grad_norm(network, trial.problem.loss, inputs, targets)


def _batch(trial: Trial) -> tuple[Tensor, Tensor]:
    """The same samples for every trial of a run, picked from all classes: they may lie one class after another."""
    picked = np.random.default_rng(seeds.derive(0, "scores")).permutation(len(trial.train))[:SAMPLES]
    return trial.samples.batch(trial.train[torch.from_numpy(picked).to(trial.train.device)])


def _at_initialisation(network: nn.Module) -> None:
    """Batch norms take the batch's own statistics, as theirs are not learned yet; nothing is dropped at random."""
    network.eval()
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.train()
