"""An autoregressive policy over the active decisions of a space: an LSTM that reads the decisions drawn so far.

At each decision the LSTM reads (embedding of the decision about to be made) + (embedding of the value drawn before it),
and the decision's own head gives one logit per bin (see bins). Heads add to the logarithm of the prior, and start at
zero, so an untrained policy *is* the space's prior, exactly. For decisions whose values are ordered, head and
embedding are smoothed over neighbouring bins: what is learned of 0.30 holds for 0.31 too.

A proposal is drawn from the mixture (1 - floor) * policy + floor * prior, decision by decision, and its log-probability
is that of the mixture; so nothing in the space ever has probability zero.

Drawing is NumPy, one matrix-vector product per decision; learning is torch on the same flat parameter vector. The two
are tested to agree. All parameters are one vector, because then saving it, and Adam on it, are a few lines each.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nas.controllers.bins import LEAST_SHARE, Bins, Numbers, Shares, bins_of
from nas.controllers.threads import one_thread
from nas.space import Decision, Draw, Space, admits
from nas.space.batch import Batch

Array = NDArray[np.floating[Any]]
SMOOTHING = 1.5  # standard deviation, in bins

Masks = Sequence[tuple[int, Shares]]  # (step, what was left of each bin), of the steps where something was ruled out
Steps = tuple[Sequence[tuple[int, int]], Sequence[bool]] | tuple[Sequence[tuple[int, int]], Sequence[bool], Masks]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the policy says of a batch of recorded decisions; each of shape [batch]."""

    log_policy: torch.Tensor  # of the decisions, without the densities inside bins
    log_mixture: torch.Tensor  # the same under the mixture with the prior


@dataclass(frozen=True, slots=True)
class Sequences:
    """Recorded decisions, padded; each [batch, steps] of int64."""

    decision: torch.Tensor
    bin: torch.Tensor
    counts: torch.Tensor  # 1 where the decision counts, 0 where it was kept from a parent or is padding
    shares: torch.Tensor | None = None  # [batch, steps, bins]: what masks leave of each bin; None: all of all


@dataclass(frozen=True, slots=True)
class Drawn:
    draw: Draw
    drawn: tuple[str, ...]  # the paths that the policy decided; the others were kept
    log_probability: float  # of these, given the kept ones, under the mixture, densities included


@dataclass(frozen=True, slots=True)
class DrawnMany:
    """Rows of a batch, as ``Drawn`` has one."""

    batch: Batch
    drawn: Mapping[str, NDArray[np.bool_]]  # path -> of which rows the policy decided it
    log_probability: NDArray[np.float64]  # [rows]


class Policy:
    """The parameters, and the two ways to look at them: ``draw`` (NumPy) and ``score`` (torch)."""

    def __init__(self, space: Space, hidden: int, seed: int) -> None:
        self.space = space
        self.hidden = hidden
        self.bins: list[Bins] = [bins_of(decision) for decision in space.decisions]
        self.index = {bins.decision.path: i for i, bins in enumerate(self.bins)}
        sizes = [bins.size for bins in self.bins]
        self.offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        prior = np.concatenate([np.asarray(bins.prior) for bins in self.bins]) if self.bins else np.ones(0)
        self._priors: list[Array] = np.split(prior.astype(np.float64), self.offsets[1:-1])
        self._log_prior = torch.from_numpy(np.log(np.maximum(prior, 1e-12)).astype(np.float32))
        self._smoother = _smoother(self.bins, self.offsets)
        self._table, self._inside = _slices(self.offsets, sizes)
        # Learning needs the logits of each step's own decision. Computing all and picking is faster, until a space has
        # so many decisions that "all" does not fit: then the rows of each step's head are picked first.
        self._few_bins = int(self.offsets[-1]) <= self.hidden * max(sizes, default=1)
        self._shapes = self._layout(len(sizes), int(self.offsets[-1]))
        self.theta = self._initial(seed)
        self.refresh()

    def _layout(self, decisions: int, total: int) -> dict[str, tuple[int, ...]]:
        width = self.hidden
        return {
            "decision": (decisions, width),  # embedding read before a decision
            "value": (total, width),  # embedding of a value, read after it
            "input": (4 * width, width),  # LSTM, gates in torch's order: input, forget, cell, output
            "recurrent": (4 * width, width),
            "bias": (4 * width,),
            "head": (total, width),
            "head_bias": (total,),
        }

    def _initial(self, seed: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)  # its own; torch's global generator is the user's
        width = self.hidden
        scale = {"decision": 0.5, "value": 0.5, "input": width**-0.5, "recurrent": width**-0.5}
        parts = [
            scale.get(name, 0.0) * torch.randn(math.prod(shape), generator=generator)
            for name, shape in self._shapes.items()
        ]
        return torch.cat(parts)

    def _parts(self, theta: torch.Tensor) -> dict[str, torch.Tensor]:
        pieces = torch.split_with_sizes(theta, [math.prod(shape) for shape in self._shapes.values()])
        return {name: piece.view(shape) for (name, shape), piece in zip(self._shapes.items(), pieces, strict=True)}

    # Drawing ---------------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Make what ``draw`` reads from ``theta``; to be called after theta has changed."""
        with torch.no_grad():
            part = self._parts(self.theta)
            value, head, head_bias = self._smoothed(part)
            self._np_decision: Array = (part["decision"] @ part["input"].T + part["bias"]).numpy()
            read = (value @ part["input"].T).numpy()
            self._np_value: Array = np.pad(read, ((0, 1), (0, 0)))  # the last row, -1, where nothing was drawn before
            self._np_recurrent: Array = part["recurrent"].numpy().copy()
            self._np_heads: list[Array] = np.split(head.numpy(), self.offsets[1:-1])
            self._np_biases: list[Array] = np.split(head_bias.numpy(), self.offsets[1:-1])

    def draw(self, rng: Random, floor: float, kept: Mapping[str, int | float] | None = None) -> Drawn:
        """One draw of the space. What ``kept`` names keeps its value, unless a constraint rules that out by now; the
        rest is drawn from the mixture. It may violate a constraint.
        """
        state = _Cell(self.hidden)
        log_probability = 0.0
        drawn: list[str] = []
        kept = kept or {}

        def choose(decision: Decision) -> int | float:
            nonlocal log_probability
            which = self.index[decision.path]
            bins = self.bins[which]
            shares = None if decision is bins.decision else bins.shares(decision)
            chances = self._mixture(which, state, floor, shares)
            if decision.path in kept and admits(decision, kept[decision.path]):
                value = kept[decision.path]
                at = bins.bin_among(value, shares)
            else:
                sums = list(accumulate(chances.tolist()))
                at = min(bisect_right(sums, rng.random() * sums[-1]), bins.size - 1)
                uniform = rng.random()
                value = bins.draw(at, uniform) if shares is None else bins.draw_within(at, uniform, decision)
                at = bins.bin_among(value, shares)  # rounding may have carried a value over its bin's edge
                log_probability += math.log(chances[at]) + _log_density(bins, at, value, shares)
                drawn.append(decision.path)
            state.previous = int(self.offsets[which]) + at
            return value

        draw = self.space.walk(choose)
        return Drawn(draw, tuple(drawn), log_probability)

    def draw_many(
        self,
        rng: np.random.Generator,
        floors: NDArray[np.float64],
        kept: Sequence[Mapping[str, int | float]] | None = None,
    ) -> DrawnMany:
        """As ``draw``, one row for each of ``floors``: decisions alone, not judged. ``kept`` is what each row keeps."""
        count = len(floors)
        states = _Cells(count, self.hidden)
        log_probability = np.zeros(count)
        drawn: dict[str, NDArray[np.bool_]] = {}

        def choose(decision: Decision, rows: NDArray[np.intp]) -> Numbers:
            which = self.index[decision.path]
            bins = self.bins[which]
            shares = None if decision is bins.decision else bins.shares(decision)
            chances = self._mixtures(which, states, rows, floors[rows], shares)
            sums = chances.cumsum(1)
            at = np.minimum((sums <= rng.random(len(rows))[:, None] * sums[:, -1:]).sum(1), bins.size - 1)
            uniform = rng.random(len(rows))
            if shares is None:
                values = bins.draw_many(at, uniform)
            else:
                values = np.array([bins.draw_within(*one, decision) for one in zip(at, uniform, strict=True)])
            free = np.ones(len(rows), np.bool_)
            for i, row in enumerate(rows if kept else ()):
                value = kept[row].get(decision.path) if kept else None
                if value is not None and admits(decision, value):
                    values[i], free[i] = value, False
            if shares is None:
                at = bins.many_of(values)
                density = bins.log_densities(at, values)
            else:
                at = np.array([bins.bin_among(value, shares) for value in values.tolist()])
                density = np.array([_log_density(bins, *one, shares) for one in zip(at, values.tolist(), strict=True)])
            chance = np.maximum(chances[np.arange(len(rows)), at], np.finfo(np.float64).tiny)
            log_probability[rows] += free * (np.log(chance) + density)
            drawn.setdefault(decision.path, np.zeros(count, np.bool_))[rows] = free
            states.previous[rows] = self.offsets[which] + at
            return values

        with one_thread():
            batch = self.space.walk_many(count, choose)
        return DrawnMany(batch, drawn, log_probability)

    def log_probability(self, decisions: Mapping[str, int | float], floor: float) -> float:
        """Of drawing all these decisions, densities included, under the mixture (floor 0: under the policy alone)."""
        state = _Cell(self.hidden)
        total = 0.0
        masked = self.shares_of(decisions)
        for path, value in decisions.items():
            which, shares = self.index[path], masked.get(path)
            bins = self.bins[which]
            at = bins.bin_among(value, shares)
            total += math.log(self._mixture(which, state, floor, shares)[at]) + _log_density(bins, at, value, shares)
            state.previous = int(self.offsets[which]) + at
        return total

    def shares_of(self, decisions: Mapping[str, int | float]) -> dict[str, Shares]:
        """Where constraints had ruled values out when these decisions were drawn: what was left of each bin."""
        views = self.space.views(decisions)
        return {path: self.bins[self.index[path]].shares(view) for path, view in views.items()}

    def _mixture(self, which: int, state: _Cell, floor: float, shares: Shares | None = None) -> NDArray[np.float64]:
        """Advance the LSTM by one decision and give the chances of its bins. Policy and prior are masked one by one."""
        gates = self._np_recurrent.dot(state.hidden)  # for so little, half the time of @
        gates += self._np_decision[which]
        gates += self._np_value[state.previous]
        state.advance(gates)
        logits = (self._np_heads[which].dot(state.hidden) + self._np_biases[which]).astype(np.float64)
        prior = self._priors[which]
        if shares is not None:
            prior = prior * np.asarray(shares)
            prior /= prior.sum()
            logits = np.where(prior > 0, logits, -np.inf)
        chances: NDArray[np.float64] = np.exp(logits - max(logits.tolist()))
        chances *= prior
        chances *= (1.0 - floor) / np.add.reduce(chances)
        chances += floor * prior
        return chances

    def _mixtures(
        self,
        which: int,
        states: _Cells,
        rows: NDArray[np.intp],
        floors: NDArray[np.float64],
        shares: Shares | None,
    ) -> NDArray[np.float64]:
        """As ``_mixture``, of these rows: [rows, bins]."""
        gates = _product(states.hidden[rows], self._np_recurrent.T)
        gates += self._np_decision[which]
        gates += self._np_value[states.previous[rows]]
        hidden = states.advance(rows, gates)
        logits = (_product(hidden, self._np_heads[which].T) + self._np_biases[which]).astype(np.float64)
        prior = self._priors[which]
        if shares is not None:
            prior = prior * np.asarray(shares)
            prior /= prior.sum()
            logits = np.where(prior > 0, logits, -np.inf)
        chances = prior * np.exp(logits - logits.max(1, keepdims=True))
        mixtures: NDArray[np.float64] = ((1.0 - floors) / chances.sum(1))[:, None] * chances + floors[:, None] * prior
        return mixtures

    # Learning --------------------------------------------------------------------------------------------------------

    def density_of(self, decisions: Mapping[str, int | float], drawn: Iterable[str]) -> float:
        """The part of the log-probability of ``drawn`` that no parameter changes: the densities inside bins."""
        masked = self.shares_of(decisions)
        total = 0.0
        for path in drawn:
            bins, value, shares = self.bins[self.index[path]], decisions[path], masked.get(path)
            total += _log_density(bins, bins.bin_among(value, shares), value, shares)
        return total

    def encoded(self, decisions: Mapping[str, int | float]) -> list[tuple[int, int]]:
        """(decision, bin) of each step."""
        masked = self.shares_of(decisions)
        at = ((self.index[path], value, masked.get(path)) for path, value in decisions.items())
        return [(which, self.bins[which].bin_among(value, shares)) for which, value, shares in at]

    def masks(self, decisions: Mapping[str, int | float]) -> Masks:
        """Those that the constraints had made when these decisions were drawn."""
        masked = self.shares_of(decisions)
        return [(step, masked[path]) for step, path in enumerate(decisions) if path in masked]

    def sequences(self, trials: Sequence[Steps]) -> Sequences:
        """A batch of (encoded decisions, which of them count, masks; without them nothing was ruled out)."""
        shape = len(trials), max([1, *(len(steps) for steps, *_ in trials)])
        decision, bin, counts = (np.zeros(shape, np.int64) for _ in range(3))
        shares = None
        if any(masks for _, _, *rest in trials for masks in rest):
            shares = torch.ones(*shape, self._table.shape[1])
        for row, (steps, counted, *rest) in enumerate(trials):
            if steps:
                decision[row, : len(steps)], bin[row, : len(steps)] = np.asarray(steps).T
                counts[row, : len(steps)] = counted
            if shares is not None and rest:
                for step, left in rest[0]:
                    shares[row, step, : len(left)] = torch.tensor(left)
        decisions, bins, counted_steps = map(torch.from_numpy, (decision, bin, counts))
        return Sequences(decisions, bins, counted_steps, shares)

    def score(self, theta: torch.Tensor, batch: Sequences, floor: torch.Tensor) -> Scores:
        """Log-probabilities of recorded decisions, differentiable in ``theta``; ``floor`` is [batch]."""
        part = self._parts(theta)
        value, head, head_bias = self._smoothed(part)
        chosen = torch.from_numpy(self.offsets)[batch.decision] + batch.bin
        before = torch.nn.functional.pad(value[chosen[:, :-1]], (0, 0, 1, 0))
        states = _lstm(part["decision"][batch.decision] + before, part)
        slots = self._table[batch.decision]  # [batch, steps, bins of the largest decision]
        inside = self._inside[batch.decision]
        if self._few_bins:
            learned = (states @ head.T).gather(2, slots)
        else:
            learned = (head[slots] @ states.unsqueeze(3)).squeeze(3)
        log_prior = self._log_prior[slots]
        if batch.shares is not None:
            inside = inside & (batch.shares > 0)
            log_prior = log_prior + batch.shares.clamp(min=LEAST_SHARE).log()
        logits = learned + head_bias[slots] + log_prior
        log_policy = logits.masked_fill(~inside, -torch.inf).log_softmax(2)
        log_prior = log_prior.masked_fill(~inside, -torch.inf)
        if batch.shares is not None:
            log_prior = log_prior.log_softmax(2)
        at = batch.bin.unsqueeze(2)
        policy_at, prior_at = log_policy.gather(2, at).squeeze(2), log_prior.gather(2, at).squeeze(2)
        mixture_at = torch.logaddexp(policy_at + torch.log1p(-floor)[:, None], prior_at + floor.log()[:, None])
        return Scores(
            log_policy=(policy_at * batch.counts).sum(1),
            log_mixture=(mixture_at * batch.counts).sum(1),
        )

    def _smoothed(self, part: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(value embeddings, head weights, head biases), with ordered decisions smoothed over their bins."""
        if self._smoother is None:
            return part["value"], part["head"], part["head_bias"]
        wide = torch.cat([part["value"], part["head"], part["head_bias"][:, None]], 1)
        smooth = torch.sparse.mm(self._smoother, wide)
        return smooth[:, : self.hidden], smooth[:, self.hidden : 2 * self.hidden], smooth[:, -1]


def _log_density(bins: Bins, at: int, value: int | float, shares: Shares | None) -> float:
    """Of a value given its bin, of which a mask may have left a share."""
    density = bins.log_density(at, value)
    return density if shares is None else density - math.log(shares[at])


class _Cell:
    """The LSTM's state while one candidate is drawn; ``previous`` is the row of the value drawn last."""

    __slots__ = ("cell", "hidden", "previous")

    def __init__(self, width: int) -> None:
        self.hidden: Array = np.zeros(width, np.float32)
        self.cell: Array = np.zeros(width, np.float32)
        self.previous = -1

    def advance(self, gates: Array) -> None:
        self.hidden, self.cell = _stepped(gates, self.cell)


class _Cells:
    """The LSTM's states while many candidates are drawn at once, each at its own step."""

    __slots__ = ("cell", "hidden", "previous")

    def __init__(self, count: int, width: int) -> None:
        self.hidden: Array = np.zeros((count, width), np.float32)
        self.cell: Array = np.zeros((count, width), np.float32)
        self.previous = np.full(count, -1)

    def advance(self, rows: NDArray[np.intp], gates: Array) -> Array:
        hidden, self.cell[rows] = _stepped(gates, self.cell[rows])
        self.hidden[rows] = hidden
        return hidden


def _stepped(gates: Array, cell: Array) -> tuple[Array, Array]:
    """(hidden, cell) of an LSTM after a step; ``gates`` are [..., 4 * width] in torch's order, and overwritten."""
    width = cell.shape[-1]
    candidate = np.tanh(gates[..., 2 * width : 3 * width])
    np.negative(gates, gates)
    np.exp(gates, gates)
    gates += 1.0
    open_ = np.divide(1.0, gates, gates)
    cell = open_[..., width : 2 * width] * cell
    cell += open_[..., :width] * candidate
    return open_[..., 3 * width :] * np.tanh(cell), cell


def _product(left: Array, right: Array) -> Array:
    """By torch, within one_thread: NumPy's has other bits with other numbers of threads."""
    return torch.mm(torch.from_numpy(left), torch.from_numpy(right)).numpy()


def _lstm(inputs: torch.Tensor, part: dict[str, torch.Tensor]) -> torch.Tensor:
    """torch's fused LSTM as a function of given weights; [batch, steps, width] in and out."""
    width = part["recurrent"].shape[1]
    zeros = inputs.new_zeros(1, inputs.shape[0], width)
    weights = [part["input"], part["recurrent"], part["bias"], torch.zeros_like(part["bias"])]
    states, _, _ = torch.lstm(inputs, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
    return states


def _smoother(bins: Sequence[Bins], offsets: NDArray[np.int64]) -> torch.Tensor | None:
    """Sparse [all bins, all bins]: Gaussian weights within an ordered decision, the identity elsewhere.

    Rows have unit length in the 2-norm, so that smoothing changes what neighbours share and not how fast they learn.
    """
    rows, columns, weights = [], [], []
    for one, start in zip(bins, offsets, strict=False):
        at = np.arange(one.size)
        block = np.exp(-0.5 * ((at[:, None] - at) / SMOOTHING) ** 2) if one.smooth else np.eye(one.size)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        i, j = np.nonzero(block > 1e-4)
        rows.append(i + start)
        columns.append(j + start)
        weights.append(block[i, j])
    if not any(one.smooth for one in bins):
        return None
    total = int(offsets[-1])
    where = torch.from_numpy(np.stack([np.concatenate(rows), np.concatenate(columns)]))
    values = torch.from_numpy(np.concatenate(weights).astype(np.float32))
    return torch.sparse_coo_tensor(where, values, (total, total), check_invariants=False).coalesce()


def _slices(offsets: NDArray[np.int64], sizes: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """For each decision the rows of its bins among all, padded to the largest; and which of these are not padding."""
    columns = np.arange(max(sizes, default=1))
    inside = columns < np.asarray(sizes).reshape(-1, 1)
    table = np.where(inside, offsets[:-1, None] + columns, 0)
    return torch.from_numpy(table), torch.from_numpy(inside)
