"""Constraints: what each of their sentences means, by hand; and that masks never change the support."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from nas import documents
from nas.errors import InputError, InvalidCandidate
from nas.space import Candidate, Costs, Decision, Draw, Index, Integer, Real, Space, admits, draw_prior
from nas.space.constraints import masks
from nas.space.partial import Known

SPACE = """
define:
  width: {choice: [16, 32, 64]}
  double: =2 * width
architecture:
  - conv: {filters: =width, kernel: {choice: [3, 5, 7], name: kernel}}
  - activation: {function: {choice: [relu, gelu, null], name: act}}
  - repeat: {times: {int: [0, 3], name: deep}, of: {conv: {filters: {int: [4, 40]}}}}
  - choice: [{drop: {rate: {float: [0.0, 0.5], name: rate}}}, null, flatten]
    name: ending
hyperparameters:
  augment: {subset: [flip, crop], name: augment}
  flag: {choice: [true, false], name: flag}
  optimizer:
    name: optimizer
    choice:
      - sgd: {momentum: {float: [0.0, 0.99], name: momentum}}
      - adamw: {decay: {choice: [0.1, 0.01], name: decay}}
"""
FILTERS = "architecture.2.repeat[{}].of.conv.filters"


def space(*constraints: str, costs: Costs | None = None, text: str = SPACE, task: Any = None) -> Space:
    written = text + "constraints:\n" + "".join(f"  - {constraint}\n" for constraint in constraints)
    return Space.read(documents.parse(written, "space.yaml"), task or {"classes": 10}, costs=costs)


DEFAULT: dict[str, Any] = {
    "define.width": 1, "kernel": 0, "act": 0, "deep": 0, "ending": 1, "augment:flip": 0, "augment:crop": 0,
    "flag": 0, "optimizer": 0, "momentum": 0.5, "decay": 0, "rate": 0.1,
    **{FILTERS.format(i): 10 for i in range(3)},
}  # fmt: skip


def holds(constraint: str, **chosen: Any) -> bool:
    """Of the candidate in which width is 32, kernel 3, act relu, nothing repeated, no ending, sgd; but for ``chosen``.

    A keyword names a decision; ``width`` is the define.
    """
    decisions = DEFAULT | {("define.width" if name == "width" else name): value for name, value in chosen.items()}
    return not space(constraint).replay(decisions).violated


# What they say -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        ("width <= 32", True),
        ("width < 32", False),
        ("width == 32", True),
        ("width != 32", False),
        ("16 < width <= 32", True),
        ("16 < width < 32", False),
        ("width * 2 <= 64", True),
        ("width * 2 <= filters_of_none", None),
        ("double == 64", True),
        ("double / width == 2.0", True),
        ("width // 10 == 3 and width % 10 == 2", True),
        ("min(width, 20, kernel) == 3 and max(width, 20) == 32 and abs(-width) == 32", True),
        ("round(width / 100, 1) == 0.3 and floor(width / 10) == 3 and ceil(width / 10) == 4", True),
        ("width ** 2 == 1_024", True),
        ("width <= 3.2e1", True),
        ("not width > 32", True),
        ("not (width > 16 and kernel == 3)", False),
        ("width > 32 or kernel == 3", True),
        ("width > 32 or kernel == 5", False),
        ("width >= 3 * task.classes", True),
        ("act == 'relu'", True),
        ("act != 'gelu'", True),
        ("act == none", False),
        ("ending == none", True),
        ("ending == 'drop'", False),
        ("optimizer == 'sgd'", True),
        ("flag == true", True),
        ("path('define.width') == 32 and path('deep') == 0", True),
        ("path('augment:flip') == 'no'", True),
    ],
)
def test_a_constraint_says_what_it_reads(constraint: str, expected: bool | None) -> None:
    if expected is None:
        with pytest.raises(InputError, match="no define, named decision or cost"):
            space(constraint)
    else:
        assert holds(constraint) is expected


def test_a_null_option_is_none_whether_value_or_layer() -> None:
    assert holds("act == none", act=2)
    assert not holds("ending == none", ending=2)


def test_one_that_names_something_inactive_holds() -> None:
    assert holds("momentum >= 0.9", optimizer=1)
    assert not holds("momentum >= 0.9", optimizer=0)
    assert holds("momentum >= 0.9 and width <= 16", optimizer=1)  # the whole of it, whatever else it says
    assert holds("not momentum < 0.9", optimizer=1)
    assert holds("rate * 2 > 3")


def test_value_gives_what_is_inactive_a_value() -> None:
    assert not holds("value(momentum, 0) >= 0.9", optimizer=1)
    assert holds("value(momentum, 0.95) >= 0.9", optimizer=1)
    assert not holds("value(momentum, 0.95) >= 0.9", optimizer=0)
    assert holds("value(momentum, width) == 32", optimizer=1)
    assert holds("value(path('architecture.2.repeat[2].of.conv.filters'), 0) <= 5", deep=2)
    assert not holds("value(path('architecture.2.repeat[2].of.conv.filters'), 0) <= 5", deep=3)


def test_active_asks_and_guards() -> None:
    assert holds("active(momentum)")
    assert not holds("active(momentum)", optimizer=1)
    assert holds("not active(momentum) or momentum < 0.9")
    assert holds("active(momentum) or width == 32", optimizer=1)
    for text in ("active(momentum) and momentum < 0.9", "momentum < 0.9 and active(momentum)"):
        assert holds(text)
        assert not holds(text, momentum=0.95)
        assert not holds(text, optimizer=1)


def test_a_define_is_inactive_where_its_mentions_are() -> None:
    text = "define: {often: {int: [1, 9]}}\nhyperparameters: {a: {choice: [=often, 0], name: a}}\n"
    one = space("often <= 3", text=text)
    assert not one.replay({"a": 1}).violated
    assert one.replay({"a": 0, "define.often": 4}).violated == "often <= 3"


def test_what_is_computed_of_defines_needs_no_mention_of_its_own() -> None:
    """Else a name for a formula would have to be built into the network before a constraint could use it."""
    assert "double" not in json.dumps(yaml.safe_load(SPACE)["architecture"])
    assert not holds("double <= 32")


def test_one_that_cannot_be_computed_is_violated() -> None:
    assert not holds("width / deep <= 100")
    assert holds("deep == 0 or width / deep <= 100")
    assert not holds("not width / deep > 100")


def test_true_is_not_one() -> None:
    text = "hyperparameters: {a: {choice: [true, 1], name: a}}\n"
    one = space("a == 1", text=text)
    assert [bool(one.replay({"a": index}).violated) for index in (0, 1)] == [True, False]


# Costs ---------------------------------------------------------------------------------------------------------------


def price(candidate: Candidate) -> dict[str, float]:
    assert candidate.architecture is not None
    filters, kernel = (candidate.architecture[0]["conv"][name] for name in ("filters", "kernel"))
    if kernel == 7:
        raise InvalidCandidate("architecture.0.conv: too wide")
    return {"parameters": filters * kernel**2, "flops": filters * kernel**2 * 100}


COSTS = Costs(price, ("parameters", "flops"))


def test_costs_are_judged_when_the_draw_has_ended() -> None:
    one = space("parameters <= 500_000", "flops <= 50e3", costs=COSTS)
    draw = one.replay(DEFAULT)
    assert (draw.violated, draw.costs) == ("", {"parameters": 288, "flops": 28_800})
    assert one.replay(DEFAULT | {"define.width": 2}).violated == "flops <= 50e3"


def test_a_cost_that_is_not_known_is_refused_and_latency_says_how_to_know_it() -> None:
    with pytest.raises(InputError, match=r"space.yaml:20:5: 'latency' is not known here; it needs a `latency_table`"):
        space("latency <= 3", costs=COSTS)
    with pytest.raises(InputError, match=r"'depth' is not known here \(known costs: parameters, flops\)"):
        space("depth <= 3", costs=COSTS)


def test_without_costs_constraints_over_them_are_read_and_not_judged() -> None:
    one = space("parameters <= 1", "width <= 16")
    assert one.replay(DEFAULT | {"define.width": 0}).violated == ""
    assert one.replay(DEFAULT).violated == "width <= 16"


def test_what_cannot_be_built_is_invalid_before_training() -> None:
    """And violates a constraint over costs, which cannot be computed of it."""
    assert space("width <= 64", costs=COSTS).replay(DEFAULT | {"kernel": 2}).invalid == "architecture.0.conv: too wide"
    draw = space("parameters <= 500_000", costs=COSTS).replay(DEFAULT | {"kernel": 2})
    assert (draw.violated, draw.invalid) == ("parameters <= 500_000", "architecture.0.conv: too wide")


# Masks ---------------------------------------------------------------------------------------------------------------


def views(one: Space, decisions: dict[str, Any]) -> dict[str, Decision]:
    """What ``choose`` is handed while these decisions are made."""
    found = {}

    def choose(decision: Decision) -> int | float:
        found[decision.path] = decision
        return decisions[decision.path]

    one.walk(choose)
    return found


def test_a_mask_follows_from_what_is_drawn_already() -> None:
    kernel = views(space("width * kernel <= 160"), DEFAULT)["kernel"]
    assert isinstance(kernel, Index) and kernel.allowed == (0, 1)
    kernel = views(space("width * kernel <= 160"), DEFAULT | {"define.width": 0})["kernel"]
    assert isinstance(kernel, Index) and kernel.allowed is None


def test_a_mask_looks_ahead_as_far_as_is_certain() -> None:
    """Not even the smallest kernel goes with 64 filters."""
    width = views(space("width * kernel <= 160"), DEFAULT)["define.width"]
    assert isinstance(width, Index) and width.allowed == (0, 1)


def test_bounds_of_integers_and_reals_are_narrowed() -> None:
    deep = views(space("1 <= deep < 3"), DEFAULT | {"deep": 2})["deep"]
    assert isinstance(deep, Integer) and (deep.low, deep.high) == (1, 2)
    momentum = views(space("width * momentum <= 16"), DEFAULT)["momentum"]
    assert isinstance(momentum, Real) and momentum.low == 0.0 and momentum.high == pytest.approx(0.5, abs=1e-6)
    assert momentum.high >= 0.5


def test_being_active_is_masked_too() -> None:
    optimizer = views(space("active(momentum)"), DEFAULT)["optimizer"]
    assert isinstance(optimizer, Index) and optimizer.allowed == (0,)
    deep = views(space("active(path('architecture.2.repeat[1].of.conv.filters'))"), DEFAULT | {"deep": 2})["deep"]
    assert isinstance(deep, Integer) and (deep.low, deep.high) == (2, 3)


def test_what_may_yet_be_inactive_masks_nothing() -> None:
    """The constraint holds where momentum is inactive, and that is still open when width is drawn."""
    one = space("width * momentum >= 100")
    assert views(one, DEFAULT | {"optimizer": 1})["define.width"] is one.by_path["define.width"]


def test_a_view_refuses_what_it_leaves_out() -> None:
    """A controller that overlooks masks fails at once, not by an odd distribution."""
    one = space("width <= 16")
    with pytest.raises(ValueError, match=r"define\.width: 1 is ruled out by what was drawn before"):
        views(one, DEFAULT)
    assert one.replay(DEFAULT).violated == "width <= 16"  # while a record is replayed whatever it says


def test_a_dead_end_is_walked_to_its_end_and_named() -> None:
    """Its options are all left, so that the walk goes on, and the draw says which constraint it violates."""
    one = space("kernel != 3 or width == 16", "kernel == 3")
    assert views(one, DEFAULT | {"define.width": 0})["kernel"].allowed == (0,)  # type: ignore[union-attr]
    unseen = space("(width - 32) * (width - 64) * (kernel - 4) == 0", "(kernel - 2) * (width - 16) != 0")
    draw = unseen.walk(lambda decision: DEFAULT[decision.path], masked=False)
    assert draw.violated == ""


def test_the_prior_of_a_view_is_the_prior_given_what_is_left() -> None:
    rng = random.Random(1)
    weighted = Index("i", 3, ("a", "b", "c"), weights=(0.5, 0.3, 0.2), allowed=(0, 2))
    drawn = [draw_prior(weighted, rng) for _ in range(7000)]
    assert set(drawn) == {0, 2}
    assert drawn.count(0) / 7000 == pytest.approx(5 / 7, abs=0.02)
    even = Index("i", 4, ("",) * 4, allowed=(1, 2, 3))
    assert {draw_prior(even, rng) for _ in range(200)} == {1, 2, 3}


# Rejection -----------------------------------------------------------------------------------------------------------


def test_a_sample_satisfies_what_no_mask_can_see() -> None:
    one = space("flops <= 30_000", costs=COSTS)
    rng = random.Random(0)
    assert any(one.prior(rng).violated for _ in range(50))
    assert all(one.sample(rng).costs["flops"] <= 30_000 for _ in range(50))


def test_a_space_that_leaves_nothing_names_the_constraint_to_blame() -> None:
    one = space("width >= 16", "flops < 10 * width", costs=COSTS)
    with pytest.raises(InputError) as raised:
        one.sample(random.Random(0))
    assert str(raised.value) == (
        "space.yaml:21:5: 1,001 draws in a row violate a constraint; "
        "all violate: flops < 10 * width (flops: 14,400 to 160,000)"
    )


# Support -------------------------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {
    "define": {"w": {"choice": [1, 2, 4]}, "t": "=w * 2 - 1", "deep": {"int": [0, 2]}},
    "architecture": [
        {"a": {"x": "=w", "y": {"choice": [3, "=w", {"int": [5, 6]}], "name": "y"}}},
        {"repeat": {"times": "=deep", "of": {"choice": [{"b": {"z": {"int": [1, 2]}}}, "c"]}}},
        {"choice": [{"d": {"v": {"choice": [1, 2], "name": "v"}}}, None], "name": "end"},
    ],
    "hyperparameters": {"s": {"subset": ["p", "q"], "name": "s"}, "word": {"choice": ["lo", "hi"], "name": "word"}},
}
Z0 = "path('architecture.1.repeat[0].of:b.z')"
numbers = st.sampled_from(["w", "t", "deep", "y", "v", Z0, "value(v, 3)", f"value({Z0}, 0)", "2", "0.5"])
terms = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["+", "-", "*", "/", "//", "%", "**"]), inner),
        st.builds("{}({}, {})".format, st.sampled_from(["min", "max"]), inner, inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "-", "floor", "ceil", "round"]), inner),
    ),
    max_leaves=3,
)
conditions = st.recursive(
    st.one_of(
        st.builds("{} {} {}".format, terms, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), terms),
        st.builds("{} <= {} < {}".format, terms, terms, terms),
        st.sampled_from(
            ["word == 'hi'", "end != none", "path('s:p') == 'yes'", "active(v)", f"active({Z0})", "end == 'd'"]
        ),
    ),
    lambda inner: st.one_of(
        st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or"]), inner),
        st.builds("not ({})".format, inner),
    ),
    max_leaves=3,
)


def everything(one: Space) -> Iterator[Draw]:
    """Every assignment, violations included."""
    script: list[int] = []
    while True:
        turns: list[tuple[int, int]] = []

        def choose(decision: Decision, turns: list[tuple[int, int]] = turns, script: list[int] = script) -> int:
            assert not isinstance(decision, Real)
            first, size = (
                (0, decision.size) if isinstance(decision, Index) else (decision.low, decision.high - decision.low + 1)
            )
            position = script[len(turns)] if len(turns) < len(script) else 0
            turns.append((position, size))
            return first + position

        yield one.walk(choose, masked=False)
        while turns and turns[-1][0] + 1 == turns[-1][1]:
            turns.pop()
        if not turns:
            return
        script = [position for position, _ in turns[:-1]] + [turns[-1][0] + 1]


@cache
def small() -> list[Draw]:
    return list(everything(Space.read(SMALL)))


@cache
def prefixes() -> list[tuple[str, dict[str, int | float], dict[int | float, list[Draw]]]]:
    """Every decision that is ever to be drawn in SMALL: after what, and the draws that each of its values leads to."""

    def found(draws: list[Draw], depth: int) -> Iterator[tuple[str, Any, Any]]:
        items = list(draws[0].decisions.items())
        if depth == len(items):
            return
        path, below = items[depth][0], dict[int | float, list[Draw]]()
        for draw in draws:
            below.setdefault(draw.decisions[path], []).append(draw)
        yield path, dict(items[:depth]), below
        for group in below.values():
            yield from found(group, depth + 1)

    return list(found(small(), 0))


@settings(max_examples=150, deadline=None)
@given(st.lists(conditions, min_size=1, max_size=2))
def test_masks_and_rejection_leave_the_tree_minus_violations(constraints: list[str]) -> None:
    """A mask that took away one candidate too many would never be noticed: it is just not proposed."""
    try:
        one = Space.read({**SMALL, "constraints": constraints})
    except InputError:
        return  # about nothing, or nothing satisfies it; that is checked below
    looking_ahead = masks(one.constraints)
    assert looking_ahead
    for path, drawn, below in prefixes():  # all of them; a walk for each draw would look at each prefix many times
        view = looking_ahead.view(one.by_path[path], dict(drawn))
        for value, draws in below.items():
            if not admits(view, value):
                for draw in draws:
                    known = Known(draw.decisions)
                    satisfies = all(constraint.holds(known) for constraint in one.constraints)
                    assert not satisfies, f"{draw.decisions} is masked, and violates nothing"
    for draw in (one.replay(draw.decisions) for draw in small()[::61]):  # and walks do as the views say
        try:
            masked = one.walk(lambda decision, draw=draw: draw.decisions[decision.path])  # type: ignore[misc]
        except ValueError:
            assert draw.violated, f"{draw.decisions} is masked, and violates nothing"
        else:
            assert masked == draw


@settings(max_examples=150, deadline=None)
@given(conditions)
def test_no_candidate_satisfies_what_is_refused_for_that(constraint: str) -> None:
    try:
        Space.read({**SMALL, "constraints": [constraint]})
    except InputError as error:
        if "no candidate of this space satisfies" in str(error):
            either = Space.read({**SMALL, "constraints": [f"({constraint}) or parameters > 2"]})
            known = {"parameters": 1.0}
            assert all(
                Space(**{**vars(either), "costs": Costs(lambda _: known)}).replay(draw.decisions).violated
                for draw in everything(either)
            )


@settings(max_examples=100, deadline=None)
@given(
    st.floats(-2, 2), st.floats(-2, 2), st.sampled_from(["x * y <= {}", "x + y > {}", "x ** 2 - y <= {}", "x / y < {}"])
)
def test_narrowed_bounds_keep_every_real_that_satisfies(limit: float, slope: float, form: str) -> None:
    document = {
        "hyperparameters": {
            "y": {"float": [-1.5, 1.0], "name": "y"},
            "x": {"float": [0.01, 3], "log": True, "name": "x"},
        },
        "constraints": [form.format(repr(limit)), f"x * {slope!r} - y < 2"],
    }
    try:
        one = Space.read(document)
    except InputError:
        return
    rng = random.Random(3)
    for _ in range(50):
        draw = one.walk(lambda decision: draw_prior(one.by_path[decision.path], rng), masked=False)
        if not draw.violated:
            one.walk(lambda decision, draw=draw: draw.decisions[decision.path])  # type: ignore[misc]


def test_views_are_those_that_the_walk_handed_out() -> None:
    """Learning recomputes masks from decisions: they must be the same as when these were drawn."""
    one = space("width * kernel <= 160", "deep * momentum <= 0.3", "active(path('act')) and act != none")
    rng = random.Random(5)
    for _ in range(100):
        seen: dict[str, Decision] = {}

        def choose(decision: Decision, seen: dict[str, Decision] = seen) -> int | float:
            if decision is not one.by_path[decision.path]:
                seen[decision.path] = decision
            return draw_prior(decision, rng)

        draw = one.walk(choose)
        assert one.views(draw.decisions) == seen
        assert all(math.isfinite(value) for value in draw.decisions.values())


@pytest.mark.parametrize("constraint", ["a == 'auto'", "a != 'auto'", "value(b, 'auto') == 'auto'"])
def test_words_beside_a_range_can_be_asked_for(constraint: str) -> None:
    """Lost without it: an interval that is taken for all that a choice can be, and a word that is "never" drawn."""
    mixed = {"choice": [{"float": [0, 1]}, "auto"]}
    data = {"define": {"a": mixed, "b": mixed}, "hyperparameters": {"x": "=a", "y": {"choice": ["=b", 2]}}}
    space = Space.read(data | {"constraints": [constraint]})
    kept = {type(space.sample(random.Random(seed)).candidate.hyperparameters["x"]) for seed in range(40)}
    assert kept == {"a == 'auto'": {str}, "a != 'auto'": {float}}.get(constraint, {str, float})
