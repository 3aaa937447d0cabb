"""Properties of whole spaces, on spaces that hypothesis makes up."""

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from nas.errors import InputError
from nas.space import Candidate, Decision, Draw, Index, Integer, Real, Space
from nas.space.words import FORMS

DEFINES = {
    "width": {"choice": [1, 2]},
    "often": {"int": [0, 2]},
    "twice": "=2 * width",
    "block": [{"conv": {"kernel": {"choice": [3, 5]}, "filters": "=width"}}, "norm"],
    "maybe": {"choice": [None, {"drop": {"rate": {"float": [0, 1]}}}, "=block"]},
    "nested": {
        "choice": ["relu", [{"new": "nested", "depth": 2}, "=maybe"], {"residual": [{"new": "nested", "depth": 2}]}]
    },
}


def distinct(options: st.SearchStrategy[Any], **kwargs: Any) -> st.SearchStrategy[list[Any]]:
    return st.lists(options, min_size=1, max_size=3, unique_by=lambda o: json.dumps(o, sort_keys=True), **kwargs)


plain = st.sampled_from(["relu", 0, 2.5, True, None, [1, {"a": 2}], {"literal": {"choice": [1]}}, {"literal": "=x"}])
leaves = st.one_of(
    plain,
    st.sampled_from(["=width", "=twice", "=width / often", {"new": "width"}, "=task.classes"]),
    st.sampled_from([{"int": [1, 3]}, {"float": [0, 1]}, {"int": [2, 6], "step": 2}, {"float": [1, 8], "log": True}]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(
        distinct(inner).map(lambda options: {"choice": options}),
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
        st.sampled_from(
            [{"subset": ["x", {"y": {"z": {"int": [1, 2]}}}]}, {"subset": ["p", "q", "r"], "size": [1, 2]}]
        ),
    ),
    max_leaves=4,
)
layers = st.one_of(
    st.sampled_from(["flatten", None, "=block", "=maybe", {"new": "block"}, {"new": "maybe"}]),
    st.sampled_from(["=nested", {"new": "nested"}, {"new": "nested", "depth": 1}]),
    st.builds(
        lambda name, held: {name: held}, st.sampled_from(["conv", "linear"]), st.fixed_dictionaries({"x": values})
    ),
)
times = st.sampled_from([0, 2, "=often", "=twice - width", {"choice": [1, 2]}, {"int": [0, 2]}])


def graphs(op: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Graph cells, of every way to say where edges come from."""
    none = op.map(lambda one: {"choice": ["none", one]}).filter(lambda op: op["choice"][1] is not None)
    wires = st.sampled_from([{}, {"from": {"pick": 2}}, {"from": {"pick": 2, "distinct": False}}])
    every = st.builds(lambda op, wires: {"op": op, **wires}, op | none | st.just({"choice": ["none", "=maybe"]}), wires)
    previous = st.builds(lambda op, skip: {"op": op, "from": "previous", **skip}, op, st.sampled_from([{}, SKIP]))
    rest = st.fixed_dictionaries(
        {"nodes": st.integers(1, 2)},
        optional={
            "inputs": st.sampled_from([[-1], [-2, -1]]),
            "merge": st.sampled_from(["sum", "concat", {"choice": ["sum", "mean"]}]),
            "output": st.sampled_from(["last", "loose"]),
            "match": st.sampled_from(["none", "project", {"project": "=width"}]),
            "stride": st.sampled_from([1, "=width"]),
        },
    )
    return st.builds(lambda wired, rest: {"graph": {**wired, **rest}}, every | previous, rest)


SKIP = {"skip": "subset"}
entries = st.recursive(
    layers,
    lambda inner: st.one_of(
        graphs(inner),
        distinct(inner).map(lambda options: {"choice": options}),
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(lambda body: {"residual": body}),
        st.builds(lambda t, of: {"repeat": {"times": t, "of": of}}, times, inner),
        st.builds(
            lambda t, of: {"repeat": {"define": {"own": {"choice": [1, 2, 3]}}, "times": t, "of": [of, {"a": "=own"}]}},
            times,
            inner,
        ).filter(lambda entry: '"own"' not in json.dumps(entry["repeat"]["of"])),
    ),
    max_leaves=4,
)
documents = st.fixed_dictionaries(
    {"architecture": st.lists(entries, max_size=3), "hyperparameters": st.dictionaries(st.sampled_from("hk"), values)}
).map(lambda document: {"define": DEFINES, **document})


def read(document: dict[str, Any]) -> Space | None:
    """The space; None for the few that hypothesis makes with a scope inside its like."""
    nested = json.dumps(document).count('"own":') > 1
    return None if nested else Space.read(document, {"classes": 10})


def everything(space: Space) -> Iterator[Draw]:
    """Every way through a space, as an odometer turns; a real is held at its low end."""

    def size(decision: Decision) -> int:
        if isinstance(decision, Index):
            return decision.size
        return decision.high - decision.low + 1 if isinstance(decision, Integer) else 1

    script: list[int] = []
    while True:
        turns: list[tuple[int, int]] = []  # position and size, of each decision of this walk

        def choose(decision: Decision, turns: list[tuple[int, int]] = turns, script: list[int] = script) -> int | float:
            position = script[len(turns)] if len(turns) < len(script) else 0
            turns.append((position, size(decision)))
            return position if isinstance(decision, Index) else decision.low + position

        yield space.walk(choose)
        while turns and turns[-1][0] + 1 == turns[-1][1]:
            turns.pop()
        if not turns:
            return
        script = [position for position, _ in turns[:-1]] + [turns[-1][0] + 1]


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(0, 2**32))
def test_a_sample_replays_to_the_same_candidate(document: dict[str, Any], seed: int) -> None:
    """Lost without it: a resumed run whose journal means another network."""
    space = read(document)
    if space is None:
        return
    draw = space.sample(random.Random(seed))
    again = space.replay(json.loads(json.dumps(draw.decisions)))
    assert again == draw and again.candidate.hash == draw.candidate.hash
    assert list(again.decisions) == list(draw.decisions)


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(0, 2**32))
def test_every_active_path_is_known_before_a_draw(document: dict[str, Any], seed: int) -> None:
    space = read(document)
    if space is None:
        return
    assert len(space.by_path) == len(space.decisions)
    seen: list[Decision] = []

    def choose(decision: Decision) -> int | float:
        seen.append(decision)
        if isinstance(decision, Real):
            return decision.high
        return (
            random.Random(seed + len(seen)).randrange(decision.size) if isinstance(decision, Index) else decision.high
        )

    draw = space.walk(choose)
    assert [d.path for d in seen] == list(draw.decisions), "one question for each active decision"
    assert all(space.by_path[d.path] == d for d in seen)


@settings(max_examples=300, deadline=None)
@given(documents, st.integers(0, 2**32))
def test_a_candidate_is_itself_a_space_without_decisions(document: dict[str, Any], seed: int) -> None:
    space = read(document)
    draw = None if space is None else space.sample(random.Random(seed))
    if draw is None or draw.invalid:
        return
    written = json.loads(json.dumps(draw.candidate.json()))
    assert Candidate.of(written) == draw.candidate
    again = Space.read(written)
    assert again.decisions == ()
    assert again.replay({}).candidate.hash == draw.candidate.hash
    assert isinstance(draw.candidate.one_line(), str)


@settings(max_examples=200, deadline=None)
@given(documents)
def test_the_count_is_that_of_trying_everything(document: dict[str, Any]) -> None:
    space = read(document)
    if space is None or space.count().finite > 3000:
        return
    reals = {d.path for d in space.decisions if isinstance(d, Real)}
    tried = Counter(len(reals & draw.decisions.keys()) for draw in everything(space))
    counted = {power: n for power, n in enumerate(space.count().coefficients) if n}
    assert counted == dict(tried)


sections = ["architecture", "hyperparameters", "constraints"]
beside = ["times", "of", "weights", "default", "ordered", "name", "size", "step", "log", "depth"]
beside += ["nodes", "inputs", "from", "op", "ops", "skip", "merge", "output", "match", "stride", "pick", "distinct"]
beside += ["none", "previous", "project", "concat", "last"]
words = st.sampled_from(
    [*FORMS, *beside, *sections, "d", "e", "conv", "=d", "=e", "=2*d", "=task.classes", "=(", "relu"]
)
anything = st.recursive(
    st.one_of(words, st.integers(-3, 3), st.floats(allow_nan=False, allow_infinity=False), st.none(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(words, inner, max_size=3)),
    max_leaves=12,
)

cells = st.dictionaries(st.sampled_from(beside), anything | st.integers(1, 3) | st.just([-1]), max_size=6).map(
    lambda held: [{"graph": held}]
)


@settings(max_examples=300, deadline=None)
@given(
    st.fixed_dictionaries(
        {}, optional={"define": st.dictionaries(st.sampled_from("de"), anything), "architecture": anything | cells,
                      "hyperparameters": st.dictionaries(words, anything, max_size=3),
                      "start": st.lists(st.dictionaries(words, anything, max_size=2), max_size=2) | anything}
    )
)  # fmt: skip
def test_whatever_is_written_is_read_or_refused_in_words(document: dict[str, Any]) -> None:
    """Lost without it: a traceback where a message belongs."""
    try:
        space = Space.read(document, {"classes": 10})
    except InputError as error:
        assert all(problem.message for problem in error.problems)
        return
    draw = space.sample(random.Random(0))
    assert space.replay(draw.decisions) == draw
    assert space.count().finite >= 1


@settings(max_examples=200, deadline=None)
@given(documents)
def test_no_two_assignments_are_drawn_under_one_name(document: dict[str, Any]) -> None:
    """Different decisions may make one candidate, but never one set of recorded decisions."""
    space = read(document)
    if space is None or space.count().finite > 500:
        return
    drawn = [tuple(draw.decisions.items()) for draw in itertools.islice(everything(space), 500)]
    assert len(set(drawn)) == len(drawn)
