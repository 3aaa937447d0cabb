"""Defines that lead back to themselves: which are being read, and how often each may lie within itself.

A tie (``=name``) that leads back has no end. ``{new: name, depth: d}`` has one: an option that would go deeper does not
exist, and the outermost depth on a way round governs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile, takewhile

from nas.space.grammar.spot import Scope, Spot

MOST_LEVELS = 100  # of nesting, defines and `new` included

Body = tuple[Scope, str]  # of a define, by where it stands and its name


class LeadsBack(Exception):
    """A ``{new: ...}`` that would go deeper than its ``depth``: the option that holds it does not exist."""

    def __init__(self, body: Body, spot: Spot) -> None:
        super().__init__(body[1])
        self.body = body
        self.spot = spot  # of the `new`


@dataclass(frozen=True, slots=True)
class _Opened:
    body: Body
    tie: bool  # by ``=name``
    choices: int  # that were being read then


class Recursion:
    def __init__(self) -> None:
        self.choices = 0  # that are being read, of which an option may end a recursion
        self._opened: list[_Opened] = []  # the outermost first
        self._depths: dict[Body, int] = {}  # how often they may be open at once

    def __contains__(self, body: Body) -> bool:
        return any(one.body == body for one in self._opened)

    @contextmanager
    def opening(self, body: Body, *, tie: bool) -> Iterator[None]:
        self._opened.append(_Opened(body, tie, self.choices))
        try:
            yield
        finally:
            self._opened.pop()

    @contextmanager
    def limited(self, body: Body, depth: int | None) -> Iterator[None]:
        """To so many within each other, where that is said and not said farther out."""
        stated = depth is not None and body not in self._depths
        if stated and depth is not None:
            self._depths[body] = depth
        try:
            yield
        finally:
            if stated:
                del self._depths[body]

    def is_full(self, body: Body) -> bool:
        return sum(one.body == body for one in self._opened) >= self._depths.get(body, MOST_LEVELS)

    def is_bounded(self, body: Body) -> bool:
        """Whether it may be opened here: it is not open, or something on the way round has a depth."""
        if body not in self or body in self._depths:
            return True
        way_round = takewhile(lambda one: one.body != body, reversed(self._opened))
        return any(one.body in self._depths for one in way_round)

    def is_endless(self, body: Body) -> bool:
        """Whether no choice lies on the way from this open define to here: then no option can end a recursion."""
        return self.choices == self._since(body)[0].choices

    def tie_within(self, body: Body) -> str:
        """The first define that was opened by a tie since this one was; "" where none was."""
        return next((one.body[1] for one in self._since(body)[1:] if one.tie), "")

    def _since(self, body: Body) -> list[_Opened]:
        return list(dropwhile(lambda one: one.body != body, self._opened))
