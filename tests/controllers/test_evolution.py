"""Regularized evolution: who is alive, how a child differs from its parent, and that it searches."""

from __future__ import annotations

from random import Random

from search_problems import EVERY_KIND, FLAT, read, script, worth

from nas.controllers.evolution import EvolutionController, mutate
from nas.controllers.random import RandomController
from nas.controllers.settings import EvolutionSettings
from nas.records import CandidateFailure, Proposal, Reward

SMALL = EvolutionSettings(population=3, sample=3)


def tell(controller: EvolutionController, number: int, result: Reward | CandidateFailure) -> Proposal:
    proposal = controller.ask(number)
    assert isinstance(proposal, Proposal)
    controller.began(proposal)
    controller.tell(proposal, result)
    return proposal


def test_a_child_has_one_decision_redrawn_and_keeps_the_rest() -> None:
    """Every value whose path stays active is kept, also below a branch that was left and entered again elsewhere."""
    space = read(EVERY_KIND)
    for seed in range(200):
        rng = Random(seed)
        parent = space.sample(rng).decisions
        target = rng.choice(list(parent))
        child = mutate(space, parent, [target], rng).decisions
        assert child[target] != parent[target]
        assert all(child[path] == parent[path] for path in child if path in parent and path != target)


def test_the_oldest_told_dies_however_good_it_was() -> None:
    """Aging is what regularizes: without it a lucky score is a parent for ever."""
    controller = EvolutionController(SMALL, read(FLAT), 1)
    best = tell(controller, 0, Reward(100.0))
    for number in range(1, 4):
        tell(controller, number, Reward(1.0))
    assert all(one.decisions != best.decisions for one in controller._alive)


def test_a_failure_never_wins_a_tournament_against_a_reward() -> None:
    controller = EvolutionController(SMALL, read(FLAT), 1)
    tell(controller, 0, CandidateFailure("error"))
    good = tell(controller, 1, Reward(-1e9))
    tell(controller, 2, CandidateFailure("timeout"))
    for seed in range(50):
        contenders = {tuple(good.decisions.items())} | {tuple(one.decisions.items()) for one in controller._alive}
        winner = controller._tournament(Random(seed))
        assert tuple(winner.items()) in contenders
        if Random(seed).choice(controller._alive).reward is not None:
            assert winner == good.decisions


def test_it_beats_random_search() -> None:
    space = read(EVERY_KIND)

    def best(controller: EvolutionController | RandomController, seed: int) -> float:
        steps = script(controller, 120, seed)
        return max(worth(p.decisions) for kind, p, result in steps if isinstance(result, Reward))

    wins = sum(
        best(EvolutionController(EvolutionSettings(), space, seed), seed) > best(RandomController(space, seed), seed)
        for seed in range(10)
    )
    assert wins >= 8


def test_with_several_objectives_the_front_wins_and_what_is_alone_on_it() -> None:
    """By value alone the tournament would prefer one end of the front, and lose the other."""
    controller = EvolutionController(EvolutionSettings(population=6, sample=6), read(FLAT), 1)
    rewards = [(0.0, 4.0), (1.0, 3.0), (1.1, 2.9), (4.0, 0.0), (0.5, 0.5), None]
    proposals = [
        dict(tell(controller, number, Reward(one) if one else CandidateFailure("diverged")).decisions)
        for number, one in enumerate(rewards)
    ]
    winners = [dict(controller._tournament(Random(seed))) for seed in range(200)]
    won = [winners.count(decisions) for decisions in proposals]
    assert won[0] + won[3] > 150  # the ends: infinitely far from a neighbour
    assert won[1] + won[2] > 0
    assert won[4] + won[5] < 10
