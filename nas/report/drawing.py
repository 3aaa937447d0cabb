"""A candidate as a picture: layers are boxes, residual blocks and cells are frames with boxes inside, time runs down.

A *part* knows its size and draws itself at a place; it is entered at the middle of its top edge and left at the middle
of its bottom edge. So parts of parts need no layout engine: a stack puts them below each other, a frame around them.
Only the graph cell routes lines: its nodes stand in rows by their distance from the inputs, and an edge that passes a
row takes a lane beside it. What repeats is drawn once and marked with a number; what is tall is set in columns.

Left out: a drawing library. What is needed of SVG is a rectangle, a path, a circle and a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Entry = Mapping[str, Any]  # {layer: settings}
Lines = Iterator[str]

_FONT = "Inter, 'Helvetica Neue', Helvetica, Arial, sans-serif"
_INK, _QUIET, _LINE = "#1f2937", "#6b7280", "#94a3b8"
_HEIGHT = 28.0  # of a box
_STEP = 22.0  # between boxes, an arrow in it
_PAD = 16.0  # inside a frame
_TALLEST = 1000.0  # a column; what is taller is set in several
_GUTTER = 74.0  # between columns
_ROW = 40.0  # between rows of a graph
_LANE = 9.0  # between lanes beside a graph
_LONGEST_PERIOD = 16  # entries of a group that repeats

# Families of layers by what their names contain: fill and stroke. The first that fits.
_FAMILIES: tuple[tuple[tuple[str, ...], tuple[str, str]], ...] = (
    (("norm",), ("#f1f5f9", "#94a3b8")),
    (("activation", "squeeze"), ("#e7f6ec", "#4ba672")),
    (("pool", "upsample", "flatten", "reshape"), ("#fdf0e1", "#d9913d")),
    (("dropout", "depth_drop", "stochastic", "identity"), ("#ffffff", "#b6c0cd")),
    (("expert",), ("#fde8e8", "#d16060")),
    (("attention", "transformer", "position"), ("#fce7f3", "#c9609a")),
    (("gru", "lstm", "rnn"), ("#e0f5f5", "#3a9a9f")),
    (("conv", "bottleneck", "dense_block", "shuffle", "inverted", "separable"), ("#e6effc", "#4a80c8")),
    (("linear", "mlp", "embedding"), ("#eee9fc", "#7f65c9")),
)
_OTHER = ("#f8fafc", "#94a3b8")
_EDGES = ("#4a80c8", "#d9913d", "#4ba672", "#c9609a", "#7f65c9", "#3a9a9f", "#d16060", "#8a8f3c")
_BARE = ("filters", "units", "rate", "function", "kind")  # settings whose value says what it is
_FOLLOWERS = ("norm", "activation", "dropout")  # they belong to the layer before them


@dataclass(frozen=True, slots=True)
class Part:
    """Something to draw: its size, and its lines of SVG when it stands at (x, y), its upper left corner."""

    width: float
    height: float
    draw: Callable[[float, float], Lines]
    follows: bool = False  # sticks to what is above it
    beside: float = 0.0  # what is written to the right of it


def svg(
    title: str,
    architecture: Sequence[Entry],
    *,
    notes: Sequence[str] = (),
    shapes: Sequence[str] = (),
) -> str:
    """A picture of a network as SVG. ``shapes``: before the first entry and after each, as text, where known."""
    parts = [_capsule(f"input  {shapes[0]}" if shapes else "input"), *_entries(architecture, shapes[1:])]
    parts.append(_capsule(f"output  {shapes[-1]}" if shapes else "output"))
    columns = _columns(parts)
    header = [(title, 20, _INK, 600), *((note, 12.5, _QUIET, 400) for note in notes)]
    top = 50.0 + 22 * len(header)
    body = sum(column.width + column.beside for column in columns) + _GUTTER * (len(columns) - 1)
    width = 48 + max(body, *(_text_width(text, size) for text, size, _, _ in header))
    height = top + max(column.height for column in columns) + 30
    lines = [
        _text(24, 38 + 22 * i, text, size, colour, weight) for i, (text, size, colour, weight) in enumerate(header)
    ]
    lines += _draw_columns(columns, 24 + (width - 48 - body) / 2, top)
    return "\n".join([_opening(width, height), *lines, "</svg>"]) + "\n"


def _opening(width: float, height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{_FONT}">\n'
        f"<defs>{''.join(map(_tip, (_LINE, *_EDGES)))}</defs>\n"
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>'
    )


def _tip(colour: str) -> str:
    """The head of an arrow; a marker has a colour of its own."""
    return (
        f'<marker id="tip{colour[1:]}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" '
        f'orient="auto"><path d="M0 0.8 L7 4 L0 7.2 Z" fill="{colour}"/></marker>'
    )


# Pieces of SVG -------------------------------------------------------------------------------------------------------


def _text(
    x: float, y: float, text: str, size: float, colour: str = _INK, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}" xml:space="preserve">{escape(text)}</text>'
    )


def _text_width(text: str, size: float) -> float:
    """About: the average letter of a sans-serif face is a little more than half as wide as the face is high."""
    return len(text) * size * 0.56


def _rect(
    x: float, y: float, width: float, height: float, fill: str, stroke: str, radius: float, more: str = ""
) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius}" '
        f'fill="{fill}" stroke="{stroke}"{more}/>'
    )


def _path(points: Sequence[tuple[float, float]], colour: str = _LINE, *, tip: bool = True, width: float = 1.4) -> str:
    """A line along these points, which turns right angles with a small radius."""
    words = [f"M{points[0][0]:.1f} {points[0][1]:.1f}"]
    for before, (x, y), after in zip(points, points[1:], points[2:], strict=False):
        radius = min(7.0, _distance(before, (x, y)) / 2, _distance((x, y), after) / 2)
        ax, ay = _towards((x, y), before, radius)
        bx, by = _towards((x, y), after, radius)
        words.append(f"L{ax:.1f} {ay:.1f} Q{x:.1f} {y:.1f} {bx:.1f} {by:.1f}")
    words.append(f"L{points[-1][0]:.1f} {points[-1][1]:.1f}")
    return _line(" ".join(words), colour, tip=tip, width=width)


def _curve(start: tuple[float, float], end: tuple[float, float], colour: str, *, tip: bool = True) -> str:
    """A line that leaves and arrives upright."""
    (x, y), (to_x, to_y) = start, end
    half = (to_y - y) / 2
    words = f"M{x:.1f} {y:.1f} C{x:.1f} {y + half:.1f} {to_x:.1f} {to_y - half:.1f} {to_x:.1f} {to_y:.1f}"
    return _line(words, colour, tip=tip, width=1.5)


def _line(words: str, colour: str, *, tip: bool, width: float) -> str:
    end = f' marker-end="url(#tip{colour[1:]})"' if tip else ""
    return f'<path d="{words}" fill="none" stroke="{colour}" stroke-width="{width}"{end}/>'


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return abs(a[0] - b[0]) + abs(a[1] - b[1])


def _towards(a: tuple[float, float], b: tuple[float, float], by: float) -> tuple[float, float]:
    far = _distance(a, b) or 1.0
    return a[0] + (b[0] - a[0]) * by / far, a[1] + (b[1] - a[1]) * by / far


def _sum(x: float, y: float, sign: str = "+") -> Lines:
    """A circle around (x, y) in which lines are added."""
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="8" fill="#ffffff" stroke="{_LINE}" stroke-width="1.4"/>'
    yield _text(x, y + 4.2, sign, 13, _QUIET, 500, "middle")


# Parts ---------------------------------------------------------------------------------------------------------------


def _box(name: str, settings: str = "", *, shape: str = "", follows: bool = False) -> Part:
    """A layer; its output's shape stands to the right of it."""
    fill, stroke = next((look for words, look in _FAMILIES if any(word in name for word in words)), _OTHER)
    gap = "  " if settings else ""
    width = max(112.0, _text_width(name, 12.5) + _text_width(gap + settings, 12) + 26)
    dashed = ' stroke-dasharray="3 3"' if fill == "#ffffff" else ""

    def draw(x: float, y: float) -> Lines:
        yield _rect(x, y, width, _HEIGHT, fill, stroke, 6, dashed)
        yield (
            f'<text x="{x + width / 2:.1f}" y="{y + 18.3:.1f}" font-size="12.5" fill="{_INK}" text-anchor="middle" '
            f'xml:space="preserve"><tspan font-weight="600">{escape(name)}</tspan>'
            f'<tspan font-size="12" fill="#475569">{escape(gap + settings)}</tspan></text>'
        )
        if shape:
            yield _text(x + width + 8, y + 18, shape, 10.5, _QUIET)

    return Part(width, _HEIGHT, draw, follows, _beside(shape))


def _beside(shape: str) -> float:
    return 8 + _text_width(shape, 10.5) if shape else 0.0


def _capsule(text: str) -> Part:
    width = _text_width(text, 12) + 34

    def draw(x: float, y: float) -> Lines:
        yield _rect(x, y, width, 26, "#334155", "#334155", 13)
        yield _text(x + width / 2, y + 17.3, text, 12, "#ffffff", 500, "middle")

    return Part(width, 26, draw)


def _stack(parts: Sequence[Part], step: float = _STEP) -> Part:
    """Parts below each other, an arrow between any two of which the second does not follow at once."""
    gaps = [4.0 if part.follows else step for part in parts[1:]]
    width = max((part.width for part in parts), default=0.0)
    height = sum(part.height for part in parts) + sum(gaps)

    def draw(x: float, y: float) -> Lines:
        middle = x + width / 2
        for part, gap in zip(parts, [*gaps, 0.0], strict=True):
            yield from part.draw(middle - part.width / 2, y)
            y += part.height
            if gap == step:
                yield _path([(middle, y), (middle, y + gap)])
            elif gap:
                yield _path([(middle, y), (middle, y + gap)], tip=False)
            y += gap

    beside = max((part.width / 2 + part.beside for part in parts), default=0.0) - width / 2
    return Part(width, height, draw, beside=max(beside, 0.0))


def _frame(title: str, inner: Part, *, shape: str = "", around: str = "") -> Part:
    """A frame around a part; ``around`` is the sign under which a line that leads around it meets what it gives."""
    side = 24.0 if around else 0.0
    width = max(inner.width + 2 * (_PAD + side), _text_width(title, 11) + 2 * _PAD)
    head, foot = 30.0, 32.0 if around else 12.0
    height = head + inner.height + foot

    def draw(x: float, y: float) -> Lines:
        middle, end = x + width / 2, y + head + inner.height
        yield _rect(x, y, width, height, "#f8fafc", "#cbd5e1", 10)
        yield _text(x + 11, y + 16.5, title, 11, _QUIET, 600)
        yield _path([(middle, y), (middle, y + head)])
        if around:
            right = x + width - 14
            yield _path([(middle, y + 22), (right, y + 22), (right, end + 18), (middle + 9, end + 18)])
            yield _path([(middle, end), (middle, end + 9.5)])
            yield _path([(middle, end + 26), (middle, y + height)], tip=False)
            yield from _sum(middle, end + 18, around)
            if around == "c":
                yield _text(middle + 14, end + 13, "concat", 10, _QUIET)
        else:
            yield _path([(middle, end), (middle, y + height)], tip=False)
        yield from inner.draw(middle - inner.width / 2, y + head)
        if shape:
            yield _text(x + width + 8, y + height - 6, shape, 10.5, _QUIET)

    return Part(width, height, draw, beside=_beside(shape))


def _repeated(inner: Part, times: int) -> Part:
    """A group that stands several times in a row."""
    width, height = inner.width + 2 * 13, inner.height + 2 * 11

    def draw(x: float, y: float) -> Lines:
        middle = x + width / 2
        dashes = ' stroke-dasharray="5 4" stroke-width="1.3"'
        yield _rect(x, y, width, height, "#fcfcfd", "#9aa6b6", 12, dashes)
        yield _path([(middle, y), (middle, y + 11)], tip=False)
        yield from inner.draw(x + 13, y + 11)
        yield _path([(middle, y + height - 11), (middle, y + height)], tip=False)
        yield _rect(x - 17, y + height / 2 - 11, 34, 22, "#334155", "#334155", 11)
        yield _text(x, y + height / 2 + 4.4, f"{times}×", 12, "#ffffff", 600, "middle")

    return Part(width, height, draw)


# Columns -------------------------------------------------------------------------------------------------------------


def _columns(parts: Sequence[Part]) -> list[Part]:
    """The parts in as many stacks, of about equal height, as keep each below _TALLEST."""
    whole = _stack(parts).height
    count = max(1, -(-int(whole) // int(_TALLEST)))
    columns: list[list[Part]] = [[]]
    room = whole / count
    for part in parts:
        full = _stack(columns[-1]).height + part.height / 2 > room
        if columns[-1] and full and len(columns) < count and not part.follows:
            columns.append([])
        columns[-1].append(part)
    return [_stack(column) for column in columns]


def _draw_columns(columns: Sequence[Part], x: float, y: float) -> Lines:
    """Side by side; a line leads from the end of each to the beginning of the next."""
    for column, following in zip(columns, [*columns[1:], None], strict=True):
        if following is not None:
            edge = x + column.width + column.beside
            start, end = x + column.width / 2, edge + _GUTTER + following.width / 2
            between, bottom = edge + _GUTTER * 0.5, y + column.height
            points = [(start, bottom), (start, bottom + 14), (between, bottom + 14), (between, y - 16), (end, y - 16)]
            yield _path([*points, (end, y)])
        yield from column.draw(x, y)
        x += column.width + column.beside + _GUTTER


# Layers --------------------------------------------------------------------------------------------------------------


def _entries(entries: Sequence[Entry], shapes: Sequence[str] = ()) -> list[Part]:
    """A part for each entry, or for each group of entries that repeats."""
    parts: list[Part] = []
    start = 0
    while start < len(entries):
        period, times = _repeating(entries, start)
        group = [
            _layer(*next(iter(entry.items())), _changed(shapes, start + i + (times - 1) * period))
            for i, entry in enumerate(entries[start : start + period])
        ]
        parts += [_repeated(_stack(group), times)] if times > 1 else group
        start += period * times
    return parts


def _changed(shapes: Sequence[str], index: int) -> str:
    """The shape after an entry, where it is not the one before it."""
    known = index < len(shapes)
    return shapes[index] if known and (index == 0 or shapes[index] != shapes[index - 1]) else ""


def _repeating(entries: Sequence[Entry], start: int) -> tuple[int, int]:
    """The group that repeats from ``start`` on: its length, and how often it stands there."""
    period, times = 1, 1
    for length in range(1, min(_LONGEST_PERIOD, (len(entries) - start) // 2) + 1):
        group, count = entries[start : start + length], 1
        while entries[start + count * length : start + (count + 1) * length] == group:
            count += 1
        if (count - 1) * length > (times - 1) * period:
            period, times = length, count
    return period, times


def _layer(name: str, settings: Any, shape: str = "") -> Part:
    if name == "graph" and isinstance(settings, Mapping) and isinstance(settings.get("nodes"), list):
        return _frame(_said("graph", settings, ("nodes", "inputs")), _graph(settings), shape=shape)
    if _holds_layers(settings):
        return _frame(name, _inside(settings), shape=shape, around=_around(name))
    if isinstance(settings, Mapping):
        held = [key for key, value in settings.items() if _holds_layers(value)]
        if held:
            title = _said(name, settings, held)
            inner = [_inside(settings[key]) for key in held]
            return _frame(title, _stack(inner), shape=shape, around=_around(name))
        text = ", ".join(filter(None, map(_setting, settings, settings.values())))
    else:
        text = _word(settings)
    return _box(name, text, shape=shape, follows=name in _FOLLOWERS or name.endswith("_norm"))


def _around(name: str) -> str:
    """What is done with what leads around a layer's own layers: added, concatenated, or "" where nothing does."""
    return "+" if "residual" in name else "c" if name == "skip" else ""


def _inside(entries: Sequence[Entry]) -> Part:
    return _stack(_entries(entries)) if entries else _box("nothing")


def _said(name: str, settings: Mapping[str, Any], but: Sequence[str]) -> str:
    return ", ".join([name, *(_setting(key, value) for key, value in settings.items() if key not in but)])


def _holds_layers(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, Mapping) and len(v) == 1 for v in value)


def _setting(name: str, value: Any) -> str:
    if name in _BARE:
        return _word(value)
    return f"{name.replace('_', ' ')} {_word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    if isinstance(value, Mapping):
        return ", ".join(_setting(key, held) for key, held in value.items())
    return str(value)


# Graph cells ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a graph in its row: operations side by side, what they give merged in a circle below them."""

    name: str
    sources: tuple[int, ...]
    ops: tuple[Part, ...]  # one for each source, one for their merge, or none
    sign: str = ""  # in the circle

    @property
    def width(self) -> float:
        return max(40.0, sum(op.width for op in self.ops) + 14.0 * max(0, len(self.ops) - 1))

    @property
    def height(self) -> float:
        return max((op.height for op in self.ops), default=0.0) + (20.0 if self.ops else 0.0) + 20.0


def _graph(settings: Mapping[str, Any]) -> Part:
    inputs = settings.get("inputs", [-1])
    merge = settings.get("merge", "sum")
    nodes = [_Node(str(offset).replace("-", "−"), (), ()) for offset in inputs]
    nodes += [_node(node, str(len(inputs) + i), merge) for i, node in enumerate(settings["nodes"])]
    output = settings.get("output", "last")
    if output != "last":
        fed = {source for node in nodes for source in node.sources}
        computed = range(len(inputs), len(nodes))
        nodes.append(_Node("", tuple(i for i in computed if output == "all" or i not in fed), (), "c"))
    ranks: list[int] = []
    for node in nodes:
        ranks.append(1 + max((ranks[source] for source in node.sources), default=0) if node.sources else 0)
    ranks[len(inputs) :] = [max(rank, 1) for rank in ranks[len(inputs) :]]
    if output == "last":
        ranks[-1] = max(ranks)  # it stands at the end, even where others are as far from the inputs
    return _routed(nodes, ranks)


def _node(node: Mapping[str, Any], name: str, merge: str) -> _Node:
    ops = [node["op"]] if "op" in node else node["ops"]
    parts = tuple(_stack([*_entries(op)] or [_box("identity")], 8.0) for op in ops)
    sign = {"sum": "+", "mean": "µ", "concat": "c"}[node.get("merge", merge)]
    return _Node(name, tuple(node["from"]), parts or (_box("zeros"),), sign)


def _routed(nodes: Sequence[_Node], ranks: Sequence[int]) -> Part:
    """Rows of nodes, and their edges: straight where they lead to the next row, else through a lane beside the rows."""
    rows = [[i for i, rank in enumerate(ranks) if rank == row] for row in range(max(ranks) + 1)]
    widths = [sum(nodes[i].width for i in row) + 34.0 * (len(row) - 1) for row in rows]
    heights = [max(nodes[i].height for i in row) for row in rows]
    long = [(s, t, e) for t, node in enumerate(nodes) for e, s in enumerate(node.sources) if ranks[t] - ranks[s] > 1]
    lanes = {edge: lane for lane, edge in enumerate(sorted(long, key=lambda e: (ranks[e[1]] - ranks[e[0]], e)))}
    inner = max(widths)
    side = 16.0 + _LANE * -(-len(lanes) // 2) if lanes else 0.0
    row_gap = _ROW + min(30.0, 3.0 * len(lanes))
    height = sum(heights) + row_gap * (len(rows) - 1)

    def draw(x: float, y: float) -> Lines:
        tops = [y + sum(heights[:row]) + row_gap * row for row in range(len(rows))]
        places: dict[int, tuple[float, float]] = {}  # of circles
        left, right = x + side, x + side + inner
        for row, members in enumerate(rows):
            at = left + (inner - widths[row]) / 2
            for i in members:
                places[i] = (at + nodes[i].width / 2, tops[row] + nodes[i].height - 10)
                at += nodes[i].width + 34.0
        for i, node in enumerate(nodes):
            entries = list(_entrances(node, places[i][0], tops[ranks[i]]))
            for edge, source in enumerate(node.sources):
                end = entries[min(edge, len(entries) - 1)]
                lane = lanes.get((source, i, edge))
                yield _edge(places[source], end, _EDGES[source % len(_EDGES)], lane, (left, right))
        for i, node in enumerate(nodes):
            yield from _draw_node(node, places[i], tops[ranks[i]], _EDGES[i % len(_EDGES)])

    return Part(inner + 2 * side, height, draw)


def _entrances(node: _Node, middle: float, top: float) -> Iterator[tuple[float, float]]:
    """Where edges end: at the tops of the operations, or at the circle."""
    if not node.ops:
        yield middle, top
    at = middle - (sum(op.width for op in node.ops) + 14.0 * (len(node.ops) - 1)) / 2
    for op in node.ops:
        yield at + op.width / 2, top
        at += op.width + 14.0


def _edge(
    start: tuple[float, float], end: tuple[float, float], colour: str, lane: int | None, sides: tuple[float, float]
) -> str:
    x, y = start[0], start[1] + 10
    if lane is None:
        return _curve((x, y), end, colour)
    out = 12.0 + _LANE * (lane // 2)
    beside = sides[1] + out if lane % 2 == 0 else sides[0] - out
    leave, arrive = y + 6 + 3 * (lane % 5), end[1] - 9 - 3 * (lane % 5)
    points = [(x, y), (x, leave), (beside, leave), (beside, arrive), (end[0], arrive), end]
    return _path(points, colour, width=1.5)


def _draw_node(node: _Node, place: tuple[float, float], top: float, colour: str) -> Lines:
    x, y = place
    for op, (middle, _) in zip(node.ops, _entrances(node, x, top), strict=False):
        yield _curve((middle, top + op.height), (x, y - 10), _LINE, tip=False)
        yield from op.draw(middle - op.width / 2, top)
    yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="10" fill="{colour}"/>'
    merged = len(node.sources) > 1
    yield _text(x, y + 4, node.name, 11, "#ffffff", 600, "middle")
    if node.sign and merged:
        yield _text(x + 15, y + 4, {"+": "sum", "µ": "mean", "c": "concat"}[node.sign], 10, _QUIET)
