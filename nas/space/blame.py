"""Who is to blame where a space proposes nothing: every constraint asked of every draw, not only the first.

A walk stops at the first constraint that a draw violates. With several, that charges what the first rejects to it and
leaves the impossible one behind it unnamed; here each is asked on its own.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nas.errors import InvalidCandidate, Problem
from nas.seeds import derive
from nas.space.constraints import Constraint
from nas.space.decisions import draw_prior
from nas.space.partial import Known
from nas.space.space import Draw, Space

_NUMBER = re.compile(r"[-+]?\d[\d_,]*(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that is against a draw."""

    violated: tuple[Constraint, ...]
    invalid: str  # why it cannot be built; "" where nothing is known against it
    costs: Mapping[str, float]  # {} where they are unknown, or it cannot be built


def verdict(space: Space, draw: Draw) -> Verdict:
    """What cannot be built violates every constraint over costs; where costs are unknown, those are not asked."""
    known, invalid = Known(draw.decisions), draw.invalid
    known.costs = draw.costs
    if space.costs is not None and not invalid and not draw.costs:
        try:
            known.costs = space.costs.of(draw.candidate)
        except InvalidCandidate as error:
            invalid = str(error)

    def violates(constraint: Constraint) -> bool:
        if not constraint.costs:
            return not constraint.holds(known)
        return space.costs is not None and (bool(invalid) or not constraint.holds(known))

    return Verdict(tuple(filter(violates, space.constraints)), invalid, known.costs)


def unmasked(space: Space, rng: random.Random) -> Draw:
    """A draw from the prior as it was written, so that what is rejected is what constraints take away."""
    return space.walk(lambda decision: draw_prior(decision, rng), masked=False)


def blame(space: Space, draws: Sequence[Draw], lead: str) -> Problem:
    """Of draws that all violate a constraint: what nothing satisfies, with the range of its costs.

    That is every constraint that no draw satisfies; or, where each is satisfied by some, a smallest set that no draw
    satisfies together. ``lead`` begins the message, which stands at the first of them.
    """
    verdicts = [verdict(space, draw) for draw in draws]
    # Beside those under masks, a quarter as many: a mask for one constraint may leave only what another forbids.
    others = (unmasked(space, random.Random(derive(0, "blame", number))) for number in range(1 + len(draws) // 4))
    violated = {one.violated for one in verdicts} | {verdict(space, draw).violated for draw in others}
    alone = [one for one in space.constraints if all(one in broken for broken in violated)]
    blamed = alone or _conflict(space.constraints, violated)
    told = ", and ".join(f"{one.text}{''.join(_range(cost, verdicts) for cost in sorted(one.costs))}" for one in blamed)
    if not blamed:  # only masks keep the draws from what can be proposed
        worst, most = Counter(one for each in verdicts for one in each.violated).most_common(1)[0]
        return worst.problem(f"{lead}; {most:,} violate: {worst.text}")
    if alone:
        return blamed[0].problem(f"{lead}; all violate: {told}")
    return blamed[0].problem(f"{lead}; each is satisfied by some, but none satisfies together: {told}")


def _conflict(constraints: Sequence[Constraint], violated: Iterable[tuple[Constraint, ...]]) -> list[Constraint]:
    """As few of them as still reject every draw, found by leaving one out after the other; [] where all do not."""
    sets = [frozenset(broken) for broken in violated]
    if not all(sets):
        return []
    kept = list(constraints)
    for one in constraints:
        fewer = [other for other in kept if other is not one]
        if all(not broken.isdisjoint(fewer) for broken in sets):
            kept = fewer
    return kept


def _range(cost: str, verdicts: Sequence[Verdict]) -> str:
    """What a cost was among the draws, so that a person sees how far off a limit is."""
    found = [one.costs[cost] for one in verdicts if cost in one.costs]
    if not found:
        reason, count = next(iter(tally(one.invalid for one in verdicts if one.invalid).items()))
        return f" ({count:,} cannot be built: {reason})"
    return f" ({cost}: {min(found):,.6g} to {max(found):,.6g})"


def tally(reasons: Iterable[str]) -> dict[str, int]:
    """How often each reason is given, the most frequent first; those that differ in numbers alone are one.

    The numbers of the place before the first colon count as words. An example stands for all.

    >>> tally(["0.a: rate 1.25 is above 1", "0.a: rate 1.5 is above 1", "1.a: rate 2 is above 1"])
    {'0.a: rate 1.25 is above 1 (and others alike)': 2, '1.a: rate 2 is above 1': 1}
    """
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        place, colon, rest = reason.partition(": ")
        kinds.setdefault(place + colon + _NUMBER.sub("#", rest), []).append(reason)
    ordered = sorted(kinds.values(), key=len, reverse=True)
    return {(one[0] if len(set(one)) == 1 else f"{one[0]} (and others alike)"): len(one) for one in ordered}
