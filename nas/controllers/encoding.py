"""How the reward model sees a candidate: columns of numbers, in blocks whose squared distances mean likeness.

    decisions   an unordered choice is one column for each option, so that two that differ are at distance 1; an ordered
                one and a number is its position from 0 to 1, and whether it is active
    options     how often each option was chosen, over all decisions with the same options: three 3x3 convolutions
                here are like three 3x3 convolutions there. Parameters and FLOPs are nearly linear in it
    paths       of graph cells: how many paths from the inputs have this operation, after these; operations that do
                nothing leave no trace and what no path reaches does not count, so isomorphic cells of
                NAS-Bench-201 are one point (path encoding: White et al. 2021, arXiv:1910.11858, hashed into columns)

A block that no draw of the space tells apart is left out.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from nas.controllers.bins import position
from nas.space import Draw, Index, Space

Row = NDArray[np.float64]

HASHED = 256  # columns that paths are hashed into
LAST = 3  # operations of a path that are told apart
MOST = 512  # different ends of paths that are followed from one node; a cell with more is told apart by these
NOTHING = ("identity", "none")


@dataclass(frozen=True, slots=True)
class Block:
    """Columns ``start`` to ``stop``; those with the same number in ``groups`` share a scale."""

    start: int
    stop: int
    groups: tuple[int, ...]


class Encoder:
    """Draws of one space as rows of one width."""

    def __init__(self, space: Space, draws: Sequence[Draw]) -> None:
        """``draws``: some of the space's prior, by which is found out which blocks tell draws apart."""
        self._columns: dict[str, int] = {}  # path -> its first column
        self._decisions = {decision.path: decision for decision in space.decisions}
        groups: list[int] = []
        for number, decision in enumerate(space.decisions):
            self._columns[decision.path] = len(groups)
            width = decision.size if isinstance(decision, Index) and not decision.ordered else 2
            groups += [number] * width
        self._decided = len(groups)
        self._options, self._counted = self._shared()
        self.width = self._decided + self._counted + HASHED
        edges = [0, self._decided, self._decided + self._counted, self.width]
        rows = np.stack([self.row(draw.decisions, draw.candidate.architecture) for draw in draws])
        differ = rows.var(0) > 0
        blocks = [Block(0, self._decided, tuple(groups))]
        blocks += [Block(a, b, (0,) * (b - a)) for a, b in pairwise(edges[1:])]
        self.blocks = [block for block in blocks if differ[block.start : block.stop].any()]
        self.reads_architecture = bool(differ[edges[2] :].any())  # else ``row`` may do without

    def _shared(self) -> tuple[dict[str, tuple[int, float]], int]:
        """For each decision whose options another one has too: their first column, and what one choice adds to it."""
        alike: dict[tuple[str, ...], list[str]] = {}
        for path, decision in self._decisions.items():
            if isinstance(decision, Index):
                alike.setdefault(decision.labels, []).append(path)
        found: dict[str, tuple[int, float]] = {}
        column = 0
        for labels, paths in alike.items():
            if len(paths) > 1:
                found |= dict.fromkeys(paths, (self._decided + column, len(paths) ** -0.5))
                column += len(labels)
        return found, column

    def row(self, decisions: Mapping[str, int | float], architecture: Any) -> Row:
        """Of shape [width]."""
        row = np.zeros(self.width)
        for path, value in decisions.items():
            decision, column = self._decisions[path], self._columns[path]
            if isinstance(decision, Index) and not decision.ordered:
                row[column + int(value)] = math.sqrt(0.5)
            else:
                row[column] = position(decision, value) - 0.5
                row[column + 1] = 0.5
            if path in self._options:
                first, share = self._options[path]
                row[first + int(value)] += share
        for end, count in _ends_of_paths(_graphs(architecture)).items():
            column = self._decided + self._counted + end % HASHED
            row[column] += math.log1p(count) * (1 if end & HASHED else -1)
        return row


def _graphs(entries: Any) -> list[Mapping[str, Any]]:
    """The different graphs of an architecture, wherever they stand."""
    found: dict[bytes, Mapping[str, Any]] = {}
    met: set[int] = set()  # parts that are mentioned again and again are one object, and looked at once
    todo = [entries]
    while todo:
        one = todo.pop()
        if not isinstance(one, dict | list) or id(one) in met:
            continue
        met.add(id(one))
        if isinstance(one, list):
            todo += reversed(one)
        elif isinstance(graph := one.get("graph"), dict):
            if id(graph) not in met:
                met.add(id(graph))
                found.setdefault(orjson.dumps(graph), graph)
        else:
            todo += one.values()
    return list(found.values())


def _ends_of_paths(graphs: Iterable[Mapping[str, Any]]) -> Counter[int]:
    """Hashes of the last operations of every path from a graph's inputs to its output, counted."""
    counts: Counter[int] = Counter()
    for number, graph in enumerate(graphs):
        inputs = len(graph.get("inputs", (-1,)))
        ends: list[dict[tuple[int, ...], int]] = [{(-1 - i,): 1} for i in range(inputs)]
        for node in graph["nodes"]:
            into: Counter[tuple[int, ...]] = Counter()
            sources = node["from"]
            operations = node["ops"] if "ops" in node else [node["op"]] * len(sources)
            for source, operation in zip(sources, operations, strict=True):
                done = _operation(operation)
                for end, count in ends[source].items():
                    into[end if done is None else (*end, done)[-LAST - 1 :]] += count
            ends.append(dict(sorted(into.items())[:MOST]))
        for node in _outputs(graph, len(ends), inputs):
            for end, count in ends[node].items():
                counts[crc32(repr((number, end)).encode())] += count
    return counts


def _outputs(graph: Mapping[str, Any], nodes: int, inputs: int) -> Iterable[int]:
    match graph.get("output", "last"):
        case "all":
            return range(inputs, nodes)
        case "loose":
            read = {source for node in graph["nodes"] for source in node["from"]}
            return [node for node in range(inputs, nodes) if node not in read]
    return (nodes - 1,)


def _operation(layers: Any) -> int | None:
    """A number for an operation; None for one that changes nothing."""
    if all(isinstance(layer, Mapping) and next(iter(layer), "") in NOTHING for layer in layers):
        return None
    return crc32(orjson.dumps(layers))
