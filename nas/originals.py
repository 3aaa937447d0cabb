"""Which trials are trained for which candidates, and how many proposals only repeat one of these.

A budget of trials counts the originals; where nothing but repeats is to be expected, the space is exhausted. A function
of the journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nas.records import Proposal, Proposed

FEW = 100_000  # assignments, of which those proposed are remembered; larger spaces are not used up by a search
DUPLICATES_IN_A_ROW = 1_000  # proposals that repeat earlier ones before a space counts as exhausted


@dataclass(slots=True)
class Originals:
    assignments: int | None = None  # distinct draws, where the space has a finite count
    counted: int = 0  # trials that the budget pays for
    _original: dict[str, int] = field(default_factory=dict)  # hash -> the trial that is trained for it
    # Draws so far, of a small space; values say which were active.
    _assigned: dict[str, None] = field(default_factory=dict)
    _repeats: int = 0  # duplicates since the last new candidate

    def of(self, proposal: Proposal) -> int | None:
        """The trial that is trained for the same candidate."""
        return self._original.get(proposal.hash)

    def add(self, event: Proposed) -> None:
        proposal = event.proposal
        if self.assignments is not None and self.assignments <= FEW:
            self._assigned[",".join(map(repr, proposal.decisions.values()))] = None
        if event.duplicate_of is not None:
            self._repeats += 1
            return
        self._repeats = 0
        self.counted += 1
        self._original[proposal.hash] = proposal.number

    def forget(self, proposal: Proposal) -> None:
        """Nothing is known of it: it may be proposed again."""
        self._original.pop(proposal.hash, None)

    def exhausted(self) -> str:
        """Why nothing new is to be expected; "" where it is."""
        if self._repeats >= DUPLICATES_IN_A_ROW:
            return f"{DUPLICATES_IN_A_ROW:,} proposals in a row repeated earlier ones"
        if self.assignments is not None and len(self._assigned) >= self.assignments:
            return f"all {self.assignments:,} candidates of the space have been proposed"
        return ""

    def save(self) -> Any:
        return [self.counted, self._original, list(self._assigned), self._repeats]

    def load(self, state: Any) -> None:
        self.counted, self._original, assigned, self._repeats = state
        self._assigned = dict.fromkeys(assigned)
