"""Rows of a history: ranked by a reward that is computed now, from what was journaled then."""

from dataclasses import replace

import pytest

from nas.errors import InputError
from nas.history import History
from nas.leaderboard import front, rank, rows
from nas.records import (
    AttemptAnswered,
    AttemptStarted,
    DriverTookOver,
    Failed,
    Proposal,
    Proposed,
    ReplicateEnded,
    ReplicationBegun,
    RunStarted,
    Succeeded,
    TrialEnded,
)
from nas.reward import Limit, RewardSettings

FIELDS = [
    *("rank", "front", "run", "trial", "state", "failure", "reward", "replicates", "metrics", "parameters"),
    *("flops", "seconds", "reached", "whole", "dtype", "other_dtype", "fallbacks", "spent"),
    *("noise_scale", "weight_norm", "architecture", "hyperparameters", "candidate", "decisions", "hash"),
    *("attempts", "audit"),
]


def proposal(number: int) -> Proposal:
    candidate = {
        "architecture": [{"conv": {"filters": 8 + number, "kernel": 3}}],
        "hyperparameters": {"batch_size": 64},
    }
    return Proposal(number, {"architecture.0.conv.filters": number}, candidate, f"hash {number}")


def good(accuracy: float, parameters: int = 1000) -> Succeeded:
    return Succeeded({"accuracy": accuracy, "parameters": float(parameters), "flops": 2.0 * parameters}, seconds=3.0)


@pytest.fixture
def history():
    """Trials: completed, failed twice, the best, a duplicate of it, a tie with the first, invalid, still running."""
    history = History()
    events = [RunStarted("id", "digits", {}, {}, {}, 1), DriverTookOver("host", 1, 1.0, "boot")]
    outcomes = {0: [good(0.8)], 1: [Failed("lost", ""), Failed("error", "x")], 2: [good(0.9, 9000)], 4: [good(0.8)]}
    for number in range(5):
        events.append(Proposed(proposal(number), 2 if number == 3 else None))
        for attempt, outcome in enumerate(outcomes.get(number, [])):
            events += [AttemptStarted(number, attempt), AttemptAnswered(number, attempt, outcome)]
        last = len(outcomes.get(number, [])) - 1
        state = "duplicate" if number == 3 else "failed" if number == 1 else "completed"
        events.append(TrialEnded(number, state, None if number == 3 else last))
    events += [Proposed(Proposal(5, {}, {"hyperparameters": {}}, "h", invalid="24.5 filters")), TrialEnded(5, "failed")]
    events += [Proposed(proposal(6)), AttemptStarted(6, 0)]
    for time, event in enumerate(events):
        history.apply(event, float(time))
    return history


def test_completed_trials_rank_by_reward_ties_by_number_and_the_rest_follow(history):
    found = rows(history, RewardSettings(), "digits")
    assert [(row.rank, row.trial, row.state) for row in found] == [
        (1, 2, "completed"),
        (2, 0, "completed"),
        (3, 4, "completed"),
        (None, 1, "failed"),
        (None, 3, "duplicate"),
        (None, 5, "failed"),
    ]


def test_a_row_has_exactly_the_columns_others_rely_on(history):
    best = rows(history, RewardSettings(), "digits")[0]
    assert list(best.plain()) == FIELDS
    assert best.plain() | {"candidate": None, "decisions": None} == {
        "rank": 1,
        "front": None,
        "replicates": {},
        "run": "digits",
        "trial": 2,
        "state": "completed",
        "failure": None,
        "reward": 0.9,
        "metrics": {"accuracy": 0.9, "parameters": 9000.0, "flops": 18000.0},
        "parameters": 9000,
        "flops": 18000,
        "seconds": 3.0,
        "reached": None,
        "whole": True,
        "dtype": None,
        "other_dtype": False,
        "fallbacks": [],
        "spent": {},
        "noise_scale": {},
        "weight_norm": {},
        "architecture": "conv 10 k3",
        "hyperparameters": {"batch_size": 64},
        "candidate": None,
        "decisions": None,
        "hash": "hash 2",
        "attempts": 1,
        "audit": {},
    }


def test_a_row_says_its_dtype_and_whether_it_is_not_the_firsts(history):
    # Ranked by numbers of two precisions, candidates look apart that are not. What others note as "dtype" is theirs.
    noted = {0: {"dtype": "float32", "fallbacks": ["bf16 -> fp32: it diverged"]}, 2: {"dtype": "bfloat16"}, 4: {}}
    for number, notes in noted.items():
        trial = history.trials[number]
        trial.outcome = replace(trial.outcome, notes=notes)
    found = rows(history, RewardSettings(), "digits")
    assert [(row.dtype, row.other_dtype) for row in found[:3]] == [
        ("bfloat16", False),
        ("float32", True),
        (None, False),
    ]
    assert found[1].fallbacks == ["bf16 -> fp32: it diverged"] and found[0].fallbacks == []
    history.trials[2].outcome = replace(history.trials[2].outcome, notes={"dtype": 3, "fallbacks": "none"})
    assert rows(history, RewardSettings(), "digits")[0].dtype is None


def test_a_row_says_where_its_time_went(history):
    # A program that looks for what is slow reads it there. What others note as "spent" is theirs.
    history.trials[2].outcome = replace(history.trials[2].outcome, notes={"spent": {"data": 0.5, "forward": 1.5}})
    history.trials[0].outcome = replace(history.trials[0].outcome, notes={"spent": 3})
    assert [row.spent for row in rows(history, RewardSettings(), "digits")[:2]] == [{"data": 0.5, "forward": 1.5}, {}]


def test_a_row_says_what_its_gradients_and_weights_were(history):
    # Adam's winners are told apart from SGD's across trials by these, and not by looking at one page after another.
    noise, norm = {"samples": 605.0, "measured": 27, "says": "it"}, {"initial": 5.0, "final": 12.0}
    history.trials[2].outcome = replace(history.trials[2].outcome, notes={"noise_scale": noise, "weight_norm": norm})
    first, second = rows(history, RewardSettings(), "digits")[:2]
    assert (first.noise_scale, first.weight_norm) == (noise, norm)
    assert (second.noise_scale, second.weight_norm) == ({}, {})


def test_what_was_not_trained_claims_no_time_and_what_failed_says_how(history):
    by_trial = {row.trial: row for row in rows(history, RewardSettings(), "digits")}
    assert (by_trial[1].failure, by_trial[1].attempts, by_trial[1].reward) == ("error", 2, None)
    assert (by_trial[3].reward, by_trial[3].seconds, by_trial[3].attempts) == (0.9, None, 0)
    assert (by_trial[5].failure, by_trial[5].seconds) == ("invalid", None)


def test_rewards_are_opinions_another_reward_ranks_the_same_run_anew(history):
    small = RewardSettings(limits={"parameters": Limit(at_most=1000, weight=1)})
    found = rows(history, small, "digits")
    assert [row.trial for row in found if row.rank] == [0, 4, 2]
    assert found[2].reward == pytest.approx(0.1)


def test_runs_side_by_side_are_ranked_together(history):
    both = rank([*rows(history, RewardSettings(), "one"), *rows(history, RewardSettings(), "two")], RewardSettings())
    assert [(row.rank, row.run, row.trial) for row in both if row.rank] == [
        (1, "one", 2),
        (2, "two", 2),
        (3, "one", 0),
        (4, "one", 4),
        (5, "two", 0),
        (6, "two", 4),
    ]
    assert [row.rank for row in both[6:]] == [None] * 6


def test_a_reward_that_no_trial_has_a_metric_for_is_said(history):
    with pytest.raises(InputError, match="no metric is called 'f1'"):
        rows(history, RewardSettings(maximize="f1"), "digits")


BOTH = {"accuracy": "maximize", "seconds": "minimize"}


@pytest.fixture
def several():
    """Accuracy and seconds of each trial: two fronts, a failure, and twice the same."""
    history = History()
    events = [RunStarted("id", "digits", {}, {}, {}, 1), DriverTookOver("host", 1, 1.0, "boot")]
    for number, (accuracy, seconds) in enumerate(
        [(0.5, 1), (0.7, 2), (0.6, 5), (0.9, 6), (None, 0), (0.8, 3), (0.7, 2)]
    ):
        outcome = Succeeded({"accuracy": accuracy}, seconds) if accuracy else Failed("error", "x")
        events += [Proposed(proposal(number)), AttemptStarted(number, 0), AttemptAnswered(number, 0, outcome)]
        events += [TrialEnded(number, "completed" if accuracy else "failed", 0)]
    for time, event in enumerate(events):
        history.apply(event, float(time))
    return history


def test_several_objectives_rank_by_front_then_by_what_a_trial_alone_adds(several):
    found = rows(several, RewardSettings(objectives=BOTH), "digits")
    assert [(row.rank, row.front, row.trial) for row in found] == [
        (1, 1, 5),  # (0.8 - 0.7) * (6 - 3); the others' neighbours or the worst of each leave less
        (2, 1, 1),  # (0.7 - 0.5) * (3 - 2), twice
        (2, 1, 6),
        (4, 1, 0),  # the best and the worst of an objective add nothing beyond the worst of each
        (5, 1, 3),
        (6, 2, 2),
        (None, None, 4),
    ]
    assert {row.reward for row in found} == {None}


def test_the_fronts_hypervolume_is_from_the_worst_of_each_or_from_what_is_given(several):
    settings = RewardSettings(objectives=BOTH)
    reached = front(rows(several, settings, "digits"), settings)
    assert reached.reference == {"accuracy": 0.5, "seconds": 6}
    assert (reached.trials, reached.of, reached.given) == (4, 6, False)
    assert reached.hypervolume == pytest.approx(0.2 * 4 + 0.1 * 3)
    settings = RewardSettings(objectives=BOTH, reference={"accuracy": 0.0, "seconds": 10.0})
    reached = front(rows(several, settings, "digits"), settings)
    assert reached.given
    assert reached.hypervolume == pytest.approx(0.5 * 9 + 0.2 * 8 + 0.1 * 7 + 0.1 * 4)
    assert front(rows(several, RewardSettings(), "digits"), RewardSettings()) is None


def replicated(history, begun, ends, time=100.0):
    """The history after these trials were replicated; ``ends``: (trial, replicate) -> outcome."""
    history.apply(ReplicationBegun(*begun), time)
    for (trial, replicate), outcome in ends.items():
        attempt = len(history.trials[trial].attempts)
        history.apply(AttemptStarted(trial, attempt, replicate=replicate), time)
        history.apply(AttemptAnswered(trial, attempt, outcome), time)
        history.apply(ReplicateEnded(trial, replicate, attempt), time)
    return history


def test_means_rank_before_single_trainings_and_failures_with_a_seed_below_none(history):
    # Trial 2's 0.9 was its best day, and trial 4, which no other seed trains, is no candidate to trust.
    diverged = Failed("diverged", "")
    ends = {
        **{(2, 1): good(0.7), (2, 2): diverged},
        **{(0, 1): good(0.5), (0, 2): good(0.6)},
        **{(4, 1): diverged, (4, 2): Failed("error", "x")},
    }
    found = rows(replicated(history, ([2, 0, 4], 2), ends), RewardSettings(), "digits")
    assert [(row.rank, row.trial) for row in found[:3]] == [(1, 0), (2, 2), (3, 4)]
    again = found[0].replicates
    assert (again["mean"], again["rewards"]) == (pytest.approx(0.55), [0.5, 0.6])
    assert again["interval"] == pytest.approx(12.7062 * 0.05, rel=1e-4)  # t with one degree, s / sqrt(2)
    assert found[1].replicates["interval"] is None
    assert (found[1].attempts, found[1].reward) == (1, 0.9), "the search's own training is as it was"


def test_a_mean_says_the_dtypes_of_its_trainings_and_whether_they_are_not_the_firsts(history):
    # Under `auto`, or after a fallback, one mean may be of two precisions, and no like measure beside the other.
    ends = {
        (number, one): replace(good(0.9 - 0.1 * number), notes={"dtype": dtype})
        for number, dtypes in {0: ("float32", "float32"), 2: ("float32", "bfloat16")}.items()
        for one, dtype in enumerate(dtypes, 1)
    }
    first, second, third = rows(replicated(history, ([2, 0], 2), ends), RewardSettings(), "digits")[:3]
    assert (first.trial, first.replicates["dtypes"], first.replicates["other_dtype"]) == (0, ["float32"] * 2, False)
    assert (second.replicates["dtypes"], second.replicates["other_dtype"]) == (["float32", "bfloat16"], True)
    assert third.replicates == {}


def test_a_machine_that_took_a_replicate_is_not_the_candidates_fault_and_the_rest_follow(history):
    ends = {(0, 1): good(0.5), (0, 2): Failed("lost", ""), (2, 1): good(0.4), (2, 2): good(0.42)}
    found = rows(replicated(history, ([2, 0], 2), ends), RewardSettings(), "digits")
    assert [row.trial for row in found[:3]] == [0, 2, 4]
    assert found[2].replicates == {}


def test_until_every_replicate_has_ended_ranks_are_those_of_the_search(history):
    ends = {(0, 1): good(0.99), (0, 2): good(0.99), (2, 1): good(0.1)}
    found = rows(replicated(history, ([2, 0], 2), ends), RewardSettings(), "digits")
    assert [row.trial for row in found[:3]] == [2, 0, 4]
    assert not found[0].replicates["ended"]


SHORT = [(0.9, 3), (0.5, None), (0.8, 9), (0.95, 3)]  # reward, and the step at which a scheduler cut it short


@pytest.mark.parametrize("objectives", [1, 2])
def test_what_was_cut_short_ranks_after_what_was_trained_for_longer(history, objectives):
    """A short run's number beside a long one's would be read as if they were of one kind."""
    wished = {"objectives": {"accuracy": "maximize", "parameters": "minimize"}} if objectives == 2 else {}
    settings = RewardSettings.model_validate(wished)
    template = rows(history, RewardSettings(), "digits")[0]
    given = [
        replace(
            template,
            trial=number,
            state="completed" if step is None else "paused",
            reward=accuracy,
            metrics={"accuracy": accuracy, "parameters": 1.0},
            reached=step,
            whole=step is None,
        )
        for number, (accuracy, step) in enumerate(SHORT)
    ]
    found = rank(given, settings)
    assert [(row.rank, row.trial) for row in found] == [(1, 1), (2, 2), (3, 3), (4, 0)]
    if objectives == 2:
        assert [row.front for row in found] == [1, 2, 3, 4]
        assert front(given, settings).trials == 1
