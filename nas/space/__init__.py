"""What may be proposed: the language of search spaces, the tree of decisions, and candidates.

    Document --grammar.read--> tree of nodes --walk(choose)--> Draw(decisions, candidate)

    words        reserved words and shared shapes            decisions    Index, Integer, Real, views, the prior
    expressions  =2 * width                                  tree         the nodes and the one walk
    ranges       all that a value can still be               tree_graph   the node of a graph cell
    grammar/     a document becomes a tree                   candidate    concrete values, JSON, hash
    canonical    RFC 8785, for the hash                      batch        many draws at once: decisions alone
    count        exact counts by dynamic programming         constraints  conditions, masks
    partial      what is known while a candidate is drawn    space        Space and Draw
    survey       whether there is anything to propose        blame        what is in the way where there is not

A controller sees decisions, a trainer sees candidates; both come from the same walk.
"""

from nas.space.candidate import Candidate
from nas.space.constraints import Costs
from nas.space.count import Count
from nas.space.decisions import Decision, Index, Integer, Real, admits, draw_prior
from nas.space.space import Draw, Space

__all__ = [
    "Candidate",
    "Costs",
    "Count",
    "Decision",
    "Draw",
    "Index",
    "Integer",
    "Real",
    "Space",
    "admits",
    "draw_prior",
]
