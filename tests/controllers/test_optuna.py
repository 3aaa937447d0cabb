"""What is particular to Optuna's samplers behind our protocol."""

from __future__ import annotations

import json
import math

import optuna
import pytest
from search_problems import EVERY_KIND, FLAT, SIX, read, replay, script, worth

from nas.controllers import make, parse
from nas.controllers.fidelity import WHOLE
from nas.controllers.optuna import OptunaController
from nas.controllers.proposals import redraw_seed
from nas.errors import InputError, NasError
from nas.records import CandidateFailure, Exhausted, Proposal, Reward


def controller(value: object, document: object = FLAT, seed: int = 1) -> OptunaController:
    made = make(parse(value), read(document), seed)  # type: ignore[arg-type]
    assert isinstance(made, OptunaController)
    return made


def test_every_sampler_that_plain_values_can_make_is_found_by_name() -> None:
    """ "Any sampler by name" holds for those of a later Optuna, too."""
    from nas.controllers.optuna import samplers

    assert {"tpe", "random", "nsgaii", "nsgaiii", "cmaes", "gp", "qmc", "bruteforce", "grid"} <= set(samplers())
    assert "partialfixed" not in samplers()  # takes a sampler object


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_tpe_proposes_what_optuna_alone_would() -> None:
    """Our study must hold what Optuna's own would: the same values, distributions and order of completion."""
    space = read(FLAT)
    ours = controller({"optuna": {"sampler": "tpe", "n_startup_trials": 3}})
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        proposal = ours.ask(number)
        assert isinstance(proposal, Proposal)
        study.sampler = ours._sampler(redraw_seed(1, number, 0))
        trial = study.ask({path: ours._distributions[path] for path in proposal.decisions})
        assert trial.params == dict(proposal.decisions)
        ours.began(proposal)
        ours.tell(proposal, Reward(worth(proposal.decisions)))
        study.tell(trial, worth(proposal.decisions))
    assert len(space.decisions) == 5


def test_pickles_are_never_journaled() -> None:
    """A journal that holds pickles would run code of whoever wrote it."""
    for kind, proposal, _ in script(controller({"optuna": {"sampler": "cmaes", "popsize": 4}}), 16, seed=1):
        if kind == "began":
            assert proposal.notes == {}
    for sampler in ("tpe", "gp", "nsgaii", "qmc"):
        for _, proposal, _ in script(controller(f"optuna:{sampler}"), 12, seed=1):
            assert json.loads(json.dumps(proposal.notes)) == proposal.notes


def test_a_replay_that_disagrees_with_the_record_is_refused() -> None:
    """CMA-ES is replayed by asking again; with another cmaes version the study would silently differ."""
    made = controller({"optuna": {"sampler": "cmaes", "popsize": 4}})
    steps = list(script(made, 6, seed=2))
    kind, proposal, result = steps[0]
    decisions = {**proposal.decisions, "hyperparameters.x": 0.123}
    altered = Proposal(proposal.number, decisions, proposal.candidate, proposal.hash)
    with pytest.raises(NasError, match="can not be replayed"):
        replay(controller({"optuna": {"sampler": "cmaes", "popsize": 4}}), [(kind, altered, result)])


def test_failures_are_completed_with_the_worst_reward_told() -> None:
    """Those before the first reward wait for it and are worse than it; none becomes NaN or a failed trial."""
    made = controller("optuna:random")
    proposals = [made.ask(number) for number in range(4)]
    results = [CandidateFailure("diverged"), Reward(0.5), Reward(0.25), CandidateFailure("timeout")]
    for proposal, result in zip(proposals, results, strict=True):
        assert isinstance(proposal, Proposal)
        made.began(proposal)
        made.tell(proposal, result)
    trials = made._storage.get_all_trials(made._study_id)
    assert [trial.value for trial in trials] == [math.nextafter(0.5, -1), 0.5, 0.25, 0.25]
    assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in trials)


def test_a_trial_is_pruned_at_its_step_until_it_comes_to_its_end() -> None:
    """As Optuna's own pruners leave it. Completed with the number of a short training, it would lead the sampler."""
    made = controller("optuna:tpe")
    short, long, failed = (made.ask(number) for number in range(3))
    for proposal in (short, long, failed):
        assert isinstance(proposal, Proposal)
        made.began(proposal)
    rungs = [(1, (0.4,)), (3, (0.6,)), (WHOLE, (0.7,))]
    pruned, complete = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.COMPLETE
    made.tell(short, Reward(0.9, curve=[(1, (0.9,))]))
    made.tell(failed, CandidateFailure("diverged"))
    expected = [(pruned, {1: 0.4}), (pruned, {1: 0.4, 3: 0.6}), (complete, {1: 0.4, 3: 0.6})]
    for count, (state, steps) in enumerate(expected):
        made.tell(long, Reward(rungs[count][1], curve=rungs[: count + 1], again=count > 0))
        trials = made._storage.get_all_trials(made._study_id)
        assert (trials[1].state, trials[1].intermediate_values) == (state, steps)
        assert (trials[0].state, trials[0].last_step) == (pruned, 1)
        assert (trials[2].state, trials[2].last_step) == (pruned, None)
    assert trials[1].value == 0.7


def test_qmc_takes_the_next_member_of_one_sequence() -> None:
    """A new seed for each ask would be plain random search under the name of a low-discrepancy sequence."""
    made = controller("optuna:qmc", {"hyperparameters": {"x": {"float": [0.0, 1.0]}}})
    values = []
    for number in range(17):
        proposal = made.ask(number)
        assert isinstance(proposal, Proposal)
        made.began(proposal)
        made.tell(proposal, Reward(0.0))
        values.append(proposal.decisions["hyperparameters.x"])
    assert sorted(values[1:]) == [i / 16 for i in range(16)]  # Sobol; the first trial is drawn independently


def test_what_qmc_does_not_model_still_varies() -> None:
    """Its one seed must not make every independently drawn decision the same."""
    made = controller("optuna:qmc", EVERY_KIND)
    found: dict[str, set[float]] = {}
    for kind, proposal, _ in script(made, 24, seed=3):
        if kind == "began":
            for path, value in proposal.decisions.items():
                found.setdefault(path, set()).add(value)
    assert all(len(values) > 1 for path, values in found.items() if "momentum" in path or "learning_rate" in path)


def test_samplers_that_end_say_exhausted() -> None:
    made = controller("optuna:bruteforce", SIX)
    hashes = set()
    for number in range(10):
        proposal = made.ask(number)
        if isinstance(proposal, Exhausted):
            break
        hashes.add(proposal.hash)
        made.began(proposal)
        made.tell(proposal, Reward(1.0))
    assert len(hashes) == number == 6


def test_inactive_decisions_are_no_parameters() -> None:
    made = controller("optuna:tpe", EVERY_KIND)
    proposals = [proposal for kind, proposal, _ in script(made, 12, seed=4) if kind == "began"]
    trials = made._storage.get_all_trials(made._study_id)
    assert [trial.params for trial in trials] == [dict(proposal.decisions) for proposal in proposals]


def test_the_users_own_optuna_logging_is_left_as_it_was() -> None:
    optuna.logging.set_verbosity(optuna.logging.DEBUG)
    try:
        list(script(controller("optuna:tpe"), 4, seed=5))
        assert optuna.logging.get_verbosity() == optuna.logging.DEBUG
    finally:
        optuna.logging.set_verbosity(optuna.logging.WARNING)


FINITE = {"name": "f", "hyperparameters": {"a": {"choice": ["x", "y"]}, "b": {"int": [1, 3]}}}


@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
def test_a_finite_space_is_tried_whole_without_saying_its_values_again(sampler: str) -> None:
    made = controller(f"optuna:{sampler}", FINITE)
    seen = set()
    for number in range(6):
        proposal = made.ask(number)
        assert isinstance(proposal, Proposal)
        seen.add(tuple(proposal.decisions.values()))
        made.began(proposal)
        made.tell(proposal, Reward(float(number)))
    assert len(seen) == 6
    assert isinstance(made.ask(6), Exhausted)


def test_a_grid_of_real_numbers_says_how_to_give_its_values() -> None:
    space = {"name": "f", "hyperparameters": {"a": {"choice": ["x", "y"]}, "r": {"float": [0.1, 0.2]}}}
    with pytest.raises(InputError, match=r"hyperparameters\.r is a real number.*search_space: \{'hyperparameters\.r'"):
        controller("optuna:grid", space)
    with pytest.raises(InputError, match=r"hyperparameters\.r is a real number: make it a choice"):
        controller("optuna:bruteforce", space)
    given = {"optuna": {"sampler": "grid", "search_space": {"hyperparameters.r": [0.1, 0.15]}}}
    assert controller(given, space).ask(0).decisions["hyperparameters.r"] in (0.1, 0.15)  # type: ignore[union-attr]
    with pytest.raises(InputError, match=r"no decision has the path 'r'"):
        controller({"optuna": {"sampler": "grid", "search_space": {"r": [0.1]}}}, space)
