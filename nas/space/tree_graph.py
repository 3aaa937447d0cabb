"""The node of a graph cell: which nodes feed which, through which operations.

Nodes are numbered as NAS-Bench-201 numbers them: the inputs first, from 0, then the computed ones. A graph resolves to
one entry, ``{graph: {nodes: [...]}}``, in which every computed node is written out in one of two ways:

    {from: [0, 1], ops: [[...], [...]]}      merge(ops[0](node 0), ops[1](node 1)): an operation on each edge
    {from: [0, 1], op: [...]}                op(merge(node 0, node 1)): one operation for the node

``merge: concat`` beside them is the node's own, where it is drawn for each node.

Edges are written in the order of their sources, so that graphs which differ in the order of drawing alone have one
hash; ``inputs``, settings that are the defaults, a node's own sum, and the merge of less than two edges are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from nas.space.decisions import Decision
from nas.space.tree import Define, Node, Walk

REMOVED = "none"  # what the operation `none` resolves to: there is no edge
ONE_INPUT = (-1,)
DEFAULTS = {"merge": "sum", "output": "last", "match": "none", "stride": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Removed:
    """The operation ``none``."""

    def value(self, walk: Walk) -> Any:
        return REMOVED

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter(())

    def possible(self) -> frozenset[Any] | None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class GraphNode:
    """One computed node: where its inputs come from (a list of node numbers), and the operations upon them."""

    sources: Node
    ops: tuple[Node, ...]  # one for each source; or the node's one operation, where `on_merge`
    on_merge: bool
    merge: Node | None = None  # its own, instead of the graph's

    def value(self, walk: Walk) -> dict[str, Any]:
        written = self._edges(walk)
        merge = DEFAULTS["merge"] if self.merge is None else self.merge.value(walk)
        return written if merge == DEFAULTS["merge"] or len(written["from"]) < 2 else written | {"merge": merge}

    def _edges(self, walk: Walk) -> dict[str, Any]:
        sources = self.sources.value(walk)
        ops = [op.value(walk) for op in self.ops]
        if self.on_merge:
            return {"from": sorted(sources), "op": ops[0]}
        edges = [(source, op) for source, op in zip(sources, ops, strict=True) if op != REMOVED]
        if len(set(sources)) < len(sources) or sources != sorted(sources):
            edges.sort(key=lambda edge: (edge[0], json.dumps(edge[1], sort_keys=True)))
        return {"from": [source for source, _ in edges], "ops": [op for _, op in edges]}

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((self.sources, *self.ops, *([] if self.merge is None else [self.merge])))

    def possible(self) -> frozenset[Any] | None:
        return None


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A directed acyclic graph of layers, in layer position; ``settings`` are those of DEFAULTS that are written."""

    inputs: tuple[int, ...]
    nodes: tuple[GraphNode, ...]
    settings: tuple[tuple[str, Node], ...]

    def value(self, walk: Walk) -> list[Any]:
        resolved: dict[str, Any] = {} if self.inputs == ONE_INPUT else {"inputs": list(self.inputs)}
        resolved["nodes"] = [node.value(walk) for node in self.nodes]
        for word, node in self.settings:
            value = node.value(walk)
            if value != DEFAULTS[word]:
                resolved[word] = value
        return [{"graph": resolved}]

    def parts(self) -> Iterator[Decision | Define | Node]:
        return iter((*self.nodes, *(node for _, node in self.settings)))

    def possible(self) -> frozenset[Any] | None:
        return None
