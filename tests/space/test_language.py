"""The language, sentence by sentence, on spaces small enough to be worked by hand."""

import math
import random
import textwrap

import pytest

from nas import documents
from nas.errors import InputError
from nas.space import Draw, Index, Integer, Real, Space
from nas.train.hyperparameters import SECTION


def space(text: str, **task: float | str) -> Space:
    return Space.read(documents.parse(textwrap.dedent(text), "space.yaml"), task)


def paths(read: Space) -> list[str]:
    return [decision.path for decision in read.decisions]


def replay(text: str, decisions: dict[str, float], **task: float | str) -> Draw:
    return space(text, **task).replay(decisions)


def built(text: str, decisions: dict[str, float] | None = None, **task: float | str) -> list | None:
    return replay(text, decisions or {}, **task).candidate.architecture


def wrong(text: str, **task: float | str) -> str:
    with pytest.raises(InputError) as raised:
        space(text, **task)
    return str(raised.value)


# Layer entries -------------------------------------------------------------------------------------------------------


def test_an_entry_is_a_name_or_a_name_with_settings_or_with_its_main_value() -> None:
    text = "architecture: [flatten, {linear: {units: 10}}, {activation: relu}]"
    assert built(text) == [{"flatten": {}}, {"linear": {"units": 10}}, {"activation": "relu"}]


def test_lists_are_spliced_and_null_leaves_while_identity_stays() -> None:
    text = "architecture: [a, [b, [c, null]], null, identity]"
    assert built(text) == [{"a": {}}, {"b": {}}, {"c": {}}, {"identity": {}}]


def test_a_choice_among_entries_takes_any_kind_of_entry() -> None:
    text = """
    define: {block: [x, y]}
    architecture:
      - choice: [flatten, null, [a, b], =block, {repeat: {times: 2, of: c}}, {linear: 3}]
    """
    of = {i: built(text, {"architecture.0": i}) for i in range(6)}
    assert of == {
        0: [{"flatten": {}}],
        1: [],
        2: [{"a": {}}, {"b": {}}],
        3: [{"x": {}}, {"y": {}}],
        4: [{"c": {}}, {"c": {}}],
        5: [{"linear": 3}],
    }


def test_a_list_that_is_a_layers_main_value_holds_layers_unless_it_holds_numbers() -> None:
    text = """
    architecture:
      - residual: [conv3, null, [{norm: batch}], {repeat: {times: 2, of: act}}]
      - adaptive_pool: [2, 2]
      - augment: {literal: [flip, crop]}
    """
    assert built(text) == [
        {"residual": [{"conv3": {}}, {"norm": "batch"}, {"act": {}}, {"act": {}}]},
        {"adaptive_pool": [2, 2]},
        {"augment": ["flip", "crop"]},
    ]


def test_a_layers_main_value_may_choose_between_lists_of_layers() -> None:
    text = """
    define: {deep: [a, b]}
    architecture: [{residual: {choice: [[a], =deep, {new: deep}]}}, {residual: =deep}]
    """
    deep = [{"a": {}}, {"b": {}}]
    assert built(text, {"architecture.0.residual": 0}) == [{"residual": [{"a": {}}]}, {"residual": deep}]
    assert built(text, {"architecture.0.residual": 2}) == [{"residual": deep}, {"residual": deep}]


# Forms ---------------------------------------------------------------------------------------------------------------


def test_what_an_option_holds_exists_only_when_it_is_chosen() -> None:
    text = """
    hyperparameters:
      optimizer:
        choice:
          - sgd: {learning_rate: {float: [0.1, 1.0]}, momentum: {choice: [0.8, 0.9]}}
          - adamw: {learning_rate: {float: [0.001, 0.01]}}
    """
    sgd, adamw = "hyperparameters.optimizer:sgd", "hyperparameters.optimizer:adamw"
    assert paths(space(text)) == [
        "hyperparameters.optimizer",
        f"{sgd}.learning_rate",
        f"{sgd}.momentum",
        f"{adamw}.learning_rate",
    ]
    draw = replay(text, {"hyperparameters.optimizer": 1, f"{adamw}.learning_rate": 0.002, f"{sgd}.momentum": 1})
    assert draw.decisions == {"hyperparameters.optimizer": 1, f"{adamw}.learning_rate": 0.002}
    assert draw.candidate.hyperparameters == {"optimizer": {"adamw": {"learning_rate": 0.002}}}


def test_weights_are_a_normalised_prior() -> None:
    read = space("hyperparameters: {a: {choice: [x, y, z], weights: [1, 2, 5]}}")
    (decision,) = read.decisions
    assert isinstance(decision, Index) and decision.weights == (0.125, 0.25, 0.625)
    rng = random.Random(0)
    drawn = [read.sample(rng).decisions["hyperparameters.a"] for _ in range(4000)]
    assert [drawn.count(i) / 4000 for i in range(3)] == pytest.approx([0.125, 0.25, 0.625], abs=0.03)


def test_a_default_is_named_by_value_or_by_label() -> None:
    text = """
    hyperparameters:
      a: {choice: [1, 2.5, x], default: 2.5}
      b: {choice: [{sgd: {rate: 1}}, {adam: {rate: 1}}], default: adam}
      c: {int: [1, 9], default: 4}
      d: {float: [0, 1], default: 1}
      e: {int: [2, 10], step: 4, default: 6}
      f: {subset: [x, y, z], default: [z, x]}
      g: {subset: [x, y, z], size: 2, default: [z, x]}
    """
    assert [decision.default for decision in space(text).decisions] == [1, 1, 4, 1.0, 1, 1, 0, 1, 1]


@pytest.mark.parametrize(
    ("options", "ordered", "values"),
    [
        ("choice: [1, 2.5, 4]", True, (1, 2.5, 4)),
        ("choice: [4, 1]", False, (4, 1)),
        ("choice: [small, large]", False, None),
        ("choice: [small, large], ordered: true", True, None),
        ("choice: [1, 2], ordered: false", False, (1, 2)),
        ("choice: [1, true]", False, None),
        ("choice: [1]", False, (1,)),
        ("choice: [=task.classes, 20]", True, (10, 20)),
    ],
)
def test_numbers_in_increasing_order_are_ordered(options: str, ordered: bool, values: tuple | None) -> None:
    (decision,) = space(f"hyperparameters: {{a: {{{options}}}}}", classes=10).decisions
    assert isinstance(decision, Index)
    assert (decision.ordered, decision.values) == (ordered, values)


def test_int_and_float_are_drawn_from_their_range() -> None:
    text = """
    hyperparameters:
      a: {int: [1, 4]}
      b: {float: [1e-4, 1], log: true}
      c: {int: [2, =task.classes], log: true}
    """
    read = space(text, classes=10)
    assert read.decisions == (
        Integer("hyperparameters.a", 1, 4),
        Real("hyperparameters.b", 1e-4, 1.0, log=True),
        Integer("hyperparameters.c", 2, 10, log=True),
    )
    drawn = [read.sample(random.Random(i)).decisions for i in range(2000)]
    assert {d["hyperparameters.a"] for d in drawn} == {1, 2, 3, 4}
    assert {d["hyperparameters.c"] for d in drawn} == set(range(2, 11))
    below = sum(d["hyperparameters.b"] < 1e-2 for d in drawn) / 2000  # half of the decades
    assert below == pytest.approx(0.5, abs=0.05)


def test_a_log_integer_has_the_mass_of_its_unit_interval() -> None:
    read = space("hyperparameters: {a: {int: [1, 3], log: true}}")
    drawn = [read.sample(random.Random(i)).decisions["hyperparameters.a"] for i in range(6000)]
    mass = [math.log((k + 0.5) / (k - 0.5)) / math.log(3.5 / 0.5) for k in (1, 2, 3)]
    assert [drawn.count(k) / 6000 for k in (1, 2, 3)] == pytest.approx(mass, abs=0.03)


def test_a_stepped_range_is_an_index_whose_values_are_exact_decimals() -> None:
    read = space("hyperparameters: {a: {float: [0.1, 0.5], step: 0.1}, b: {int: [8, 24], step: 8}}")
    a, b = read.decisions
    assert isinstance(a, Index) and a.values == (0.1, 0.2, 0.3, 0.4, 0.5) and a.ordered
    assert isinstance(b, Index) and b.values == (8, 16, 24)
    draw = read.replay({"hyperparameters.a": 2, "hyperparameters.b": 1})
    assert draw.candidate.hyperparameters == {"a": 0.3, "b": 16}


def test_an_unsized_subset_is_one_yes_or_no_for_each_member() -> None:
    text = "hyperparameters: {augment: {subset: [flip, crop, {cutout: {size: {choice: [4, 8]}}}]}}"
    assert paths(space(text)) == [
        "hyperparameters.augment:flip",
        "hyperparameters.augment:crop",
        "hyperparameters.augment:cutout",
        "hyperparameters.augment:cutout.cutout.size",
    ]
    draw = replay(text, {"hyperparameters.augment:flip": 1, "hyperparameters.augment:crop": 0} | {
        "hyperparameters.augment:cutout": 1, "hyperparameters.augment:cutout.cutout.size": 1})  # fmt: skip
    assert draw.candidate.hyperparameters == {"augment": ["flip", {"cutout": {"size": 8}}]}


def test_a_sized_subset_is_one_index_over_combinations_in_declared_order() -> None:
    read = space("hyperparameters: {a: {subset: [z, y, x], size: 2}, b: {subset: [p, q], size: [0, 1]}}")
    a, b = read.decisions
    assert isinstance(a, Index) and a.labels == ("z+y", "z+x", "y+x")
    assert isinstance(b, Index) and b.labels == ("nothing", "p", "q")
    draw = read.replay({"hyperparameters.a": 1, "hyperparameters.b": 0})
    assert draw.candidate.hyperparameters == {"a": ["z", "x"], "b": []}


def test_a_sized_subset_has_at_most_4096_combinations() -> None:
    assert space("hyperparameters: {a: {subset: [a, b, c, d, e, f, g, h, i, j, k, l], size: [0, 12]}}").decisions
    message = wrong("hyperparameters: {a: {subset: [a, b, c, d, e, f, g, h, i, j, k, l, m], size: [0, 13]}}")
    assert "8,192 combinations are more than 4,096" in message


def test_literal_writes_a_form_word_as_a_value() -> None:
    text = "hyperparameters: {a: {literal: {choice: [1, 2]}}, b: {literal: =x}, c: {choice: [{literal: [1]}, 2]}}"
    draw = replay(text, {"hyperparameters.c": 0})
    assert draw.candidate.hyperparameters == {"a": {"choice": [1, 2]}, "b": "=x", "c": [1]}


# Repeat, sequence, defines -------------------------------------------------------------------------------------------

REPEAT = """
architecture:
  - repeat:
      times: {int: [0, 2]}
      of: {conv: {kernel: {choice: [3, 5]}}}
"""


def test_each_repetition_is_a_fresh_draw_under_a_path_that_does_not_depend_on_times() -> None:
    times, first, second = (
        f"architecture.0.repeat{tail}" for tail in (".times", "[0].of.conv.kernel", "[1].of.conv.kernel")
    )
    assert paths(space(REPEAT)) == [times, first, second]
    everything = {times: 2, first: 1, second: 0}
    assert built(REPEAT, everything) == [{"conv": {"kernel": 5}}, {"conv": {"kernel": 3}}]
    once = replay(REPEAT, everything | {times: 1})
    assert once.decisions == {times: 1, first: 1}
    assert replay(REPEAT, {times: 0}).candidate.architecture == []


def test_a_define_is_drawn_once_and_every_mention_is_that_value() -> None:
    text = """
    define: {width: {choice: [16, 32]}}
    architecture: [{conv: {filters: =width}}, {linear: {units: =width * 2}}]
    hyperparameters: {w: =width}
    """
    draw = replay(text, {"define.width": 1})
    assert draw.candidate.architecture == [{"conv": {"filters": 32}}, {"linear": {"units": 64}}]
    assert draw.candidate.hyperparameters == {"w": 32}
    assert list(draw.decisions) == paths(space(text)) == ["define.width"]


def test_a_define_is_drawn_at_its_first_active_mention() -> None:
    text = """
    define: {w: {choice: [1, 2]}}
    hyperparameters:
      a: {choice: [{one: =w}, {two: 0}]}
      b: {choice: [x, y]}
      c: {choice: [{one: =w}, {two: 0}]}
    """
    a, b, c = (f"hyperparameters.{name}" for name in "abc")
    everything = {a: 0, b: 0, c: 0, "define.w": 1}
    assert list(replay(text, everything).decisions) == [a, "define.w", b, c]
    assert list(replay(text, everything | {a: 1}).decisions) == [a, b, c, "define.w"]
    assert list(replay(text, everything | {a: 1, c: 1}).decisions) == [a, b, c]
    assert paths(space(text)) == [a, "define.w", b, c]


def test_a_tied_architecture_is_copied_not_shared() -> None:
    text = """
    define: {block: [{conv: {kernel: {choice: [3, 5]}}}]}
    architecture: [=block, =block]
    """
    first, second = built(text, {"define.block.0.conv.kernel": 1})  # type: ignore[misc]
    assert first == second == {"conv": {"kernel": 5}}
    assert first is not second and first["conv"] is not second["conv"]


def test_new_draws_a_body_again_and_ties_inside_it_stay_tied() -> None:
    text = """
    define:
      width: {choice: [16, 32]}
      block: [{conv: {filters: =width, kernel: {choice: [3, 5]}}}]
    architecture: [{new: block}, {new: block}, =block]
    """
    kernels = [f"architecture.{i}.new.block.0.conv.kernel" for i in (0, 1)] + ["define.block.0.conv.kernel"]
    assert paths(space(text)) == ["define.width", *kernels]
    drawn = dict(zip(["define.width", *kernels], [1, 0, 1, 0], strict=True))
    assert [entry["conv"] for entry in built(text, drawn) or ()] == [
        {"filters": 32, "kernel": 3},
        {"filters": 32, "kernel": 5},
        {"filters": 32, "kernel": 3},
    ]


def test_a_define_in_repeat_is_drawn_anew_for_each_repetition() -> None:
    text = """
    architecture:
      - repeat:
          define: {k: {choice: [3, 5]}}
          times: 2
          of: [{conv: {kernel: =k}}, {depthwise_conv: {kernel: =k}}]
    """
    drawn = {f"architecture.0.repeat[{i}].define.k": i for i in (0, 1)}
    assert paths(space(text)) == list(drawn)
    assert [next(iter(entry.values()))["kernel"] for entry in built(text, drawn) or ()] == [3, 3, 5, 5]


def test_a_define_in_sequence_is_seen_only_there() -> None:
    text = "architecture: [{sequence: {define: {k: {choice: [3, 5]}}, of: [{conv: =k}, {conv: =k}]}}]"
    assert built(text, {"architecture.0.sequence.define.k": 1}) == [{"conv": 5}, {"conv": 5}]
    outside = "architecture: [{sequence: {define: {k: 3}, of: a}}, {conv: =k}]"
    assert "'k' is not defined" in wrong(outside)


def test_shadowing_is_refused_but_two_scopes_side_by_side_may_use_one_name() -> None:
    assert "defined around this place" in wrong(
        "{define: {k: 1}, architecture: [{sequence: {define: {k: 2}, of: {conv: =k}}}]}"
    )
    side = "architecture: [{sequence: {define: {k: 1}, of: {a: =k}}}, {sequence: {define: {k: 2}, of: {a: =k}}}]"
    assert built(side) == [{"a": 1}, {"a": 2}]


def test_times_may_be_a_define_or_an_expression() -> None:
    text = """
    define: {depth_: {choice: [1, 2, 3]}}
    architecture: [{repeat: {times: =depth_, of: a}}, {repeat: {times: =4 - depth_, of: b}}]
    """
    assert built(text, {"define.depth_": 2}) == [{"a": {}}] * 3 + [{"b": {}}]


# Expressions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("=w", 32),
        ("=2 * w + 1", 65),
        ("=w / 2", 16),
        ("=w / 3", 32 / 3),
        ("=w // 3", 10),
        ("=w % 5", 2),
        ("=w ** 0.5", math.sqrt(32)),
        ("=-w + +1", -31),
        ("=min(w, 24)", 24),
        ("=max(w, 24, task.classes)", 32),
        ("=round(w / 3)", 11),
        ("=round(w / 3, 1)", 10.7),
        ("=abs(1 - w)", 31),
        ("=floor(w / 3) + ceil(w / 3)", 21),
        ("=task.classes", 10),
        ("=task.name", "digits"),
        ("= w ", 32),
        ("=task.classes * 2", 20),
    ],
)
def test_expressions_compute(expression: str, value: float) -> None:
    read = Space.read(
        {"define": {"w": {"choice": [16, 32]}}, "hyperparameters": {"a": expression, "b": "=w"}},
        {"classes": 10, "name": "digits"},
    )
    result = read.replay({"define.w": 1}).candidate.hyperparameters["a"]
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("=1 / w", "division by zero"),
        ("=1 % w", "division by zero"),
        ("=(w + 10) ** 16", "beyond 1e15"),
        ("=(w + 9) ** 9 ** 9", "beyond 1e15"),
        ("=1e15 + 10 - w", "beyond 1e15"),
        ("=(w - 1) ** 0.5", "not a real number"),
    ],
)
def test_what_cannot_be_computed_makes_the_candidate_invalid(expression: str, why: str) -> None:
    """Lost without it: such a candidate costs a training attempt, or a crash of the search."""
    text = f"{{define: {{w: {{choice: [0, 1]}}}}, hyperparameters: {{a: '{expression}', b: {{choice: [1, 2]}}}}}}"
    draw = replay(text, {"define.w": 0, "hyperparameters.b": 1})
    assert draw.invalid.startswith("hyperparameters.a: =") and draw.invalid.endswith(why)
    assert draw.candidate.hyperparameters == {"a": None, "b": 2}, "the decisions after it are still drawn"


def test_24_point_0_serves_as_an_integer_and_24_point_5_does_not() -> None:
    text = "{define: {w: {choice: [4, 5]}}, architecture: [{repeat: {times: =w / 2, of: a}}]}"
    assert built(text, {"define.w": 0}) == [{"a": {}}] * 2
    draw = replay(text, {"define.w": 1})
    assert draw.invalid == "architecture.0.repeat.times: 2.5 is no number of repetitions"


@pytest.mark.parametrize(
    "expression",
    [
        "=w.real",
        "=[1][0]",
        "=lambda: 1",
        "=w if w else 1",
        "='a'",
        "=True",
        "=f(w)",
        "=min(w)",
        "=w < 2",
        "=not w",
        "=",
        "=1j",
    ],
)
def test_nothing_else_of_python_is_an_expression(expression: str) -> None:
    with pytest.raises(InputError):
        Space.read({"define": {"w": 3}, "hyperparameters": {"a": expression}})


# Paths, names, order -------------------------------------------------------------------------------------------------


def test_the_path_of_the_design() -> None:
    text = """
    architecture:
      - a
      - b
      - repeat:
          times: 1
          of: {choice: [{inverted_residual: {expand: {choice: [3, 6]}}}, identity]}
    """
    assert paths(space(text))[1] == "architecture.2.repeat[0].of:inverted_residual.expand"


def test_labels_are_scalar_reference_or_layer_name_else_the_index() -> None:
    text = """
    define: {b: 7, c: {choice: [1, 2]}}
    hyperparameters:
      a:
        choice: [x, 3, 0.5, true, null, =b, {new: c}, {sgd: {rate: {choice: [1, 2]}}}, [1], {p: 1, q: {choice: [1, 2]}}]
    """
    read = space(text)
    choice = read.decisions[0]
    assert isinstance(choice, Index)
    assert choice.labels == ("x", "3", "0.5", "true", "null", "b", "c", "sgd", "8", "9")
    assert paths(read)[1:] == [
        "hyperparameters.a:c.new.c",
        "hyperparameters.a:sgd.rate",
        "hyperparameters.a:9.q",
    ]


def test_options_of_one_label_are_told_apart_by_index() -> None:
    text = "architecture: [{choice: [{conv: {k: {choice: [1, 3]}}}, {conv: {k: {choice: [5, 7]}}}, a]}]"
    read = space(text)
    assert read.decisions[0].labels == ("0", "1", "a")  # type: ignore[union-attr]
    assert paths(read)[1:] == ["architecture.0:0.conv.k", "architecture.0:1.conv.k"]


def test_a_name_replaces_path_and_index_and_repetitions_stay_apart() -> None:
    text = """
    define: {cell: {conv: {kernel: {choice: [3, 5], name: size}}}}
    architecture:
      - choice: [{a: {x: {int: [1, 2]}}}, b]
        name: head
      - repeat: {times: 2, of: {conv: {kernel: {choice: [3, 5], name: kernel}}}}
      - {new: cell}
    """
    assert paths(space(text)) == ["head", "head:a.x", "kernel[0]", "kernel[1]", "architecture.2.new.cell.size"]
    assert space(text).decisions[2].name == "kernel"


def test_a_name_in_nested_repetitions_has_both_indices() -> None:
    inner = "{repeat: {times: 2, of: {conv: {kernel: {choice: [3, 5], name: kernel}}}}}"
    text = f"architecture: [{{repeat: {{times: 2, of: {inner}}}}}]"
    assert paths(space(text)) == ["kernel[0][0]", "kernel[0][1]", "kernel[1][0]", "kernel[1][1]"]


def test_a_body_that_nothing_ties_is_read_where_it_was_meant_to_stand() -> None:
    """Lost without it: commenting out a line makes the rest of the file an error."""
    cell = "{residual: [{repeat: {times: 2, of: a}}, null]}"
    assert built(f"{{define: {{cell: {cell}}}, architecture: [b]}}") == [{"b": {}}]
    once = {"residual": [{"a": {}}, {"a": {}}]}
    assert built(f"{{define: {{cell: {cell}}}, architecture: [{{new: cell}}]}}") == [once]
    assert "'nothing' is not defined" in wrong("{define: {cell: {a: =nothing}}, architecture: [b]}")


def test_a_named_decision_keeps_its_path_when_the_file_is_edited() -> None:
    before = "architecture: [{conv: {kernel: {choice: [3, 5], name: kernel}}}]"
    after = (
        "architecture: [a, {repeat: {times: 0, of: b}}, {residual: [{conv: {kernel: {choice: [3, 5], name: kernel}}}]}]"
    )
    assert paths(space(before)) == paths(space(after)) == ["kernel"]


def test_order_is_depth_first_architecture_before_hyperparameters() -> None:
    text = """
    hyperparameters: {z: {int: [1, 2]}, a: {int: [1, 2]}}
    architecture:
      - choice: [{p: {q: {int: [1, 2]}}}, r]
      - repeat: {of: {s: {int: [1, 2]}}, times: {int: [1, 1]}}
    """
    assert paths(space(text)) == [
        "architecture.0",
        "architecture.0:p.q",
        "architecture.1.repeat.times",
        "architecture.1.repeat[0].of.s",
        "hyperparameters.z",
        "hyperparameters.a",
    ]


def test_two_decisions_never_share_a_path() -> None:
    message = wrong("hyperparameters: {a.b: {int: [1, 2]}, a: {b: {int: [1, 2]}}}")
    assert "the path 'hyperparameters.a.b' is that of another decision in line 1 too" in message


# The whole -----------------------------------------------------------------------------------------------------------


def test_a_space_may_have_hyperparameters_only() -> None:
    read = Space.read({"hyperparameters": {"rate": {"choice": [1, 2]}}})
    candidate = read.replay({"hyperparameters.rate": 1}).candidate
    assert candidate.architecture is None and candidate.json() == {"hyperparameters": {"rate": 2}}
    assert read.name == "space"


def test_reading_the_source_again_gives_the_same_space() -> None:
    """Lost without it: a resumed run reads the space from its journal, and would search another."""
    text = "{name: n, define: {w: =task.classes}, architecture: [{linear: {units: {int: [1, =task.classes]}}}]}"
    read = space(text, classes=10)
    again = Space.read(read.source, read.task)
    assert again.decisions == read.decisions and again.source == read.source and again.name == "n"


def test_replay_refuses_a_missing_decision_and_one_outside_its_domain() -> None:
    read = space(REPEAT)
    for decisions, message in [
        ({}, "'architecture.0.repeat.times' is active and has no value"),
        ({"architecture.0.repeat.times": 3}, "3 is not within 0..2"),
        ({"architecture.0.repeat.times": 1.5}, "interpreted as an integer"),
        ({"architecture.0.repeat.times": 1, "architecture.0.repeat[0].of.conv.kernel": -1}, "-1 is no index below 2"),
    ]:
        with pytest.raises(InputError, match=message.replace("'", ".")):
            read.replay(decisions)


def test_a_walk_refuses_values_outside_a_domain() -> None:
    """Lost without it: a controller's NaN, or an index of -1, which Python would take for the last option."""
    read = space("hyperparameters: {a: {float: [0, 1]}, b: {choice: [1, 2]}}")
    for bad in (float("nan"), 2.0):
        with pytest.raises(ValueError, match="not within"):
            read.walk(lambda decision, bad=bad: bad)
    with pytest.raises(ValueError, match="no index below 2"):
        read.walk(lambda decision: 0.5 if decision.path.endswith("a") else -1)


def test_an_objective_that_changes_its_candidate_changes_no_other() -> None:
    read = Space.read({"architecture": [{"a": {"b": {"literal": [1]}}}], "hyperparameters": {"c": {"d": 1}}})
    spoilt = read.replay({}).candidate
    spoilt.architecture[0]["a"]["b"].append(2)  # type: ignore[index]
    spoilt.hyperparameters["c"].clear()
    assert read.replay({}).candidate.json() == {
        "architecture": [{"a": {"b": [1]}}],
        "hyperparameters": {"c": {"d": 1}},
    }


def test_a_usual_range_is_recorded_in_numbers() -> None:
    # A journal that held the word would mean another range after the next release.
    one = {"float": "usual", "default": 0.003}
    options = [{"adamw": {"learning_rate": one, "beta1": {"float": "usual"}}}, {"sgd": {"learning_rate": 0.1}}]
    space = Space.read({"hyperparameters": {"optimizer": {"choice": options}}}, hyperparameters=SECTION)
    rate, beta = space.decisions[1:]
    assert (rate.low, rate.high, rate.log, rate.default) == (5e-4, 2e-2, True, 0.003)
    assert (beta.low, beta.high, beta.log) == (0.8, 0.95, False)
    assert Space.read(space.source).decisions == space.decisions
    with pytest.raises(InputError, match=r"learning_rate.*no usual range is known for this place"):
        Space.read({"hyperparameters": {"learning_rate": {"float": "usual"}}}, hyperparameters=SECTION)
