"""A space's ``start:`` list: tried first by every controller, learnt from, and no obstacle to replay."""

from __future__ import annotations

from typing import Any

import pytest
from search_problems import Step, replay, same, script
from test_contract import CONTROLLERS, asked, new

from nas.controllers import make, parse
from nas.records import CandidateFailure, Proposal, Reward
from nas.space import Space

STARTED: dict[str, Any] = {
    "define": {"width": {"choice": [16, 32, 64]}},
    "architecture": [{"conv": {"filters": "=width", "kernel": {"choice": [3, 5]}}}],
    "hyperparameters": {
        "rate": {"float": [0.01, 1.0], "log": True},
        "optimizer": {"choice": [{"sgd": {"momentum": {"float": [0, 1]}}}, "adam"]},
    },
    "start": [{}, {"width": 64, "hyperparameters.optimizer": "adam"}, {"hyperparameters.rate": 0.5}],
}
SWITCHES = {f"s{i}": {"choice": ["off", "on"], "name": f"s{i}"} for i in range(12)}
GOOD = {f"s{i}": "on" if i % 3 else "off" for i in range(12)}


@pytest.mark.parametrize("name", CONTROLLERS)
def test_starts_come_first_and_in_order(name: str) -> None:
    space = Space.read(STARTED)
    steps = list(script(new(name, space), 8, seed=3))
    begun = [proposal for kind, proposal, _ in steps if kind == "began"]
    assert [proposal.decisions for proposal in begun[:3]] == list(space.start)
    assert [proposal.notes.get("start") for proposal in begun[:4]] == [0, 1, 2, None]


@pytest.mark.parametrize("name", CONTROLLERS)
def test_replay_of_any_prefix_goes_on_as_the_uninterrupted_run(name: str) -> None:
    """Lost without it: a run that a kill within its starts makes another run."""
    space = Space.read(STARTED)
    steps: list[Step] = list(script(new(name, space), 9, seed=3))
    for cut, (kind, proposal, _) in enumerate(steps):
        if kind == "began":
            resumed = replay(new(name, space), steps[:cut])
            assert same(resumed.ask(proposal.number), proposal), f"after {cut} of {len(steps)} steps"
            assert same(resumed.ask(proposal.number), proposal), "an ask changes nothing"


@pytest.mark.parametrize("name", CONTROLLERS)
def test_a_snapshot_within_the_starts_continues_as_the_original(name: str) -> None:
    space = Space.read(STARTED)
    original = new(name, space)
    steps: list[Step] = []
    for step in script(original, 8, seed=4):
        steps.append(step)
        if len(steps) == 3:
            state = original.save()
    loaded = new(name, space)
    loaded.load(state)
    assert replay(loaded, steps[3:]).save() == original.save()


# rl finds the good one within a few proposals without being told, so only its first ones show what it was taught
@pytest.mark.parametrize(
    ("controller", "learnt", "first"), [("rl", 10, 2), ("evolution", 20, 12), ("optuna:tpe", 10, 12)]
)
def test_a_good_start_draws_what_is_proposed_after_it_towards_itself(controller: str, learnt: int, first: int) -> None:
    """Lost without it: starts that are trained and taught to nobody. What is like the start is worth more here."""
    with_start = Space.read({"hyperparameters": SWITCHES, "start": [GOOD]})
    without = Space.read({"hyperparameters": SWITCHES})
    good = with_start.start[0]

    def likeness(space: Space, seed: int) -> float:
        """How like the start the first proposals are that come of learning, on average."""
        made, alike = make(parse(controller), space, seed), []
        for number in range(learnt + first):
            proposal = asked(made, number)
            alike.append(sum(proposal.decisions[path] == value for path, value in good.items()) / len(good))
            made.began(proposal)
            made.tell(proposal, Reward(alike[-1]))
        return sum(alike[learnt:]) / first

    gains = [likeness(with_start, seed) - likeness(without, seed) for seed in (1, 2, 3, 4)]
    assert sum(gains) / len(gains) > 0.04


@pytest.mark.parametrize("name", CONTROLLERS)
def test_starts_that_all_fail_are_no_end(name: str) -> None:
    """Lost without it: a run whose first trials fail dies of a batch that is empty, and dies again when it goes on."""
    controller = new(
        name, Space.read({**STARTED, "start": [{}, {"width": 32}, {"width": 64}, {"hyperparameters.rate": 0.5}]})
    )
    for number in range(8):
        proposal = controller.ask(number)
        assert isinstance(proposal, Proposal)
        controller.began(proposal)
        controller.tell(proposal, CandidateFailure("error"))


def test_without_starts_there_is_nothing_between() -> None:
    plain = Space.read({key: value for key, value in STARTED.items() if key != "start"})
    assert type(new("random", plain)).__name__ == "RandomController"
