"""The section ``constraints:`` becomes a list of constraints; what is wrong with one is a problem at its place."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nas.documents import hint
from nas.space import constraints, ranges
from nas.space.constraints import Constraint, Test, Variable
from nas.space.decisions import Decision
from nas.space.expressions import ExpressionError, Term, compile_term, syntax_of
from nas.space.grammar.spot import Scope, Spot
from nas.space.grammar.values import shown
from nas.space.partial import Activity, Known, Value, nodes_of_decisions, of_define, value_of
from nas.space.tree import Node
from nas.space.words import COSTS, FUNCTIONS, RESERVED, is_number

if TYPE_CHECKING:
    from nas.space.grammar.read import Reader

_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_WORDS = {"true": True, "false": False, "none": None}  # scalars that a choice may have
_ALLOWED = (
    f"it has numbers, 'words', defines, names, path('...'), value(x, default), active(x), task.*, {' '.join(COSTS)}, "
    f"+ - * / // % **, {' '.join(FUNCTIONS)}, < <= > >= == !=, and or not"
)


def read_constraints(reader: Reader, given: Any, scope: Scope, roots: list[Node]) -> tuple[Constraint, ...]:
    """The constraints of a space whose tree is ``roots``; ``scope`` holds the defines at its top."""
    spot = Spot(("constraints",), "constraints", scope)
    if not isinstance(given, list):
        reader.wrong(spot, f"`constraints` is a list of conditions such as `parameters <= 500_000`, not {shown(given)}")
        return ()
    if not given:
        return ()
    names = _Names(reader, scope, roots)
    found = []
    for index, text in enumerate(given):
        here = spot.key(index)
        if not isinstance(text, str):
            reader.wrong(here, f"a constraint is a condition such as `parameters <= 500_000`, not {shown(text)}")
            continue
        try:
            found.append(_Condition(names, text).constraint(reader, here))
        except ExpressionError as error:
            reader.wrong(here, str(error))
    return tuple(found)


class _Names:
    """What the words in constraints can mean: defines at the top, decisions by name and path, costs, the task."""

    def __init__(self, reader: Reader, scope: Scope, roots: list[Node]) -> None:
        self.task: Mapping[str, Any] = reader.task
        self.priced = reader.priced  # the costs that are known; None: whatever a constraint asks for
        self.activity = Activity(roots)
        self.decisions: dict[str, Node | Decision] = dict(nodes_of_decisions(roots))
        self.defines = {name: scope.read[name][0] for name in scope.bodies if name in scope.read}
        self.fresh = scope.fresh - self.defines.keys()
        self.given = set(reader.names)

    def variable(self, name: str) -> Variable:
        """A define or a named decision. Raises ExpressionError."""
        if name in self.defines:
            return self._variable(name, of_define(self.defines[name]))
        if name in self.decisions:
            return self.at(name)
        several = [path for path in self.decisions if path.startswith(f"{name}[") or path.endswith(f".{name}")]
        if name in self.given and several:
            raise ExpressionError(f"'{name}' names several decisions; write path('{several[0]}')")
        if name in self.fresh:
            raise ExpressionError(f"'{name}' is drawn by `new` alone, anew each time; write path('...') of one draw")
        named = [path for path in self.decisions if path.isidentifier()]
        costs = COSTS if self.priced is None else self.priced
        known = hint(name, [*self.defines, *named, *costs])
        raise ExpressionError(f"'{name}' is no define, named decision or cost{known}")

    def at(self, path: str) -> Variable:
        """The decision of a path. Raises ExpressionError."""
        if path not in self.decisions:
            raise ExpressionError(f"no decision has the path '{path}'{hint(path, list(self.decisions))}")
        return self._variable(path, value_of(self.decisions[path]))

    def _variable(self, text: str, value: Value | None) -> Variable:
        if value is None:
            raise ExpressionError(f"'{text}' is no number or word, and cannot be compared")
        variable = Variable(text, value, self.activity)
        if variable.state(Known({})) is False:
            raise ExpressionError(f"'{text}' is mentioned nowhere, so it is never drawn")
        return variable

    def cost(self, name: str) -> Term:
        """Raises ExpressionError where it is not known."""
        if self.priced is not None and name not in self.priced:
            known = ", ".join(self.priced) or "none"
            remedy = "; it needs a `latency_table` in the config" if name == "latency" else ""
            raise ExpressionError(f"'{name}' is not known here{remedy} (known costs: {known})")
        return constraints.cost(name)


class _Condition:
    """One constraint while it is compiled."""

    def __init__(self, names: _Names, text: str) -> None:
        self.names = names
        self.text = text.strip()
        self.costs: set[str] = set()
        self.bare: dict[str, Variable] = {}  # mentioned as they are: the constraint holds where one is inactive
        self.others: dict[str, Variable] = {}  # mentioned in value() or active()
        self.guarded: frozenset[str] = frozenset()  # in active(): the constraint itself says what inactive means

    def constraint(self, reader: Reader, spot: Spot) -> Constraint:
        """Raises ExpressionError."""
        tree = _syntax(self.text)
        self.guarded = frozenset(
            self.mentioned(call.args[0]).text
            for call in ast.walk(tree)
            if isinstance(call, ast.Call) and _is_call(call, "active", 1)
        )
        test = self.test(tree)
        variables = [*self.bare.values(), *self.others.values()]
        if not variables and not self.costs:
            raise ExpressionError(f"'{self.text}' is about nothing that is drawn, and no cost")
        items = [item for variable in variables for item in variable.value.items]
        controlling = [self.names.activity.controlling(item) for item in items]
        made = Constraint(
            self.text,
            reader.document.problem(spot.at, ""),
            test,
            tuple(variable for text, variable in self.bare.items() if text not in self.guarded),
            frozenset(self.costs),
            frozenset().union(*(variable.value.paths for variable in variables), *controlling),
        )
        if made.foresee(Known({})) is False:
            raise ExpressionError(f"no candidate of this space satisfies '{self.text}'")
        return made

    # Conditions ------------------------------------------------------------------------------------------------------

    def test(self, node: ast.expr) -> Test:
        match node:
            case ast.BoolOp(op=ast.And(), values=parts):
                return constraints.all_of([self.test(part) for part in parts])
            case ast.BoolOp(op=ast.Or(), values=parts):
                return constraints.any_of([self.test(part) for part in parts])
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return constraints.negated(self.test(operand))
            case ast.Compare():
                return self.comparison(node)
            case ast.Call() if _is_call(node, "active", 1):
                variable = self.mentioned(node.args[0])
                self.others[variable.text] = variable
                return constraints.is_active(variable)
        remedy = " (write == true)" if self.is_flag(node) else ""
        raise ExpressionError(f"'{ast.unparse(node)}' is no comparison, and neither true nor false{remedy}")

    def is_flag(self, node: ast.expr) -> bool:
        if not isinstance(node, ast.Name) or node.id in RESERVED:
            return False
        static = self.mentioned(node).value.term.bound(Known({}))
        return isinstance(static, frozenset) and any(isinstance(value, ranges.Flag) for value in static)

    def comparison(self, node: ast.Compare) -> Test:
        for op in node.ops:
            if type(op) not in _COMPARISONS:
                remedy = "x == 'a' or x == 'b'" if isinstance(op, ast.In | ast.NotIn) else "=="
                raise ExpressionError(f"'{ast.unparse(node)}' is no comparison of the language; write {remedy}")
        signs = [_COMPARISONS[type(op)] for op in node.ops]
        operands = [node.left, *node.comparators]
        before = dict(self.bare)
        self.bare = {}
        terms = [compile_term(operand, self.leaf) for operand in operands]
        for a, sign, b in zip(operands, signs, operands[1:], strict=False):
            self.check(a, sign, b)
        guarded = [variable for text, variable in self.bare.items() if text in self.guarded]
        self.bare = before | self.bare
        return constraints.compare(terms, signs, guarded)

    # Terms -----------------------------------------------------------------------------------------------------------

    def leaf(self, node: ast.expr) -> Term:
        match node:
            case ast.Constant(value=str() as word):
                return _scalar(word)
            case ast.Constant(value=bool()):
                word = str(node.value)
                raise ExpressionError(f"write {word.lower()}, not {word}")
            case ast.Name(id=name) if name in COSTS:
                self.costs.add(name)
                return self.names.cost(name)
            case ast.Name(id=name) if name in _WORDS and name not in self.names.defines:
                return _scalar(_WORDS[name])
            case ast.Attribute(value=ast.Name(id="task"), attr=attribute):
                if attribute not in self.names.task:
                    known = hint(attribute, self.names.task) if self.names.task else "; no task was given"
                    raise ExpressionError(f"the task has no '{attribute}'{known}")
                return _scalar(self.names.task[attribute])
            case ast.Call() if _is_call(node, "value", 2):
                variable = self.mentioned(node.args[0])
                self.others[variable.text] = variable
                if not _is_bare(node.args[1]):
                    self.need_numbers(node.args[1])
                return constraints.value_or(variable, compile_term(node.args[1], self.leaf))
            case ast.Call(func=ast.Name(id="value" | "active" as word)):
                raise ExpressionError(
                    "value() takes what may be inactive and a default: value(momentum, 0)"
                    if word == "value"
                    else f"'{ast.unparse(node)}' is true or false, and no value; write `{ast.unparse(node)} and ...`"
                )
            case ast.Name() | ast.Call(func=ast.Name(id="path")):
                variable = self.mentioned(node)
                self.bare[variable.text] = variable
                return variable.value.term
        raise ExpressionError(f"'{ast.unparse(node)}' is not part of the language; {_ALLOWED}")

    def mentioned(self, node: ast.expr) -> Variable:
        """The variable that ``width`` or ``path('...')`` stands for."""
        match node:
            case ast.Name(id=name) if name in RESERVED:
                raise ExpressionError(f"'{name}' is a word of the language, and no decision")
            case ast.Name(id=name):
                return self.names.variable(name)
            case ast.Call(func=ast.Name(id="path"), args=[ast.Constant(value=str() as path)], keywords=[]):
                return self.names.at(path)
            case ast.Constant(value=str() as word):
                _ = self.names.variable(word) if word.isidentifier() else self.names.at(word)
                meant = word if word.isidentifier() else f"path({word!r})"
                raise ExpressionError(f"{word!r} is a word here; write value({meant}, 0) or active({meant})")
        raise ExpressionError(f"'{ast.unparse(node)}' is no decision; write its name, or path('...') with its path")

    # Kinds -----------------------------------------------------------------------------------------------------------

    def check(self, a: ast.expr, sign: str, b: ast.expr) -> None:
        """Raises ExpressionError where words are computed or ordered, or a word is none of what it is compared with."""
        for one, other in ((a, b), (b, a)):
            if sign not in ("==", "!=") or not _is_bare(one):
                self.need_numbers(one)
            elif isinstance(one, ast.Constant) and isinstance(one.value, str):
                self.need_member(one.value, other)

    def need_numbers(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=value) if not is_number(value):
                raise ExpressionError(f"{value!r} is no number, and can only be compared with == and !=")
            case ast.Name() | ast.Attribute() | ast.Call() if _is_bare(node):
                self.all_numbers(node)
            case ast.BinOp(left=left, right=right):
                self.need_numbers(left)
                self.need_numbers(right)
            case ast.UnaryOp(operand=operand):
                self.need_numbers(operand)
            case ast.Call(args=given):
                for argument in given:
                    self.need_numbers(argument)

    def all_numbers(self, node: ast.expr) -> None:
        lost = self.words(node)
        if lost:
            word = "none" if None in lost else shown(sorted(map(_word, lost))[0])
            raise ExpressionError(
                f"'{ast.unparse(node)}' may be {word}, which is no number: it can only be compared with == and !="
            )

    def words(self, node: ast.expr) -> frozenset[Any]:
        """What a bare term can be and is no number."""
        match node:
            case ast.Call(args=[variable, default]) if _is_call(node, "value", 2):
                return self.mentioned(variable).value.words | self.words(default)
            case ast.Name(id=name) if name in COSTS:
                return frozenset()
            case ast.Name(id=name) if name not in _WORDS or name in self.names.defines:
                return self.mentioned(node).value.words
            case ast.Call() if _is_call(node, "path", 1):
                return self.mentioned(node).value.words
        static = compile_term(node, self.leaf).bound(Known({}))
        return frozenset() if isinstance(static, tuple) else frozenset(one for one in static if not is_number(one))

    def need_member(self, word: str, other: ast.expr) -> None:
        static = compile_term(other, self.leaf).bound(Known({}))
        known = sorted(map(_word, self.words(other) if isinstance(static, tuple) else static))
        if word not in known:
            raise ExpressionError(f"'{ast.unparse(other)}' is never '{word}'{hint(word, known)}")


def _syntax(text: str) -> ast.expr:
    try:
        return syntax_of(text, "condition")
    except ExpressionError as error:
        if text.startswith("="):
            raise ExpressionError(f"a constraint is a condition as it stands: leave the '=' of '{text}' away") from None
        remedies = {"&&": "`and`, not &&", "||": "`or`, not ||", "=": "== to compare"}
        bare = text.replace("==", "").replace("<=", "").replace(">=", "").replace("!=", "")
        remedy = next((f"; write {remedy}" for sign, remedy in remedies.items() if sign in bare), "")
        raise ExpressionError(f"{error}{remedy}") from None


def _word(scalar: Any) -> str:
    """A scalar as a constraint writes it."""
    return "none" if scalar is None else str(scalar)


def _scalar(value: Any) -> Term:
    range_ = ranges.point(value)
    return Term(lambda _: value, lambda _: range_)


def _is_call(node: ast.Call, name: str, arguments: int) -> bool:
    return (
        isinstance(node.func, ast.Name) and node.func.id == name and len(node.args) == arguments and not node.keywords
    )


def _is_bare(node: ast.expr) -> bool:
    """Whether it is one scalar or one variable, and not computed."""
    return isinstance(node, ast.Constant | ast.Name | ast.Attribute) or (
        isinstance(node, ast.Call) and (_is_call(node, "path", 1) or _is_call(node, "value", 2))
    )
