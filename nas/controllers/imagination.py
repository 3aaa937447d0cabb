"""What the RL controller would try next: the policy draws a pool, the reward model says what of it is promising.

    told rewards -> reward model --+
    told seconds -> cost model ----+
    policy -> pool of draws -------+-> the best of the pool are proposed, in turn     (``queue``)

So imagined rewards, optimistic where little is known, choose among the policy's draws, which is what makes it work
where nobody can look at every candidate; the policy itself is trained by real rewards alone. Training it towards the
best of the pool as well showed in no search (docs/log.md, 2026-11-29).

What an earlier run found out (``teach``) is on another scale, and the trials of this run are not a sample like it: most
are chosen to be good, so ranks of the two can not be mixed. Instead each of the two has for levels what the model of
the earlier run alone expects of its candidates, and its own order decides which of them has which level. So the earlier
run says how good the candidates are that were tried here, and this run which of them are better. For each trial
told, FADE that were taught are forgotten, and what was said there of the same candidate: an earlier run that misleads
does so for a while only.

Thinking takes some 10 ms and more, and is done seldom once a run is long: see ``interval``. In between, asks are
answered from the queue. What is remembered is bounded: the best trials, the last ones, and some of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import numpy as np
import orjson
import torch
from torch import Tensor

from nas.controllers import Lessons
from nas.controllers.cost_model import CostModel
from nas.controllers.encoding import Encoder, Row
from nas.controllers.fidelity import Curve, Levels
from nas.controllers.preferences import Preferences
from nas.controllers.reward_model import RewardModel, choose, exponential
from nas.pareto import Vector
from nas.records import Proposal, Reward
from nas.seeds import derive
from nas.space import Draw, Space

MEMORY = 256  # told trials that the reward model learns from ...
BEST, LAST = 96, 96  # ... of which the best and the last ones are always among them
PENDING = 64  # trials that still run, the last ones, that a choice keeps away from
RAISED = 4  # times that a pool is drawn, each farther from what is known, where too little of it is new
ROUNDS = 4  # of choosing, where what was chosen must not be proposed
FADE = 3  # taught trials that are forgotten for each one told
POOL = 256  # draws that are kept from one thought to the next
ASCENTS = 1  # of the reward model's likelihood, for each thought: three fit what 30 trials can not show (docs/log.md)
OPTIMISM = 2.0  # standard deviations above what is expected
OFTEN, MANY = 200, 896  # trials told up to which every tell is thought about, and from which one in SELDOM is
SELDOM = 128
THOUGHTS = 64  # while as many trials are told as are open at once, where these are more
AHEAD = 4  # proposals that are queued at least; half as many again as trials are told until the next thought

Notes = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sketch:
    """A draw of the policy: decisions alone, with what a proposal says of how they were drawn."""

    decisions: Mapping[str, int | float]
    log_probability: float
    notes: Notes


Draws = Callable[[np.random.Generator, int, int], Sequence[Sketch]]  # so many; raised: how far from what is known


def interval(told: int, open_: int) -> int:
    """Tells from one thought to the next, after so many, while ``open_`` trials are proposed and not told.

    So that a tell costs little in the 99th percentile, too; and so that thousands of workers do not wait for a thought
    that changes next to nothing: there are THOUGHTS, or somewhat more, while each of them ends one trial. All are
    powers of two, so ``told % interval == 0`` says when to think, however they follow each other.
    """
    so_far = 1 if told <= OFTEN else 4 if told < 2 * OFTEN else 16 if told < MANY else SELDOM
    return max(so_far, 1 << max(0, (open_ // THOUGHTS).bit_length() - 1))


@dataclass(frozen=True, slots=True)
class Remembered:
    number: int
    decisions: Mapping[str, int | float]
    vector: Vector | None  # its reward; None is a failure, worse than any number
    row: Row
    lot: int  # of those that need not be kept, the one with the highest is forgotten first
    curve: Curve = ()  # under a scheduler, what the vector is the level of
    seconds: float | None = None  # that it took, as its reward says


@dataclass(frozen=True, slots=True)
class Pending:
    decisions: Mapping[str, int | float]
    row: Row


@dataclass(frozen=True, slots=True)
class Imagined:
    """A draw of the policy that was not proposed yet, with what its proposal will say of how it was drawn."""

    key: int
    decisions: Mapping[str, int | float]
    log_probability: float
    notes: Notes
    policy: int
    row: Row


class Imagination:
    def __init__(
        self, space: Space, seed: int, draws: list[Draw], size: int, preferences: Preferences, objectives: int
    ) -> None:
        """``draws``: some of the space's prior, for scale; ``size``: how many are drawn for one thought, at least."""
        self._preferences = preferences
        self._space = space
        self._seed = seed
        self._size = size
        self._encoder = Encoder(space, draws)
        rows = np.stack([self._encoder.row(draw.decisions, draw.candidate.architecture) for draw in draws])
        process = partial(RewardModel, self._encoder.blocks, torch.from_numpy(rows), numbers=bool(space.numbers))
        self._models = [process() for _ in range(objectives)]
        self._cost = CostModel(process()) if objectives == 1 else None
        self._timed = False  # whether the last reward said how long it took: a run may go on by another budget
        self._memory: list[Remembered] = []
        self._taught: list[Remembered] = []  # of an earlier run ...
        self._earlier = Preferences(seed, objectives)  # ... which has bests of its own
        self._pending: dict[int, Pending] = {}
        self._settled: dict[int, None] = {}  # keys, as they came, of all proposals, and of what must not be proposed
        self._pool: list[Imagined] = []
        self.queue: list[Imagined] = []

    def began(self, proposal: Proposal) -> None:
        key = _key(proposal.decisions)
        self._settled[key] = None
        self._pending[key] = Pending(dict(proposal.decisions), self._row(proposal.decisions))
        if len(self._pending) > PENDING:
            del self._pending[next(iter(self._pending))]
        self.queue = [one for one in self.queue if one.key != key]

    def teach(self, lessons: Lessons) -> None:
        for lesson, result in lessons:
            vector = result.vector if isinstance(result, Reward) else None
            self._earlier.told(vector)
            self._taught.append(self._remembered(lesson.trial, dict(lesson.decisions), vector))
        while len(self._taught) > MEMORY:
            kept = {one.number for one in self._earlier.lasting(self._taught, BEST)}
            self._taught = _without_one(self._taught, kept)

    def told_again(self, proposal: Proposal, vector: Vector | None, curve: Curve) -> None:
        """Of a trial that went on, in the place of what was told before."""
        before = next((one for one in self._memory if one.number == proposal.number), None)
        row, seconds = (before.row, before.seconds) if before else (None, None)
        self._memory = [one for one in self._memory if one.number != proposal.number]
        self._memory.append(self._remembered(proposal.number, dict(proposal.decisions), vector, row, curve, seconds))
        self._forget()

    def relevel(self, levels: Levels) -> None:
        self._memory = [
            replace(one, vector=levels.of(one.curve)) if len(one.curve) > 1 else one for one in self._memory
        ]

    def told(self, proposal: Proposal, vector: Vector | None, curve: Curve = (), seconds: float | None = None) -> None:
        pending = self._pending.pop(_key(proposal.decisions), None)
        row = pending.row if pending else None
        if vector is not None:
            self._timed = seconds is not None
        self._memory.append(self._remembered(proposal.number, dict(proposal.decisions), vector, row, curve, seconds))
        if self._taught:
            self._taught = [one for one in self._taught if one.decisions != proposal.decisions]
            for _ in range(min(FADE, len(self._taught))):
                self._taught = _without_one(self._taught, set())
        else:
            self._forget()

    def _forget(self) -> None:
        if len(self._memory) > MEMORY and not self._taught:
            kept = [*self._preferences.lasting(self._memory, BEST), *self._memory[-LAST:]]
            self._memory = _without_one(self._memory, {one.number for one in kept})

    def think(self, draws: Draws, told: int, policy: int, until: int) -> None:
        """Learn from what was told, draw a pool, and choose from it what to propose until the next thought.

        ``told`` counts the trials, and seeds what is drawn; ``policy`` is the version of the policy that draws;
        ``until`` the next thought it is so many tells (see ``interval``).
        """
        if not self._encoder.blocks:
            return
        rows = _stacked([*self._taught, *self._memory])
        for objective, model in enumerate(self._models):
            model.fit(rows, exponential(torch.from_numpy(self._standing(objective, model))), ASCENTS)
        if self._cost:
            timed = [one for one in self._memory if self._timed and one.seconds is not None]
            took = torch.tensor([one.seconds for one in timed], dtype=torch.float64)
            self._cost.fit(_stacked(timed, self._encoder.width), took, ASCENTS)
        self._pool = [one for one in self._pool if one.key not in self._settled]
        count = max(AHEAD, 3 * until // 2)
        for raised in range(RAISED):  # a queue that ran dry would leave asks to draw one by one what is new
            if raised and len(self._pool) >= count:
                break
            self._draw(draws, max(self._size, 2 * count), told, policy, raised)
        self._choose(count)

    def _choose(self, count: int) -> None:
        """Fill the queue; what turns out to violate a constraint, or not to be buildable, leaves the pool for good."""
        pending = _stacked(list(self._pending.values()), self._encoder.width)
        self.queue = []
        for _ in range(ROUNDS):
            if not self._pool:
                return
            pool = _stacked(self._pool)
            outlooks = [model.outlook(pool, pending, count) for model in self._models]
            penalty = self._cost.penalty(pool) if self._cost else None
            picks, bounds = choose(outlooks, self._wanted, count, OPTIMISM, penalty)
            chosen = [self._pool[at] for at in picks]
            order = torch.argsort(bounds, descending=True, stable=True).tolist()
            self.queue = [one for one in chosen if self._sound(one)]
            self._pool = [one for one in map(self._pool.__getitem__, order) if one.key not in self._settled]
            if len(self.queue) == len(chosen):
                break
        queued = {one.key for one in self.queue}
        self._pool = self._pool[:POOL] + [one for one in self._pool[POOL:] if one.key in queued]

    def _wanted(self, scores: Sequence[Tensor]) -> Tensor:
        """What candidates are worth by the wish of the moment, for which each model says so much."""
        if len(scores) == 1:
            return scores[0]
        ranks = [model.ranks(said).numpy() for model, said in zip(self._models, scores, strict=True)]
        return torch.from_numpy(self._preferences.wanted(ranks))

    def _sound(self, one: Imagined) -> bool:
        draw = self._space.replay(one.decisions)
        if draw.violated or draw.invalid:
            self._settled[one.key] = None
        return not draw.violated and not draw.invalid

    def _draw(self, draws: Draws, count: int, told: int, policy: int, raised: int) -> None:
        have = {one.key for one in self._pool}
        seed = derive(self._seed, "imagine", told, *([raised] if raised else []))
        for sketch in draws(np.random.default_rng(seed), count, raised):
            key = _key(sketch.decisions)
            if key in have or key in self._settled:
                continue
            have.add(key)
            row = self._row(sketch.decisions)
            self._pool.append(Imagined(key, sketch.decisions, sketch.log_probability, sketch.notes, policy, row))

    def _standing(self, objective: int, model: RewardModel) -> Row:
        """The rank in (0, 1), by an objective, of what was taught, then of what was told; ``model`` is used for it."""
        taught, told = _rewards(self._taught, objective), _rewards(self._memory, objective)
        if not self._taught or not self._memory:
            return _ranks(np.concatenate([taught, told]))
        rows = _stacked(self._taught)
        model.fit(rows, exponential(torch.from_numpy(_ranks(taught))), 0)
        levels = [model.expected(each).numpy() for each in (rows, _stacked(self._memory))]
        return _ranks(np.concatenate([_levelled(taught, levels[0]), _levelled(told, levels[1])]))

    def _remembered(
        self,
        number: int,
        decisions: Mapping[str, int | float],
        vector: Vector | None,
        row: Row | None = None,
        curve: Curve = (),
        seconds: float | None = None,
    ) -> Remembered:
        row = self._row(decisions) if row is None else row
        return Remembered(number, decisions, vector, row, derive(self._seed, "forget", number), curve, seconds)

    def _row(self, decisions: Mapping[str, int | float]) -> Row:
        """A walk through the space takes a while, and is left out where no graph is to be looked at."""
        architecture = self._space.seen(decisions) if self._encoder.reads_architecture else None
        return self._encoder.row(decisions, architecture)

    # Snapshot --------------------------------------------------------------------------------------------------------

    def save(self) -> dict[str, Any]:
        """Plain JSON; rows are left out, because the decisions make them."""
        return {
            "models": [model.state.tolist() for model in self._models],
            "cost": self._cost.process.state.tolist() if self._cost else None,
            "timed": self._timed,
            "memory": [(one.number, one.decisions, one.vector, one.curve, one.seconds) for one in self._memory],
            "taught": [(one.number, one.decisions, one.vector) for one in self._taught],
            "earlier": self._earlier.save(),
            "pending": [one.decisions for one in self._pending.values()],
            "settled": list(self._settled),
            "pool": [(one.decisions, one.log_probability, one.notes, one.policy) for one in self._pool],
            "queue": [one.key for one in self.queue],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        for model, saved in zip(self._models, state["models"], strict=True):
            model.state = torch.tensor(saved, dtype=torch.float64)
        if self._cost:
            self._cost.process.state = torch.tensor(state["cost"], dtype=torch.float64)
        self._timed = state["timed"]
        self._memory = [
            self._remembered(number, decisions, vector, curve=curve, seconds=seconds)
            for number, decisions, vector, curve, seconds in state["memory"]
        ]
        self._taught = [self._remembered(*one) for one in state["taught"]]
        self._earlier.load(state["earlier"])
        self._pending = {_key(made): Pending(made, self._row(made)) for made in state["pending"]}
        self._settled = dict.fromkeys(state["settled"])
        self._pool = [
            Imagined(_key(made), made, log_probability, notes, policy, self._row(made))
            for made, log_probability, notes, policy in state["pool"]
        ]
        by_key = {one.key: one for one in self._pool}
        self.queue = [by_key[key] for key in state["queue"]]


def _key(decisions: Mapping[str, int | float]) -> int:
    """The same for the same draw, and else another; the values alone say which decisions were active."""
    return int.from_bytes(blake2b(orjson.dumps(list(decisions.values())), digest_size=8).digest(), "big")


def _without_one(among: list[Remembered], kept: set[int]) -> list[Remembered]:
    """Without one that is not to be kept; of several with one number all go."""
    gone = max((one for one in among if one.number not in kept), key=lambda one: one.lot).number
    return [one for one in among if one.number != gone]


def _rewards(ones: Sequence[Remembered], objective: int) -> Row:
    return np.array([-np.inf if one.vector is None else one.vector[objective] for one in ones])


def _levelled(values: Row, levels: Row) -> Row:
    """``levels`` in the order of ``values``: the highest for the best; equal ones share, and failures are below all."""
    inverse, counts = np.unique(values, return_inverse=True, return_counts=True)[1:]
    shared = np.add.reduceat(np.sort(levels), np.cumsum(counts) - counts) / counts
    return np.where(np.isinf(values), -np.inf, shared[inverse])


def _ranks(values: Row) -> Row:
    """Of each value among all, in (0, 1); equal ones share the middle of their places."""
    inverse, counts = np.unique(values, return_inverse=True, return_counts=True)[1:]
    return (np.cumsum(counts) - counts / 2)[inverse] / len(values)


def _stacked(ones: Sequence[Remembered | Pending | Imagined], width: int = 0) -> torch.Tensor:
    """Rows as a matrix; [0, width] where there are none."""
    return torch.from_numpy(np.stack([one.row for one in ones])) if ones else torch.zeros(0, width).double()
