"""From a draw of ``search_spaces/nasbench201.yaml`` to the name that NAS-Bench-201 gives the same cell, and back.

The table (Dong and Yang 2020) names a cell by six operations, here six digits, in the order of edges 1<-0, 2<-0, 2<-1,
3<-0, 3<-1, 3<-2, which is that of the space's decisions: node by node, and on each node by source. In any space whose
cell is ``{graph: {nodes: 3, from: every, op: ...}}`` with these five operations the codes can be derived, whatever the
network around the cell.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nas.errors import InputError
from nas.space import Space

# The label of an operation in the space, and the table's digit for it (its own names in comments).
DIGITS = {
    "none": "0",  # none
    "identity": "1",  # skip_connect
    "conv1": "2",  # nor_conv_1x1
    "conv3": "3",  # nor_conv_3x3
    "avg_pool": "4",  # avg_pool_3x3
}
_EDGES = [(1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2)]
_EDGE = re.compile(r"(.*\.graph)\.node\[(\d+)\]\.edge\[(\d+)\]\.op")


def operations(space: Space, decisions: Mapping[str, int | float]) -> str:
    """The six digits of a draw's cell: ``043331``.

    Raises:
        InputError: the space's decisions are not those of one such cell.
    """
    return "".join(DIGITS[space.by_path[path].labels[int(decisions[path])]] for path in _paths(space))  # type: ignore[union-attr]


def decisions(space: Space, operations: str) -> dict[str, int]:
    """The decisions of the cell that the table calls ``operations``. Raises InputError as ``operations`` does."""
    paths = _paths(space)
    if len(operations) != len(paths) or not set(operations) <= set(DIGITS.values()):
        raise InputError(f"{operations!r} is no cell of NAS-Bench-201: six digits from 0 to 4 are")
    words = {digit: label for label, digit in DIGITS.items()}
    return {
        path: space.by_path[path].labels.index(words[digit])  # type: ignore[union-attr]
        for path, digit in zip(paths, operations, strict=True)
    }


def _paths(space: Space) -> list[str]:
    """The decisions about the six edges, in the table's order."""
    found = {match[1] for path in space.by_path if (match := _EDGE.fullmatch(path))}
    paths = [f"{graph}.node[{node}].edge[{source}].op" for graph in sorted(found) for node, source in _EDGES]
    known = (set(getattr(space.by_path.get(path), "labels", ())) == set(DIGITS) for path in paths)
    if len(found) != 1 or not all(known) or sum(map(bool, map(_EDGE.fullmatch, space.by_path))) != len(_EDGES):
        raise InputError(
            f"the space '{space.name}' has no single cell of NAS-Bench-201: a graph of 3 nodes, from: every, "
            f"whose operations are called {', '.join(DIGITS)}"
        )
    return paths
