"""A search space as text: the tree of decisions as it was written, and what `nas space check` found.

The tree follows the document, not the unfolded decisions: a body that may stand twelve times is shown once. Decisions
are coloured on a terminal; into a pipe go neither colours nor lines, so that grep and diff can work on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.report import text
from nas.report.yaml import flow
from nas.space import Decision, Index, Integer
from nas.space.words import forms_in, is_layer_list

_COLOURS = {"decision": "\x1b[1;36m", "word": "\x1b[1m", "quiet": "\x1b[2m"}
_RESET = "\x1b[0m"
_MOST_OPTIONS = 24  # of one choice that stand in its line
_MOST_REASONS = 3  # that are told, of what is wrong with samples


@dataclass(frozen=True, slots=True)
class Branch:
    """One line of the tree: pieces of text, each with its style ("" for none), and the branches below."""

    pieces: tuple[tuple[str, str], ...]
    below: tuple[Branch, ...] = ()


def tree(source: Mapping[str, Any], *, terminal: bool = False) -> str:
    """A space's document as a tree, ending in a newline."""
    roots = [_section(name, held) for name, held in source.items() if name != "name"]
    lines = [_styled([(str(source.get("name", "space")), "word")], terminal)]
    return "\n".join([*lines, *_lines(roots, "", terminal)]) + "\n"


def _lines(branches: Sequence[Branch], indent: str, terminal: bool) -> Iterator[str]:
    for branch in branches:
        last = branch is branches[-1]
        here, deeper = ("  ", "  ") if not terminal else ("└─ ", "   ") if last else ("├─ ", "│  ")
        yield _styled([(indent + here, "quiet"), *branch.pieces], terminal)
        yield from _lines(branch.below, indent + deeper, terminal)


def _styled(pieces: Iterable[tuple[str, str]], terminal: bool) -> str:
    if not terminal:
        return "".join(piece for piece, _ in pieces)
    return "".join(f"{_COLOURS[style]}{piece}{_RESET}" if style else piece for piece, style in pieces)


# From a document to branches -----------------------------------------------------------------------------------------


def _section(name: str, held: Any) -> Branch:
    title = ((name, "word"),)
    if name == "architecture":
        return Branch(title, tuple(_entries(held)))
    if name == "define":
        return Branch(title, tuple(_define(key, body) for key, body in held.items()))
    if isinstance(held, dict):
        return Branch(title, tuple(_value(key, body) for key, body in held.items()))
    if isinstance(held, list):
        return Branch(
            title, tuple(Branch(((str(item) if isinstance(item, str) else flow(item), ""),)) for item in held)
        )
    return Branch((*title, (f": {flow(held)}", "")))


def _define(name: str, body: Any) -> Branch:
    """A define is a value, or layers; its text tells which, as far as a picture needs it."""
    if _inline(body) or not _is_layers(body):
        return _value(name, body)
    return Branch(((name, ""),), tuple(_entries(body)))


def _is_layers(body: Any) -> bool:
    if isinstance(body, dict):
        if "choice" in body:
            return any(map(_is_layers, body["choice"]))
        return any(form in body for form in ("repeat", "sequence", "graph")) or (len(body) == 1 and not forms_in(body))
    return isinstance(body, list) and is_layer_list(body) and any(map(_is_layers, body))


def _entries(raw: Any) -> list[Branch]:
    """What stands among layers, one branch for each."""
    if isinstance(raw, list):
        return [branch for held in raw for branch in _entries(held)]
    if raw is None:
        return [Branch((("nothing", "quiet"),))]
    if not isinstance(raw, dict):
        return [Branch(((str(raw), ""),))]
    form = next(iter(forms_in(raw)), "")
    match form:
        case "choice":
            return [_choice("", raw, _option_entry)]
        case "repeat":
            body = raw["repeat"]
            times = _inline(body["times"]) or [("several", "decision")]
            below = [*_defines(body), *_entries(body["of"])]
            return [Branch((("repeat ", "word"), *times, (" times, drawn anew each time", "")), tuple(below))]
        case "sequence":
            below = [*_defines(raw["sequence"]), *_entries(raw["sequence"]["of"])]
            return [Branch((("sequence", "word"),), tuple(below))]
        case "graph":
            return [_graph(raw["graph"])]
        case "new":
            return [Branch(tuple(_new(raw)))]
    ((name, settings),) = raw.items()
    return [_layer(name, settings)]


def _defines(body: Mapping[str, Any]) -> list[Branch]:
    return [_section("define", body["define"])] if body.get("define") else []


def _layer(name: str, settings: Any) -> Branch:
    if isinstance(settings, list) and is_layer_list(settings):
        return Branch(((name, "word"),), tuple(_entries(settings)))
    if isinstance(settings, dict) and not forms_in(settings):
        return _mapping(name, settings)
    if _inline(settings) or not _is_layers(settings):
        return _value(name, settings)
    return Branch(((name, "word"),), tuple(_entries(settings)))


def _graph(settings: Mapping[str, Any]) -> Branch:
    """Its words in one line, its operations below."""
    inline: list[tuple[str, str]] = []
    below: list[Branch] = []
    for key, held in settings.items():
        if key == "op" and not _inline(held):
            below += [Branch((("op: ", ""), *op.pieces), op.below) for op in _entries(held)]
        elif key == "nodes" and isinstance(held, list):
            below += [Branch(((f"node {flow(node)}", ""),)) for node in held]
        else:
            inline += [(f"{', ' if inline else ': '}{key} ", ""), *(_inline(held) or [(flow(held), "")])]
    return Branch((("graph", "word"), *inline), tuple(below))


def _value(name: str, raw: Any) -> Branch:
    """``name: value``, the value in the same line where it has no structure of its own."""
    inline = _inline(raw)
    if inline:
        return Branch(((name, ""), (": ", ""), *inline))
    if isinstance(raw, dict) and "choice" in raw:
        return _choice(name, raw, _option_value)
    if isinstance(raw, dict) and "subset" in raw:
        title = ((name, ""), (": a subset", "decision"), (_beside(raw), "quiet"))
        return Branch(title, tuple(_option_value(member) for member in raw["subset"]))
    if isinstance(raw, dict):
        return _mapping(name, raw)
    return Branch(((name, ""),), tuple(_option_value(item) for item in raw))


def _mapping(name: str, settings: Mapping[str, Any]) -> Branch:
    """Settings that are short stand in the line, the others below it."""
    pieces: list[tuple[str, str]] = []
    below: list[Branch] = []
    for key, held in settings.items():
        inline = _inline(held)
        if inline:
            pieces += [(", " if pieces else ": ", ""), (f"{key} ", ""), *inline]
        else:
            below.append(_value(key, held))
    return Branch(((name, "word"), *pieces), tuple(below))


def _choice(name: str, raw: Mapping[str, Any], branch: Any) -> Branch:
    options = raw["choice"]
    total = sum(raw.get("weights") or ())
    below = []
    for i, option in enumerate(options):
        made: Branch = branch(option)
        share = ((f"  ({raw['weights'][i] / total:.0%})", "quiet"),) if total else ()
        below.append(Branch((*made.pieces, *share), made.below))
    title = f"one of {len(options)}"
    return Branch(((f"{name}: " if name else "", ""), (title, "decision"), (_beside(raw), "quiet")), tuple(below))


def _option_entry(option: Any) -> Branch:
    branches = _entries(option)
    return branches[0] if len(branches) == 1 else Branch((("in a row", "quiet"),), tuple(branches))


def _option_value(option: Any) -> Branch:
    inline = _inline(option)
    if inline:
        return Branch(tuple(inline))
    if isinstance(option, dict) and len(option) == 1 and not forms_in(option):
        ((name, held),) = option.items()
        return _value(name, held)
    return _value("", option)


# In one line ---------------------------------------------------------------------------------------------------------


def _inline(raw: Any) -> list[tuple[str, str]]:
    """A value without structure as pieces of one line; none where it has some."""
    if not isinstance(raw, dict | list):
        return [(str(raw) if isinstance(raw, str) else flow(raw), "")]
    if isinstance(raw, list):
        return [] if any(isinstance(item, dict | list) for item in raw) else [(flow(raw), "")]
    for form, write in (("int", _range), ("float", _range), ("literal", _literal), ("new", _new)):
        if form in raw:
            return write(raw)
    for form, mark in (("choice", " | "), ("subset", ", ")):
        options = raw.get(form)
        if options is not None:
            simple = not any(isinstance(option, dict | list) for option in options) and len(options) <= _MOST_OPTIONS
            words = mark.join(str(o) if isinstance(o, str) else flow(o) for o in options)
            before = "a subset of " if form == "subset" else ""
            weights = f" (weights {':'.join(map(flow, raw['weights']))})" if raw.get("weights") else ""
            return [(before + words, "decision"), (weights + _beside(raw), "quiet")] if simple else []
    return [] if raw else [("{}", "")]


def _range(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    low, high = raw["int"] if "int" in raw else raw["float"]
    step = f" in steps of {flow(raw['step'])}" if "step" in raw else ""
    log = " log" if raw.get("log") else ""
    ends = " to ".join(str(end) if isinstance(end, str) else flow(end) for end in (low, high))
    return [(f"{ends}{step}{log}", "decision"), (_beside(raw), "quiet")]


def _literal(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(flow(raw["literal"]), "")]


def _new(raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    depth = f" (to depth {raw['depth']})" if "depth" in raw else ""
    return [(f"new {raw['new']}", "decision"), (depth, "quiet")]


def _beside(raw: Mapping[str, Any]) -> str:
    """What a form says of itself: size, default, name."""
    said = [f"{key} {flow(raw[key])}" for key in ("size", "default", "name") if key in raw]
    return f" ({', '.join(said)})" if said else ""


# Decisions, one in a line --------------------------------------------------------------------------------------------


def decision_list(decisions: Sequence[Decision]) -> str:
    """Every decision as controllers see it: its path, and what it is drawn from."""
    width = max((len(decision.path) for decision in decisions), default=0)
    return "".join(f"{decision.path:<{width}}  {domain(decision)}\n" for decision in decisions)


def domain(decision: Decision) -> str:
    """What a decision is drawn from: ``16 | 24 | 32``, ``0 to 2``, ``0.01 to 0.2 log``."""
    if isinstance(decision, Index):
        labels = " | ".join(decision.labels[:_MOST_OPTIONS])
        return labels if decision.size <= _MOST_OPTIONS else f"{labels} | ... ({decision.size:,} in all)"
    kind = "integers " if isinstance(decision, Integer) else ""
    return f"{kind}{decision.low} to {decision.high}{' log' if decision.log else ''}"


def decision_plain(decision: Decision) -> dict[str, Any]:
    """A decision for programs."""
    plain: dict[str, Any] = {"path": decision.path, "kind": type(decision).__name__.lower()}
    if isinstance(decision, Index):
        plain |= {"size": decision.size, "labels": decision.labels, "weights": decision.weights}
        plain |= {"ordered": decision.ordered, "values": decision.values}
    else:
        plain |= {"low": decision.low, "high": decision.high, "log": decision.log}
    return plain | {"default": decision.default, "name": decision.name or None}


# Counts and costs ----------------------------------------------------------------------------------------------------


def count(coefficients: Sequence[int], *, constrained: bool = False) -> str:
    """How many candidates: exact, or what real numbers multiply; see space.Count. Constraints are not counted with.

    >>> count([15_625])
    '15,625 candidates'
    >>> count([126], constrained=True)
    '126 candidates before constraints'
    >>> count([0, 96, 96])
    '192 candidates, and in each of them 1 to 2 real numbers besides'
    """
    candidates = f"{large(sum(coefficients))} candidate{'s' * (sum(coefficients) != 1)}"
    if constrained:
        candidates += " before constraints"
    powers = [power for power, coefficient in enumerate(coefficients) if coefficient]
    low, high = (powers[0], powers[-1]) if powers else (0, 0)
    if not high:
        return candidates
    numbers = f"{low} to {high}" if low != high else str(low)
    return f"{candidates}, and in each of them {numbers} real number{'s' * (high > 1)} besides"


def large(value: int) -> str:
    """``15,625``; from 10^15 on in powers of ten.

    >>> large(15_625), large(6**12 * 2**66)
    ('15,625', '1.61e29')
    """
    if value < 10**15:
        return f"{value:,}"
    power = len(str(value)) - 1
    mantissa = value / 10**power
    return f"{mantissa:.2f}e{power}" if mantissa < 9.995 else f"1.00e{power + 1}"


def page(found: Mapping[str, Any]) -> str:
    """What `nas space check` found (inspect.Check.plain()), ending in a newline."""
    low, high = found["active_decisions"]
    active = f"{low} to {high}" if low != high else str(low)
    lines = [
        f"{found['name']}: {found['file']}",
        *_task_line(found),
        f"{found['decisions']:,} decisions, {active} of them active in a candidate",
        _count(found),
        *_rejected(found),
        *_invalid(found),
    ]
    if found["costs"]:
        lines += ["", *_costs(found["costs"])]
    elif found["works"]:
        lines.append(found["costs_from"])
    return "\n".join(lines) + "\n"


def _task_line(found: Mapping[str, Any]) -> Iterator[str]:
    if found["task"]:
        values = ", ".join(f"{name} {value}" for name, value in found["task"].items())
        yield f"task of {found['task_from']}: {values}" if found["task_from"] != "--task" else f"task: {values}"


def _count(found: Mapping[str, Any]) -> str:
    if not found["count"]:
        return str(found["uncounted"])
    return count(found["count"]["by_free_floats"], constrained=bool(found["constraints"]))


def _rejected(found: Mapping[str, Any]) -> Iterator[str]:
    """Each constraint that rejects some, on its own: a sample may violate several."""
    samples, violated = found["samples"], found["violated"]
    yield f"{_percent(found['rejected'], samples)} of {samples:,} samples are rejected by constraints"
    for constraint, times in violated.items():
        alone = found["violated_alone"].get(constraint, 0)
        beside = f" ({_percent(alone, samples)} by it alone)" if len(violated) > 1 else ""
        yield f"  {_percent(times, samples)}: {constraint}{beside}"


def _invalid(found: Mapping[str, Any]) -> Iterator[str]:
    """The share of the samples, and the most frequent reasons."""
    samples, reasons = found["samples"], found["invalid"]
    yield f"{_percent(sum(reasons.values()), samples)} of {samples:,} samples cannot be built"
    for reason, times in list(reasons.items())[:_MOST_REASONS]:
        yield f"  {_percent(times, samples)}: {reason}"
    if len(reasons) > _MOST_REASONS:
        yield f"  and {len(reasons) - _MOST_REASONS} other reasons"


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if 0 < part < whole else f"{part / whole:.0%}"


def _costs(costs: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """A small table: each cost at 5, 50 and 95 % of the samples."""
    quantiles = list(next(iter(costs.values())))
    rows = [["of the others, at", *quantiles]]
    for name, values in costs.items():
        written = size if name == "memory" else text.count
        rows.append([name, *(written(value) for value in values.values())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for first, *others in rows:
        cells = (f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True))
        yield f"{first:<{widths[0]}}  {'  '.join(cells)}"


def size(value: float) -> str:
    """Bytes in three digits and a unit of 1024.

    >>> [size(x) for x in (512, 1536, 3 * 2**30)]
    ['512 B', '1.5 KiB', '3 GiB']
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1024
    return f"{value:.3g} TiB"
