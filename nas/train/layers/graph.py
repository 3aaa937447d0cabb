"""A graph cell: a directed acyclic graph whose nodes merge what operations make of earlier ones.

Node 0 (and 1) are the inputs, the entries before the graph in its list; computed nodes are numbered after them. Each is
written out in the candidate: ``{from: [0, 1], ops: [...]}`` merges one operation's result for each edge, ``{from: [0,
1], op: [...]}`` applies one operation to what is merged. A node without edges is zeros. ``merge: concat``
beside them is the node's own, instead of the graph's.

**Shapes.** With ``match: none`` everything that is merged must have one shape (``concat``: one size), or the candidate
is invalid. With ``match: project`` the graph has a *width*: the channels of the entry before it times the graph's
stride, divided (rounded up) by the number of nodes that the output concatenates; so a cell gives about as many channels
as it was given, and twice as many at stride 2, as in DARTS. ``match: {project: 32}`` says the width. Then

    every input is projected to that width, at the smallest size among the inputs, unless it has that shape;
    where sums or means meet shapes that differ, each is projected to the width and the smallest size among them;
    where maps of different sizes are concatenated, the larger ones are projected to the smallest size;
    where a node's own merge concatenates, what comes of it is projected to the width: it is one of several
    merges, and choosing it is not to widen all that follows. A graph whose ``merge`` is concat is wide on purpose,
    as ENAS's is.

A projection is a 1x1 convolution without bias, with the stride that leads to the smaller size, and batch norm (for
vectors: a matrix and batch norm).

**Stride** goes to edges that leave the inputs: the first layer of the operation that has a ``stride`` takes it (its own
is multiplied); an operation that has none, such as identity, is followed by a projection of that stride, which needs
``match: project``. With ``op`` the operation takes it where all its sources are inputs; where some are, those are
projected.

Sources: NAS-Bench-201 (Dong and Yang 2020), DARTS (Liu et al. 2019), NASNet (Zoph et al. 2018), ENAS (Pham et al.
2018).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, ValidationInfo

from nas.documents import hint
from nas.errors import InvalidCandidate
from nas.train.layers.blocks import Projection
from nas.train.layers.layer import Layer, Links, Shape, chain, depth_of, flops_of, parameters_of, read_layers
from nas.train.settings import Positive

if TYPE_CHECKING:
    from torch import nn

Shapes = tuple[Shape, ...]
Merge = Literal["sum", "mean", "concat"]


@dataclass(frozen=True, slots=True)
class Node:
    """``ops`` has one operation for each source; one in all, for the merge of them, where ``on_merge``."""

    sources: tuple[int, ...]
    ops: tuple[tuple[Layer, ...], ...]
    on_merge: bool
    merge: str = ""  # its own, instead of the graph's
    hashed: int = field(init=False, repr=False, compare=False)  # once: a graph is a key of several caches

    def __post_init__(self) -> None:
        object.__setattr__(self, "hashed", hash((self.sources, self.ops, self.on_merge, self.merge)))

    def __hash__(self) -> int:
        return self.hashed


def _nodes(given: Any, info: ValidationInfo) -> tuple[Node, ...]:
    context: Any = info.context
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise ValueError("a list of nodes is needed")
    return tuple(_node(node, f"{context['place']}.nodes.{i}", context["table"]) for i, node in enumerate(given))


def _node(given: Any, place: str, table: Mapping[str, type[Layer]]) -> Node:
    if not isinstance(given, Mapping) or set(given) - {"merge"} not in ({"from", "ops"}, {"from", "op"}):
        raise InvalidCandidate(f"{place}: {{from: [...], ops: [...]}} or {{from: [...], op: [...]}} is needed")
    sources, merge = tuple(given["from"]), given.get("merge", "")
    if merge not in ("", *get_args(Merge)):
        raise InvalidCandidate(f"{place}.merge: {merge!r} is not allowed{hint(merge, get_args(Merge))}")
    if "op" in given:
        return Node(sources, (read_layers(given["op"], table, f"{place}.op"),), True, merge)
    ops = tuple(read_layers(op, table, f"{place}.ops.{i}") for i, op in enumerate(given["ops"]))
    if len(ops) != len(sources):
        raise InvalidCandidate(f"{place}: {len(sources)} sources and {len(ops)} operations")
    return Node(sources, ops, False, merge)


def _match(given: Any) -> Any:
    return given["project"] if isinstance(given, Mapping) and set(given) == {"project"} else given


class Graph(Layer):
    """See the module's docstring. ``build`` takes the shapes of all inputs, and its module as many tensors."""

    name, main = "graph", "nodes"
    nodes: Annotated[tuple[Node, ...], BeforeValidator(_nodes)]
    inputs: Annotated[tuple[int, ...], BeforeValidator(tuple)] = (-1,)
    merge: Merge = "sum"
    output: Literal["last", "all", "loose"] = "last"
    match: Annotated[Literal["none", "project"] | Positive, BeforeValidator(_match)] = "none"
    stride: Positive = 1

    def inputs_from(self) -> tuple[int, ...]:
        return self.inputs

    def infer(self, before: Any) -> Shape:
        return plan(self, before).shape

    def build(self, shape: Any) -> nn.Module:
        from nas.train.modules.graph import GraphModule

        return GraphModule(plan(self, shape))

    def parameters(self, before: Any, after: Shape) -> int:
        return plan(self, before).parameters

    def flops(self, before: Any, after: Shape) -> int:
        return plan(self, before).flops

    def longest_way(self, before: Any, after: Shape) -> int:
        return plan(self, before).depth

    def chains(self, before: Any) -> list[Links]:
        return plan(self, before).chains

    def outputs(self) -> list[int]:
        """The numbers of the nodes that the output consists of."""
        first, last = len(self.inputs), len(self.inputs) + len(self.nodes) - 1
        if self.output == "last":
            return [last]
        used = {source for node in self.nodes for source in node.sources} if self.output == "loose" else set()
        return [number for number in range(first, last + 1) if number not in used]


# Shapes --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlannedNode:
    sources: tuple[int, ...]
    edges: tuple[Links, ...]  # one for each source; empty chains pass on what comes
    merge: str
    op: Links  # on the merge, after the projection of a concatenation
    shape: Shape


@dataclass(frozen=True)  # no slots: totals are cached on the instance
class Plan:
    """Every chain of layers of a graph, for given shapes of its inputs."""

    inputs: tuple[Links, ...]
    nodes: tuple[PlannedNode, ...]
    outputs: tuple[tuple[int, Links], ...]
    shape: Shape

    @cached_property
    def chains(self) -> list[Links]:
        inside = [links for node in self.nodes for links in (*node.edges, node.op)]
        return [*self.inputs, *inside, *(links for _, links in self.outputs)]

    @cached_property
    def parameters(self) -> int:
        return sum(map(parameters_of, self.chains))

    @cached_property
    def flops(self) -> int:
        return sum(map(flops_of, self.chains))

    @cached_property
    def depth(self) -> int:
        """The longest way from any input to the output."""
        depths = [depth_of(links) for links in self.inputs]
        for node in self.nodes:
            ways = [depths[source] + depth_of(links) for source, links in zip(node.sources, node.edges, strict=True)]
            depths.append(max(ways, default=0) + depth_of(node.op))
        return max(depths[number] + depth_of(links) for number, links in self.outputs)


@lru_cache(maxsize=1 << 12)
def plan(graph: Graph, shapes: Shapes) -> Plan:
    """Raises InvalidCandidate naming node and edge where shapes do not go together."""
    return _Planner(graph, shapes).plan()


class _Planner:
    def __init__(self, graph: Graph, shapes: Shapes) -> None:
        self.graph = graph
        self.before = shapes
        self.projects = graph.match != "none"
        self.width = _channels(shapes[-1]) if graph.match == "none" else self._width()
        self.shapes: list[Shape] = []  # of the nodes so far

    def _width(self) -> int:
        if isinstance(self.graph.match, int):
            return self.graph.match
        return -(-_channels(self.before[-1]) * self.graph.stride // len(self.graph.outputs()))

    def plan(self) -> Plan:
        inputs = tuple(_projected(shape, self.common(self.before)) for shape in self.before)
        if not self.projects:
            inputs = tuple([] for _ in self.before)
        self.shapes = [_after(links, shape) for links, shape in zip(inputs, self.before, strict=True)]
        nodes = []
        for node in self.graph.nodes:
            number = len(self.shapes)
            if not all(isinstance(source, int) and 0 <= source < number for source in node.sources):
                raise InvalidCandidate(f"node {number}: it can read nodes 0 to {number - 1}, not {list(node.sources)}")
            nodes.append(self.node(node, number))
            self.shapes.append(nodes[-1].shape)
        numbers = self.graph.outputs()
        ends, shape = self.merged([self.shapes[number] for number in numbers], "concat", "the output")
        return Plan(inputs, tuple(nodes), tuple(zip(numbers, ends, strict=True)), shape)

    def node(self, node: Node, number: int) -> PlannedNode:
        place = f"nodes.{number - len(self.before)}"
        if not node.sources:
            size = _size(_strided(self.shapes[len(self.before) - 1], self.graph.stride))
            return PlannedNode((), (), "sum", [], _shape(self.width, size))
        strides = [self.graph.stride if source < len(self.before) else 1 for source in node.sources]
        ops = node.ops if not node.on_merge else ((),) * len(node.sources)
        on_op = node.on_merge and len(set(strides)) == 1
        edges = [
            self.edge(op, self.shapes[source], 1 if on_op else stride, f"{place}.ops.{i}")
            for i, (source, op, stride) in enumerate(zip(node.sources, ops, strides, strict=True))
        ]
        afters = [_after(links, self.shapes[source]) for links, source in zip(edges, node.sources, strict=True)]
        merge = node.merge or self.graph.merge
        ends, shape = self.merged(afters, merge, f"node {number}")
        narrowed = self.projects and node.merge == "concat"
        fit = _projected(shape, _shape(self.width, _size(shape))) if narrowed else []
        shape = _after(fit, shape)
        op = self.edge(node.ops[0], shape, strides[0] if on_op else 1, f"{place}.op") if node.on_merge else []
        joined = tuple([*links, *end] for links, end in zip(edges, ends, strict=True))
        return PlannedNode(node.sources, joined, merge, [*fit, *op], _after(op, shape))

    def edge(self, op: Sequence[Layer], shape: Shape, stride: int, place: str) -> Links:
        try:
            return _edge(tuple(op), shape, stride, self.projects)
        except InvalidCandidate as error:
            raise InvalidCandidate(f"{place}{error}") from error.__cause__

    def merged(self, shapes: Sequence[Shape], how: str, place: str) -> tuple[list[Links], Shape]:
        """Projections that let these shapes meet (mostly none), and the shape that comes of it."""
        differing = {_size(shape) if how == "concat" else shape for shape in shapes}
        if len(differing) > 1:
            if not self.projects:
                verb = "concatenated" if how == "concat" else "added"
                both = " and ".join(map(str, sorted(set(shapes))))
                raise InvalidCandidate(f"{place}: {both} can not be {verb}; `match: project` makes them alike")
            common = self.common(shapes)
            wanted = [_shape(_channels(shape), _size(common)) if how == "concat" else common for shape in shapes]
        else:
            wanted = list(shapes)
        ends = [_projected(shape, end) for shape, end in zip(shapes, wanted, strict=True)]
        channels = sum(map(_channels, wanted)) if how == "concat" else _channels(wanted[0])
        return ends, _shape(channels, _size(wanted[0]))

    def common(self, shapes: Sequence[Shape]) -> Shape:
        """The graph's width, and the smallest size among the shapes."""
        return _shape(self.width, min(map(_size, shapes), key=prod))


@lru_cache(maxsize=1 << 14)
def _edge(op: tuple[Layer, ...], shape: Shape, stride: int, projects: bool) -> Links:
    """An operation, with a stride upon its own. Cells differ in where operations stand; the operations are few."""
    at = next((i for i, layer in enumerate(op) if "stride" in type(layer).model_fields), None)
    if stride == 1 or at is not None:
        return chain([_with_stride(layer, stride) if i == at else layer for i, layer in enumerate(op)], shape, "")
    links = chain(op, shape, "")
    if not projects:
        raise InvalidCandidate(f": no layer of it can take the stride {stride}; `match: project` adds one that can")
    after = _after(links, shape)
    return [*links, *_projected(after, _strided(after, stride))]


@lru_cache(maxsize=1 << 14)
def _projected(before: Shape, after: Shape) -> Links:
    return [] if before == after else chain([Projection(shape=after)], before, "match")


def _after(links: Links, shape: Shape) -> Shape:
    after: Shape = links[-1][2] if links else shape
    return after


# A sequence is (length, features); all else has its channels first.


def _channels(shape: Shape) -> int:
    return shape[1] if len(shape) == 2 else shape[0]


def _size(shape: Shape) -> Shape:
    return shape[:1] if len(shape) == 2 else shape[1:]


def _shape(channels: int, size: Shape) -> Shape:
    return (*size, channels) if len(size) == 1 else (channels, *size)


def _strided(shape: Shape, stride: int) -> Shape:
    return _shape(_channels(shape), tuple(-(-n // stride) for n in _size(shape)))


def _with_stride(layer: Any, stride: int) -> Layer:
    own = layer.stride or layer.kernel  # a pool without a stride has its kernel's
    strided: Layer = layer.model_copy(update={"stride": own * stride}) if stride > 1 else layer
    return strided
