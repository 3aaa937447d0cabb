"""Defines that mention themselves: hierarchical spaces, and the bound that keeps them finite."""

import json
import random

from nas import documents
from nas.space import Space

# A hierarchical space after Schrodi et al. (2023): a grammar whose rules join cells in sequence, in parallel or as a
# residual, and end in operations; here with up to three levels.
HIERARCHICAL = """
define:
  op: {choice: [conv1, conv3, identity]}
  block:
    choice:
      - {new: op}
      - [{new: block}, {new: block}]
      - residual: [{new: block}]
      - graph: {nodes: 2, from: every, op: {new: block}}
    weights: [1, 1, 1, 1]
architecture: [stem, {new: block, depth: 3}]
"""


def read(text: str) -> Space:
    return Space.read(documents.parse(text, "space.yaml"))


def count(text: str) -> int | None:
    return read(text).count().exact


def test_a_hierarchical_space_is_counted_exactly() -> None:
    """a(1) = 3 operations; a(d) = 3 + a(d-1)^2 in sequence + a(d-1) within a residual + a(d-1)^3 on a graph's edges."""
    at = [0, 3]
    for _ in range(2, 5):
        at.append(3 + at[-1] ** 2 + at[-1] + at[-1] ** 3)
    for depth in (1, 2, 3):
        assert count(HIERARCHICAL.replace("depth: 3", f"depth: {depth}")) == at[depth]


def test_options_that_lead_back_do_not_exist_at_the_bound() -> None:
    space = read(HIERARCHICAL)
    outer = space.by_path["architecture.1.new.block"]
    deepest = [d for d in space.decisions if d.path.count("new.block") == 3 and d.path.endswith("new.block")]
    assert len(outer.labels) == 4  # type: ignore[union-attr]
    assert deepest and {d.labels for d in deepest} == {("op",)}  # type: ignore[union-attr]


def test_weights_of_the_options_that_are_left_sum_to_one() -> None:
    text = """
define: {a: {choice: [x, y, {residual: [{new: a}]}], weights: [1, 2, 5], default: y}}
architecture: [{new: a, depth: 2}]
"""
    outer, inner = read(text).decisions
    assert (outer.labels, outer.weights) == (("x", "y", "residual"), (1 / 8, 2 / 8, 5 / 8))  # type: ignore[union-attr]
    assert (inner.labels, inner.weights) == (("x", "y"), (1 / 3, 2 / 3))  # type: ignore[union-attr]
    assert inner.default == 1


def test_a_default_that_leads_back_is_no_default_at_the_bound() -> None:
    text = """
define: {a: {choice: [x, {residual: [{new: a}]}], default: residual}}
architecture: [{new: a, depth: 2}]
"""
    assert [decision.default for decision in read(text).decisions] == [1, None]


def test_the_bound_may_stand_where_the_define_mentions_itself() -> None:
    within = "define: {a: {choice: [x, {residual: [{new: a, depth: 3}]}]}}\narchitecture: [=a, {new: a}]"
    outside = (
        "define: {a: {choice: [x, {residual: [{new: a}]}]}}\narchitecture: [{new: a, depth: 3}, {new: a, depth: 2}]"
    )
    assert (count(within), count(outside)) == (3 * 3, 3 * 2)


def test_the_outermost_bound_is_the_one_that_counts() -> None:
    text = "define: {a: {choice: [x, {residual: [{new: a, depth: 9}]}]}}\narchitecture: [{new: a, depth: 2}]"
    assert count(text) == 2


def test_two_defines_may_lead_to_each_other() -> None:
    text = """
define:
  cell: {choice: [x, {residual: [{new: pair}]}]}
  pair: {choice: [[{new: cell}, {new: cell}], [y, {new: cell}]]}
architecture: [{new: cell, depth: 2}]
"""
    assert count(text) == 1 + (1 + 1)  # x; or a pair of x and x, or of y and x


def test_what_leads_back_inside_a_choice_takes_only_that_option_away() -> None:
    text = """
define: {a: {choice: [x, {residual: [{choice: [y, {new: a}]}]}]}}
architecture: [{new: a, depth: 1}]
"""
    space = read(text)
    assert space.count().exact == 2
    assert space.decisions[1].labels == ("y",)  # type: ignore[union-attr]


def test_values_recur_as_well_as_layers() -> None:
    text = "define: {v: {choice: [1, {more: {new: v}}]}}\nhyperparameters: {k: {new: v, depth: 3}}"
    assert count(text) == 3


def test_samples_of_a_hierarchical_space_replay_and_are_spaces() -> None:
    space = read(HIERARCHICAL)
    for seed in range(100):
        draw = space.sample(random.Random(seed))
        assert space.replay(json.loads(json.dumps(draw.decisions))) == draw
        again = Space.read(json.loads(json.dumps(draw.candidate.json())))
        assert (again.decisions, again.replay({}).candidate.hash) == ((), draw.candidate.hash)
