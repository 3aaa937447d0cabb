"""docs/spaces.md, the reference of the language, says what the code does: words, settings, defaults, examples."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any, get_args

import pytest

from nas import documents
from nas.config import Config
from nas.errors import InvalidCandidate
from nas.inspect import SIZES
from nas.space.constraints import Costs
from nas.space.expressions import MOST_CHARACTERS
from nas.space.grammar.graph import EXPLICIT, MOST_GRAPH_NODES, SHORT, WORDS
from nas.space.grammar.read import BESIDE, MOST_NODES, MOST_TIMES, SECTIONS
from nas.space.grammar.recursion import MOST_LEVELS
from nas.space.grammar.values import MOST_STEPS
from nas.space.space import Space
from nas.space.tree import MOST_POSSIBLE
from nas.space.tree_graph import DEFAULTS
from nas.space.words import COSTS, FORMS, FUNCTIONS, RESERVED
from nas.train.hyperparameters import SECTION
from nas.train.layers import LAYERS, chain, read
from nas.train.layers.dense import Activations
from nas.train.layers.layer import shape_after
from nas.train.pricing import Pricing, signature
from nas.train.settings import Hyperparameters, Optimizer, TrainSettings

PAGE = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text()
TASK = {"kind": "classification", "channels": 3, "height": 32, "width": 32, "classes": 10, "outputs": 10}
SHAPES = {"map": (8, 6, 4), "sequence": (6, 8), "vector": (8,)}
REQUIRED: dict[str, dict[str, Any]] = {  # settings of the layers that have no default for all
    "conv": {"filters": 8},
    "embedding": {"units": 5, "vocabulary": 4},
    "graph": {"nodes": [{"from": [0], "op": ["identity"]}]},
    "gru": {"units": 5},
    "hashed_embedding": {"units": 5, "shared": 4},
    "inverted_residual": {"expand": 2},
    "linear": {"units": 5},
    "lstm": {"units": 5},
    "residual": {"layers": ["identity"]},
    "skip": {"layers": ["identity"]},
    "stochastic_depth": {"rate": 0.1},
}
Block = tuple[int, str, str]


def blocks(kind: str) -> list[Block]:
    """The fenced blocks of a kind: line, section, text."""
    found = re.finditer(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return [(_line(match), _sections(match)[-1], match[1]) for match in found]


def _line(match: re.Match[str]) -> int:
    return PAGE.count("\n", 0, match.start()) + 1


def _sections(match: re.Match[str]) -> list[str]:
    return re.findall(r"^#+ (.*)$", PAGE[: match.start()], re.MULTILINE)


def table(*header: str) -> dict[str, list[str]]:
    """The rows of the table with these first columns, by the code word in their first cell."""
    lines = iter(PAGE.splitlines())
    head = "| " + " | ".join(header) + " |"
    for line in lines:
        if line.startswith(head[:-2]):
            break
    next(lines)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in _while_table(lines)]
    return {row[0].strip("`"): row for row in rows}


def _while_table(lines: Any) -> list[str]:
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append(line)
    return found


def said(cell: str) -> dict[str, Any]:
    """The settings of a cell: `filters` (required: None is no default of any) and `kernel: 3`."""
    words = re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", cell))
    return {word.partition(":")[0]: _default(word) for word in words}


def _default(word: str) -> Any:
    return documents.parse(f"x:{word.partition(':')[2]}", "page").data["x"] if ":" in word else "(required)"


def true_defaults(fields: Any) -> dict[str, Any]:
    return {name: "(required)" if field.is_required() else _plain(field.default) for name, field in fields.items()}


def _plain(default: Any) -> Any:
    return list(default) if isinstance(default, tuple) else default


LAYER_TABLE = table("layer", "main", "settings and defaults")
WHOLE = blocks("yaml space")
PARTS = [("architecture", *block) for block in blocks("yaml layers")]
PARTS += [("hyperparameters", *block) for block in blocks("yaml values")]


# Examples ------------------------------------------------------------------------------------------------------------


def priced() -> Costs:
    pricing = Pricing(TASK, TrainSettings())
    return Costs(pricing, pricing.names)


@pytest.mark.parametrize(("line", "section", "text"), WHOLE, ids=[f"{b[1]}-{b[0]}" for b in WHOLE])
def test_whole_spaces_read_and_can_be_trained(line: int, section: str, text: str) -> None:
    # An example is copied before it is understood: one that is refused, or draws what cannot be built, teaches wrongly.
    document = documents.parse(text, "docs/spaces.md")
    space = Space.read(document, TASK, layers=LAYERS, hyperparameters=SECTION, costs=priced())
    draws = [space.sample(random.Random(seed)) for seed in range(20)]
    assert not [draw.invalid for draw in draws if draw.invalid]
    assert len({draw.candidate.hash for draw in draws}) > 1


@pytest.mark.parametrize(("place", "line", "section", "text"), PARTS, ids=[f"{b[2]}-{b[1]}" for b in PARTS])
def test_parts_of_spaces_read_and_sample(place: str, line: int, section: str, text: str) -> None:
    # As above; layers are held against real shapes, though they end in no classes.
    part = documents.parse(text, "docs/spaces.md").data
    space = Space.read({place: part}, TASK, layers=LAYERS)
    for seed in range(20):
        candidate = space.sample(random.Random(seed)).candidate
        if place == "architecture":
            _built(candidate.architecture)


def _built(architecture: Any) -> None:
    assert chain(read(architecture), (3, 32, 32), "architecture")


def test_the_paths_are_those_of_the_example() -> None:
    # Paths are written into constraints and starts by hand.
    ((_, section, text),) = blocks("text paths")
    (space,) = [block for block in WHOLE if block[1] == section]
    read_ = Space.read(documents.parse(space[2], "docs/spaces.md"), TASK, layers=LAYERS)
    assert text.split() == [decision.path for decision in read_.decisions]


def test_the_latency_table_is_one() -> None:
    # Its keys are looked up as texts: one that is spelled otherwise is never found.
    ((_, _, text),) = blocks("yaml latency_table")
    listed = documents.parse(text, "docs/spaces.md").data
    config = {"space": "x", "name": "x", "task": {"dataset": "digits"}, "latency_table": listed}
    assert Config.model_validate(config).latency_table == listed
    (known,) = read([{"conv": {"filters": 32, "kernel": [1, 7]}}])
    assert signature(known, (16, 28, 28)) in listed
    (known,) = read([{"residual": [{"conv": 32}, "norm"]}])
    assert signature(known, (32, 28, 28)) in listed


def test_every_yaml_block_is_tested() -> None:
    # A block with another mark would go unread.
    marks = re.findall(r"^```(\w.*)$", PAGE, re.MULTILINE)
    assert set(marks) == {"yaml space", "yaml layers", "yaml values", "yaml latency_table", "text paths"}


# Words ---------------------------------------------------------------------------------------------------------------


def test_every_word_of_the_language_is_there() -> None:
    # A word that no page names is found by reading the source, or never.
    words = {*SECTIONS, *FORMS, *FUNCTIONS, *COSTS, *RESERVED, *SHORT, *EXPLICIT, *Hyperparameters.model_fields}
    words |= {word for values in WORDS.values() for word in values}
    words |= {word for values in BESIDE.values() for word in values}
    words |= {"pick", "distinct", "ops", "every", "previous", "times", "of", "latency_table", *SIZES}
    coded = " ".join(re.findall(r"`([^`\n]+)`", PAGE))
    missing = {word for word in words if not re.search(rf"\b{word}\b", coded)}
    assert not missing


def test_tables_of_words_are_whole() -> None:
    # As above, where the page promises a list.
    assert table("section", "what it holds").keys() == set(SECTIONS)
    of_graphs = table("word", "values", "default")
    assert of_graphs.keys() == set(SHORT)
    assert {word: of_graphs[word][2] for word in DEFAULTS} == {word: f"`{known}`" for word, known in DEFAULTS.items()}
    assert table("cost", "").keys() == set(COSTS)
    assert table("hyperparameter", "").keys() == Hyperparameters.model_fields.keys()
    assert table("beside it", "").keys() == set(BESIDE["choice"])
    called = re.findall(r"`(\w+)\(", " ".join(row[0] for row in table("function", "").values()))
    assert set(called) == set(FUNCTIONS)
    reserved = next(text for text in PAGE.split("\n\n") if text.startswith("These words name no layer"))
    assert set(re.findall(r"`(\w+)`", reserved)) == RESERVED


def test_the_limits_are_those_of_the_reader() -> None:
    # They are met by large spaces alone, whose authors have planned with them.
    assert f"at most {MOST_NODES:,} places, within each other at most {MOST_LEVELS} levels deep" in _running()
    assert f"how often, at most {MOST_TIMES:,};" in _running()
    assert f"at most {MOST_STEPS:,} values" in _running()
    assert f"all combinations (at most {MOST_POSSIBLE:,})" in _running()
    assert f"how many are computed, 1 to {MOST_GRAPH_NODES}," in _running()
    assert f"At most {MOST_CHARACTERS} characters." in _running()


def _running() -> str:
    return " ".join(PAGE.split())


# Layers and optimizers -----------------------------------------------------------------------------------------------


def test_every_layer_is_in_the_table() -> None:
    # In the order of their names, in which one looks.
    assert list(LAYER_TABLE) == sorted(LAYERS)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_have_these_settings_and_defaults(name: str) -> None:
    # A default that is said wrongly is a network other than the one that was meant.
    kind, row = LAYERS[name], LAYER_TABLE[name]
    assert row[1].strip("`") == kind.main
    assert said(row[2]) == true_defaults(kind.model_fields)
    for setting, field in kind.model_fields.items():
        known = {word for part in (field.annotation, *get_args(field.annotation)) for word in _words(part)}
        others = known - set(get_args(Activations)) - {"same"} if known else set()
        assert all(word in row[2] for word in others), setting


def _words(annotation: Any) -> set[str]:
    return {word for word in get_args(annotation) if isinstance(word, str)}


def test_every_activation_is_listed() -> None:
    # A network of another function than the one that was meant trains all the same.
    listed = next(text for text in PAGE.split("\n\n") if text.startswith("Functions of `activation`"))
    assert re.findall(r"`(\w+)`", listed)[1:] == list(get_args(Activations))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_take_these_shapes(name: str) -> None:
    # A person who puts a layer where it cannot stand learns it from a trial that failed.
    (one,) = read([{name: REQUIRED.get(name, {})}])
    takes, gives = LAYER_TABLE[name][3], LAYER_TABLE[name][4]
    if one.items:
        assert takes == "items"
        return
    stated = set(SHAPES) if takes == "any" else set(takes.split(", "))
    found = {word: _after(one, shape) for word, shape in SHAPES.items()}
    assert stated == {word for word, after in found.items() if after}
    if gives == "same":
        assert all(found[word] == SHAPES[word] for word in stated)


def _after(one: Any, shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return shape_after(one, shape if one.inputs_from() is None else (shape,))  # type: ignore[arg-type]
    except InvalidCandidate:
        return ()


def test_optimizers_have_these_settings_and_defaults() -> None:
    # As for layers.
    found = table("optimizer", "settings and defaults")
    assert found.keys() == Optimizer.model_fields.keys()
    for name, field in Optimizer.model_fields.items():
        model: Any = get_args(field.annotation)[0]
        assert said(found[name][1]) == true_defaults(model.model_fields)


def test_usual_ranges_are_those_of_the_table() -> None:
    # The page is where one looks before trusting a word to choose the range; and what a table says must be drawn.
    rows = table("usual range", "`learning_rate`")
    assert rows.keys() == Optimizer.model_fields.keys()
    for name, (_, rate, decay, others) in rows.items():
        inner = SECTION.within("optimizer")
        section = inner.within(name) if inner else None
        assert section
        said_of = {"learning_rate": rate, "weight_decay": decay}
        said_of |= dict(re.findall(r"`(\w+)` ([^,]+)", others))
        for setting in section.setting_names():
            low_high = tuple(float(number) for number in said_of.pop(setting, "").split(" to ") if number)
            usual = section.usual_range(setting)
            assert (usual[:2] if usual else ()) == low_high, (name, setting)
            assert usual is None or usual[2] == (setting not in ("momentum", "smoothing", "beta1", "beta2"))
        assert not said_of
