"""Controllers on made-up landscapes whose best is known: what they are worth on problems that nobody tuned them on.

    python benchmarks/landscapes.py [--controllers rl,gp_ucb,optuna:tpe,...] [--seeds 20] [--tuning] [--evaluations 200]

Every seed is a landscape of its own, the same for all controllers. nk-N-A-K: N choices of A, each worth what a random
table says of it and of K others (Kauffman and Levin 1987); the larger K, the more rugged. branches: two blocks of three
kinds and an optimizer of two, with parameters of their own; kinds that go together are drawn at random. valley: four
integers along a bent valley with ripples. bowl: five reals, one by its logarithm, that depend on each other.

Regret is the best worth less that of the best so far, in standard deviations of random candidates; the mean over seeds,
plus and minus its standard error, after 50, 100 and all evaluations. p: one-sided Wilcoxon by seed at the end, that the
first controller named has less regret. Seeds from 0 on are for tuning (--tuning), from 10000 on for numbers to report.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from random import Random
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy or torch is imported

import numpy as np  # noqa: E402  (threads are set first)

from nas.bench.contenders import Contender, parse  # noqa: E402
from nas.bench.measures import better_than  # noqa: E402
from nas.errors import InputError  # noqa: E402
from nas.records import Exhausted, Reward  # noqa: E402
from nas.space import Space  # noqa: E402

REPORTED = 10_000  # the first seed
SAMPLE = 2_000  # random candidates, for scale
Decisions = Mapping[str, int | float]


@dataclass(frozen=True)
class Landscape:
    space: Space
    worth: Callable[[Decisions], float]
    best: float

    def spread(self, rng: Random) -> float:
        """Standard deviation of what random candidates are worth."""
        return statistics.stdev(self.worth(self.space.prior(rng).decisions) for _ in range(SAMPLE))


def _space(hyperparameters: Mapping[str, Any]) -> Space:
    return Space.read({"name": "landscape", "hyperparameters": hyperparameters})


def nk(size: int, options: int, others: int, rng: Random) -> Landscape:
    """Worth is the sum over decisions of a random number for each combination of it and ``others`` more."""
    looks_at = [[at, *rng.sample([one for one in range(size) if one != at], others)] for at in range(size)]
    tables = [np.array([rng.random() for _ in range(options ** (others + 1))]) for _ in range(size)]
    every = np.array(list(itertools.product(range(options), repeat=size)))

    def worths(rows: Any) -> Any:
        powers = options ** np.arange(others + 1)
        return sum(table[rows[:, seen] @ powers] for table, seen in zip(tables, looks_at, strict=True))

    names = [f"hyperparameters.d{at}" for at in range(size)]
    return Landscape(
        _space({f"d{at}": {"choice": [f"option{one}" for one in range(options)]} for at in range(size)}),
        lambda decisions: float(worths(np.array([[decisions[name] for name in names]]))[0]),
        float(worths(every).max()),
    )


def valley(rng: Random) -> Landscape:
    """Four integers, of which two pairs depend on each other, and ripples in each."""
    middle = np.array([rng.uniform(2, 9) for _ in range(4)])

    def worths(points: Any) -> Any:
        x = ((points - middle) / 4).T
        bent = (x[0] - x[1] ** 2) ** 2 + 0.5 * x[1] ** 2 + (x[2] + 0.7 * x[3]) ** 2 + 0.3 * x[3] ** 2
        return 0.15 * np.cos(3 * x).sum(0) - bent

    every = np.array(list(itertools.product(range(12), repeat=4)))
    names = [f"hyperparameters.d{at}" for at in range(4)]
    return Landscape(
        _space({f"d{at}": {"int": [0, 11]} for at in range(4)}),
        lambda decisions: float(worths(np.array([[decisions[name] for name in names]]))[0]),
        float(worths(every).max()),
    )


def bowl(rng: Random) -> Landscape:
    """Five reals, one of them by its logarithm: a bowl that is stretched and leans, its bottom inside."""
    bottom = np.array([rng.uniform(0.15, 0.85) for _ in range(5)])
    weights = np.array([math.exp(rng.uniform(-1.5, 1.5)) for _ in range(5)])
    lean = np.array([[rng.gauss(0, 0.5) if row != column else 1.0 for column in range(5)] for row in range(5)])
    names = [f"hyperparameters.d{at}" for at in range(5)]

    def worth(decisions: Decisions) -> float:
        *linear, rate = (decisions[name] for name in names)
        off = lean @ (np.array([*linear, math.log10(rate) / 4 + 1]) - bottom)
        return -float(weights @ off**2)

    linear = {f"d{at}": {"float": [0.0, 1.0]} for at in range(4)}
    return Landscape(_space({**linear, "d4": {"float": [1e-4, 1.0], "log": True}}), worth, 0.0)


def branches(rng: Random) -> Landscape:
    """Conditional, of choices, integers and reals; the best of each kind is known, so the best of all is."""
    kinds: list[Any] = [
        {"plain": {"kernel": {"choice": [1, 3, 5, 7]}, "width": {"int": [8, 128], "log": True}}},
        {"separable": {"kernel": {"choice": [3, 5]}, "expand": {"choice": [1, 2, 4, 6]}}},
        "identity",
    ]
    optimizers: list[Any] = [
        {"sgd": {"rate": {"float": [1e-3, 1.0], "log": True}, "momentum": {"float": [0.5, 0.99]}}},
        {"adam": {"rate": {"float": [1e-5, 1e-1], "log": True}}},
    ]
    blocks = ("first", "second")
    settings: dict[tuple[Any, ...], float] = {
        (block, *rest): rng.random()
        for block in blocks
        for rest in [*(("plain", k) for k in range(4)), *(("separable", k, e) for k in range(2) for e in range(4))]
    }
    widths = {block: rng.uniform(math.log(8), math.log(128)) for block in blocks}
    together = {key: rng.random() for key in itertools.product(range(3), range(3), range(2))}
    rates = [rng.uniform(math.log(3e-3), math.log(0.3)), rng.uniform(math.log(3e-5), math.log(3e-2))]
    momentum = rng.uniform(0.6, 0.95)

    def of(block: str, decisions: Decisions) -> tuple[int, float]:
        place = f"hyperparameters.{block}"
        kind = int(decisions[place])
        if kind == 0:
            off = math.log(decisions[f"{place}:plain.width"]) - widths[block]
            return kind, settings[block, "plain", decisions[f"{place}:plain.kernel"]] + 0.7 - off**2
        if kind == 1:
            chosen = decisions[f"{place}:separable.kernel"], decisions[f"{place}:separable.expand"]
            return kind, 1.5 * settings[block, "separable", *chosen]
        return kind, 0.6

    def worth(decisions: Decisions) -> float:
        (first, one), (second, two) = (of(block, decisions) for block in blocks)
        place = "hyperparameters.optimizer"
        which = int(decisions[place])
        rate = math.log(decisions[f"{place}:{('sgd', 'adam')[which]}.rate"])
        tuned = -abs(rate - rates[which]) / 2
        if which == 0:
            tuned -= 2 * abs(decisions[f"{place}:sgd.momentum"] - momentum)
        return one + two + tuned + 1.5 * together[first, second, which]

    def best_of(block: str, kind: int) -> float:
        if kind == 0:
            top = max(settings[block, "plain", k] for k in range(4))
            near = min(abs(math.log(width) - widths[block]) for width in range(8, 129))
            return top + 0.7 - near**2
        return 0.6 if kind == 2 else 1.5 * max(settings[block, "separable", k, e] for k in range(2) for e in range(4))

    best = max(best_of("first", a) + best_of("second", b) + 1.5 * worth_ for (a, b, _), worth_ in together.items())
    return Landscape(
        _space({"first": {"choice": kinds}, "second": {"choice": kinds}, "optimizer": {"choice": optimizers}}),
        worth,
        best,
    )


LANDSCAPES: dict[str, Callable[[Random], Landscape]] = {
    "nk-8-4-1": partial(nk, 8, 4, 1),
    "nk-8-4-2": partial(nk, 8, 4, 2),
    "nk-6-5-2": partial(nk, 6, 5, 2),
    "valley": valley,
    "bowl": bowl,
    "branches": branches,
}


def regrets(contender: Contender, landscape: Landscape, seed: int, evaluations: int) -> list[float]:
    """After each evaluation; one at a time. What has nothing more to propose keeps its best."""
    controller, found, best = contender.make(landscape.space, seed), [], -math.inf
    for number in range(evaluations):
        proposal = controller.ask(number)
        if isinstance(proposal, Exhausted):
            break
        controller.began(proposal)
        worth = landscape.worth(proposal.decisions)
        controller.tell(proposal, Reward(worth))
        best = max(best, worth)
        found.append(landscape.best - best)
    return found + found[-1:] * (evaluations - len(found))


def main() -> None:
    """Print a table for each landscape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--controllers", default="rl,gp_ucb,local_search,optuna:tpe,evolution,random")
    parser.add_argument("--landscapes", default=",".join(LANDSCAPES))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--tuning", action="store_true", help="seeds from 0 on")
    parser.add_argument("--evaluations", type=int, default=200)
    given = parser.parse_args()
    contenders = parse(given.controllers)
    first = 0 if given.tuning else REPORTED
    print(
        f"{platform.platform()}, optuna {version('optuna')}, torch {version('torch')}; seeds {first} to "
        f"{first + given.seeds - 1}; regret in standard deviations"
    )
    for name in given.landscapes.split(","):
        print(f"\n{name:14} {'@50':>14} {'@100':>14} {f'@{given.evaluations}':>14} {'found':>6} {'p':>8} {'s':>6}")
        ours: dict[int, float] = {}
        for contender in contenders:
            ends, lines, began = {}, [], time.process_time()
            try:
                for seed in range(first, first + given.seeds):
                    landscape = LANDSCAPES[name](Random(seed))
                    spread = landscape.spread(Random(seed))
                    lines.append([one / spread for one in regrets(contender, landscape, seed, given.evaluations)])
                    ends[seed] = lines[-1][-1]
            except InputError as error:
                print(f"{contender.name:14} {error}")
                continue
            ours = ours or ends
            p = "" if ends is ours else f"{better_than(ours, ends, higher=False):.2g}"
            cells = " ".join(f"{_mean([line[at - 1] for line in lines]):>14}" for at in (50, 100, given.evaluations))
            found = sum(end < 1e-3 for end in ends.values())
            seconds = (time.process_time() - began) / given.seeds
            print(f"{contender.name:14} {cells} {found:>6} {p:>8} {seconds:>6.1f}", flush=True)


def _mean(values: list[float]) -> str:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{statistics.fmean(values):.3f} ±{error:.3f}"


if __name__ == "__main__":
    main()
