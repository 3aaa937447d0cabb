"""One contract, run by every controller: pure asks, replay and snapshots at every cut, failures, small spaces.

Without it a resumed search would propose other candidates than the uninterrupted one, and nobody would see it.
"""

from __future__ import annotations

import hashlib
import math
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_problems import (
    CONSTRAINED,
    EVERY_KIND,
    FEW_LEFT,
    FLAT,
    ONE,
    SIX,
    Step,
    read,
    replay,
    same,
    scheduled,
    script,
    through_json,
    weights_of,
    worth,
    worths,
)

from nas.controllers import Controller, Lessons, Teachable, make, parse, remarks
from nas.controllers.fidelity import WHOLE, Curve
from nas.controllers.proposals import every_draw
from nas.errors import InputError
from nas.limits import Budget
from nas.machine import Search
from nas.records import (
    FAILURE_KINDS,
    Answered,
    CandidateFailure,
    Exhausted,
    Failed,
    FailureKind,
    Lesson,
    Proposal,
    Reward,
    SlotsChanged,
    Succeeded,
    Tick,
)
from nas.space import Costs, Space
from nas.verdict import MACHINE_RETRIES

# Small populations and short warm-ups: 20 trials then reach every part of a controller.
CONTROLLERS: dict[str, Any] = {
    "random": "random",
    "evolution": {"evolution": {"population": 6, "sample": 3}},
    "rl": {"rl": {"warmup": 4, "update_every": 2, "steps": 2}},
    "optuna:tpe": {"optuna": {"sampler": "tpe", "n_startup_trials": 4}},
    "optuna:tpe-independent": {"optuna": {"sampler": "tpe", "n_startup_trials": 4, "multivariate": False}},
    "optuna:random": "optuna:random",
    "optuna:nsgaii": {"optuna": {"sampler": "nsgaii", "population_size": 4}},
    "optuna:nsgaiii": {"optuna": {"sampler": "nsgaiii", "population_size": 4}},
    "optuna:cmaes": {"optuna": {"sampler": "cmaes", "popsize": 4}},
    "optuna:gp": {"optuna": {"sampler": "gp", "n_startup_trials": 6}},  # 0.1 s for each ask after these
    "optuna:qmc": "optuna:qmc",
}
AVOID_REPEATS = ("rl", "evolution")


def trials_of(name: str) -> int:
    return 10 if name == "optuna:gp" else 18


@pytest.fixture(params=CONTROLLERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def new(name: str, space: Space, seed: int = 7, objectives: int = 1) -> Controller:
    return make(parse(CONTROLLERS[name]), space, seed, objectives)


def asked(controller: Controller, number: int) -> Proposal:
    proposal = controller.ask(number)
    assert isinstance(proposal, Proposal)
    return proposal


@pytest.mark.parametrize("document", [EVERY_KIND, FLAT, CONSTRAINED], ids=["conditional", "flat", "constrained"])
def test_replay_of_any_prefix_proposes_what_the_uninterrupted_run_did(name: str, document: Any) -> None:
    space = read(document)
    steps = list(script(new(name, space), trials_of(name), seed=3))
    numbers = [proposal.number for kind, proposal, _ in steps if kind == "began"]
    assert numbers == list(range(trials_of(name)))
    for cut, (kind, proposal, _) in enumerate(steps):
        if kind == "began":
            resumed = replay(new(name, space), steps[:cut])
            assert same(resumed.ask(proposal.number), proposal), f"after {cut} of {len(steps)} steps"


def test_a_snapshot_at_any_point_continues_as_the_original(name: str) -> None:
    space = read(EVERY_KIND)
    original = new(name, space)
    snapshots: list[tuple[int, bytes]] = []
    steps: list[Step] = []
    for step in script(original, trials_of(name), seed=4):
        steps.append(step)
        snapshots.append((len(steps), original.save()))
    for at, state in snapshots[::5]:
        loaded = new(name, space)
        loaded.load(state)
        assert loaded.save() == state
        assert replay(loaded, steps[at:]).save() == snapshots[-1][1]


def test_replay_and_life_end_in_the_same_bytes(name: str) -> None:
    space = read(EVERY_KIND)
    live = new(name, space)
    steps = list(script(live, trials_of(name), seed=5))
    assert replay(new(name, space), steps).save() == live.save()


def test_asking_changes_nothing(name: str) -> None:
    space = read(EVERY_KIND)
    controller = new(name, space)
    steps = list(script(controller, trials_of(name), seed=6))
    before = controller.save()
    first = controller.ask(18)
    controller.ask(23)
    assert same(controller.ask(18), first)
    assert controller.save() == before
    assert same(replay(new(name, space), steps).ask(18), first)


def test_asking_leaves_every_global_random_generator_and_thread_count_alone(name: str) -> None:
    torch.manual_seed(1)
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    threads = torch.get_num_threads()
    list(script(new(name, read(EVERY_KIND)), 10, seed=7))
    now = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    assert now == states
    assert torch.get_num_threads() == threads


def test_proposals_are_the_spaces_own_draws(name: str) -> None:
    """A proposal that the space would not make from the same decisions could not be trained or shown."""
    for document in (EVERY_KIND, FLAT, CONSTRAINED):
        space = read(document)
        for kind, proposal, _ in script(new(name, space), trials_of(name), seed=8):
            if kind == "began":
                draw = space.replay(proposal.decisions)
                assert list(draw.decisions.items()) == list(proposal.decisions.items())
                assert (draw.candidate.json(), draw.candidate.hash) == (proposal.candidate, proposal.hash)
                assert (draw.violated, draw.invalid) == ("", "") == ("", proposal.invalid)
                assert proposal.log_probability is None or math.isfinite(proposal.log_probability)


def test_the_run_seed_decides_the_proposals(name: str) -> None:
    space = read(EVERY_KIND)
    one, same_seed, other = (asked(new(name, space, seed), 0) for seed in (1, 1, 2))
    assert same(one, same_seed)
    assert not same(one, other)


def test_failures_before_and_between_rewards_are_taken(name: str) -> None:
    controller = new(name, read(EVERY_KIND))
    for number in range(12):
        proposal = asked(controller, number)
        controller.began(proposal)
        controller.tell(proposal, CandidateFailure("invalid") if number < 5 or number % 3 else Reward(float(number)))
    assert b"NaN" not in controller.save()
    asked(controller, 12)


def test_only_failures_stop_nobody(name: str) -> None:
    controller = new(name, read(EVERY_KIND))
    for number in range(10):
        proposal = asked(controller, number)
        controller.began(proposal)
        controller.tell(proposal, CandidateFailure("out_of_memory"))
    asked(controller, 10)


def test_a_result_may_come_very_late(name: str) -> None:
    space = read(EVERY_KIND)
    controller = new(name, space)
    steps: list[Step] = []
    for number in range(10):
        proposal = asked(controller, number)
        controller.began(proposal)
        steps.append(("began", proposal, None))
        if number:
            controller.tell(proposal, Reward(number / 10))
            steps.append(("tell", proposal, Reward(number / 10)))
    late = steps[0][1]
    controller.tell(late, Reward(9.0))
    steps.append(("tell", late, Reward(9.0)))
    assert same(replay(new(name, space), steps).ask(10), controller.ask(10))


@pytest.mark.parametrize("value", [0.0, 0.5, -3e30, 1e-300])
def test_a_constant_reward_is_no_trouble(name: str, value: float) -> None:
    controller = new(name, read(FLAT))
    for number in range(9):
        proposal = asked(controller, number)
        controller.began(proposal)
        controller.tell(proposal, Reward(value))
    asked(controller, 9)


def test_a_space_of_one_candidate(name: str) -> None:
    controller = new(name, read(ONE))
    first = asked(controller, 0)
    assert first.decisions == {}
    controller.began(through_json(first))
    controller.tell(first, Reward(1.0))
    again = controller.ask(1)
    assert isinstance(again, Exhausted) if name in AVOID_REPEATS else same(again, asked(new(name, read(ONE)), 1))


def test_a_small_space_is_exhausted_or_repeated_but_never_wrong(name: str) -> None:
    controller = new(name, read(SIX))
    hashes = []
    for number in range(20):
        proposal = controller.ask(number)
        if isinstance(proposal, Exhausted):
            break
        hashes.append(proposal.hash)
        controller.began(proposal)
        if number % 3:  # some stay pending: these must not be proposed again either
            controller.tell(proposal, Reward(number % 4))
    if name in AVOID_REPEATS:
        assert len(hashes) == len(set(hashes)) == 6
    else:
        assert len(hashes) == 20


# An earlier run ------------------------------------------------------------------------------------------------------

LEARNS = ("rl", "evolution", "optuna:tpe", "optuna:tpe-independent", "optuna:gp")


def lessons(space: Space, scale: float = 1.0) -> Lessons:
    """What a random search found out, failures among it, in rewards of any scale."""
    found: list[tuple[Lesson, Reward | CandidateFailure]] = []
    for number in range(16):
        draw = space.prior(random.Random(number))
        result = Reward(scale * worth(draw.decisions)) if number % 5 else CandidateFailure("out_of_memory")
        found.append((Lesson(100 + number, draw.decisions, draw.candidate.hash), result))
    return found


def taught(name: str, space: Space, scale: float = 1.0) -> Controller:
    controller = new(name, space)
    if isinstance(controller, Teachable):
        controller.teach(lessons(space, scale))
    return controller


def test_what_was_taught_is_part_of_the_state(name: str) -> None:
    space = read(EVERY_KIND)
    live = taught(name, space)
    assert (live.save() != new(name, space).save()) == (name in LEARNS), "who learns, and who says that it does not"
    assert bool(remarks(parse(CONTROLLERS[name]), space, taught=True)) >= (name not in LEARNS)
    begun = live.save()
    steps = list(script(live, 3 if name == "optuna:gp" else 12, seed=12))
    assert replay(taught(name, space), steps).save() == live.save()
    loaded = new(name, space)
    loaded.load(begun)
    assert loaded.save() == begun
    assert replay(loaded, steps).save() == live.save()


@pytest.mark.parametrize("name", ["rl", "evolution", "optuna:tpe"])
def test_what_was_taught_may_have_several_objectives(name: str) -> None:
    space = read(EVERY_KIND)
    several = [
        (lesson, Reward(worths(lesson.decisions)) if isinstance(one, Reward) else one) for lesson, one in lessons(space)
    ]
    live, again = (new(name, space, objectives=3) for _ in range(2))
    for controller in (live, again):
        assert isinstance(controller, Teachable)
        controller.teach(several)
    assert replay(again, list(script(live, 8, seed=12, reward=worths))).save() == live.save()


@pytest.mark.parametrize("name", LEARNS)
def test_what_was_taught_is_made_use_of_from_the_first_proposal(name: str) -> None:
    space = read(FLAT)
    assert not same(asked(taught(name, space), 0), asked(new(name, space), 0))


@pytest.mark.parametrize("name", ["rl", "evolution"])
def test_the_best_that_was_taught_is_tried_again_soon_whatever_the_scale_of_its_rewards(name: str) -> None:
    """What it is worth here is what the earlier run can not say, and its numbers mean nothing here."""
    space = read(SIX)
    best = max(((lesson, one) for lesson, one in lessons(space) if isinstance(one, Reward)), key=lambda i: i[1].value)
    hashes = []
    for scale in (1.0, 1e6):
        controller = taught(name, space, scale)
        hashes.append([proposal.hash for _, proposal, _ in script(controller, 3, seed=1, pending=1)])
        assert best[0].hash in hashes[-1]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("kind", FAILURE_KINDS)
def test_a_failure_teaches_if_the_candidate_is_to_blame_and_else_nothing(name: str, kind: FailureKind) -> None:
    """The one rule of nas.controllers, through the machine that keeps it."""
    search = Search(new(name, read(FLAT)), lambda metrics, seconds: Reward(1.0), Budget(trials=2))
    search.handle(SlotsChanged(1), 0.0)
    search.handle(Answered(0, 0, Succeeded({"value": 1.0})), 1.0)
    before, attempts = search.controller.save(), 0
    while search.history.trials[1].open:
        search.handle(Answered(1, attempts, Failed(kind, "no")), 1000.0 * (attempts + 1))
        search.handle(Tick(), 1000.0 * (attempts + 1) + 500)  # machines' failures are retried after a while
        attempts += 1
    of_machines = kind in ("lost", "preempted")
    assert (search.controller.save() == before) == (of_machines or name == "random")
    assert attempts == (MACHINE_RETRIES + 1 if of_machines else 1)


OTHERS = [name for name in CONTROLLERS if name != "optuna:gp"]  # whose asks take a tenth of a second each
ELSEWHERE = """
import sys
sys.path.insert(0, sys.argv[1])
import test_contract as t
for name in t.OTHERS:
    print(name, t.digest_of_a_script(name))
"""


def digest_of_a_script(name: str) -> str:
    controller = new(name, read(EVERY_KIND))
    list(script(controller, 18, seed=11))
    return hashlib.sha256(controller.save()).hexdigest()


def test_another_process_comes_to_the_same_state() -> None:
    """A resume is another process: nothing may hang on the order of a set of strings, or on addresses."""
    hash_seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "OMP_NUM_THREADS": "2"}
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, here], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{name} {digest_of_a_script(name)}" for name in OTHERS]


# Several objectives --------------------------------------------------------------------------------------------------

ONE_OBJECTIVE = ("optuna:cmaes",)


@pytest.fixture(params=[name for name in CONTROLLERS if name not in ONE_OBJECTIVE])
def taking_several(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_what_knows_one_objective_refuses_several_before_the_run() -> None:
    for name in ONE_OBJECTIVE:
        with pytest.raises(InputError, match=f"{name} knows one objective, and the reward has 3: take rl, evolution"):
            new(name, read(FLAT), objectives=3)


def test_vectors_replay_and_load_at_any_cut(taking_several: str) -> None:
    """The preferences that RL draws, the crowding that evolution compares: all of it must come back from tells."""
    space, name = read(EVERY_KIND), taking_several
    original = new(name, space, objectives=3)
    steps: list[Step] = []
    snapshots: list[bytes] = [original.save()]
    for step in script(original, trials_of(name), seed=12, reward=worths):
        steps.append(step)
        snapshots.append(original.save())
    assert {len(result.vector) for _, _, result in steps if isinstance(result, Reward)} == {3}
    for cut, (kind, proposal, _) in [*enumerate(steps)][:: 17 if name == "optuna:gp" else 2]:
        if kind == "began":
            resumed = replay(new(name, space, objectives=3), steps[:cut])
            assert same(resumed.ask(proposal.number), proposal), f"after {cut} of {len(steps)} steps"
            assert resumed.save() == snapshots[cut]
    for cut in range(0, len(steps), 7):
        loaded = new(name, space, objectives=3)
        loaded.load(snapshots[cut])
        assert loaded.save() == snapshots[cut]
        assert replay(loaded, steps[cut:]).save() == snapshots[-1]


def test_vectors_after_failures_and_all_alike_are_no_trouble(taking_several: str) -> None:
    controller = new(taking_several, read(EVERY_KIND), objectives=2)
    trials = 6 if taking_several == "optuna:gp" else 12
    for number in range(trials):
        proposal = asked(controller, number)
        controller.began(proposal)
        controller.tell(proposal, CandidateFailure("invalid") if number < 3 or number == 7 else Reward((0.5, -1e9)))
    assert b"NaN" not in controller.save()
    asked(controller, trials)


# Schedulers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [1, 3])
def test_what_is_told_again_replays_and_loads_at_any_cut(name: str, objectives: int) -> None:
    """A trial told at a rung and again at the next is one trial, live and after a resume in between."""
    if objectives > 1 and name in ONE_OBJECTIVE:
        pytest.skip("knows one objective")
    space = read(EVERY_KIND)
    original = new(name, space, objectives=objectives)
    steps: list[Step] = []
    snapshots = [original.save()]
    for step in scheduled(original, 9, seed=21, reward=worths if objectives > 1 else worth):
        steps.append(step)
        snapshots.append(original.save())
    assert any(result is not None and result.again for _, _, result in steps)
    for cut, (kind, proposal, _) in [*enumerate(steps)][:: 11 if name == "optuna:gp" else 3]:
        if kind == "began":
            resumed = replay(new(name, space, objectives=objectives), steps[:cut])
            assert same(resumed.ask(proposal.number), proposal), f"after {cut} of {len(steps)} steps"
            assert resumed.save() == snapshots[cut]
    for cut in range(0, len(steps), 9):
        loaded = new(name, space, objectives=objectives)
        loaded.load(snapshots[cut])
        assert loaded.save() == snapshots[cut]
        assert replay(loaded, steps[cut:]).save() == snapshots[-1]


def settles_on(name: str, curve: Callable[[float], Curve]) -> float:
    """The mean worth, 0 to 1, of what is proposed after 30 trials, when such curves are told of their worths."""
    controller = new(name, read({"hyperparameters": {letter: {"int": [0, 9]} for letter in "abcdef"}}))
    worths: list[float] = []
    for number in range(50):
        proposal = asked(controller, number)
        controller.began(proposal)
        worths.append(sum(proposal.decisions.values()) / 54)
        told = curve(worths[-1])
        controller.tell(proposal, Reward(told[-1][1], curve=told))
    return float(np.mean(worths[30:]))


@pytest.mark.parametrize("name", ["rl", "evolution"])
def test_a_long_run_is_not_taken_for_a_better_one(name: str) -> None:
    """What was trained to its end is worth more than what paused, whatever it is: who compared the two as numbers
    would settle on what happened to be trained for long."""

    def curve(worth: float) -> Curve:  # the worse half is trained in full, as by a ladder without rungs
        whole = [(1, (worth / 10,)), (3, (worth / 3,)), (WHOLE, (worth,))]
        return whole[:1] if worth > 0.5 else whole

    assert settles_on(name, curve) > 0.6


@pytest.mark.parametrize("name", ["rl", "evolution", "optuna:tpe"])
def test_a_short_run_is_not_taken_for_a_better_one(name: str) -> None:
    """Here every number falls with training: who compared those of short trainings with those of whole ones would
    settle on what paused."""

    def curve(worth: float) -> Curve:  # the better half is trained in full
        whole = [(1, (2 + worth / 10,)), (WHOLE, (worth,))]
        return whole if worth > 0.5 else whole[:1]

    assert settles_on(name, curve) > 0.6


# Constraints ---------------------------------------------------------------------------------------------------------


def test_what_is_never_proposed_is_what_the_constraints_forbid(name: str) -> None:
    """Masks and rejection together must leave the tree minus violations: not more, and not less."""
    space = read(FEW_LEFT)
    allowed = {draw.candidate.hash for draw in every_draw(space) if not draw.violated}
    assert len(allowed) == 6
    assert {asked(new(name, space, seed), 0).hash for seed in range(60)} == allowed


def test_learning_leads_to_no_violation_and_to_no_dead_end(name: str) -> None:
    """The best of what is told lies beside what is forbidden; a controller that settles there must still propose."""
    space = read(FEW_LEFT)
    controller = new(name, space)
    hashes = []
    for number in range(14):
        proposal = controller.ask(number)
        if isinstance(proposal, Exhausted):
            break
        assert not space.replay(proposal.decisions).violated
        hashes.append(proposal.hash)
        controller.began(proposal)
        controller.tell(proposal, Reward(float(proposal.decisions["a"])))
    if name in AVOID_REPEATS:
        assert len(hashes) == len(set(hashes)) == 6
    else:
        assert len(hashes) == 14


def test_rejected_draws_are_counted_and_seeded_one_by_one(name: str) -> None:
    """Their share is what a person judges constraints by."""
    space = read(CONSTRAINED)
    proposals = [asked(new(name, space, seed), 0) for seed in range(30)]
    rejected = sum(proposal.rejected for proposal in proposals)
    assert 0.1 < rejected / (rejected + 30) < 0.8
    assert len({proposal.hash for proposal in proposals}) > 20
    worst = max(range(30), key=lambda seed: proposals[seed].rejected)
    assert same(asked(new(name, space, worst), 0), through_json(proposals[worst]))


def test_a_space_without_a_way_is_exhausted_and_says_by_whom(name: str) -> None:
    document = {**CONSTRAINED, "constraints": ["width >= 16", "parameters < 2 * width"]}
    space = Space.read(document, costs=Costs(weights_of))
    answer = new(name, space).ask(0)
    assert isinstance(answer, Exhausted)
    assert "1,001 draws in a row violate a constraint; all violate: parameters < 2 * width" in answer.reason


def test_nothing_reaches_the_terminal(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        list(script(new(name, read(EVERY_KIND)), 10, seed=9))
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in caught] == []
