"""Random search: each proposal is one draw from the space's prior.

It has no state, and does not avoid repeats: a baseline should be what its name says.
"""

from __future__ import annotations

from random import Random

from nas.controllers.proposals import REDRAWS, Rejections, redraw_seed, to_proposal
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.space import Space


class RandomController:
    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed

    def ask(self, number: int) -> Proposal | Exhausted:
        rejections = Rejections(self._space)
        for redraw in range(REDRAWS + 1):
            draw = self._space.prior(Random(redraw_seed(self._seed, number, redraw)))
            if not rejections.takes(draw):
                return to_proposal(number, draw, rejected=len(rejections))
        return rejections.exhausted()

    def began(self, proposal: Proposal) -> None:
        pass

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        pass

    def save(self) -> bytes:
        return b"{}"

    def load(self, state: bytes) -> None:
        pass
