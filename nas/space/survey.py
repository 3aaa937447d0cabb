"""Whether a space has anything to propose: found out by drawing, before a run is begun."""

from __future__ import annotations

import random
from collections import Counter

from nas.errors import InputError
from nas.seeds import derive
from nas.space.space import Draw, Space

DRAWS = 2_000
UNBUILDABLE = 200  # draws are enough where none can be built: the run would stop by its own diagnosis


def require_some(space: Space) -> None:
    """Nothing where one of up to 2,000 prior draws, under masks, can be trained; mostly the first can.

    Raises:
        InputError: none can, or none of the first 200 can be built. The message stands at the constraint that
            most of them violate, or gives the most frequent reason why they cannot be built. Or: a constraint needs
            costs, and nobody gave any.
    """
    unknown = [constraint for constraint in space.constraints if constraint.costs and space.costs is None]
    if unknown:
        raise InputError(
            *(
                constraint.problem(f"'{constraint.text}' needs costs, which are not known here")
                for constraint in unknown
            ),
            "nas.search(..., costs=...) takes a function of a candidate that gives them",
        )
    draws: list[Draw] = []
    for number in range(DRAWS):
        draws.append(space.prior(random.Random(derive(0, "survey", number))))
        if not draws[-1].violated and not draws[-1].invalid:
            return
        if len(draws) == UNBUILDABLE and all(draw.invalid for draw in draws):
            break
    violated = [draw.violated for draw in draws if draw.violated]
    if len(violated) * 2 < len(draws):
        reason, count = Counter(draw.invalid for draw in draws if draw.invalid).most_common(1)[0]
        raise InputError(f"none of {len(draws):,} draws of the space can be built; {count:,} of them: {reason}")
    worst, count = Counter(violated).most_common(1)[0]
    constraint = next(constraint for constraint in space.constraints if constraint.text == worst)
    drawn = "".join(_range(name, draws) for name in sorted(constraint.costs))
    blame = f"none of {len(draws):,} draws satisfies the constraints; {count:,} of them violate: {worst}{drawn}"
    raise InputError(constraint.problem(blame))


def _range(cost: str, draws: list[Draw]) -> str:
    """What a cost was among the draws, so that a person sees how far off a limit is."""
    found = [draw.costs[cost] for draw in draws if cost in draw.costs]
    if not found:
        reason, count = Counter(draw.invalid for draw in draws).most_common(1)[0]
        return f" ({count:,} cannot be built: {reason})"
    return f" ({cost}: {min(found):,.6g} to {max(found):,.6g})"
