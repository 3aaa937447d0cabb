"""Regularized evolution (Real et al. 2019, arXiv:1802.01548, algorithm 1), asynchronous.

The alive are the last P trials told: the oldest dies whatever its fitness ("aging"). A parent wins a tournament among S
alive, drawn with replacement; its child has one active decision redrawn, keeps every value whose path stays active, and
draws from the prior what has become active. S is P where it is not given, and then the best wins two in three: with
tournaments of 5 among 20 it searched worse on every recorded table (docs/log.md). The first P proposals are drawn from
the prior. A failure has the worst fitness. The paper does not say what to do about repeats: here a child known already
is mutated further. A space's starts count among the first P, and join the population when that is complete: as its
oldest they would die childless. So do the best candidates of an earlier run, where there is one to learn from.

With several objectives the tournament goes by front among the alive, then by crowding (NSGA-II: Deb et al. 2002).
Under a scheduler it goes by levels among them (see fidelity.py); one that went on is told again while it is alive.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from nas.controllers import Lessons
from nas.controllers.fidelity import Curve, Levels
from nas.controllers.proposals import (
    FROM_PRIOR,
    REDRAWS,
    Rejections,
    best,
    is_settled,
    nothing_new,
    redraw_seed,
    to_proposal,
)
from nas.controllers.settings import EvolutionSettings
from nas.controllers.start import START
from nas.pareto import Vector, crowded
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.space import Decision, Draw, Space, admits, draw_prior

FURTHER = 5  # mutations put upon each other before a new parent is chosen

Values = Mapping[str, int | float]


@dataclass(frozen=True, slots=True)
class Individual:
    number: int
    reward: Vector | None  # None is a failure, worse than any other
    decisions: Values
    curve: Curve = ()  # under a scheduler


class EvolutionController:
    def __init__(self, settings: EvolutionSettings, space: Space, seed: int) -> None:
        self._settings = settings
        self._drawn = settings.sample or settings.population  # for each tournament
        self._space = space
        self._seed = seed
        self._began = 0
        self._known: dict[str, None] = {}  # hashes proposed, in that order: a set has none that could be saved
        self._alive: deque[Individual] = deque(maxlen=settings.population)  # oldest first
        self._starts: list[Individual] = []  # likewise, until the population is complete
        self._taught: list[tuple[int, Values]] = []  # the best of an earlier run: its trial's number, decisions

    def ask(self, number: int) -> Proposal | Exhausted:
        founding = self._began < self._settings.population or not self._alive
        rejections = Rejections(self._space)
        for trial, values in self._taught if founding else ():
            draw = self._space.replay(values)
            if draw.candidate.hash not in self._known and not rejections.takes(draw):
                return to_proposal(number, draw, notes={"taught": trial}, rejected=len(rejections))
        repeat: Draw | None = None
        for redraw in range(REDRAWS + 1):
            rng = Random(redraw_seed(self._seed, number, redraw))
            if founding or len(rejections) >= FROM_PRIOR:
                draw = self._space.prior(rng)
            elif repeat and redraw % FURTHER:
                draw = self._child(repeat.decisions, rng)
            else:
                draw = self._child(self._tournament(rng), rng)
            if rejections.takes(draw):
                continue
            if draw.candidate.hash not in self._known:
                return to_proposal(number, draw, rejected=len(rejections))
            repeat = draw
        if repeat is None:
            return rejections.exhausted()
        found = nothing_new(self._space, self._known, repeat)
        return found if isinstance(found, Exhausted) else to_proposal(number, found, rejected=len(rejections))

    def _tournament(self, rng: Random) -> Values:
        fitness = self._fitness()
        contenders = [rng.randrange(len(fitness)) for _ in range(self._drawn)]
        return self._alive[max(contenders, key=fitness.__getitem__)].decisions

    def _fitness(self) -> list[tuple[float, ...]]:
        """Of each of the alive, to compare by."""
        levels = Levels()
        for one in self._alive:
            levels.add(one.curve)
        known = (one for one in self._alive if one.reward is not None)
        rewards = [levels.of(one.curve) if one.curve else one.reward or () for one in known]
        several = bool(rewards) and len(rewards[0]) > 1
        places = iter(crowded(rewards) if several else rewards)
        return [() if one.reward is None else next(places) for one in self._alive]

    def _child(self, parent: Values, rng: Random) -> Draw:
        return mutate(self._space, parent, [p for p in parent if not is_settled(self._space.by_path[p])], rng)

    def teach(self, lessons: Lessons) -> None:
        """The best of them will be the first population, but for a space's starts, and are tried again."""
        self._taught = [
            (lesson.trial, dict(lesson.decisions)) for lesson, _ in best(lessons)[: self._settings.population]
        ]

    def began(self, proposal: Proposal) -> None:
        self._began += 1
        if self._began == self._settings.population:
            self._alive.extend(self._starts)
            self._starts.clear()
        self._known[proposal.hash] = None

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        reward, curve = (result.vector, result.curve) if isinstance(result, Reward) else (None, ())
        told = Individual(proposal.number, reward, dict(proposal.decisions), curve)
        if result.again:
            for held in (self._starts, self._alive):
                for place, one in enumerate(held):
                    if one.number == told.number:
                        held[place] = told
            return
        early = START in proposal.notes and self._began < self._settings.population
        (self._starts if early else self._alive).append(told)

    def save(self) -> bytes:
        alive = {"alive": list(self._alive), "starts": self._starts, "taught": self._taught}
        return orjson.dumps({"began": self._began, "known": list(self._known), **alive})

    def load(self, state: bytes) -> None:
        data = orjson.loads(state)
        self._began = data["began"]
        self._known = dict.fromkeys(data["known"])
        self._alive.clear()
        self._alive.extend(map(_individual, data["alive"]))
        self._starts = [_individual(one) for one in data["starts"]]
        self._taught = [(trial, values) for trial, values in data["taught"]]


def _individual(saved: Mapping[str, Any]) -> Individual:
    return Individual(**{**saved, "reward": saved["reward"] and tuple(saved["reward"])})


def mutate(space: Space, parent: Values, mutable: list[str], rng: Random) -> Draw:
    """A child of ``parent`` with one of the ``mutable`` paths redrawn to another value.

    What a constraint rules out, given what the child has by then, is redrawn as well.
    """
    target = rng.choice(mutable) if mutable else None

    def choose(decision: Decision) -> int | float:
        if decision.path == target:
            return _another(decision, parent[target], rng)
        if decision.path in parent and admits(decision, parent[decision.path]):
            return parent[decision.path]
        return draw_prior(decision, rng)

    return space.walk(choose)


def _another(decision: Decision, value: int | float, rng: Random) -> int | float:
    """A value from the prior that is not ``value``; after 100 draws (a weight near one) whatever came."""
    for _ in range(100):
        drawn = draw_prior(decision, rng)
        if drawn != value:
            break
    return drawn
