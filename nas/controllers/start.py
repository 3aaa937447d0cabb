"""The candidates of a space's ``start:`` list first, in order, then whatever controller it is.

Trial n is start n, for as long as there are starts: a function of the number alone, so an ask stays pure. The one
behind is told of them as of its own proposals, and learns from them by its own rules. The proposal's notes name the
start; there is no log-probability, because no policy drew it.
"""

from __future__ import annotations

from nas.controllers import Controller, Lessons, Teachable
from nas.controllers.proposals import to_proposal
from nas.records import CandidateFailure, Exhausted, Proposal, Reward
from nas.space import Space

START = "start"  # the key in a proposal's notes


class StartController:
    def __init__(self, controller: Controller, space: Space) -> None:
        self._controller = controller
        self._space = space

    def ask(self, number: int) -> Proposal | Exhausted:
        if number >= len(self._space.start):
            return self._controller.ask(number)
        return to_proposal(number, self._space.replay(self._space.start[number]), notes={START: number})

    def teach(self, lessons: Lessons) -> None:
        if isinstance(self._controller, Teachable):
            self._controller.teach(lessons)

    def began(self, proposal: Proposal) -> None:
        self._controller.began(proposal)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        self._controller.tell(proposal, result)

    def save(self) -> bytes:
        return self._controller.save()

    def load(self, state: bytes) -> None:
        self._controller.load(state)
