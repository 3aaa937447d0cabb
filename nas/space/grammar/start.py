"""``start:`` candidates that are known to be good, tried before anything that a controller thinks of.

    start:
      - {}                                             # the defaults
      - {width: 32, optimizer: adamw}                  # the rest: defaults
      - {architecture.0.conv.kernel: 5, hyperparameters.optimizer:sgd.learning_rate: 0.1}

Each is a mapping from decisions to values. A decision is named by its path, its ``name:`` (which in a repetition stands
for several decisions, and sets them all), or, where a define is itself a choice or a range, by the define's name. A
value is what the space says: an option or its label, a number of a range, the list of a subset's members. Decisions
that are not mentioned take their ``default``, else the likeliest option (the first of equals), else the middle of
their range.

Why not whole candidates: to find the decisions that lead to one means to invert the space, which has no answer where
expressions or ties stand, and several where options resolve alike; and a controller learns from decisions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from nas.documents import Document, hint
from nas.errors import InputError, Problem
from nas.space.decisions import Decision, Index, Integer, Real
from nas.space.grammar.values import shown
from nas.space.words import is_number

if TYPE_CHECKING:
    from nas.space.space import Draw, Space

Values = dict[str, int | float]
YES_OR_NO = ("no", "yes")


class NoValue(ValueError):
    """What was given is no value of the decision; the message says what would be."""


def read_start(document: Document, space: Space) -> tuple[Values, ...]:
    """The decisions of each start, whole: what is active and nothing else.

    Raises:
        InputError: with every problem: unknown or inactive decisions, values that are none, candidates that are
            invalid or violate a constraint, the same one twice.
    """
    given = document.data["start"]
    if not isinstance(given, list):
        raise InputError(document.problem(("start",), f"`start` is a list of mappings, not {shown(given)}"))
    meant = _Names(space.decisions)
    problems: list[Problem] = []
    starts: list[Values] = []
    for index, one in enumerate(given):
        before = len(problems)
        values = _values(document, index, one, meant, problems)
        if len(problems) > before:
            continue
        draw = _drawn(space, values)
        for key in one:
            if not any(decision.path in draw.decisions for decision in meant.of(key)):
                message = f"'{key}' is not active in this candidate: what is chosen elsewhere leaves it out"
                problems.append(document.problem(("start", index, key), message, key=True))
        wrong = draw.invalid or draw.violated
        if wrong:
            problems.append(document.problem(("start", index), f"this candidate cannot be trained: {wrong}"))
        if len(problems) == before and draw.decisions in starts:
            message = f"this candidate is the same as number {starts.index(draw.decisions) + 1} of the list"
            problems.append(document.problem(("start", index), message))
        starts.append(draw.decisions)
    if problems:
        raise InputError(*sorted(problems, key=lambda problem: (problem.line, problem.column)))
    return tuple(starts)


def _drawn(space: Space, values: Values) -> Draw:
    """Unmasked, so that a start that violates a constraint can be said to."""

    def choose(decision: Decision) -> int | float:
        return values[decision.path] if decision.path in values else usual(decision)

    return space.walk(choose, masked=False)


class _Names:
    """What a key of a start may mean."""

    def __init__(self, decisions: Sequence[Decision]) -> None:
        self.known: dict[str, list[Decision]] = {}
        self.members: dict[str, dict[str, Decision]] = {}  # of unsized subsets: key -> label -> its yes or no
        for decision in decisions:
            for key in dict.fromkeys((decision.path, decision.name or decision.path)):
                self.known.setdefault(key, []).append(decision)
                whole, _, label = key.rpartition(":")
                if whole and isinstance(decision, Index) and decision.labels == YES_OR_NO:
                    self.members.setdefault(whole, {})[label] = decision
        for decision in decisions:
            scope, _, name = decision.path.partition(".")
            if scope == "define":
                self.known.setdefault(name, [decision])

    def of(self, key: str) -> list[Decision]:
        return self.known.get(key) or list(self.members.get(key, {}).values())

    def hint(self, key: str) -> str:
        """The end of a message: the paths that end with this word, or what is nearest to it."""
        known = [*self.known, *self.members]
        ending = [path for path in known if path.endswith((f".{key}", f":{key}"))][:3]
        return f"; did you mean {' or '.join(map(repr, ending))}?" if ending else hint(key, known)


def _values(document: Document, index: int, one: Any, meant: _Names, problems: list[Problem]) -> Values:
    if not isinstance(one, dict):
        message = f"a start is a mapping from decisions to values ({{}}: all defaults), not {shown(one)}"
        problems.append(document.problem(("start", index), message))
        return {}
    values: Values = {}
    for key, given in sorted(one.items(), key=lambda item: -len(meant.of(item[0]))):  # one repetition's own value wins
        place = ("start", index, key)
        decisions = meant.of(key)
        if not decisions:
            problems.append(document.problem(place, f"no decision is called '{key}'{meant.hint(key)}", key=True))
        try:
            if key not in meant.known and decisions:
                values |= _chosen(given, meant.members[key])
            else:
                values |= {decision.path: value_of(decision, given) for decision in decisions}
        except NoValue as error:
            problems.append(document.problem(place, f"{shown(given)} is no value of '{key}': {error}"))
    return values


def _chosen(given: Any, members: Mapping[str, Decision]) -> Values:
    labels = [_text(item) for item in given] if isinstance(given, list) else []
    if not isinstance(given, list) or not set(labels) <= members.keys():
        raise NoValue(f"it is a list of members{hint('', members)}")
    return {decision.path: int(label in labels) for label, decision in members.items()}


def value_of(decision: Decision, given: Any) -> int | float:
    """What a decision is when the space's words for it are ``given``. Raises NoValue."""
    if isinstance(decision, Index):
        return _index(decision, given)
    if not is_number(given) or not decision.low <= given <= decision.high:
        raise NoValue(f"it is a number within {decision.low}..{decision.high}")
    if isinstance(decision, Integer) and given != int(given):
        raise NoValue("it is an integer")
    return decision.accept(int(given) if isinstance(decision, Integer) else given)


def _index(decision: Index, given: Any) -> int:
    if isinstance(given, bool) and decision.labels == YES_OR_NO:
        return int(given)
    if is_number(given) and decision.values is not None and given in decision.values:
        return decision.values.index(given)
    text = "+".join(map(_text, given)) or "nothing" if isinstance(given, list) else _text(given)
    if text in decision.labels:
        return decision.labels.index(text)
    raise NoValue(f"it is one of its options{hint(text, decision.labels)}")


def _text(given: Any) -> str:
    return given.removeprefix("=").strip() if isinstance(given, str) else json.dumps(given)


def usual(decision: Decision) -> int | float:
    """The default, else what is likeliest, else the middle."""
    if decision.default is not None:
        return decision.default
    match decision:
        case Index(weights=weights):
            return weights.index(max(weights)) if weights else 0
        case Integer(low=low, high=high, log=log):
            return min(max(round(math.sqrt(low * high)), low), high) if log else (low + high) // 2
        case Real(low=low, high=high, log=log):
            return min(max(math.sqrt(low) * math.sqrt(high) if log else (low + high) / 2, low), high)
    raise TypeError(decision)
