"""Rewards against values worked by hand from the papers' formulas."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from nas import config
from nas.errors import InputError
from nas.records import Reward
from nas.reward import SMALLEST_RATIO, Limit, RewardSettings, compute, progress


def reward(metrics, **settings):
    return compute(RewardSettings(**settings), metrics).value


def test_the_quality_alone_is_the_metric_or_minus_it():
    assert reward({"accuracy": 0.9, "loss": 0.3}) == 0.9
    assert reward({"accuracy": 0.9, "loss": 0.3}, maximize="loss") == 0.3
    assert reward({"accuracy": 0.9, "loss": 0.3}, minimize="loss") == -0.3


@pytest.mark.parametrize(
    ("form", "weight", "parameters", "expected"),
    [
        ("mnasnet", 0.07, 1000, 0.8),  # at the limit nothing changes
        ("mnasnet", 0.07, 2000, 0.8 * 2**-0.07),  # Tan et al. 2019: doubling the cost costs 5 % of the quality
        ("mnasnet", 0.07, 500, 0.8 * 2**0.07),  # soft: a saving earns as much
        ("mnasnet", None, 2000, 0.8 * 2**-0.07),
        ("mnasnet_hard", 1.0, 2000, 0.4),
        ("mnasnet_hard", None, 4000, 0.2),
        ("mnasnet_hard", 1.0, 500, 0.8),  # hard: a saving earns nothing
        ("absolute", 0.1, 1000, 0.8),
        ("absolute", 0.1, 2000, 0.7),
        ("absolute", 0.1, 500, 0.75),  # Bender et al. 2020: both sides
    ],
)
def test_each_form_is_the_papers_formula(form, weight, parameters, expected):
    limits = {"parameters": Limit(at_most=1000, weight=weight, form=form)}
    assert reward({"accuracy": 0.8, "parameters": parameters}, limits=limits) == pytest.approx(expected, rel=1e-12)


def test_mnasnets_five_percent_rule_of_thumb():
    # "doubling the latency usually brings about 5 % relative accuracy gain" is where w = -0.07 comes from.
    limits = {"latency": Limit(at_most=80, form="mnasnet")}
    assert reward({"accuracy": 0.5, "latency": 80}, limits=limits) == pytest.approx(
        reward({"accuracy": 0.5 * 1.05, "latency": 160}, limits=limits), rel=2e-3
    )


def test_several_limits_apply_in_the_order_written():
    metrics = {"accuracy": 0.8, "parameters": 2000, "flops": 300}
    limits = {"parameters": Limit(at_most=1000, weight=1), "flops": Limit(at_most=100, weight=0.05, form="absolute")}
    assert reward(metrics, limits=limits) == pytest.approx(0.8 / 2 - 0.05 * 2)


def test_a_minimized_loss_is_inflated_by_what_it_costs():
    # Without the division an exceeded limit would be rewarded, because the quality is negative.
    limits = {"parameters": Limit(at_most=1000, weight=1)}
    assert reward({"loss": 0.5, "parameters": 2000}, minimize="loss", limits=limits) == pytest.approx(-1.0)


@given(
    quality=st.floats(-10, 10),
    costs=st.tuples(st.floats(0, 1e6), st.floats(0, 1e6)),
    weight=st.floats(0.01, 3),
    form=st.sampled_from(["mnasnet", "mnasnet_hard"]),
)
def test_more_cost_is_never_worth_more(quality, costs, weight, form):
    limits = {"cost": Limit(at_most=1000, weight=weight, form=form)}
    low, high = (reward({"q": quality, "cost": c}, maximize="q", limits=limits) for c in sorted(costs))
    assert high <= low


def test_a_cost_of_nothing_is_worth_a_bounded_amount():
    limits = {"parameters": Limit(at_most=1000, form="mnasnet")}
    free = reward({"accuracy": 0.8, "parameters": 0}, limits=limits)
    assert free == pytest.approx(0.8 * SMALLEST_RATIO**-0.07)


def test_seconds_of_the_attempt_stand_in_where_no_metric_has_that_name():
    settings = RewardSettings(limits={"seconds": Limit(at_most=10, weight=1)})
    assert compute(settings, {"accuracy": 0.8}, 20.0).value == pytest.approx(0.4)
    assert compute(settings, {"accuracy": 0.8, "seconds": 40.0}, 20.0).value == pytest.approx(0.2)


def test_a_report_is_worth_the_reward_with_those_limits_whose_metrics_it_has():
    # Else a scheduler stops by accuracy what wins by the reward. As limits aside: reports in journals of before costs.
    limits = {"parameters": Limit(at_most=1000, weight=1), "seconds": Limit(at_most=60)}
    settings = RewardSettings(limits=limits)
    assert progress(settings, {"accuracy": 0.8, "parameters": 2000}) == pytest.approx(0.4)
    assert progress(settings, {"accuracy": 0.8}) == 0.8
    assert progress(RewardSettings(minimize="loss", limits=limits), {"loss": 0.5, "parameters": 2000}) == -1.0
    assert progress(settings, {"loss": 0.5, "parameters": 2000}) is None
    assert progress(settings, {"accuracy": 0.8, "parameters": -1}) is None


def test_a_missing_metric_is_named_with_those_that_there_are():
    with pytest.raises(InputError) as caught:
        reward({"accuracy": 0.8, "loss": 0.3}, maximize="acuracy")
    assert str(caught.value) == (
        "reward.maximize: no metric is called 'acuracy' (nearest: accuracy); there are: accuracy, loss"
    )
    with pytest.raises(InputError, match=r"reward\.limits: no metric is called 'latency'; there are: accuracy"):
        reward({"accuracy": 0.8}, limits={"latency": Limit(at_most=1)})


def test_a_negative_cost_and_an_overflow_are_refused_not_turned_into_infinities():
    with pytest.raises(InputError, match="cannot be negative"):
        reward({"accuracy": 0.8, "cost": -1}, limits={"cost": Limit(at_most=1)})
    with pytest.raises(InputError, match="overflows"):
        reward({"q": 1e308, "cost": 0}, maximize="q", limits={"cost": Limit(at_most=1, weight=2, form="mnasnet")})


@pytest.mark.parametrize("form", ["mnasnet", "mnasnet_hard", "absolute"])
@pytest.mark.parametrize("quality", [{"maximize": "q"}, {"minimize": "q"}])
@pytest.mark.parametrize("cost", [1.0, 1e300, 5e-324, 1.7e308])
def test_whatever_the_numbers_the_reward_is_finite_or_refused(form, quality, cost):
    # Anything but an InputError would end the driver, and with it the whole search, for one strange trial.
    limits = {"cost": Limit(at_most=1e-300, weight=10, form=form)}
    try:
        assert math.isfinite(reward({"q": 0.5, "cost": cost}, limits=limits, **quality))
    except InputError as error:
        assert "reward.limits.cost: the reward overflows" in str(error)


def test_at_most_is_a_limit_nothing_is_earned_below_it():
    limits = {"parameters": Limit(at_most=1000)}
    assert reward({"accuracy": 0.8, "parameters": 10}, limits=limits) == 0.8
    assert reward({"accuracy": 0.8, "parameters": 2000}, limits=limits) == 0.4


@pytest.mark.parametrize("name", ["fashion_mnist", "experts"])
def test_a_shipped_config_ranks_networks_below_the_limit_by_accuracy_alone(name):
    settings = config.load(name).reward
    limit = settings.limits["parameters"].at_most
    bad, good = {"accuracy": 0.79, "parameters": 0.01 * limit}, {"accuracy": 0.91, "parameters": limit}
    assert compute(settings, bad).value < compute(settings, good).value


@pytest.mark.parametrize(
    "settings",
    [
        {"maximize": "accuracy", "minimize": "loss"},
        {"limits": {"parameters": {"at_most": 0}}},
        {"limits": {"parameters": {"at_most": 10, "weight": -0.07}}},  # the papers' sign, which would reward the cost
        {"limits": {"parameters": {"at_most": 10, "weight": 1000}}},
        {"limits": {"parameters": {"at_most": 10, "form": "tunas"}}},
        {"limits": {"parameters": {}}},
        {"maximise": "accuracy"},
        {"maximize": ""},
    ],
)
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValidationError):
        RewardSettings.model_validate(settings)


def test_settings_survive_the_journal():
    settings = RewardSettings(minimize="loss", limits={"flops": Limit(at_most=1e6, form="absolute")})
    assert RewardSettings.model_validate(settings.model_dump(mode="json")) == settings


BOTH = {"flops": "minimize", "accuracy": "maximize"}


def test_several_objectives_make_a_vector_in_which_higher_is_better():
    """In the order of their names: a config that lists them otherwise is the same search, and replays as it was."""
    metrics = {"accuracy": 0.9, "flops": 2e6, "loss": 3.0}
    for objectives in (BOTH, dict(reversed(BOTH.items()))):
        reward = compute(RewardSettings(objectives=objectives), metrics)
        assert reward.vector == (0.9, -2e6)
        assert reward.metrics == metrics
    with pytest.raises(ValueError):
        _ = reward.value
    assert compute(RewardSettings(objectives={"accuracy": "maximize", "seconds": "minimize"}), metrics, 7.0).vector == (
        0.9,
        -7.0,
    )


@pytest.mark.parametrize("metrics", [{"accuracy": 0.9}, {"accuracy": 0.9, "flops": float("nan")}])
def test_a_missing_or_unsound_objective_is_named(metrics):
    with pytest.raises(InputError, match=r"reward\.objectives: .*flops"):
        compute(RewardSettings(objectives=BOTH), metrics)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"objectives": {"accuracy": "maximize"}}, "one objective is written `maximize: accuracy`"),
        ({"objectives": BOTH, "maximize": "accuracy"}, "give either objectives or one metric"),
        ({"objectives": BOTH, "limits": {"loss": {"at_most": 1}}}, "beside several loss can be one: loss: minimize"),
        ({"objectives": BOTH, "reference": {"accuracy": 0}}, "a number for each of the objectives.*: accuracy, flops"),
        ({"reference": {"accuracy": 0}}, "there are none"),
        ({"objectives": dict.fromkeys("abcdefg", "maximize")}, "at most 6"),
        ({"maximize": "accuracy", "minimize": "loss"}, "both can be objectives: {accuracy: maximize, loss: minimize}"),
    ],
)
def test_wishes_that_do_not_go_together_are_refused_with_what_to_write(settings, message):
    with pytest.raises(ValueError, match=message):
        RewardSettings(**settings)


@pytest.mark.parametrize("worth", [float("nan"), (0.5, float("inf")), ()])
def test_a_reward_is_finite_in_every_objective(worth):
    with pytest.raises(ValueError):
        Reward(worth)
