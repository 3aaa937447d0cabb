"""A document becomes a tree of nodes, and everything wrong with it a list of problems.

There are two positions. In *value* position anything may stand, a form makes a decision of it. In *layer* position
(``architecture``, ``of``, the list that is a layer's main value) only entries may stand. A define's body is read at its
first mention, in the position of that mention.

Repetitions and ``{new: ...}`` are read once per use, which gives each its own nodes and paths; the same problem found
twice is reported once. A problem does not stop the reader: what cannot be read becomes null.
"""

from __future__ import annotations

# `return self.wrong(...)` ends a reader with None, whatever it would have answered.
# mypy: disable-error-code="no-any-return"
from collections.abc import Callable, Collection, Mapping
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NoReturn

from nas.documents import Document, hint
from nas.errors import MOST_PROBLEMS, InputError, Problem, too_many
from nas.space.constraints import Constraint
from nas.space.decisions import Index
from nas.space.expressions import ExpressionError, Impossible, Parsed, as_integer_if_whole, parse
from nas.space.grammar import conditions, graph, values
from nas.space.grammar.recursion import MOST_LEVELS, Body, LeadsBack, Recursion
from nas.space.grammar.settings import KnownLayer, KnownSection, check_section, check_settings
from nas.space.grammar.spot import Position, Scope, Spot
from nas.space.grammar.values import canonical, is_single, labels_of, shown
from nas.space.tree import (
    Choice,
    Constant,
    Define,
    Entries,
    Expression,
    Layer,
    Listed,
    Mapped,
    Members,
    Node,
    Repeat,
    Subset,
    Tie,
    is_times,
)
from nas.space.tree_graph import Graph, Removed
from nas.space.words import FORMS, RESERVED, forms_in, is_layer_list, is_number, mistaken_form

MOST_NODES = 10_000  # of the unfolded tree; shipped spaces have some hundreds
MOST_TIMES = 1_000

SECTIONS = ("name", "define", "architecture", "hyperparameters", "constraints", "start")
USES: dict[Position, str] = {"value": "a value", "entry": "a layer", "op": "an operation that may be none"}
BESIDE = {  # the keys that a form may have beside it
    "choice": ("weights", "default", "ordered", "name"),
    "int": ("log", "step", "default", "name"),
    "float": ("log", "step", "default", "name"),
    "subset": ("size", "default", "name"),
    "new": ("depth",),
}


def read_space(
    document: Document,
    task: Mapping[str, Any],
    layers: Mapping[str, KnownLayer] | None,
    hyperparameters: KnownSection | None,
    priced: Collection[str] | None,
) -> tuple[str, Node | None, Node, tuple[Constraint, ...]]:
    """The name, the architecture's node (None where there is none), the hyperparameters' node, and the constraints.

    ``hyperparameters``: those that may stand beside an architecture; None: any. ``priced`` are the costs that
    constraints may name; None: all.

    Raises:
        InputError: with every problem of the document, in the order of its lines.
    """
    reader = Reader(document, task, layers, hyperparameters, priced)
    data = document.data
    if not isinstance(data, dict):
        raise InputError(document.problem((), f"a space is a mapping with {', '.join(SECTIONS)}, not {shown(data)}"))
    if "space" in data and "task" in data:
        known = f" ({data['space']})" if isinstance(data["space"], str) else ""
        message = f"this looks like a config (it has `space:` and `task:`); give its space{known}, and it as --config"
        raise InputError(document.problem((), message))
    read = reader.sections(data)
    if reader.problems:
        raise InputError(*sorted(reader.problems, key=lambda problem: (problem.line, problem.column)))
    return read


class Reader:
    def __init__(
        self,
        document: Document,
        task: Mapping[str, Any],
        layers: Mapping[str, KnownLayer] | None,
        hyperparameters: KnownSection | None,
        priced: Collection[str] | None,
    ) -> None:
        self.document = document
        self.task = task
        self.layers = layers
        self.hyperparameters = hyperparameters
        self.priced = priced
        self.problems: dict[Problem, None] = {}
        self.paths: dict[str, Spot] = {}  # of decisions, each with where it was read
        self.names: dict[str, Spot] = {}  # given by `name:`
        self.recursion = Recursion()
        self.nodes = 0
        self.levels = 0

    # Problems --------------------------------------------------------------------------------------------------------

    def wrong(self, spot: Spot, message: str, *, key: bool = False) -> Any:
        """Record a problem, and answer None, so that a reader can end with it."""
        self.problems[self.document.problem(spot.at, message, key=key)] = None
        if len(self.problems) == MOST_PROBLEMS:
            *_, last = self.problems
            raise InputError(*self.problems, too_many(last))

    def stop(self, spot: Spot, message: str) -> NoReturn:
        self.wrong(spot, message)
        raise InputError(*self.problems)

    def keys(self, raw: dict[str, Any], spot: Spot, allowed: Collection[str], of: str) -> None:
        for key in raw:
            if key not in allowed:
                self.wrong(spot.key(key), f"unknown key '{key}' in {of}{hint(key, allowed)}", key=True)

    def register(self, path: str, spot: Spot) -> None:
        """Remember a decision's path: two decisions of one path could not be told apart."""
        other = self.paths.setdefault(path, spot)
        if other is not spot:
            line, _ = self.document.place(other.at)
            where = f" in line {line}" if line else ""
            self.wrong(spot, f"the path '{path}' is that of another decision{where} too; give one of them a `name`")

    # The document ----------------------------------------------------------------------------------------------------

    def sections(self, data: dict[str, Any]) -> tuple[str, Node | None, Node, tuple[Constraint, ...]]:
        top = Spot((), "", Scope(None, {}))
        self.keys(data, top, SECTIONS, "a space")
        name = data.get("name", "space")
        if not isinstance(name, str) or not name:
            self.wrong(top.key("name"), f"a space's name is a word, not {shown(name)}")
        with self.defining(data, Spot((), "", top.scope), "define") as scope:
            architecture: Node | None = None
            if "architecture" in data:
                architecture = self.entry(data["architecture"], Spot(("architecture",), "architecture", scope))
            given = data.get("hyperparameters", {})
            if isinstance(given, dict) and not forms_in(given):
                here = Spot(("hyperparameters",), "hyperparameters", scope)
                if self.hyperparameters is not None and architecture is not None:
                    check_section(self, self.hyperparameters, given, here, "`hyperparameters`")
                hyperparameters = self.value(given, here)
            else:
                self.wrong(top.key("hyperparameters"), f"`hyperparameters` is a mapping of names, not {shown(given)}")
                hyperparameters = Mapped(())
            if architecture is None and not given:
                self.wrong(top, "a space needs `architecture`, `hyperparameters`, or both")
        roots = [hyperparameters] if architecture is None else [architecture, hyperparameters]
        constraints = conditions.read_constraints(self, data.get("constraints", []), scope, roots)
        return name, architecture, hyperparameters, constraints

    @contextmanager
    def defining(self, raw: dict[str, Any], spot: Spot, path: str) -> Any:
        """The scope of the ``define`` in ``raw``; on leaving, bodies that nothing mentions are checked as well."""
        given = raw.get("define", {})
        here = spot.moved(("define",), path)
        if not isinstance(given, dict):
            self.wrong(here, f"`define` is a mapping of names, not {shown(given)}")
            given = {}
        for name in given:
            if problem := values.word_problem(name, "define"):
                self.wrong(here.key(name), problem, key=True)
            elif spot.scope.holding(name):
                self.wrong(
                    here.key(name), f"'{name}' is defined around this place already; take another name", key=True
                )
        scope = Scope(spot.scope, given)
        scope.spot = here.within(scope)
        yield scope
        for name in given:
            if name not in scope.read and name not in scope.fresh:
                self.define(scope, name, self.likely_position(given[name], scope))

    def likely_position(self, raw: Any, scope: Scope) -> Position:
        """Where a body that nothing mentions was probably meant to stand."""
        if is_single(raw):
            ((name, settings),) = raw.items()
            return "entry" if name in (self.layers or ()) or self.is_layers(settings, scope) else "value"
        return "entry" if self.is_layers(raw, scope) else "value"

    # Positions -------------------------------------------------------------------------------------------------------

    def node(self, raw: Any, spot: Spot, position: Position) -> Node:
        if position == "value":
            return self.value(raw, spot)
        return self.entry(raw, spot) if position == "entry" else self.op(raw, spot)

    def op(self, raw: Any, spot: Spot) -> Node:
        """What may stand on an edge of a graph: an entry, or ``none``; see graph.may_be_none."""
        if raw == "none":
            return Removed()
        with self.level(spot):
            if isinstance(raw, str) and raw.startswith("="):
                return self.mention(raw, spot, "op" if graph.may_be_none(self, raw, spot) else "entry")
            if isinstance(raw, dict) and forms_in(raw):
                return self.form(raw, spot, "op")
            return self.entry(raw, spot)

    def value(self, raw: Any, spot: Spot) -> Node:
        with self.level(spot):
            if isinstance(raw, str) and raw.startswith("="):
                return self.mention(raw, spot, "value")
            if isinstance(raw, dict) and forms_in(raw):
                return self.form(raw, spot, "value")
            if meant := mistaken_form(raw):
                self.mistaken(raw, meant, spot)
            if isinstance(raw, dict):
                return Mapped(tuple((key, self.value(held, spot.key(key))) for key, held in raw.items()))
            if isinstance(raw, list):
                return Listed(tuple(self.value(held, spot.key(i)) for i, held in enumerate(raw)))
            return self.constant(raw, spot)

    def constant(self, raw: Any, spot: Spot) -> Node:
        def check(value: Any, here: Spot) -> None:
            if isinstance(value, dict | list):
                for key, held in value.items() if isinstance(value, dict) else enumerate(value):
                    check(held, here.key(key))
            elif is_number(value) and isinstance(value, int) and abs(value) > values.LARGEST_INTEGER:
                self.wrong(here, f"{value} is beyond 2^53 - 1, the largest integer of JSON; write it as a string")

        check(raw, spot)
        return Constant(raw)

    def entry(self, raw: Any, spot: Spot) -> Node:
        """What may stand among layers; its node resolves to a list of entries."""
        with self.level(spot):
            if raw is None:
                return Entries(())
            if isinstance(raw, str):
                return self.mention(raw, spot, "entry") if raw.startswith("=") else self.layer(raw, {}, spot)
            if isinstance(raw, list):
                return Entries(tuple(self.entry(held, spot.key(i)) for i, held in enumerate(raw)))
            if isinstance(raw, dict) and forms_in(raw):
                return self.form(raw, spot, "entry")
            if isinstance(raw, dict) and len(raw) == 1:
                ((name, settings),) = raw.items()
                meant = "" if self.layers is not None and name in self.layers else mistaken_form(raw)
                if not meant:
                    return self.layer(name, settings, spot.key(name))
                self.mistaken(raw, meant, spot)
                return Entries(())
            return self.no_entry(raw, spot)

    def mistaken(self, raw: dict[str, Any], meant: str, spot: Spot) -> None:
        word = next(iter(raw))
        remedy = f"did you mean `{meant}`? (if not, {{literal: ...}} writes it as a value)"
        self.wrong(spot.key(word), f"unknown form '{word}'; {remedy}", key=True)

    def no_entry(self, raw: Any, spot: Spot) -> Node:
        if isinstance(raw, dict) and raw:
            first, second = list(raw)[:2]
            deeper = f"; if '{second}' is a setting of '{first}', indent it deeper" if raw[first] is None else ""
            self.wrong(spot, f"a layer entry has one key, this has {len(raw)} ({', '.join(raw)}){deeper}")
        else:
            self.wrong(spot, f"{shown(raw)} is no layer; write a name, {{name: settings}}, or a form")
        return Entries(())

    def count_node(self, spot: Spot) -> None:
        """One place more of the unfolded tree; too many end the reading."""
        self.nodes += 1
        if self.nodes > MOST_NODES:
            self.stop(spot, f"the space unfolds to more than {MOST_NODES:,} places; repeat or nest less")

    @contextmanager
    def level(self, spot: Spot) -> Any:
        self.count_node(spot)
        self.levels += 1
        if self.levels > MOST_LEVELS:
            self.stop(spot, f"the space is nested deeper than {MOST_LEVELS} levels")
        try:
            yield
        finally:
            self.levels -= 1

    # Layers ----------------------------------------------------------------------------------------------------------

    def layer(self, name: str, settings: Any, spot: Spot) -> Node:
        """One layer; ``spot`` is that of its settings."""
        if name in RESERVED:
            remedy = "; write null for nothing, or identity" if name == "none" else ""
            self.wrong(spot, f"'{name}' is a word of the language and cannot be a layer{remedy}", key=True)
        elif self.layers is not None and name not in self.layers:
            self.wrong(spot, f"unknown layer '{name}'{hint(name, self.layers)}", key=True)
        elif self.layers is not None:
            check_settings(self, name, self.layers[name], settings, spot)
        if self.is_layers(settings, spot.scope):
            return Layer(name, self.entry(settings, spot))
        node = self.value(settings, spot)
        if settings is None:
            self.wrong(spot, f"'{name}:' holds nothing; write `{name}` alone, or give it settings", key=True)
        elif _may_be_null(node):
            self.wrong(
                spot, f"the value of the layer '{name}' may be null; choose between layers, or take another word"
            )
        return Layer(name, node)

    def is_layers(self, raw: Any, scope: Scope, seen: frozenset[str] = frozenset()) -> bool:
        """Whether a layer's main value is a list of layers, however it comes about."""
        if isinstance(raw, list):
            return is_layer_list(raw)
        if isinstance(raw, dict):
            options = raw.get("choice")
            if isinstance(options, list):
                return any(self.is_layers(option, scope, seen) for option in options)
            if isinstance(raw.get("new"), str):
                return self.is_layers(f"={raw['new']}", scope, seen)
            return any(form in raw for form in ("repeat", "sequence", "graph"))
        name = raw.removeprefix("=").strip() if isinstance(raw, str) and raw.startswith("=") else ""
        holder = scope.holding(name) if name and name not in seen else None
        return holder is not None and self.is_layers(holder.bodies[name], holder, seen | {name})

    # Mentions --------------------------------------------------------------------------------------------------------

    def mention(self, text: str, spot: Spot, position: Position) -> Node:
        """``=width``, ``=task.classes`` or ``=2 * width``."""
        parsed = self.parsed(text, spot)
        if parsed is None:
            return Constant(None) if position == "value" else Entries(())
        if parsed.reference:
            define = self.find(parsed.reference, spot, position)
            return Tie(define) if define else Entries(())
        if position != "value":
            self.wrong(spot, f"'{text}' is a number; among layers only a define can be mentioned")
            return Entries(())
        task = {f"task.{name}": self.task[name] for name in parsed.task}
        if parsed.text in task:
            return self.constant(task[parsed.text], spot)
        return self.expression(parsed, task, spot)

    def parsed(self, text: str, spot: Spot) -> Parsed | None:
        try:
            parsed = parse(text)
        except ExpressionError as error:
            return self.wrong(spot, str(error))
        unknown = [name for name in parsed.task if name not in self.task]
        for name in unknown:
            known = hint(name, self.task) if self.task else "; no task was given"
            self.wrong(spot, f"the task has no '{name}'{known}")
        return None if unknown else parsed

    def expression(self, parsed: Parsed, task: dict[str, Any], spot: Spot) -> Node:
        defines = []
        for name, number in task.items():
            if not is_number(number):
                self.wrong(spot, f"'{name}' is {shown(number)}, and cannot be computed with")
                return Constant(None)
        for name in parsed.names:
            define = self.find(name, spot, "value")
            if define is None:
                return Constant(None)
            if lost := _not_a_number(define.body):
                self.wrong(spot, f"'{name}' cannot be computed with: it may be {lost}")
                return Constant(None)
            defines.append(define)
        node = Expression(parsed.text, spot.path, parsed.term, tuple(defines), task)
        if defines:
            return node
        try:
            return Constant(node.of({}))
        except Impossible as error:
            self.wrong(spot, f"={parsed.text}: {error}")
            return Constant(None)

    def constant_expression(self, text: str, spot: Spot) -> Any:
        """The value of an expression that mentions no define; None, and a problem, where it does or has none."""
        parsed = self.parsed(text, spot)
        if parsed is None:
            return None
        if parsed.names:
            return self.wrong(spot, f"'{parsed.names[0]}' is drawn, and this must be the same in every candidate")
        try:
            return as_integer_if_whole(parsed.term.compute({f"task.{name}": self.task[name] for name in parsed.task}))
        except (Impossible, TypeError) as error:
            return self.wrong(spot, f"{text}: {error}")

    def find(self, name: str, spot: Spot, position: Position) -> Define | None:
        scope = spot.scope.holding(name)
        if scope is None:
            return self.unknown(name, spot)
        if (scope, name) in self.recursion:
            remedy = f"; write {{new: {name}, depth: 3}} where it leads back"
            if self.recursion.is_endless((scope, name)):
                remedy = ", and nothing ends that; say what it is"
            return self.wrong(spot, f"'{name}' mentions itself{remedy}")
        define, read_as = self.define(scope, name, position)
        if read_as != position:
            self.wrong(
                spot, f"'{name}' is used as {USES[position]} here and as {USES[read_as]} elsewhere; define it twice"
            )
        return define

    def unknown(self, name: str, spot: Spot) -> Any:
        visible = spot.scope.visible()
        known = hint(name, visible) if visible else "; there is no `define` here"
        return self.wrong(spot, f"'{name}' is not defined{known}")

    def define(self, scope: Scope, name: str, position: Position) -> tuple[Define, Position]:
        """The define, its body read at the first mention."""
        if name not in scope.read:
            assert scope.spot is not None, "a scope with bodies has a spot"
            body = self.opened((scope, name), scope.spot.key(name), position, tie=True)
            scope.read[name] = Define(name, body), position
        return scope.read[name]

    def opened(self, body: Body, spot: Spot, position: Position, *, tie: bool) -> Node:
        """The node of a define's body. One without a way out is a problem."""
        scope, name = body
        outermost = body not in self.recursion
        try:
            with self.recursion.opening(body, tie=tie):
                return self.node(scope.bodies[name], spot, position)
        except LeadsBack as back:
            if back.body != body or not outermost:
                raise
            self.wrong(back.spot, f"'{name}' always leads back to itself; give it an option that does not, as null")
            return Constant(None) if position == "value" else Entries(())

    def new(self, raw: dict[str, Any], spot: Spot, position: Position) -> Node | None:
        """``{new: name}``: the body once more, with paths and nodes of its own.

        ``depth: d`` lets a body lead back to itself: at most d of it lie within each other. What counts is the depth
        of the outermost mention that states one.
        """
        name = raw["new"]
        if not isinstance(name, str) or name.startswith("="):
            plain = f"; write {{new: {name[1:].strip()}}}" if isinstance(name, str) else ""
            return self.wrong(spot.key("new"), f"`new` takes the name of a define, not {shown(name)}{plain}")
        scope = spot.scope.holding(name)
        if scope is None or scope.spot is None:
            return self.unknown(name, spot.key("new"))
        body = (scope, name)
        depth = self.depth(raw, spot)
        if tie := self.recursion.tie_within(body):
            remedy = f"write {{new: {tie}}}"
            return self.wrong(spot.key("new"), f"'{name}' leads back to itself through the tie ={tie}; {remedy}")
        if depth is None and not self.recursion.is_bounded(body):
            remedy = f"; {{new: {name}, depth: 3}} lets it, three deep"
            if self.recursion.is_endless(body):
                remedy = ", and nothing ends that; make it a choice with an option that does not, as null"
            return self.wrong(spot.key("new"), f"'{name}' contains itself{remedy}")
        scope.fresh.add(name)
        with self.recursion.limited(body, depth):
            if self.recursion.is_full(body):
                raise LeadsBack(body, spot.key("new"))
            path = f"{spot.path}.new.{name}"
            here = Spot((*scope.spot.at, name), path, scope, f"{path}.")
            return self.opened(body, here, position, tie=False)

    def depth(self, raw: dict[str, Any], spot: Spot) -> int | None:
        if "depth" not in raw:
            return None
        place = spot.key("depth")
        depth: int | None = values.constant(self, raw["depth"], place, "int")
        if depth is not None and not 1 <= depth <= MOST_LEVELS:
            return self.wrong(place, f"`depth` is 1 to {MOST_LEVELS} of a body within each other, not {depth}")
        return depth

    # Forms -----------------------------------------------------------------------------------------------------------

    def form(self, raw: dict[str, Any], spot: Spot, position: Position) -> Node:
        """A mapping with a form word among its keys."""
        nothing: Node = Constant(None) if position == "value" else Entries(())
        word, *others = sorted(forms_in(raw), key=lambda form: (form == "define", FORMS.index(form)))
        if word == "define":
            self.wrong(spot.key(word), "`define` stands at the top, in `repeat`, or in `sequence`", key=True)
            return nothing
        if others:
            self.wrong(spot.key(others[0]), f"one mapping cannot be both `{word}` and `{others[0]}`", key=True)
            return nothing
        beside = BESIDE.get(word, ())
        self.keys(raw, spot, (word, *beside), f"`{word}`" + ("" if beside else ", which stands alone"))
        readers: dict[str, Callable[[], Node | None]] = {
            "choice": lambda: self.choice(raw, spot, position),
            "new": lambda: self.new(raw, spot, position),
        }
        if position == "value":
            readers |= {
                "int": lambda: values.read_range(self, raw, spot),
                "float": lambda: values.read_range(self, raw, spot),
                "subset": lambda: self.subset(raw, spot),
                "literal": lambda: self.constant(raw["literal"], spot.key("literal")),
            }
        else:
            readers |= {
                "repeat": lambda: self.repeat(raw, spot),
                "sequence": lambda: self.sequence(raw, spot),
                "graph": lambda: graph.read_graph(self, raw, spot),
            }
        if word not in readers:
            where = (
                "stands among layers only" if position == "value" else "is a value, and this is the place of a layer"
            )
            self.wrong(spot.key(word), f"`{word}` {where}", key=True)
            return nothing
        return readers[word]() or nothing

    def naming(self, raw: dict[str, Any], spot: Spot) -> Spot:
        """The spot with its path replaced where the form has a `name`."""
        name = raw.get("name")
        if "name" not in raw:
            return spot
        place = spot.key("name")
        if problem := values.word_problem(name, "name"):
            self.wrong(place, problem)
            return spot
        assert isinstance(name, str)
        if spot.scope.holding(name):
            self.wrong(place, f"'{name}' is a define already; take another name")
        other = self.names.setdefault(name, place)
        if other.at != place.at:
            line, _ = self.document.place(other.at)
            where = f" in line {line}" if line else ""
            self.wrong(place, f"the name '{name}' is given{where} already; a name belongs to one decision")
            return spot
        return spot.named(name)

    def options(self, raw: dict[str, Any], spot: Spot, word: str, position: Position) -> list[Any] | None:
        """The options of a choice or the members of a subset: a list, not empty, without equals."""
        given = raw[word]
        if not isinstance(given, list) or not given:
            return self.wrong(spot.key(word), f"`{word}` takes a list of options, not {shown(given)}")
        first: dict[str, int] = {}
        for index, option in enumerate(given):
            text = canonical(option, position)
            if text in first:
                message = f"option {index + 1} equals option {first[text] + 1}; to make it likelier, use `weights`"
                self.wrong(spot.key(word).key(index), message if word == "choice" else message.split(";")[0])
            first.setdefault(text, index)
        return given

    def choice(self, raw: dict[str, Any], spot: Spot, position: Position) -> Node | None:
        given = self.options(raw, spot, "choice", position)
        if given is None:
            return None
        labels = labels_of(given)
        weights = values.read_weights(self, raw, spot, len(given))
        default = values.read_default(self, raw, spot, given, labels)
        named = self.naming(raw, spot)
        self.register(named.path, named)
        nodes: list[Node] = []
        kept: list[int] = []  # of the options: those that lead back at the bound of a recursion do not exist
        for index, (option, label) in enumerate(zip(given, labels, strict=True)):
            self.recursion.choices += 1
            try:
                nodes.append(self.option(option, label, index, named, position))
                kept.append(index)
            except LeadsBack:
                if not nodes and index + 1 == len(given):
                    raise
            finally:
                self.recursion.choices -= 1
        if len(kept) < len(given):
            labels = tuple(labels[index] for index in kept)
            weights = weights and values.normalised([weights[index] for index in kept])
            default = kept.index(default) if default in kept else None
        constants = [node.data for node in nodes if isinstance(node, Constant)]
        numbers = tuple(constants) if len(constants) == len(nodes) and all(map(is_number, constants)) else None
        rising = numbers is not None and len(numbers) > 1 and all(a < b for a, b in pairwise(numbers))
        ordered = values.read_flag(self, raw, spot, "ordered", rising)
        name = str(raw.get("name", ""))
        decision = Index(named.path, len(nodes), labels, weights, bool(ordered), numbers, default, name)
        return Choice(decision, tuple(nodes))

    def option(self, option: Any, label: str, index: int, spot: Spot, position: Position) -> Node:
        """One option; where it is ``{name: settings}`` and labelled so, the label stands for the key in paths."""
        if not (is_single(option) and label in option):
            return self.node(option, spot.option(label, "choice", index), position)
        within = spot.option(label, "choice", index, label)
        if position != "value":
            return self.layer(label, option[label], within)
        return Mapped(((label, self.value(option[label], within)),))

    def subset(self, raw: dict[str, Any], spot: Spot) -> Node | None:
        given = self.options(raw, spot, "subset", "value")
        if given is None:
            return None
        labels = labels_of(given)
        chosen = values.subset_default(self, raw, spot, given, labels)
        named = self.naming(raw, spot)
        name = str(raw.get("name", ""))
        members = []
        for index, (member, label) in enumerate(zip(given, labels, strict=True)):
            if forms_in(member) and "literal" not in member and "new" not in member:
                self.wrong(
                    spot.key("subset").key(index), "a member cannot be a form itself; give it a key, or a define"
                )
            members.append(self.value(member, named.option(label, "subset", index)))
        if "size" not in raw:
            return Members(
                tuple(self.yes_or_no(named, label, index, chosen, name) for index, label in enumerate(labels)),
                tuple(members),
            )
        combinations = values.combinations_of(self, raw, spot, len(given))
        if combinations is None:
            return None
        if chosen is not None and chosen not in combinations:
            self.wrong(spot.key("default"), f"the default has {len(chosen)} members, which `size` does not allow")
            return None
        texts = tuple("+".join(labels[member] for member in group) or "nothing" for group in combinations)
        self.register(named.path, named)
        default = None if chosen is None else combinations.index(chosen)
        decision = Index(named.path, len(combinations), texts, None, False, None, default, name)
        return Subset(decision, tuple(members), combinations)

    def yes_or_no(self, spot: Spot, label: str, index: int, chosen: tuple[int, ...] | None, name: str) -> Index:
        within = spot.option(label, "subset", index)
        self.register(within.path, within)
        default = None if chosen is None else int(index in chosen)
        return Index(within.path, 2, ("no", "yes"), None, False, None, default, f"{name}:{label}" if name else "")

    def repeat(self, raw: dict[str, Any], spot: Spot) -> Node | None:
        given = self.body(raw, spot, "repeat", ("times", "of", "define"))
        if given is None or "times" not in given:
            return None
        inner = spot.key("repeat")
        times = self.value(given["times"], inner.key("times"))
        most = self.most_times(given["times"], times, inner.key("times"))
        bodies = []
        for i in range(max(most, 1)):  # once at least, to find what is wrong in it
            path = f"{inner.path}[{i}]"
            here = Spot(inner.at, path, spot.scope, spot.prefix, f"{spot.suffix}[{i}]")
            with self.defining(given, here, f"{path}.define") as scope:
                bodies.append(self.entry(given["of"], here.key("of").within(scope)))
            if self.problems:
                break  # what is wrong in a body is wrong in all, and the space is refused
        return Repeat(inner.path, times, tuple(bodies[:most]))

    def most_times(self, raw: Any, times: Node, spot: Spot) -> int:
        """The most repetitions that ``times`` can ask for; 0, and a problem, where that is not known or too many."""
        possible = times.possible()
        if possible is None:
            self.wrong(spot, f"`times` needs a finite set of values, known before a draw; {shown(raw)} has none")
            return 0
        bad = [value for value in possible if not is_times(value)]
        if bad and (len(bad) == len(possible) or not (isinstance(raw, str) and raw.startswith("="))):
            self.wrong(spot, f"`times` counts repetitions: an integer from 0, not {shown(bad[0])}")
            return 0
        most = int(max(value for value in possible if is_times(value)))
        if most > MOST_TIMES:
            self.wrong(spot, f"{most:,} repetitions are more than {MOST_TIMES:,}")
            return 0
        return most

    def sequence(self, raw: dict[str, Any], spot: Spot) -> Node | None:
        given = self.body(raw, spot, "sequence", ("of", "define"))
        if given is None:
            return None
        inner = spot.key("sequence")
        with self.defining(given, inner, f"{inner.path}.define") as scope:
            return self.entry(given["of"], inner.key("of").within(scope))

    def body(self, raw: dict[str, Any], spot: Spot, word: str, allowed: tuple[str, ...]) -> dict[str, Any] | None:
        """The mapping below ``repeat`` or ``sequence``, if it has an ``of``."""
        given = raw[word]
        wanted = [key for key in allowed if key != "define"]
        if not isinstance(given, dict):
            return self.wrong(
                spot.key(word), f"`{word}` takes a mapping with {' and '.join(wanted)}, not {shown(given)}"
            )
        self.keys(given, spot.key(word), allowed, f"`{word}`")
        for key in wanted:
            if key not in given:
                self.wrong(spot.key(word), f"`{word}` needs `{key}`", key=True)
        return given if "of" in given else None


def _not_a_number(node: Node) -> str:
    """What a define may be that is no number; "" where it is always one."""
    match node:
        case Constant(data=data):
            return "" if is_number(data) else shown(data)
        case Choice(options=options):
            return next(filter(None, map(_not_a_number, options)), "")
        case Tie(define=define):
            return _not_a_number(define.body)
        case Mapped() | Listed() | Members() | Subset():
            return "a mapping" if isinstance(node, Mapped) else "a list"
        case Layer() | Entries() | Repeat() | Graph() | Removed():
            return "a layer"
    return ""


def _may_be_null(node: Node) -> bool:
    match node:
        case Constant(data=data):
            return data is None
        case Choice(options=options):
            return any(map(_may_be_null, options))
        case Tie(define=define):
            return _may_be_null(define.body)
    return False
