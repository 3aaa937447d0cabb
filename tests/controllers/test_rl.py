"""The RL controller learns what it is told, at the counts it promises, and finds better candidates than chance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from search_problems import EVERY_KIND, FLAT, SIX, read, script

from nas.controllers.bins import moved, position
from nas.controllers.imagination import interval
from nas.controllers.policy import Policy
from nas.controllers.random import RandomController
from nas.controllers.rl import RLController
from nas.controllers.settings import RLSettings
from nas.records import CandidateFailure, Proposal, Reward
from nas.space import Integer, Real

QUICK = RLSettings(warmup=4, update_every=2)


def new(document: Mapping[str, Any], settings: RLSettings = QUICK, seed: int = 1) -> RLController:
    return RLController(settings, read(document), seed)


def step(controller: RLController, number: int) -> Proposal:
    proposal = controller.ask(number)
    assert isinstance(proposal, Proposal)
    controller.began(proposal)
    return proposal


def network_worth(candidate: Mapping[str, Any]) -> float:
    """What a small network is worth, made up: a best kind and width of block, interactions, and two learning rates."""
    total, depth = 0.0, 0
    for entry in candidate["architecture"]:
        ((layer, settings),) = entry.items()
        match layer:
            case "conv":
                total += {3: 0.0, 5: 0.3}[settings["kernel"]] - abs(math.log2(settings["filters"] / 32)) / 2
            case "activation":
                total += {"relu": 0.0, "gelu": 0.3, "silu": 0.6}[settings]
            case "residual" | "identity":
                total += 0.2 if layer == "residual" else -0.3
                depth += 1
            case "inverted_residual":
                total += 0.3 + {3: 0.0, 6: 0.4}[settings["expand"]] - math.log2(settings["hidden"] / 64) ** 2 / 8
                depth += 1
            case "dropout":
                total -= 8 * (settings["rate"] - 0.2) ** 2
    ((optimizer, settings),) = candidate["hyperparameters"]["optimizer"].items()
    if optimizer == "sgd":
        total -= abs(math.log10(settings["learning_rate"] / 0.1)) + 3 * abs(settings["momentum"] - 0.9)
    else:
        total += 0.3 - 2 * abs(math.log10(settings["learning_rate"] / 1e-3))
    return total


def best_of(controller: RLController | RandomController, trials: int) -> float:
    best = -math.inf
    for number in range(trials):
        proposal = controller.ask(number)
        assert isinstance(proposal, Proposal)
        controller.began(proposal)
        value = network_worth(proposal.candidate)
        controller.tell(proposal, Reward(value))
        best = max(best, value)
    return best


def test_it_clearly_beats_random_search_within_60_trials() -> None:
    """The reason for the product to exist. On a conditional space of every kind of decision, default settings."""
    space = read(EVERY_KIND)
    seeds = range(20, 25)
    rl = [best_of(RLController(RLSettings(), space, seed), 60) for seed in seeds]
    chance = [best_of(RandomController(space, seed), 60) for seed in seeds]
    more = [best_of(RandomController(space, seed), 180) for seed in seeds]
    assert all(a > b for a, b in zip(rl, chance, strict=True))
    assert sum(rl) > sum(more)  # not even three times as many random trials reach it


def test_updates_come_at_counts_of_tells_and_name_the_policy_version() -> None:
    controller = new(FLAT)
    updates, versions = [], []
    for number in range(12):
        proposal = step(controller, number)
        updates.append(controller._updates)
        versions.append(proposal.policy)
        controller.tell(proposal, Reward(float(number % 5)))
    assert updates == [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert versions[:5] == updates[:5]
    assert all(version <= known for version, known in zip(versions, updates, strict=True))  # a pool outlives an update


def test_the_recorded_log_probability_is_that_of_the_policy_that_drew_it() -> None:
    """The ratio of an update must be exactly one where the policy has not changed since the ask."""
    controller = new(EVERY_KIND)
    edits = 0
    for kind, proposal, _ in script(controller, 60, seed=3):
        if kind == "began" and proposal.policy == controller._updates:  # others were drawn a thought or more ago
            policy: Policy = controller._policy
            assert proposal.log_probability is not None
            drawn = proposal.notes.get("drawn", list(proposal.decisions))
            counts = [path in drawn for path in proposal.decisions]
            batch = policy.sequences([(policy.encoded(proposal.decisions), counts)])
            scores = policy.score(policy.theta, batch, torch.tensor([proposal.notes["floor"]]))
            density = policy.density_of(proposal.decisions, drawn)
            assert scores.log_mixture.item() + density == pytest.approx(proposal.log_probability, abs=2e-4)
            edits += "parent" in proposal.notes
    assert edits > 10


def test_a_constant_reward_teaches_nothing() -> None:
    """Were noise around nothing learned from, a search with a broken metric would look as if it converged."""
    controller = new(FLAT)
    before = controller._policy.theta.clone()
    for number in range(20):
        controller.tell(step(controller, number), Reward(0.7))
    assert controller._updates > 5
    assert torch.equal(controller._policy.theta, before)


def chance_of(controller: RLController, path: str, value: int) -> float:
    """Of a decision that is drawn first."""
    return math.exp(controller._policy.log_probability({path: value}, 0.0))


CHOICES: dict[str, Any] = {
    "hyperparameters": {f"c{i}": {"choice": ["a", "b", "c", "d"], "name": f"c{i}"} for i in range(6)}
}


def test_what_fails_is_proposed_less() -> None:
    """A failure is the worst reward: candidates that run out of memory must not be drawn for ever."""
    controller = new(CHOICES)
    for number in range(40):
        proposal = step(controller, number)
        failed = proposal.decisions["c0"] == 2
        controller.tell(proposal, CandidateFailure("out_of_memory") if failed else Reward(0.5))
    assert chance_of(controller, "c0", 2) < 0.1


def test_what_is_good_is_proposed_more_whatever_the_scale_of_rewards() -> None:
    for scale in (1e-6, 1.0, 1e6):
        controller = new(CHOICES)
        for number in range(40):
            proposal = step(controller, number)
            controller.tell(proposal, Reward(scale * (proposal.decisions["c0"] == 1) - scale))
        assert chance_of(controller, "c0", 1) > 0.5


def test_where_seconds_are_told_what_takes_long_is_proposed_less_unless_it_is_worth_it() -> None:
    """Of two that are worth the same, a search that ends by time has more of the faster one."""
    space = read({"hyperparameters": {"slow": {"int": [0, 5]}, **{letter: {"int": [0, 5]} for letter in "abc"}}})

    def slow(seed: int, *, longer: float | None, worth: float = 0.0) -> float:
        """How slow, 0 to 5, the last 25 of 40 proposals are on average, each step taking so many times as long."""
        controller, found = RLController(RLSettings(), space, seed), []
        for number in range(40):
            proposal = step(controller, number)
            made = proposal.candidate["hyperparameters"]
            found.append(made["slow"])
            value = made["a"] - made["b"] - abs(made["c"] - 3) + worth * made["slow"]
            controller.tell(proposal, Reward(float(value), seconds=longer and longer ** made["slow"]))
        return sum(found[15:]) / 25

    seeds = range(3)
    assert all(slow(seed, longer=3.0) < slow(seed, longer=None) - 1.0 for seed in seeds)
    assert all(slow(seed, longer=1.3, worth=10.0) > 2.5 for seed in seeds)


def test_what_trials_took_is_nothing_to_a_run_that_goes_on_by_trials() -> None:
    controller = new(FLAT)
    imagination = controller._imagination
    assert imagination._cost

    def penalised(number: int, seconds: float | None) -> bool:
        controller.tell(step(controller, number), Reward(float(number % 5), seconds=seconds))
        return bool(
            imagination._cost.penalty(torch.from_numpy(np.stack([one.row for one in imagination._memory]))).any()
        )

    assert [penalised(number, 1.0 + number) for number in range(8)][-1]
    assert not penalised(8, None)
    assert penalised(9, 3.0)


def test_a_pending_candidate_is_not_proposed_again() -> None:
    """Four workers of a small space would otherwise train the same network."""
    controller = new(SIX)
    assert len({step(controller, number).hash for number in range(6)}) == 6


def test_a_snapshot_of_another_space_is_refused() -> None:
    from nas.errors import NasError

    with pytest.raises(NasError, match="replay the journal"):
        new(FLAT).load(new(EVERY_KIND).save())


def test_many_trials_are_thought_about_seldom_and_remembered_in_part() -> None:
    """A controller that gets slower with every trial ends a long search; what it forgets must not be its best."""
    controller = new(CHOICES, RLSettings(pool=4, steps=0))
    best = (-math.inf, -1)
    thoughts = []
    for number in range(1_300):
        proposal = step(controller, number)
        value = float(sum((value * 7 + at) % 5 for at, value in enumerate(proposal.decisions.values())))
        before = controller._imagination._models[0].state
        controller.tell(proposal, Reward(value))
        best = max(best, (value, number))
        if controller._imagination._models[0].state is not before:
            thoughts.append(number + 1)
    assert thoughts[:5] == [4, 5, 6, 7, 8]
    assert [told for told in thoughts if told > 1_000] == [1_024, 1_152, 1_280]
    memory = controller._imagination._memory
    assert len(memory) == 256
    assert best[1] in {one.number for one in memory}
    assert {one.number for one in memory} >= set(range(1_300 - 96, 1_300))
    assert min(one.number for one in memory) < 300  # some of the others, from all of the run
    assert len(controller._imagination._pending) == 0


def test_many_workers_do_not_wait_for_thoughts() -> None:
    """Else the first answers of 10,000 workers are thought about one by one, and they all stand idle for a minute."""
    controller = new(CHOICES, RLSettings(pool=4, steps=0))
    running = [step(controller, number) for number in range(200)]
    thoughts = []
    for proposal in running[:30]:
        before = controller._imagination._models[0].state
        controller.tell(proposal, Reward(float(proposal.number % 7)))
        if controller._imagination._models[0].state is not before:
            thoughts.append(controller._count)
    assert thoughts == list(range(4, 31, 2))  # 200 to 170 are open, two to three times 64
    assert [interval(10, open_) for open_ in (0, 64, 127, 128, 1_000, 10_000)] == [1, 1, 1, 2, 8, 128]


@given(st.booleans(), st.booleans(), st.floats(0, 1), st.floats(-2, 2))
def test_a_number_moves_within_its_domain_and_an_integer_moves(real: bool, log: bool, at: float, by: float) -> None:
    """Else an edit might leave the domain, or propose its parent again."""
    decision = Real("x", 0.5, 90.0, log) if real else Integer("x", 1, 90, log)
    value = decision.low + at * (decision.high - decision.low)
    value = value if real else round(value)
    there = moved(decision, value, by)
    assert decision.accept(there) == there
    if not real:
        inside = (by > 0 and value < decision.high) or (by <= 0 and value > decision.low)
        assert (there != value) == inside
    elif 0 < position(decision, value) + by < 1:
        assert position(decision, there) - position(decision, value) == pytest.approx(by, abs=1e-9)


def test_numbers_of_the_best_trials_move_a_little() -> None:
    """A rate found by a draw of its whole range is a tenth of the range off, and would stay so."""
    controller = new({"name": "n", "hyperparameters": {"x": {"float": [0.0, 1.0]}, "y": {"float": [0.0, 1.0]}}})
    moves = []
    values: dict[int, Mapping[str, int | float]] = {}
    for number in range(60):
        proposal = step(controller, number)
        values[number] = proposal.decisions
        if "parent" in proposal.notes:
            parent = values[proposal.notes["parent"]]
            kept = set(parent) - set(proposal.notes["drawn"])
            moves += [abs(proposal.decisions[path] - parent[path]) for path in kept]
        controller.tell(proposal, Reward(-sum(abs(value - 0.3) for value in proposal.decisions.values())))
    assert sum(0 < move < 0.1 for move in moves) > 10
