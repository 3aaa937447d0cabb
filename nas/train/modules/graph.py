"""A graph cell, computed node by node."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas.train.layers.layer import assemble

if TYPE_CHECKING:
    from nas.train.layers.graph import Plan


class GraphModule(nn.Module):
    """Computes every node in order, dead ends included: they are part of what the candidate costs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.sources = [node.sources for node in plan.nodes]
        self.merges = [node.merge for node in plan.nodes]
        self.shapes = [node.shape for node in plan.nodes]
        self.numbers = [number for number, _ in plan.outputs]
        self.inputs = nn.ModuleList(assemble(links) for links in plan.inputs)
        self.edges = nn.ModuleList(nn.ModuleList(assemble(links) for links in node.edges) for node in plan.nodes)
        self.ops = nn.ModuleList(assemble(node.op) for node in plan.nodes)
        self.ends = nn.ModuleList(assemble(links) for _, links in plan.outputs)

    def forward(self, *inputs: Tensor) -> Tensor:
        nodes = [module(x) for module, x in zip(self.inputs, inputs, strict=True)]
        edges_of: Any = self.edges  # a ModuleList's members are typed as bare modules
        nodes_of = zip(self.sources, self.merges, self.shapes, edges_of, self.ops, strict=True)
        for sources, merge, shape, edges, op in nodes_of:
            if sources:
                terms = [edge(nodes[source]) for source, edge in zip(sources, edges, strict=True)]
                nodes.append(op(_merged(terms, merge)))
            else:
                nodes.append(inputs[-1].new_zeros(len(inputs[-1]), *shape))
        return _merged([end(nodes[number]) for number, end in zip(self.numbers, self.ends, strict=True)], "concat")


def _merged(terms: Sequence[Tensor], how: str) -> Tensor:
    if len(terms) == 1:
        return terms[0]
    if how == "concat":
        return torch.cat(list(terms), 2 if terms[0].ndim == 3 else 1)  # a sequence is (batch, length, features)
    total = reduce(add, terms)
    return total / len(terms) if how == "mean" else total
