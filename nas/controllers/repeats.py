"""Proposes recorded trials once more, each once, in a given order; what comes of them is nothing to it."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from nas.records import CandidateFailure, Exhausted, Proposal, Reward


class RepeatsController:
    """``recorded``: proposals of another run. Its proposals name those in ``repeats``, and train with their seeds."""

    def __init__(self, recorded: Sequence[Proposal]) -> None:
        self._recorded = recorded
        self._begun: dict[int, None] = {}

    def ask(self, number: int) -> Proposal | Exhausted:
        for one in self._recorded:
            if one.number not in self._begun:
                return Proposal(number, one.decisions, one.candidate, one.hash, repeats=one.number)
        return Exhausted("every trial of the sample has been proposed")

    def began(self, proposal: Proposal) -> None:
        if proposal.repeats is not None:
            self._begun[proposal.repeats] = None

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        pass

    def save(self) -> bytes:
        return orjson.dumps(list(self._begun))

    def load(self, state: bytes) -> None:
        self._begun = dict.fromkeys(orjson.loads(state))
