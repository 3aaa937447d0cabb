"""How good the estimate of training memory is: against what torch allocates in three steps, on this machine's CPU.

    python benchmarks/memory.py [SPACE] [N]

Prints estimate and measured peak (bytes allocated by torch, beyond the batch's own data) of N sampled candidates.
"""

from __future__ import annotations

import random
import statistics
import sys

import torch
from torch.profiler import ProfilerActivity, profile

from nas import documents, shipped
from nas.space import Candidate, Space
from nas.train import build, describe
from nas.train.hyperparameters import chosen_optimizer, read_hyperparameters
from nas.train.kinds import input_shape
from nas.train.layers import LAYERS
from nas.train.optimizers import make
from nas.train.pricing import Pricing
from nas.train.problems import problem
from nas.train.settings import DatasetTask, TrainSettings

TASKS = {"digits_cnn": "digits"}


def measured(candidate: Candidate, task: dict[str, object], settings: TrainSettings) -> int:
    """The most bytes that were allocated at once: network, gradients, optimizer, what is kept and what passes."""
    hyperparameters = read_hyperparameters(candidate.hyperparameters)
    chosen, _ = chosen_optimizer(hyperparameters, settings.optimizer)
    batch = hyperparameters.batch_size or settings.batch_size
    inputs = torch.randn(batch, *input_shape(task))
    targets = torch.randint(0, 2, (batch,))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        network = build(candidate, task)
        optimizer = make(chosen, network)
        for _ in range(3):
            optimizer.zero_grad(set_to_none=True)
            problem(task).loss(network(inputs), targets).backward()
            optimizer.step()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def main() -> None:
    """Measure."""
    name = sys.argv[1] if len(sys.argv) > 1 else "digits_cnn"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    torch.set_num_threads(1)
    settings = TrainSettings()
    task = describe(DatasetTask(dataset=TASKS.get(name, "fashion_mnist")))
    pricing = Pricing(task, settings)
    space = Space.read(documents.read(shipped.find("search_spaces", name)), task, layers=LAYERS)
    ratios = []
    for number in range(count):
        candidate = space.sample(random.Random(number)).candidate
        estimate, truth = pricing(candidate)["memory"], measured(candidate, task, settings)
        ratios.append(estimate / truth)
        print(f"{estimate / 2**20:8.1f} MiB estimated {truth / 2**20:8.1f} MiB measured  {ratios[-1]:.2f}  ", end="")
        print(candidate.one_line()[:90])
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"estimate / measured: median {statistics.median(ratios):.2f}, {spread}, n={count}")


if __name__ == "__main__":
    main()
