"""From draws to proposals, and what to do about draws that were proposed before.

RL and evolution redraw a candidate whose hash is pending or ended. When redrawing finds nothing new, a small space is
searched through, so that "exhausted" is a certainty there; in a large one the repeat itself is proposed, and the search
counts repeats.

Every controller rejects a draw that violates a constraint, and draws again with a seed of its own, ``redraw_seed``: at
most 1,000 times in one ask, and then the space is exhausted and the constraint to blame is named. A rejected draw is
told to nobody; a controller only has their number in one ask, to look elsewhere. So that what a controller has learned
cannot lead it into a corner from which every draw is rejected, the last draws of an ask are from the prior.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from nas.controllers import Lessons
from nas.pareto import best_first
from nas.records import Exhausted, Lesson, Proposal, Reward
from nas.seeds import derive
from nas.space import Decision, Draw, Index, Integer, Space
from nas.space.blame import blame

REDRAWS = 1_000  # per ask, of repeats and of draws that violate a constraint
FROM_PRIOR = 100  # rejected draws of one ask, after which the prior draws
LISTED = 4_096  # assignments of the largest space that is looked through


def redraw_seed(seed: int, number: int, redraw: int) -> int:
    """Of one draw of ask ``number``: the first is ``redraw`` 0."""
    return derive(seed, "ask", number, redraw) if redraw else derive(seed, "ask", number)


class Rejections:
    """The draws of one ask that violated a constraint."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._draws: list[Draw] = []

    def __len__(self) -> int:
        return len(self._draws)

    def takes(self, draw: Draw) -> bool:
        """Whether it violates a constraint; it is counted then."""
        if draw.violated:
            self._draws.append(draw)
        return bool(draw.violated)

    def exhausted(self) -> Exhausted:
        """To be answered where every draw of the ask was rejected."""
        lead = f"{len(self):,} draws in a row violate a constraint"
        return Exhausted(str(blame(self._space, self._draws, lead)))


def to_proposal(
    number: int,
    draw: Draw,
    *,
    log_probability: float | None = None,
    policy: int = 0,
    notes: Mapping[str, Any] | None = None,
    rejected: int = 0,
) -> Proposal:
    """The proposal of trial ``number`` for one draw of the space."""
    return Proposal(
        number=number,
        decisions=draw.decisions,
        candidate=draw.candidate.json(),
        hash=draw.candidate.hash,
        log_probability=log_probability,
        policy=policy,
        notes=notes or {},
        invalid=draw.invalid,
        rejected=rejected,
    )


def best(lessons: Lessons) -> list[tuple[Lesson, Reward]]:
    """Of an earlier run's trials those that succeeded, one for each candidate, the best first."""
    succeeded = [(lesson, result) for lesson, result in lessons if isinstance(result, Reward)]
    first: dict[str, tuple[Lesson, Reward]] = {}
    for at in best_first([result.vector for _, result in succeeded]):
        first.setdefault(succeeded[at][0].hash, succeeded[at])
    return list(first.values())


def nothing_new(space: Space, known: Container[str], repeat: Draw) -> Draw | Exhausted:
    """What to propose when redrawing met only ``known`` hashes: a draw that is new, the last repeat, or nothing."""
    count = space.count().exact
    if count is None or count > LISTED:
        return repeat
    for draw in every_draw(space):
        if not draw.violated and draw.candidate.hash not in known:
            return draw
    return Exhausted("every candidate of the space has been proposed")


def every_draw(space: Space) -> Iterator[Draw]:
    """Each assignment of a space without reals once, in order, also those that violate a constraint.

    The walk's decisions are the digits of an odometer.
    """
    prefix: list[tuple[int, int]] | None = []  # (value, last value) of the decisions that are held
    while prefix is not None:
        held = prefix
        digits: list[tuple[int, int]] = []

        def choose(decision: Decision, held: list[tuple[int, int]] = held, digits: Any = digits) -> int:
            first, last = bounds(decision)
            digits.append(held[len(digits)] if len(digits) < len(held) else (first, last))
            return int(digits[-1][0])

        yield space.walk(choose, masked=False)
        while digits and digits[-1][0] == digits[-1][1]:
            digits.pop()
        prefix = [*digits[:-1], (digits[-1][0] + 1, digits[-1][1])] if digits else None


def bounds(decision: Decision) -> tuple[int, int]:
    """First and last value of a decision that has finitely many."""
    match decision:
        case Index(size=size):
            return 0, size - 1
        case Integer(low=low, high=high):
            return low, high
    raise TypeError(f"{decision.path} is a real number: its values can not be listed")


def is_settled(decision: Decision) -> bool:
    """Whether there is only one value to choose."""
    return decision.size == 1 if isinstance(decision, Index) else decision.low == decision.high
