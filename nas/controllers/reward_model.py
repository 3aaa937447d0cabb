"""What a candidate is expected to be worth, and how sure that is: a Gaussian process over encoded candidates.

    covariance(x, y) = sum over blocks b of  a_b exp(-sum over columns c of b of  w_c (x_c - y_c)^2),  and noise

(Rasmussen and Williams 2006, ch. 2). Rewards enter as ``exponential`` scores of ranks: their scale does not matter,
failures are simply worst, and differences among the best count more than among the bad. Amplitudes a, scales w (one for
each decision, one for each other block) and the noise are fitted by a few ascents of the log marginal likelihood (their
eq. 5.9), with a prior around what makes draws of the space neither all alike nor all different; each fit goes on from
the last.

``choose`` picks several at once by their upper confidence bounds: what is picked or still training counts as told at
its expected value, so that the next pick is made elsewhere (GP-BUCB: Desautels et al. 2014). With several objectives
there is a model for each, and a wish says what their bounds are worth together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nas.controllers.encoding import Block

LIKENESS = (1.5, 2.0)  # squared distance of two random draws at the outset: over decisions, over any other block ...
LEAST_APART = 0.1  # ... to which each decision contributes alike; one that draws hardly tell apart up to ten times more
NOISE = (0.1, 0.01)  # variance, at the outset, of a space of choices alone, and with numbers; exponential scores have 1
SPREAD = 1.0  # standard deviation of the prior over logarithms of a, w and noise
RATE = 0.1  # of an ascent: what a logarithm changes by, as with Adam's first steps
JITTER = 1e-6


class RewardModel:
    """``state`` is all that changes: logarithms of amplitudes, scales and noise; the outset is its prior's middle."""

    def __init__(self, blocks: Sequence[Block], draws: Tensor, *, numbers: bool) -> None:
        """``draws``: rows [draws, columns] of the space's prior; ``numbers``: whether it has any."""
        self._spans = [slice(block.start, block.stop) for block in blocks]
        self._groups = [torch.tensor(block.groups) for block in blocks]
        self._sizes = [max(block.groups, default=0) + 1 for block in blocks]
        middle = [math.log(1.0)] * len(blocks)
        for number, block in enumerate(blocks):
            columns = draws[:, block.start : block.stop]
            apart = torch.zeros(self._sizes[number], dtype=torch.float64)  # the mean squared distance of two rows ...
            apart.index_add_(0, self._groups[number], 2.0 * columns.var(0, correction=0))  # ... in what shares a scale
            apart = apart.clamp(min=max(LEAST_APART * float(apart.mean()), 1e-9))
            middle += (LIKENESS[number > 0] / len(apart) / apart).log().tolist()
        self._middle = torch.tensor([*middle, math.log(NOISE[numbers])], dtype=torch.float64)
        self.state = self._middle.clone()

    def fit(self, rows: Tensor, scores: Tensor, ascents: int) -> None:
        """Learn from told candidates: ``rows`` [n, columns], ``scores`` [n], higher is better."""
        self._rows = rows
        self._middle_score = scores.mean()  # where all are worth the same, nothing is expected of any
        self._scores = scores - self._middle_score
        self._apart = self._distances(rows, rows)
        for _ in range(ascents):
            self._ascend()
        noise = (self.noise + JITTER) * torch.eye(len(rows), dtype=torch.float64)
        self.factor = torch.linalg.cholesky(sum(self._parts(self._apart), noise))
        self.weights = torch.cholesky_solve(self._scores[:, None], self.factor)[:, 0]

    def expected(self, rows: Tensor) -> Tensor:
        """Of candidates [n, columns], after a fit: [n] in scores."""
        return self.covariance(rows) @ self.weights

    def outlook(self, pool: Tensor, pending: Tensor, count: int) -> Outlook:
        """What is expected of the ``pool`` [m, columns], after a fit, and how sure that is; up to ``count`` of it can
        then be settled, as the ``pending`` [p, columns] are at once.
        """
        return Outlook(self, pool, pending, count)

    def ranks(self, scores: Tensor) -> Tensor:
        """Of what is expected in exponential scores, the rank it would have among the told: in (-inf, 1), higher is
        better.
        """
        return 1.0 - (-(scores + self._middle_score)).exp()

    def _ascend(self) -> None:
        """One step of at most RATE along each coordinate of the gradient of the log posterior over ``state``."""
        rows, count = self._rows, len(self._rows)
        parts = self._parts(self._apart)
        covariance = sum(parts, (self.noise + JITTER) * torch.eye(count, dtype=torch.float64))
        factor, failed = torch.linalg.cholesky_ex(covariance)
        if int(failed):
            self.state = self._middle.clone()
            return
        inverse = torch.cholesky_inverse(factor)
        weights = inverse @ self._scores
        slope = 0.5 * (torch.outer(weights, weights) - inverse)  # of the log likelihood, by the covariance
        gradient: list[Tensor] = [(slope * part).sum()[None] for part in parts]
        for number, (scales, part) in enumerate(zip(self._scales(), parts, strict=True)):
            bent = slope * part
            apart = self._apart[number]
            if apart is not None:
                gradient.append(-scales * (bent * apart).sum())
                continue
            columns = rows[:, self._spans[number]]
            # sum over i, j of bent_ij (x_i - x_j)^2, for each column, without a matrix for each
            sums = 2.0 * (bent.sum(1) @ columns.square() - (columns * (bent @ columns)).sum(0))
            gradient.append(-scales * torch.zeros_like(scales).index_add_(0, self._groups[number], sums))
        gradient.append(self.noise * slope.trace()[None])
        direction = torch.cat(gradient) - (self.state - self._middle) / SPREAD**2
        self.state = self.state + RATE * direction / (direction.abs() + 1.0)

    @property
    def prior_variance(self) -> float:
        """Of a candidate like none that was told."""
        return float(self._amplitudes().sum())

    @property
    def noise(self) -> Tensor:
        """Its variance."""
        return self.state[-1].exp()

    def covariance(self, left: Tensor, right: Tensor | None = None) -> Tensor:
        """[left, right] of rows; with the told ones, where ``right`` is not given."""
        right = self._rows if right is None else right
        return sum(self._parts(self._distances(left, right), left, right), torch.zeros((), dtype=torch.float64))

    def _distances(self, left: Tensor, right: Tensor) -> list[Tensor | None]:
        """Of each block that has one scale: squared distances [left, right] before it is applied."""
        return [
            _squared(left[:, span], right[:, span]) if size == 1 else None
            for span, size in zip(self._spans, self._sizes, strict=True)
        ]

    def _parts(
        self, apart: list[Tensor | None], left: Tensor | None = None, right: Tensor | None = None
    ) -> list[Tensor]:
        """The covariance of each block, [left, right]; of the rows told, where they are not given."""
        left, right = self._rows if left is None else left, self._rows if right is None else right
        parts = []
        for number, (amplitude, scales) in enumerate(zip(self._amplitudes(), self._scales(), strict=True)):
            squared = apart[number]
            if squared is None:
                span, root = self._spans[number], scales[self._groups[number]].sqrt()
                parts.append(amplitude * (-_squared(left[:, span] * root, right[:, span] * root)).exp())
            else:
                parts.append(amplitude * (-scales * squared).exp())
        return parts

    def _amplitudes(self) -> Tensor:
        return self.state[: len(self._spans)].exp()

    def _scales(self) -> list[Tensor]:
        return list(torch.split(self.state[len(self._spans) : -1].exp(), self._sizes))


class Outlook:
    """Of a pool [m, columns]: ``expected`` [m], in scores, and how sure that is, which what is settled changes."""

    expected: Tensor

    def __init__(self, model: RewardModel, pool: Tensor, pending: Tensor, count: int) -> None:
        self._model = model
        self._everything = torch.cat([pool, pending])
        across = model.covariance(self._everything)
        self.expected = (across @ model.weights)[: len(pool)]
        self._explained = torch.linalg.solve_triangular(model.factor, across.T, upper=False)
        self._variance = model.prior_variance - self._explained.square().sum(0)
        places = len(pending) + count
        self._learned = torch.zeros(places, len(self._everything), dtype=torch.float64)  # a row for each one settled
        self._settled = 0
        for at in range(len(pool), len(self._everything)):
            self.settle(at)

    def bounds(self, optimism: float) -> Tensor:
        """[m]: so many standard deviations above what is expected."""
        bounds: Tensor = self.expected + optimism * self._variance[: len(self.expected)].clamp(min=0.0).sqrt()
        return bounds

    def settle(self, at: int) -> None:
        """The one at ``at`` counts as told at its expected value, so that only variances change."""
        learned, settled, explained = self._learned, self._settled, self._explained
        column = self._model.covariance(self._everything, self._everything[at : at + 1])[:, 0]
        column = column - explained.T @ explained[:, at]
        column -= learned[:settled].T @ learned[:settled, at]
        learned[settled] = column / (self._variance[at].clamp(min=0.0) + self._model.noise).sqrt()
        self._variance.sub_(learned[settled].square())
        self._settled += 1


def exponential(ranks: Tensor) -> Tensor:
    """The scores of ranks in (0, 1), higher is better."""
    return -torch.log1p(-ranks)


Wish = Callable[[Sequence[Tensor]], Tensor]  # scores [m] by objective -> what they are worth together, [m]


def choose(
    outlooks: Sequence[Outlook], wish: Wish, count: int, optimism: float, penalty: Tensor | None = None
) -> tuple[list[int], Tensor]:
    """The ``count`` of a pool of m to try next, best first, and the bound of each before a pick, [m].

    ``penalty`` [m]: what each one's bound is lowered by.
    """

    def now() -> Tensor:
        worth = wish([one.bounds(optimism) for one in outlooks])
        return worth if penalty is None else worth - penalty

    first = now()
    picks: list[int] = []
    for _ in range(min(count, len(first))):
        bounds = now() if picks else first.clone()
        bounds[picks] = -torch.inf
        picks.append(int(bounds.argmax()))
        for one in outlooks:
            one.settle(picks[-1])
    return picks, first


def _squared(left: Tensor, right: Tensor) -> Tensor:
    """Squared distances [left, right] of rows."""
    products = torch.addmm(left.square().sum(1)[:, None] + right.square().sum(1), left, right.T, alpha=-2.0)
    return products.clamp_(min=0.0)
