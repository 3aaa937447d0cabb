"""Every shipped config: its space can be searched, its data is found, and it says how long it takes."""

from __future__ import annotations

import re

import pytest

from nas import config as configs
from nas import inspect, plan, shipped
from nas.space.survey import require_some

CONFIGS = shipped.names("configs")
BUILT_IN = sorted(set(CONFIGS) - {"fashion_mnist", "mobilenet_v3", "resnet"})  # those need a data set's files


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_plan_is_made_without_any_files_of_data(name: str) -> None:
    made = plan.plan(configs.load(name))
    assert made.config.name == name
    assert made.config.budget.trials or made.config.budget.time


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_its_space_leaves_candidates_for_its_task(name: str) -> None:
    space = inspect.open_space(configs.load(name).space, config=name, costs=True).space
    require_some(space)


@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_its_first_comment_says_how_long_it_takes(name: str) -> None:
    text = CONFIGS[name].read_text()
    comment = re.match(r"(#.*\n)+", text)
    assert comment, "a comment stands first"
    assert re.search(r"minutes?\b", comment[0])
    if name not in BUILT_IN:
        assert "# The data:" in comment[0]
        assert (configs.load(name).budget.time or 0) <= 30 * 60
