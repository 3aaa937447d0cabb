"""Spaces and scripts that controllers are tried on: every kind of decision, and rewards with a known shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any

import orjson

from nas.controllers import Controller
from nas.controllers.fidelity import WHOLE
from nas.errors import InvalidCandidate
from nas.records import CandidateFailure, Event, Exhausted, Proposal, Proposed, Reward, event_from_json
from nas.space import Candidate, Costs, Space

Result = Reward | CandidateFailure
Step = tuple[str, Proposal, Result | None]  # ("began", proposal, None) | ("tell", proposal, result)

EVERY_KIND: dict[str, Any] = {
    "name": "every-kind",
    "define": {"width": {"choice": [16, 32, 64]}},
    "architecture": [
        {"conv": {"filters": "=width", "kernel": {"choice": [3, 5]}}},
        {"activation": {"choice": ["relu", "gelu", "silu"], "weights": [2, 1, 1]}},
        {
            "repeat": {
                "times": {"int": [1, 3]},
                "of": {
                    "choice": [
                        {"residual": [{"conv": {"filters": "=width", "kernel": 3}}]},
                        {"inverted_residual": {"expand": {"choice": [3, 6]}, "hidden": {"int": [8, 256], "log": True}}},
                        "identity",
                    ]
                },
            }
        },
        {"dropout": {"rate": {"float": [0.0, 0.5]}}},
    ],
    "hyperparameters": {
        "augment": {"subset": ["flip", "crop", "cutout"]},
        "optimizer": {
            "choice": [
                {"sgd": {"learning_rate": {"float": [0.01, 1.0], "log": True}, "momentum": {"float": [0.8, 0.99]}}},
                {"adamw": {"learning_rate": {"float": [1e-4, 1e-2], "log": True}}},
            ]
        },
    },
}
FLAT: dict[str, Any] = {
    "hyperparameters": {
        "x": {"float": [-1.0, 1.0]},
        "y": {"float": [1e-3, 1.0], "log": True},
        "k": {"int": [1, 40]},
        "size": {"choice": [1, 2, 4, 8]},
        "kind": {"choice": ["a", "b", "c"]},
    }
}
SIX: dict[str, Any] = {"hyperparameters": {"a": {"choice": ["p", "q"]}, "b": {"choice": ["x", "y", "z"]}}}
# Masks of an index, an integer and a real; a condition on what may be inactive; a cost, which only rejection can keep.
CONSTRAINED: dict[str, Any] = {
    "define": {"width": {"choice": [8, 16, 32, 64], "weights": [1, 2, 3, 4]}},
    "architecture": [
        {"conv": {"filters": "=width", "kernel": {"choice": [3, 5, 7], "name": "kernel"}}},
        {"repeat": {"times": {"int": [1, 3], "name": "deep"}, "of": {"conv": {"filters": {"int": [4, 64]}}}}},
    ],
    "hyperparameters": {
        "optimizer": {
            "choice": [
                {"sgd": {"rate": {"float": [0.01, 1.0], "log": True, "name": "rate"}}},
                {"adamw": {"decay": {"choice": ["low", "high"], "name": "decay"}}},
            ],
            "name": "optimizer",
        }
    },
    "constraints": [
        "width * deep <= 64",
        "kernel != 7 or width <= 16",
        "rate * deep <= 0.5",
        "decay == 'low' or width >= 32",
        "value(path('architecture.1.repeat[1].of.conv.filters'), 32) % 2 == 0",
        "parameters <= 1_500",
    ],
}
FEW_LEFT: dict[str, Any] = {  # 6 of 24
    "hyperparameters": {
        "a": {"choice": [1, 2, 3, 4], "name": "a"},
        "b": {"choice": ["x", "y"], "name": "b"},
        "c": {"int": [1, 3], "name": "c"},
    },
    "constraints": ["a + c == 4 or (b == 'y' and a * c == 4)", "not (a == 3 and b == 'x')"],
}
ONE: dict[str, Any] = {"architecture": [{"linear": {"units": 10}}]}


def worth(decisions: Mapping[str, int | float]) -> float:
    """A smooth reward over whatever is active: every decision has a best value, and deeper is a little better."""
    total = 0.05 * len(decisions)
    for path, value in decisions.items():
        best = len(path) % 3
        total -= abs(math.tanh(value - best)) / 4
    return total


def worths(decisions: Mapping[str, int | float]) -> tuple[float, ...]:
    """Three objectives against each other, in units of their own; of the last many are equal."""
    return worth(decisions), -1e6 * math.fsum(map(abs, decisions.values())), float(len(decisions) % 3)


def script(
    controller: Controller,
    trials: int,
    seed: int,
    reward: Callable[[Mapping[str, int | float]], float | tuple[float, ...]] = worth,
    pending: int = 4,
) -> Iterator[Step]:
    """Run a search with up to ``pending`` trials at once that end in random order, some failing, some never told."""
    rng = Random(seed)
    running: list[Proposal] = []
    number = 0
    while number < trials or running:
        if number < trials and (len(running) < pending and (not running or rng.random() < 0.6)):
            proposal = controller.ask(number)
            if isinstance(proposal, Exhausted):
                return
            controller.began(proposal)
            yield "began", proposal, None
            running.append(proposal)
            number += 1
        else:
            proposal = running.pop(rng.randrange(len(running)))
            fate = rng.random()
            if fate < 0.05:
                continue  # lost to a machine: nobody is told
            seconds = 2.0 ** len(proposal.decisions) if fate < 0.9 else None  # a search may come to end by time
            result = CandidateFailure("diverged") if fate < 0.2 else Reward(reward(proposal.decisions), seconds=seconds)
            controller.tell(proposal, result)
            yield "tell", proposal, result


RUNGS = (1, 3, 9, WHOLE)


def scheduled(
    controller: Controller,
    trials: int,
    seed: int,
    reward: Callable[[Mapping[str, int | float]], float | tuple[float, ...]] = worth,
) -> Iterator[Step]:
    """The same under a scheduler: trials are told at rungs, and told again when they went on; some begin higher."""
    rng = Random(seed)
    running: list[tuple[Proposal, list[tuple[int, tuple[float, ...]]], bool]] = []
    number = 0
    while number < trials or running:
        if number < trials and len(running) < 4 and (not running or rng.random() < 0.4):
            proposal = controller.ask(number)
            if isinstance(proposal, Exhausted):
                return
            controller.began(proposal)
            yield "began", proposal, None
            running.append((proposal, [], False))
            number += 1
            continue
        proposal, curve, again = running.pop(rng.randrange(len(running)))
        if rng.random() < 0.1:
            failed = CandidateFailure("diverged", again=again)
            controller.tell(proposal, failed)
            yield "tell", proposal, failed
            continue
        told = reward(proposal.decisions)
        full = told if isinstance(told, tuple) else (told,)
        for rung in RUNGS[len(curve) :][: 1 if again or rng.random() < 0.7 else 3]:
            share = min(rung, 27) / 27
            curve = [*curve, (rung, tuple(value * share + rng.gauss(0.0, 0.02) for value in full))]
        seconds = None if again else 2.0 ** len(proposal.decisions)
        result = Reward(curve[-1][1], curve=curve, again=again, seconds=seconds)
        controller.tell(proposal, result)
        yield "tell", proposal, result
        if len(curve) < len(RUNGS) and rng.random() < 0.5:
            running.append((proposal, curve, True))


def replay(controller: Controller, steps: list[Step]) -> Controller:
    """Feed a controller what a journal would hold, proposals through JSON and back."""
    for kind, proposal, result in steps:
        if kind == "began":
            controller.began(through_json(proposal))
        else:
            assert result is not None
            controller.tell(through_json(proposal), result)
    return controller


def through_json(proposal: Proposal) -> Proposal:
    event: Event = event_from_json(orjson.loads(orjson.dumps(Proposed(proposal))))
    assert isinstance(event, Proposed)
    return event.proposal


def same(one: Proposal | Exhausted, other: Proposal | Exhausted) -> bool:
    """Equal in every field, the order of decisions included."""
    if isinstance(one, Proposal) and isinstance(other, Proposal):
        return one == other and list(one.decisions) == list(other.decisions)
    return one == other


def weights_of(candidate: Candidate) -> dict[str, float]:
    """Made-up costs: filters times the kernel's area, summed; one first layer cannot be built."""
    settings = [{"kernel": 3, **entry["conv"]} for entry in candidate.architecture or ()]
    if settings and (settings[0]["filters"], settings[0]["kernel"]) == (16, 5):
        raise InvalidCandidate("architecture.0.conv: no such convolution")
    return {"parameters": sum(conv["filters"] * conv["kernel"] ** 2 for conv in settings)}


def read(document: Mapping[str, Any]) -> Space:
    return Space.read(document, costs=Costs(weights_of) if document is CONSTRAINED else None)
