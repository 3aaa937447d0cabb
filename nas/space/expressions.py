"""``=2 * width``: arithmetic over numbers, defines and ``task.*``, parsed by Python's grammar and nothing else of it.

An expression is checked against a short list of syntax, then compiled once into nested functions: no eval, and every
intermediate result is bounded, so ``=9**9**9`` costs nothing. ``round`` is Python's (2.5 gives 2). Constraints
(constraints.py) are made of the same terms, and compare them.
"""

from __future__ import annotations

import ast
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nas.space import ranges
from nas.space.ranges import EVERYTHING, Interval, Range
from nas.space.words import FUNCTIONS, RESERVED, is_number

Number = int | float
Compute = Callable[[Any], Any]  # from an environment that the leaves understand; raises Impossible
Bound = Callable[[Any], Range]  # all it can be, from an environment of ranges

LARGEST = 10**15  # beyond it a result is no longer an exact float, and no sensible setting
MOST_CHARACTERS = 500


class ExpressionError(ValueError):
    """The text is no expression of the language."""


class Impossible(ArithmeticError):
    """The expression has no value for these numbers: division by zero, too large, not real."""


@dataclass(frozen=True, slots=True)
class Term:
    """Arithmetic, compiled twice: for values, and for all that these can be."""

    compute: Compute
    bound: Bound


Leaf = Callable[[ast.expr], Term]  # what a name, a call or a string means; raises ExpressionError


@dataclass(frozen=True, slots=True)
class Parsed:
    """``names`` are the defines and ``task`` the task values that it mentions, in order of first mention."""

    text: str  # without the =
    names: tuple[str, ...]
    task: tuple[str, ...]
    term: Term  # of an environment such as {"width": 16, "task.classes": 10}

    @property
    def reference(self) -> str:
        """The define's name, where the expression is nothing but a name; else ""."""
        return self.text if self.names == (self.text,) else ""


def parse(text: str) -> Parsed:
    """Parse ``=...``.

    Raises:
        ExpressionError: it is outside the language; the message says what in it.
    """
    body = text.removeprefix("=").strip()
    if not body:
        raise ExpressionError("'=' begins an expression, and none follows; {literal: \"=\"} writes the sign itself")
    names: dict[str, None] = {}
    task: dict[str, None] = {}

    def leaf(node: ast.expr) -> Term:
        match node:
            case ast.Name(id=name):
                if name in RESERVED:
                    raise ExpressionError(f"'{name}' is a word of the language, not a define; {_ALLOWED}")
                names.setdefault(name)
                return Term(operator.itemgetter(name), operator.itemgetter(name))
            case ast.Attribute(value=ast.Name(id="task"), attr=attribute):
                task.setdefault(attribute)
                value = operator.itemgetter(f"task.{attribute}")
                return Term(value, value)
        raise ExpressionError(f"'{ast.unparse(node)}' is not part of the language; {_ALLOWED}")

    term = compile_term(syntax_of(body, "expression"), leaf)
    return Parsed(body, tuple(names), tuple(task), term)


def syntax_of(text: str, what: str) -> ast.expr:
    """Python's syntax tree of a text. Raises ExpressionError where it is too long, or no expression at all."""
    if len(text) > MOST_CHARACTERS:
        raise ExpressionError(f"an expression of more than {MOST_CHARACTERS} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of `1if`, which Python still reads and soon will not
            return ast.parse(text, mode="eval").body
    except (SyntaxError, SyntaxWarning, DeprecationWarning, ValueError, MemoryError, RecursionError) as error:
        said = getattr(error, "msg", None) or "cannot be parsed"
        shown = f"={text}" if what == "expression" else text
        raise ExpressionError(f"'{shown}' is no {what}: {said}") from None


def _power(base: Number, exponent: Number) -> Number:
    if abs(base) > 1 and exponent * math.log2(abs(base)) > 60:
        raise Impossible(f"{base} ** {exponent} is beyond 1e15")
    result = base**exponent
    if isinstance(result, complex):
        raise Impossible(f"{base} ** {exponent} is not a real number")
    return result


def _round(x: Number, digits: Number | None = None) -> Number:
    return round(x, None if digits is None else int(digits))


_BINARY: dict[type[ast.operator], tuple[Callable[..., Any], Callable[..., Interval]]] = {
    ast.Add: (operator.add, ranges.add),
    ast.Sub: (operator.sub, ranges.subtract),
    ast.Mult: (operator.mul, ranges.multiply),
    ast.Div: (operator.truediv, ranges.divide),
    ast.FloorDiv: (operator.floordiv, ranges.floor_divide),
    ast.Mod: (operator.mod, ranges.remainder),
    ast.Pow: (_power, ranges.power),
}
# function, its range, fewest and most arguments
_CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Interval], int, int]] = {
    "min": (min, ranges.smallest, 2, 16),
    "max": (max, ranges.largest, 2, 16),
    "round": (_round, ranges.rounded(_round), 1, 2),
    "abs": (abs, ranges.absolute, 1, 1),
    "floor": (math.floor, ranges.rounded(math.floor), 1, 1),
    "ceil": (math.ceil, ranges.rounded(math.ceil), 1, 1),
}


def _bounded(function: Callable[..., Any], *arguments: Number) -> Number:
    try:
        result: Number = function(*arguments)
    except ZeroDivisionError:
        raise Impossible("division by zero") from None
    except OverflowError:
        raise Impossible("beyond 1e15") from None
    if not -LARGEST <= result <= LARGEST:
        raise Impossible("beyond 1e15")
    return result


def _applied(function: Callable[..., Any], of_ranges: Callable[..., Interval], parts: list[Term]) -> Term:
    values = [part.compute for part in parts]
    bounds = [part.bound for part in parts]

    def bound(environment: Any) -> Range:
        found = [of(environment) for of in bounds]
        points = [ranges.single(one) for one in found]
        if None not in points:
            try:
                return ranges.point(_bounded(function, *points))
            except Impossible:
                return EVERYTHING
        return of_ranges(*map(ranges.hull, found))

    if len(values) == 2:  # nearly always; without the generator it is twice as fast
        a, b = values
        return Term(lambda environment: _bounded(function, a(environment), b(environment)), bound)
    return Term(lambda environment: _bounded(function, *(value(environment) for value in values)), bound)


def compile_term(node: ast.expr, leaf: Leaf) -> Term:
    """Arithmetic as functions of an environment. ``leaf`` says what everything else means.

    Raises:
        ExpressionError: a number beyond 1e15, a call with too many or too few values, or what ``leaf`` refuses.
    """
    match node:
        case ast.Constant(value=int() | float() as value) if is_number(value):
            if not -LARGEST <= value <= LARGEST:
                raise ExpressionError(f"{value} is beyond 1e15")
            number, known = value, ranges.point(value)
            return Term(lambda _: number, lambda _: known)
        case ast.UnaryOp(op=ast.UAdd(), operand=operand):
            return compile_term(operand, leaf)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return _applied(operator.neg, lambda a: (-a[1], -a[0]), [compile_term(operand, leaf)])
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _BINARY:
            return _applied(*_BINARY[type(op)], [compile_term(left, leaf), compile_term(right, leaf)])
        case ast.Call(func=ast.Name(id=name), args=given, keywords=[]) if name in FUNCTIONS:
            call, of_ranges, fewest, most = _CALLS[name]
            if not fewest <= len(given) <= most:
                raise ExpressionError(f"{name}() takes {fewest} to {most} values, not {len(given)}")
            return _applied(call, of_ranges, [compile_term(argument, leaf) for argument in given])
    return leaf(node)


_ALLOWED = f"it has numbers, defines, task.*, + - * / // % **, {' '.join(FUNCTIONS)}"


def as_integer_if_whole(number: Number) -> Number:
    """24.0 as 24: it serves where an integer is needed, and prints as one."""
    return int(number) if isinstance(number, float) and number.is_integer() else number
