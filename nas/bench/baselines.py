"""Opponents for the referee, behind the controllers' protocol. No config offers them: they know finite spaces only.

    local_search   hill climbing with restarts: White et al. 2021 (arXiv:2005.02960), algorithm 1, but taking the first
                   neighbour that is better instead of the best of all, which is stronger under few evaluations
    reinforce      a softmax for each decision and policy gradient alone: Williams 1992, in the form that Dong and Yang
                   (2020, arXiv:2001.00326) compare with, with a moving average as its baseline and Adam
    gp_ucb         a Gaussian process over decisions and pairs of decisions (one-hot), upper confidence bounds, five
                   proposals at a time: Srinivas et al. 2010 (arXiv:0912.3995)

Their constants were chosen on seeds 0 to 199 (docs/log.md). A failure counts as the worst reward so far.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from random import Random
from statistics import NormalDist

import numpy as np
import orjson
from numpy.typing import NDArray

from nas.controllers.proposals import (
    REDRAWS,
    Rejections,
    bounds,
    is_settled,
    nothing_new,
    redraw_seed,
    to_proposal,
)
from nas.errors import InputError
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.seeds import derive
from nas.space import Decision, Draw, Real, Space, admits, draw_prior

Values = Mapping[str, int | float]
Floats = NDArray[np.float64]


class _Fresh:
    """Draws from the prior that were not proposed before."""

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def proposal(self, number: int, known: set[str]) -> Proposal | Exhausted:
        rejections, draw = Rejections(self._space), None
        for redraw in range(REDRAWS + 1):
            drawn = self._space.prior(Random(redraw_seed(self._seed, number, redraw)))
            if rejections.takes(drawn):
                continue
            if drawn.candidate.hash not in known:
                return to_proposal(number, drawn, rejected=len(rejections))
            draw = drawn
        if draw is None:
            return rejections.exhausted()
        found = nothing_new(self._space, known, draw)
        return found if isinstance(found, Exhausted) else to_proposal(number, found)


class LocalSearch:
    """Neighbours differ in one decision. A climb ends when all of them were told; the next begins at random.

    While the last neighbours of a climb are pending, other workers begin climbs at random: the best of what is told
    leads.
    """

    def __init__(self, space: Space, seed: int) -> None:
        """Raises InputError where neighbours can not be listed."""
        if any(isinstance(decision, Real) for decision in space.decisions):
            raise InputError("local_search needs a space without real numbers: the neighbours of one can not be listed")
        self._space = space
        self._seed = seed
        self._fresh = _Fresh(space, seed)
        self._known: set[str] = set()
        self._pending: set[str] = set()  # the neighbours of the present leader that are not told yet
        self._top: tuple[float, int, Values] | None = None  # reward, trial and decisions of who leads the climb
        self._around: tuple[int, list[Draw]] = (-1, [])  # a leader's neighbours: only a cache of what it implies

    def ask(self, number: int) -> Proposal | Exhausted:
        if self._top is not None:
            for draw in self._neighbours(*self._top[1:]):
                if draw.candidate.hash not in self._known:
                    return to_proposal(number, draw, notes={"climb": self._top[1]})
        return self._fresh.proposal(number, self._known)

    def _neighbours(self, trial: int, decisions: Values) -> list[Draw]:
        if self._around[0] != trial:
            self._around = trial, [draw for draw in self._all_neighbours(trial, decisions) if not draw.violated]
        return self._around[1]

    def _all_neighbours(self, trial: int, decisions: Values) -> Iterator[Draw]:
        """In an order that depends on the leader alone."""
        rng = Random(derive(self._seed, "neighbours", trial))
        steps = [
            (path, value)
            for path, held in decisions.items()
            for value in range(bounds(self._space.by_path[path])[0], bounds(self._space.by_path[path])[1] + 1)
            if value != held
        ]
        for path, value in sorted(steps, key=lambda step: rng.random()):
            yield _with(self._space, decisions, path, value, derive(self._seed, "rest", trial, path, value))

    def began(self, proposal: Proposal) -> None:
        self._known.add(proposal.hash)
        if self._top is not None and proposal.notes.get("climb") == self._top[1]:
            self._pending.add(proposal.hash)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        self._pending.discard(proposal.hash)
        value = result.value if isinstance(result, Reward) else -math.inf
        if self._top is None or value > self._top[0]:
            self._top = (value, proposal.number, dict(proposal.decisions))
            self._pending.clear()
        elif not self._pending and all(draw.candidate.hash in self._known for draw in self._neighbours(*self._top[1:])):
            self._top = None

    def save(self) -> bytes:
        top = None if self._top is None else [_finite(self._top[0]), *self._top[1:]]
        return orjson.dumps({"known": sorted(self._known), "pending": sorted(self._pending), "top": top})

    def load(self, state: bytes) -> None:
        data = orjson.loads(state)
        self._known, self._pending = set(data["known"]), set(data["pending"])
        self._top = None
        if data["top"]:
            value, trial, decisions = data["top"]
            self._top = (-math.inf if value is None else value, trial, decisions)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _with(space: Space, decisions: Values, path: str, value: int, seed: int) -> Draw:
    """A draw that differs in one decision, and in what thereby becomes active or is ruled out."""
    rng = Random(seed)

    def choose(decision: Decision) -> int | float:
        wanted = value if decision.path == path else decisions.get(decision.path)
        if wanted is not None and admits(decision, wanted):
            return wanted
        return draw_prior(decision, rng)

    return space.walk(choose)


class Reinforce:
    """Logits for each decision, all zero at first; every told trial is one step of Adam along (R - b) grad log p."""

    RATE = 0.07  # faster, it settles: its repeats cost no evaluation, and 1,000 of them in a row end a search
    DECAY = 0.9  # of the baseline
    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        self._places: dict[str, slice] = {}
        total = 0
        for decision in space.decisions:
            first, last = bounds(decision)
            self._places[decision.path] = slice(total, total + last - first + 1)
            total += last - first + 1
        self._logits = np.zeros(total)
        self._moments = np.zeros((2, total))
        self._steps = 0
        self._baseline = 0.0
        self._scale = (
            0.0  # of rewards: their mean absolute distance from the baseline, so that the unit does not matter
        )
        self._worst: float | None = None

    def ask(self, number: int) -> Proposal | Exhausted:
        rejections = Rejections(self._space)
        for redraw in range(REDRAWS + 1):
            rng = Random(redraw_seed(self._seed, number, redraw))
            draw = self._space.walk(partial(self._drawn, rng), masked=False)
            if not rejections.takes(draw):
                return to_proposal(number, draw, rejected=len(rejections))
        return rejections.exhausted()

    def _drawn(self, rng: Random, decision: Decision) -> int:
        chances = np.cumsum(_softmax(self._logits[self._places[decision.path]]))
        first, last = bounds(decision)
        return min(first + int(np.searchsorted(chances, rng.random(), side="right")), last)

    def began(self, proposal: Proposal) -> None:
        pass

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        value = result.value if isinstance(result, Reward) else self._worst
        if value is None:
            return
        self._worst = value if self._worst is None else min(self._worst, value)
        if not self._steps:
            self._baseline = value
        advantage = value - self._baseline
        self._baseline += (1 - self.DECAY) * advantage
        self._scale += (1 - self.DECAY) * (abs(advantage) - self._scale)
        gradient = np.zeros_like(self._logits)
        for path, chosen in proposal.decisions.items():
            place = self._places[path]
            gradient[place] -= _softmax(self._logits[place])
            gradient[place.start + int(chosen) - bounds(self._space.by_path[path])[0]] += 1.0
        self._ascend(gradient * advantage / (self._scale or 1.0))

    def _ascend(self, gradient: Floats) -> None:
        """Kingma & Ba 2015, algorithm 1."""
        self._steps += 1
        for moment, beta, power in zip(self._moments, self.BETAS, (1, 2), strict=True):
            moment += (1 - beta) * (gradient**power - moment)
        mean, square = (m / (1 - beta**self._steps) for m, beta in zip(self._moments, self.BETAS, strict=True))
        self._logits += self.RATE * mean / (np.sqrt(square) + self.EPSILON)

    def save(self) -> bytes:
        state = [self._logits.tolist(), self._moments.tolist(), self._steps, self._baseline, self._scale, self._worst]
        return orjson.dumps(state)

    def load(self, state: bytes) -> None:
        logits, moments, self._steps, self._baseline, self._scale, self._worst = orjson.loads(state)
        self._logits, self._moments = np.array(logits), np.array(moments)


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max())
    return np.asarray(powers / powers.sum())


class GPUCB:
    """A linear model over one-hot decisions and one-hot pairs of them, in its dual form.

    Of two candidates that agree in m of D decisions, the features' inner products are m and m (m - 1) / 2. The kernel
    is their weighted mean. Rewards count by their normal scores: one candidate that learned nothing would else be all
    that there is to explain (with standardised rewards most runs miss the best row). Every candidate of the space is
    scored; a told trial appends one row to the Cholesky factor, so a decision costs candidates x trials. Trials that
    run are left out of the model, and only not proposed again.
    """

    FIRST = 10  # proposals from the prior
    BATCH = 5  # trials told between two looks at the rewards
    PAIRS = 0.5  # weight of the pairs in the kernel
    NOISE = 0.01  # variance, in that of the rewards
    BETA = 2.0  # standard deviations that are added
    MOST = 200_000  # candidates

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._fresh = _Fresh(space, seed)
        self._free = [decision for decision in space.decisions if not is_settled(decision)]
        self._settled = {d.path: bounds(d)[0] for d in space.decisions if is_settled(d)}
        sizes = [bounds(decision)[1] - bounds(decision)[0] + 1 for decision in self._free]
        if space.constraints or space.count().exact != math.prod(sizes) or math.prod(sizes) > self.MOST:
            raise InputError(f"gp_ucb needs a space without conditions, and with at most {self.MOST:,} candidates")
        self._sizes = sizes
        self._pool = np.stack(np.unravel_index(np.arange(math.prod(sizes)), sizes), axis=1).astype(np.int16)
        self._forget()

    def _forget(self) -> None:
        self._hashes: set[str] = set()
        self._known = np.zeros(len(self._pool), bool)
        self._told: list[tuple[int, float | None]] = []  # (candidate, reward), in the order told
        self._whitened = np.zeros((0, len(self._pool)), np.float32)  # L^-1 K(told, pool); rows beyond the told are room
        self._explained = np.zeros(len(self._pool), np.float32)  # its squares, summed: prior less posterior variance
        self._factor: list[Floats] = []  # rows of L, with L L^T = K(told, told) + noise
        self._scores: Floats | None = None

    def ask(self, number: int) -> Proposal | Exhausted:
        if self._scores is None:
            return self._fresh.proposal(number, self._hashes)
        open_ = np.where(self._known, -np.inf, self._scores)
        best = int(np.argmax(open_))
        if not np.isfinite(open_[best]):
            return Exhausted("every candidate of the space has been proposed")
        values = zip((decision.path for decision in self._free), self._pool[best].tolist(), strict=True)
        lows = {decision.path: bounds(decision)[0] for decision in self._free}
        return to_proposal(number, self._space.replay({**self._settled, **{p: lows[p] + v for p, v in values}}))

    def began(self, proposal: Proposal) -> None:
        self._hashes.add(proposal.hash)
        self._known[self._index(proposal.decisions)] = True

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        self._take(self._index(proposal.decisions), result.value if isinstance(result, Reward) else None)

    def _take(self, candidate: int, value: float | None) -> None:
        self._told.append((candidate, value))
        self._append(candidate)
        count = len(self._told)
        if count >= self.FIRST and (count - self.FIRST) % self.BATCH == 0:
            self._scores = self._bounds()

    def _index(self, decisions: Values) -> int:
        digits = [int(decisions[decision.path]) - bounds(decision)[0] for decision in self._free]
        return int(np.ravel_multi_index(digits, self._sizes))

    def _append(self, candidate: int) -> None:
        """One more row of the factor, and of what it makes of the pool's kernel."""
        agree = (self._pool == self._pool[candidate]).sum(axis=1)
        decisions = len(self._sizes)
        pairs = agree * (agree - 1) / max(1, decisions * (decisions - 1))
        kernel = ((1 - self.PAIRS) * agree / decisions + self.PAIRS * pairs).astype(np.float32)
        count = len(self._factor)
        if count == len(self._whitened):
            room = np.zeros((count or 64, len(self._pool)), np.float32)
            self._whitened = np.vstack([self._whitened, room])  # twice as many: copied seldom
        before = self._whitened[:count, candidate].copy()
        corner = math.sqrt(max(1.0 + self.NOISE - float(before @ before), 1e-9))
        self._whitened[count] = (kernel - before @ self._whitened[:count]) / np.float32(corner)
        self._explained += self._whitened[count] ** 2
        self._factor.append(np.append(before.astype(np.float64), corner))

    def _bounds(self) -> Floats | None:
        """(candidates,): mean plus BETA standard deviations; None before any reward."""
        values = [value for _, value in self._told if value is not None]
        if not values:
            return None
        told = _normal_scores(np.array([min(values) if value is None else value for _, value in self._told]))
        count = len(told)
        factor = np.zeros((count, count))
        for place, row in enumerate(self._factor):
            factor[place, : place + 1] = row
        mean = np.linalg.solve(factor, told).astype(np.float32) @ self._whitened[:count]
        return np.asarray(mean + self.BETA * np.sqrt(np.maximum(1.0 - self._explained, 1e-9)))

    def save(self) -> bytes:
        """What was begun and told: the rest is computed from it."""
        begun = np.flatnonzero(self._known).tolist()
        return orjson.dumps({"hashes": sorted(self._hashes), "begun": begun, "told": self._told})

    def load(self, state: bytes) -> None:
        data = orjson.loads(state)
        self._forget()
        self._hashes = set(data["hashes"])
        self._known[data["begun"]] = True
        for candidate, value in data["told"]:
            self._take(candidate, value)


def _normal_scores(values: Floats) -> Floats:
    """Of the ranks: what a normal law has at (rank - 1/2) / n. Equal values share the mean of their ranks."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2  # the middle of each group's places, from 0
    normal = NormalDist()
    return np.array([normal.inv_cdf((rank + 0.5) / len(values)) for rank in ranks])[which]
