"""Where the reader stands: a place of the document, a path of decisions, and the names that are visible there.

Paths of decisions: ``.key`` and ``.index``; ``[i]`` a repetition; ``:label`` below an option; ``define.name`` for ties;
``.new.name`` below the use of a fresh draw. ``name:`` replaces path and index back to the enclosing ``new`` and keeps
the ``[i]`` of enclosing repetitions, because one name there stands for several decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from nas.documents import KeyPath
from nas.space.tree import Define

Position = Literal["value", "entry", "op"]  # op: an entry, or `none`, as only the edge of a graph may be


@dataclass(slots=True, eq=False)
class Scope:
    """The defines of one place (the top, one repetition, one sequence), and those around it. Lexical."""

    outer: Scope | None
    bodies: Mapping[str, Any]
    spot: Spot | None = None  # of the mapping of bodies; None only for the empty scope outside everything
    read: dict[str, tuple[Define, Position]] = field(default_factory=dict)
    fresh: set[str] = field(default_factory=set)  # mentioned by `new`

    def holding(self, name: str) -> Scope | None:
        scope: Scope | None = self
        while scope is not None and name not in scope.bodies:
            scope = scope.outer
        return scope

    def visible(self) -> list[str]:
        return [*self.bodies, *(self.outer.visible() if self.outer else ())]


@dataclass(frozen=True, slots=True)
class Spot:
    at: KeyPath  # in the document: where errors point
    path: str  # of decisions
    scope: Scope
    prefix: str = ""  # what a `name:` is put after
    suffix: str = ""  # and before: "[i]" of the enclosing repetitions

    def key(self, key: str | int) -> Spot:
        return self.moved((key,), f"{self.path}.{key}")

    def option(self, label: str, *at: str | int) -> Spot:
        return self.moved(at, f"{self.path}:{label}")

    def moved(self, at: KeyPath, path: str) -> Spot:
        return Spot((*self.at, *at), path, self.scope, self.prefix, self.suffix)

    def named(self, name: str) -> Spot:
        return Spot(self.at, f"{self.prefix}{name}{self.suffix}", self.scope, self.prefix, self.suffix)

    def within(self, scope: Scope) -> Spot:
        return Spot(self.at, self.path, scope, self.prefix, self.suffix)
