"""``graph``: a cell is read, from its short form (``nodes: 4, from: {pick: 2}, op: ...``) or from its explicit one
(``nodes: [{from: [0, 1], ops: [...]}, ...]``), which is also how a candidate writes it.

Nodes are numbered inputs first (tree_graph.py). Paths of decisions, below the graph's own:

    .graph.node[3].from             the sources of node 3: one index over all subsets of that size (distinct)
    .graph.node[3].edge[1].from     the source of its second edge (distinct: false)
    .graph.node[3].edge[1].op       the operation on that edge; under `from: every` edges count up with their sources
    .graph.node[3].op               the operation of the node (from: previous)
    .graph.node[3].skip:1           whether node 1 is fed to it, too (skip: subset)
    .graph.node[3].merge            how it merges, where `merge` is a choice; it is drawn for each node, as `op` is

A node that has only one possible set of sources has no decision about it, nor has one with a single source about its
merge. Left out: a number of nodes that is drawn (choose between graphs).
"""

from __future__ import annotations

# `return reader.wrong(...)` ends a reader with None, whatever it would have answered.
# mypy: disable-error-code="no-any-return"
import math
from collections.abc import Mapping
from functools import lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

from nas.space.decisions import Index
from nas.space.grammar.spot import Position, Spot
from nas.space.grammar.values import constant, read_flag, shown
from nas.space.tree import MOST_POSSIBLE, Choice, Constant, Entries, Listed, Mapped, Members, Node, Subset
from nas.space.tree_graph import DEFAULTS, ONE_INPUT, Graph, GraphNode
from nas.space.words import is_number

if TYPE_CHECKING:
    from nas.space.grammar.read import Reader

MOST_GRAPH_NODES = 100
SHORT = ("inputs", "nodes", "from", "op", "skip", *DEFAULTS)
EXPLICIT = ("inputs", "nodes", *DEFAULTS)
WORDS: Mapping[str, tuple[str, ...]] = {
    "merge": ("sum", "mean", "concat"),
    "output": ("last", "all", "loose"),
    "match": ("none", "project"),
}
SAID = {
    "merge": "sum, mean or concat",
    "output": "last, all or loose",
    "match": "none, project or {project: CHANNELS}",
    "stride": "an integer from 1",
}


def read_graph(reader: Reader, raw: dict[str, Any], spot: Spot) -> Node | None:
    """The node of ``{graph: {...}}``; None, and problems, where it cannot be read."""
    given, inner = raw["graph"], spot.key("graph")
    if not isinstance(given, dict):
        return reader.wrong(inner, f"`graph` takes a mapping with nodes and op, not {shown(given)}")
    explicit = isinstance(given.get("nodes"), list)
    of = "`graph` (its nodes are a list, and say the rest themselves)" if explicit else "`graph`"
    reader.keys(given, inner, EXPLICIT if explicit else SHORT, of)
    inputs = _inputs(reader, given, inner)
    nodes = _listed(reader, given, inner, len(inputs)) if explicit else _drawn(reader, given, inner, len(inputs))
    words = [word for word in given if word in DEFAULTS and not (word == "merge" and _own_merge(given))]
    settings = tuple((word, _setting(reader, given, inner, word)) for word in words)
    return None if nodes is None else Graph(inputs, nodes, settings)


def may_be_none(reader: Reader, raw: Any, spot: Spot, seen: frozenset[str] = frozenset()) -> bool:
    """Whether an operation may be ``none``, by its text: itself, through a choice or through defines."""
    if isinstance(raw, dict):
        if isinstance(raw.get("new"), str):
            return may_be_none(reader, f"={raw['new']}", spot, seen)
        options = raw.get("choice")
        return isinstance(options, list) and any(may_be_none(reader, option, spot, seen) for option in options)
    if not isinstance(raw, str) or not raw.startswith("="):
        return raw == "none"
    name = raw[1:].strip()
    scope = spot.scope.holding(name)
    if scope is None or name in seen:
        return False
    return may_be_none(reader, scope.bodies[name], spot.within(scope), seen | {name})


def _inputs(reader: Reader, given: dict[str, Any], inner: Spot) -> tuple[int, ...]:
    value = given.get("inputs", list(ONE_INPUT))
    if value in ([-1], [-2, -1]) and all(is_number(entry) for entry in value):
        return tuple(map(int, value))
    reader.wrong(inner.key("inputs"), f"`inputs` is [-1] or [-2, -1], the entries before, not {shown(value)}")
    return ONE_INPUT


def _setting(reader: Reader, given: dict[str, Any], inner: Spot, word: str) -> Node:
    raw, place = given[word], inner.key(word)
    before = len(reader.problems)
    if word == "match" and isinstance(raw, dict) and list(raw) == ["project"]:
        node = reader.value(raw["project"], place.key("project"))
        possible = node.possible()
        wrong = [] if possible is None else [value for value in possible if not _is_positive(value)]
        if wrong and len(reader.problems) == before:
            message = f"`project` takes a number of channels, an integer from 1, not {shown(min(wrong, key=str))}"
            reader.wrong(place.key("project"), message)
        return Mapped((("project", node),))
    node = reader.value(raw, place)
    possible = node.possible()
    allowed = _is_positive if word == "stride" else WORDS[word].__contains__
    wrong = [raw] if possible is None else [value for value in possible if not allowed(value)]
    if wrong and len(reader.problems) == before:
        reader.wrong(place, f"`{word}` is {SAID[word]}, not {shown(min(wrong, key=str))}")
    return node


def _own_merge(given: dict[str, Any]) -> bool:
    """Whether each node has a merge of its own: it is drawn, and in place. A define of that name is drawn once."""
    return isinstance(given.get("merge"), dict) and not isinstance(given.get("nodes"), list)


def _merge(reader: Reader, given: dict[str, Any], here: Spot, most_sources: int) -> Node | None:
    """A node's own merge; None where it is the graph's, or has no effect."""
    return _setting(reader, given, here, "merge") if _own_merge(given) and most_sources > 1 else None


def _is_positive(value: Any) -> bool:
    return is_number(value) and value >= 1 and value == int(value)


# The short form ------------------------------------------------------------------------------------------------------


def _drawn(reader: Reader, given: dict[str, Any], inner: Spot, inputs: int) -> tuple[GraphNode, ...] | None:
    missing = [word for word in ("nodes", "op") if word not in given]
    for word in missing:
        reader.wrong(inner, f"`graph` needs `{word}`", key=True)
    count = None if "nodes" in missing else _count(reader, given, inner)
    pattern = _pattern(reader, given, inner)
    skip = _skip(reader, given, inner, pattern)
    if "op" in missing or count is None or pattern is None or skip is None:
        return None
    if isinstance(pattern, tuple) and pattern[1] and not _can_pick(reader, inner, pattern[0], inputs + count - 1):
        return None
    numbers = range(inputs, inputs + count)
    position = _position(reader, given["op"], inner.key("op"), on_edge=pattern != "previous")
    if pattern != "previous":
        return tuple(_node_with_edges(reader, given, position, inner, number, pattern) for number in numbers)
    return tuple(_node_with_op(reader, given, position, inner, number, skip) for number in numbers)


def _count(reader: Reader, given: dict[str, Any], inner: Spot) -> int | None:
    place = inner.key("nodes")
    if isinstance(given["nodes"], dict):
        return reader.wrong(place, "`nodes` is the same number in every candidate; to vary it, choose between graphs")
    count: int | None = constant(reader, given["nodes"], place, "int")
    if count is not None and not 1 <= count <= MOST_GRAPH_NODES:
        return reader.wrong(place, f"a graph has 1 to {MOST_GRAPH_NODES} computed nodes, not {count}")
    return count


def _pattern(reader: Reader, given: dict[str, Any], inner: Spot) -> str | tuple[int, bool] | None:
    """``every``, ``previous``, or (how many are picked, distinct)."""
    raw, place = given.get("from", "every"), inner.key("from")
    if raw in ("every", "previous"):
        return str(raw)
    if not isinstance(raw, dict) or "pick" not in raw:
        message = f"`from` is every, previous, or {{pick: NUMBER, distinct: true}}, not {shown(raw)}"
        return reader.wrong(place, message)
    reader.keys(raw, place, ("pick", "distinct"), "`from`")
    distinct = read_flag(reader, raw, place, "distinct", True)
    picked = constant(reader, raw["pick"], place.key("pick"), "int")
    if picked is None or distinct is None:
        return None
    if not 1 <= picked <= MOST_GRAPH_NODES:
        return reader.wrong(place.key("pick"), f"`pick` is 1 to {MOST_GRAPH_NODES}, not {picked}")
    return picked, distinct


def _can_pick(reader: Reader, inner: Spot, picked: int, last: int) -> bool:
    total = math.comb(last, picked)
    if total > MOST_POSSIBLE:
        message = f"node {last} could pick {picked} of {last} nodes in {total:,} ways, more than {MOST_POSSIBLE:,}"
        reader.wrong(inner.key("from").key("pick"), f"{message}; `distinct: false` picks one after another")
        return False
    return True


def _skip(reader: Reader, given: dict[str, Any], inner: Spot, pattern: Any) -> bool | None:
    if "skip" not in given:
        return False
    if given["skip"] != "subset":
        return reader.wrong(inner.key("skip"), f"`skip` is subset (of the earlier nodes), not {shown(given['skip'])}")
    if pattern not in (None, "previous"):
        return reader.wrong(inner.key("skip"), "`skip` stands beside `from: previous` only", key=True)
    return True


def _node_with_op(
    reader: Reader, given: dict[str, Any], position: Position, inner: Spot, number: int, skip: bool
) -> GraphNode:
    """Under ``previous``: the node before feeds it, and those that are skipped from; the operation is the node's."""
    here = _at_node(inner, number)
    sources: Node = Constant([number - 1])
    if skip and number > 1:
        places = [here.moved(("skip",), f"{here.path}.skip:{source}") for source in range(number - 1)]
        for place in places:
            reader.count_node(place)
            reader.register(place.path, place)
        asked = tuple(Index(place.path, 2, ("no", "yes")) for place in places)
        sources = Entries((sources, Members(asked, tuple(map(Constant, range(number - 1))))))
    op = reader.node(given["op"], here.key("op"), position)
    return GraphNode(sources, (op,), True, _merge(reader, given, here, number if skip else 1))


def _node_with_edges(
    reader: Reader, given: dict[str, Any], position: Position, inner: Spot, number: int, pattern: str | tuple[int, bool]
) -> GraphNode:
    here = _at_node(inner, number)
    sources, edges = _sources(reader, here, number, pattern)
    ops = tuple(reader.node(given["op"], _at_edge(here, edge, "op", "op"), position) for edge in range(edges))
    return GraphNode(sources, ops, False, _merge(reader, given, here, edges))


def _sources(reader: Reader, here: Spot, number: int, pattern: str | tuple[int, bool]) -> tuple[Node, int]:
    """What resolves to the sources of a node, and how many they are. Fewer are picked where there are fewer."""
    earlier = tuple(range(number))
    if isinstance(pattern, str):
        return Constant(list(earlier)), number
    picked, distinct = pattern
    if not distinct:
        return Listed(tuple(_one_source(reader, here, edge, earlier) for edge in range(picked))), picked
    picked = min(picked, number)
    total = math.comb(number, picked)
    if total == 1:
        return Constant(list(earlier)), picked
    place = here.moved(("from",), f"{here.path}.from")
    reader.register(place.path, place)
    groups, labels = _picks(number, picked)
    return Subset(Index(place.path, total, labels), tuple(map(Constant, earlier)), groups), picked


@lru_cache(1024)  # the same in every repetition
def _picks(number: int, picked: int) -> tuple[tuple[tuple[int, ...], ...], tuple[str, ...]]:
    """All subsets of so many earlier nodes, and their labels."""
    groups = tuple(combinations(range(number), picked))
    return groups, tuple("+".join(map(str, group)) for group in groups)


def _one_source(reader: Reader, here: Spot, edge: int, earlier: tuple[int, ...]) -> Node:
    if len(earlier) == 1:
        return Constant(earlier[0])
    place = _at_edge(here, edge, "from", "from")
    reader.register(place.path, place)
    return Choice(Index(place.path, len(earlier), tuple(map(str, earlier))), tuple(map(Constant, earlier)))


# The explicit form ---------------------------------------------------------------------------------------------------


def _listed(reader: Reader, given: dict[str, Any], inner: Spot, inputs: int) -> tuple[GraphNode, ...] | None:
    raw, place = given["nodes"], inner.key("nodes")
    if not 1 <= len(raw) <= MOST_GRAPH_NODES:
        return reader.wrong(place, f"a graph has 1 to {MOST_GRAPH_NODES} computed nodes, not {len(raw)}")
    nodes = [_written(reader, given, held, place.key(i), inner, inputs + i) for i, held in enumerate(raw)]
    return tuple(node for node in nodes if node is not None) if None not in nodes else None


def _written(
    reader: Reader, given: dict[str, Any], raw: Any, place: Spot, inner: Spot, number: int
) -> GraphNode | None:
    """``{from: [0, 1], ops: [...]}`` or ``{from: [0, 1], op: ...}``, and its own ``merge``."""
    if not isinstance(raw, dict) or "from" not in raw or ("ops" in raw) == ("op" in raw):
        message = "a node is written {from: [0, 1], ops: [one for each]} or {from: [0, 1], op: one for their merge}"
        return reader.wrong(place, message)
    reader.keys(raw, place, ("from", "ops" if "ops" in raw else "op", "merge"), "a node of a graph")
    sources = raw["from"]
    if not isinstance(sources, list) or not all(is_number(n) and n in range(number) for n in sources):
        message = f"`from` lists earlier nodes, 0 to {number - 1} for node {number}, not {shown(sources)}"
        return reader.wrong(place.key("from"), message)
    here = _at_node(inner, number, *place.at[len(inner.at) :])
    known = Constant([int(source) for source in sources])
    merge = _setting(reader, raw, here, "merge") if "merge" in raw else None
    if merge is not None and "merge" in given:
        return reader.wrong(
            here.key("merge"), "`merge` stands with each node or with the graph, not with both", key=True
        )
    if "op" in raw:
        place = here.key("op")
        position = _position(reader, raw["op"], place, on_edge=False)
        return GraphNode(known, (reader.node(raw["op"], place, position),), True, merge)
    ops = raw["ops"]
    if not isinstance(ops, list) or len(ops) != len(sources):
        count = f"a list of {len(ops)}" if isinstance(ops, list) else shown(ops)
        message = f"`ops` lists one operation for each of `from`, {len(sources)}, not {count}"
        return reader.wrong(place.key("ops"), message)
    nodes = []
    for edge, op in enumerate(ops):
        place = _at_edge(here, edge, "op", "ops", edge)
        nodes.append(reader.node(op, place, _position(reader, op, place, on_edge=True)))
    return GraphNode(known, tuple(nodes), False, merge)


# Both ----------------------------------------------------------------------------------------------------------------


def _at_node(inner: Spot, number: int, *at: str | int) -> Spot:
    suffix = f"{inner.suffix}[{number}]"
    return Spot((*inner.at, *at), f"{inner.path}.node[{number}]", inner.scope, inner.prefix, suffix)


def _at_edge(here: Spot, edge: int, word: str, *at: str | int) -> Spot:
    path, suffix = f"{here.path}.edge[{edge}].{word}", f"{here.suffix}[{edge}]"
    return Spot((*here.at, *at), path, here.scope, here.prefix, suffix)


def _position(reader: Reader, raw: Any, spot: Spot, *, on_edge: bool) -> Position:
    """How an operation is read: as an entry, or where it is an edge's and may be ``none``, as that."""
    if not may_be_none(reader, raw, spot):
        return "entry"
    if not on_edge:
        message = "`none` removes an edge, and here an operation belongs to a node; write null for nothing, or identity"
        reader.wrong(spot, message)
    return "op"
