"""Regret against evaluations as SVG: one panel for each benchmark, a line for each contender.

A line is the mean over seeds, its band two standard errors to both sides. Not the median: where most runs have found
the best row it is 0, and a logarithmic axis ends. Left out: any plotting library: it would be the heaviest thing here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from nas.bench.measures import curve
from nas.bench.recorded import Recorded
from nas.bench.tournament import Results

Floats = NDArray[np.float64]

POINTS = 120  # of a line
PANEL, GAP, MARGIN = (460.0, 300.0), 74.0, (64.0, 74.0)  # width and height; between panels; left and top
ABREAST = 3
COLOURS = ("#c2410c", "#2563eb", "#15803d", "#7c3aed", "#0e7490", "#be185d", "#475569", "#a16207")
INK, QUIET, GRID = "#1e293b", "#64748b", "#e2e8f0"
FONT = "ui-sans-serif, system-ui, Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Line:
    """One contender's: at each number of evaluations the mean regret, and the band around it."""

    name: str
    colour: str
    at: Floats
    mean: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    what: str  # is drawn, upwards
    lines: Sequence[Line]


def svg(benchmarks: Sequence[Recorded], results: Sequence[Results]) -> str:
    """The picture of a whole comparison."""
    names = list(dict.fromkeys(name for found in results for name, runs in found.items() if runs))
    colours = {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}
    panels = [panel(*pair, colours) for pair in zip(benchmarks, results, strict=True)]
    columns = min(ABREAST, len(panels))
    rows = -(-len(panels) // columns)
    legend = list(_legend(colours))
    width = max(2 * MARGIN[0] + columns * PANEL[0] + (columns - 1) * GAP, MARGIN[0] + legend[-1][0] + 160)
    height = MARGIN[1] + rows * (PANEL[1] + GAP)
    parts = [words for _, words in legend]
    for index, one in enumerate(panels):
        x = MARGIN[0] + index % columns * (PANEL[0] + GAP)
        y = MARGIN[1] + index // columns * (PANEL[1] + GAP)
        parts += _draw(one, x, y)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="{FONT}">\n'
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def panel(recorded: Recorded, results: Results, colours: dict[str, str]) -> Panel:
    """What there is to draw of one benchmark."""
    most = max((len(trace.rows) for runs in results.values() for trace in runs.values()), default=1)
    points = sorted({max(1, round(point)) for point in np.linspace(1, most, POINTS)})
    lines = []
    for name, runs in results.items():
        if not runs:
            continue
        regrets = np.array([curve(recorded, trace, points) for trace in runs.values()])
        there = np.isfinite(regrets).all(axis=0)  # once all runs had a first success
        mean = regrets[:, there].mean(axis=0)
        error = regrets[:, there].std(axis=0, ddof=min(1, len(regrets) - 1)) / math.sqrt(len(regrets))
        at = np.array(points, float)[there]
        lines.append(Line(name, colours[name], at, mean, mean - 2 * error, mean + 2 * error))
    seeds = max((len(runs) for runs in results.values()), default=0)
    what = "share of the hypervolume missing" if recorded.wish.objectives else "regret"
    return Panel(f"{recorded.name}, {recorded.dataset}, {recorded.protocol_name}: {seeds} seeds", f"mean {what}", lines)


# Drawing -------------------------------------------------------------------------------------------------------------


def _legend(colours: dict[str, str]) -> Iterator[tuple[float, str]]:
    """(x, lines) of each name above the panels."""
    x = MARGIN[0]
    for name, colour in colours.items():
        dash = f'<line x1="{x:.1f}" x2="{x + 22:.1f}" y1="22" y2="22" stroke="{colour}" stroke-width="3"/>'
        yield x, dash + _text(x + 28, 26.5, name, 13)
        x += 46 + 7.6 * len(name)


def _draw(panel: Panel, x: float, y: float) -> Iterator[str]:
    width, height = PANEL
    yield _text(x, y - 10, panel.title, 13, INK, 600)
    shown = [line for line in panel.lines if len(line.at)]
    if not shown:
        yield _text(x + width / 2, y + height / 2, "nothing succeeded", 13, QUIET)
        return
    most = max(float(line.at[-1]) for line in shown)
    positive = np.concatenate([line.mean[line.mean > 0] for line in shown])
    low = _down(float(positive.min())) if len(positive) else 0.1
    high = max(float(positive.max()) if len(positive) else 1.0, 2 * low)

    def right(at: Floats) -> Floats:
        return np.asarray(x + at / most * width)

    def up(regret: Floats) -> Floats:
        share = np.log(np.clip(regret, low, high) / low) / math.log(high / low)
        return np.asarray(y + height * (1 - share))

    for tick in _ticks(low, high):
        at = float(up(np.array(tick)))
        yield f'<line x1="{x}" x2="{x + width}" y1="{at:.1f}" y2="{at:.1f}" stroke="{GRID}"/>'
        yield _text(x - 8, at + 4, f"{tick:g}", 11, QUIET, anchor="end")
    for tick in _steps(most):
        at = float(right(np.array(tick)))
        yield f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y + height}" y2="{y + height + 4}" stroke="{QUIET}"/>'
        yield _text(at, y + height + 18, f"{tick:g}", 11, QUIET, anchor="middle")
    yield f'<line x1="{x}" x2="{x + width}" y1="{y + height}" y2="{y + height}" stroke="{QUIET}"/>'
    yield _text(x + width / 2, y + height + 36, "evaluations", 12, QUIET, anchor="middle")
    yield (
        f'<text transform="translate({x - 46:.1f} {y + height / 2:.1f}) rotate(-90)" font-size="12" fill="{QUIET}" '
        f'text-anchor="middle">{panel.what}</text>'
    )
    for line in shown:
        there, back = right(line.at), right(line.at[::-1])
        edge = _points(np.concatenate([there, back]), np.concatenate([up(line.high), up(line.low[::-1])]))
        yield f'<polygon points="{edge}" fill="{line.colour}" fill-opacity="0.14"/>'
    for line in shown:
        path = _points(right(line.at), up(line.mean))
        yield f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>'


def _points(xs: Floats, ys: Floats) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))


def _text(
    x: float, y: float, text: str, size: float, colour: str = INK, weight: int = 400, anchor: str = "start"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )


def _down(value: float) -> float:
    """1, 2 or 5 times a power of ten, at most ``value``."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(step * power for step in (1, 2, 5) if step * power <= value * (1 + 1e-9))


def _ticks(low: float, high: float) -> list[float]:
    """Of a logarithmic axis: powers of ten, with 2 and 5 between where there are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if len(powers) <= 5 else (1,)
    found = [step * 10.0**power for power in powers for step in steps]
    return [tick for tick in found if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]


def _steps(most: float) -> list[float]:
    """Of a linear axis from 0: four to eight round numbers."""
    step = _down(most / 4)
    return [step * index for index in range(int(most / step + 1e-9) + 1)]
