"""Whether a space has anything to propose: found out by drawing, before a run is begun."""

from __future__ import annotations

import random

from nas.errors import InputError, Problem
from nas.seeds import derive
from nas.space.blame import blame, tally
from nas.space.space import Draw, Space

DRAWS = 2_000


def require_some(space: Space) -> None:
    """Nothing where one of up to 2,000 prior draws, under masks, can be trained; mostly the first can.

    Raises:
        InputError: as ``nothing`` says. Or: a constraint needs costs, and nobody gave any.
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
    if problem := nothing(space):
        raise InputError(problem)


def nothing(space: Space, most: int = DRAWS) -> Problem | None:
    """Why none of ``most`` prior draws under masks can be trained, or none of the first tenth be built; None where one
    can.

    The problem stands at the constraint to blame, or gives the most frequent reason why draws cannot be built.
    """
    draws: list[Draw] = []
    for number in range(most):
        draws.append(space.prior(random.Random(derive(0, "survey", number))))
        if not draws[-1].violated and not draws[-1].invalid:
            return None
        if len(draws) == most // 10 and all(draw.invalid for draw in draws):
            break
    unbuilt = [draw for draw in draws if not draw.violated]
    if not unbuilt:
        return blame(space, draws, f"none of {len(draws):,} draws satisfies the constraints")
    reason, count = next(iter(tally(draw.invalid for draw in unbuilt).items()))
    which = "" if len(unbuilt) == len(draws) else f", and only {len(unbuilt):,} satisfy the constraints"
    return Problem(f"none of {len(draws):,} draws of the space can be built{which}; {count:,} of them: {reason}")
