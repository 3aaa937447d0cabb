"""A space that has nothing to propose is refused before a run begins, with what is to blame."""

from __future__ import annotations

import random
from typing import Any

import pytest

from nas import documents
from nas.errors import InputError, InvalidCandidate
from nas.space import Candidate, Costs, Space
from nas.space.blame import tally
from nas.space.survey import require_some

TEXT = """
architecture: [{conv: {filters: {choice: [16, 32, 64], name: filters}, kernel: {int: [1, 9], name: kernel}}}]
constraints:
  - kernel <= 9
  - parameters <= LIMIT
"""


def price(candidate: Candidate) -> dict[str, float]:
    (conv,) = ((entry["conv"]["filters"], entry["conv"]["kernel"]) for entry in candidate.architecture or ())
    return {"parameters": conv[0] * conv[1] ** 2, "flops": conv[0]}


def space(limit: str, costs: Costs | None) -> Space:
    return Space.read(documents.parse(TEXT.replace("LIMIT", limit), "space.yaml"), costs=costs)


def refused(one: Space) -> str:
    with pytest.raises(InputError) as raised:
        require_some(one)
    return str(raised.value)


def test_a_space_with_anything_to_propose_passes() -> None:
    require_some(space("16", Costs(price)))
    require_some(Space.read({"hyperparameters": {"a": {"choice": [1, 2]}}}))


def test_a_space_whose_constraints_leave_nothing_is_refused_with_the_one_to_blame() -> None:
    """And how far off it is: what was drawn."""
    assert refused(space("15", Costs(price))) == (
        "space.yaml:5:5: none of 2,000 draws satisfies the constraints; all violate: parameters <= 15 "
        "(parameters: 16 to 5,184)"
    )


def widths(*constraints: str) -> Space:
    return Space.read(
        documents.plain(
            {
                "architecture": [
                    {"conv": {"filters": {"choice": [4, 8, 16], "name": "w"}, "kernel": {"int": [1, 9], "name": "k"}}}
                ],
                "constraints": list(constraints),
            }
        ),
        costs=Costs(price),
    )


@pytest.mark.parametrize(
    ("constraints", "blamed"),
    [
        (
            ["w <= 4", "k >= 5", "parameters >= 1e9"],
            "all violate: parameters >= 1e9 (parameters: 100 to 324)",
        ),
        (["parameters <= 9", "parameters >= 1e9"], "all violate: parameters >= 1e9 (parameters: 4 to 1,296)"),
        (
            ["parameters <= 3", "w >= 4", "flops < 1"],
            "parameters <= 3 (parameters: 4 to 1,296), and flops < 1 (flops: 4 to 16)",
        ),
        (["k >= 2", "w == 4", "k <= 8", "w == 8"], "none satisfies together: w == 4, and w == 8"),
        (["w == 16", "parameters < 16"], "satisfies together: w == 16, and parameters < 16 (parameters: 16 to 1,296)"),
    ],
)
def test_what_nothing_satisfies_is_blamed_not_what_stands_before_it(constraints: list[str], blamed: str) -> None:
    """Lost without it: a person relaxes the constraint that was never in the way."""
    assert refused(widths(*constraints)).endswith(blamed)


@pytest.mark.parametrize(
    ("constraints", "blamed"),
    [
        (["parameters <= 9", "parameters >= 1e9"], "all violate: parameters >= 1e9 (parameters: 4 to 1,296)"),
        (["w == 4", "w == 8"], "none satisfies together: w == 4, and w == 8"),
    ],
)
def test_a_sample_that_cannot_be_drawn_blames_the_same(constraints: list[str], blamed: str) -> None:
    with pytest.raises(InputError, match="1,001 draws in a row") as raised:
        widths(*constraints).sample(random.Random(0))
    assert str(raised.value).endswith(blamed)


def test_reasons_that_differ_in_numbers_alone_are_one() -> None:
    reasons = [f"0.dropout: rate {i / 7} is above {i}" for i in range(5)] + ["1.dropout: rate 0.5 is above 1"] * 2
    assert tally(reversed(reasons)) == {
        f"0.dropout: rate {4 / 7} is above 4 (and others alike)": 5,
        "1.dropout: rate 0.5 is above 1": 2,
    }


def test_a_space_of_which_nothing_can_be_built_says_why() -> None:
    def impossible(candidate: Candidate) -> dict[str, float]:
        raise InvalidCandidate("architecture.0.conv: no")

    plain: dict[str, Any] = {"architecture": [{"conv": {"choice": [1, 2, 3]}}]}
    message = "none of 200 draws of the space can be built; 200 of them: architecture.0.conv: no"
    assert refused(Space.read(plain, costs=Costs(impossible))) == message
    assert "(200 cannot be built: architecture.0.conv: no)" in refused(space("15", Costs(impossible)))


def test_constraints_over_costs_that_nobody_knows_are_refused() -> None:
    """Silently ignored, they would let through what the person has forbidden."""
    assert refused(space("15", None)).startswith("space.yaml:5:5: 'parameters <= 15' needs costs")


def test_where_few_satisfy_a_constraint_and_those_cannot_be_built_the_reason_is_theirs() -> None:
    """Lost without it: the constraint is blamed, and relaxing it mends nothing."""

    def wide(candidate: Candidate) -> dict[str, float]:
        raise InvalidCandidate("architecture.0.conv: too wide")

    document = {"hyperparameters": {"a": {"int": [1, 9], "name": "a"}, "b": {"int": [1, 9], "name": "b"}}}
    one = Space.read({**document, "constraints": ["a * b % 7 == 1"]}, costs=Costs(wide))
    said = refused(one)
    assert said.startswith("none of 2,000 draws of the space can be built, and only ")
    assert said.endswith(" of them: architecture.0.conv: too wide")
