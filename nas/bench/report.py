"""Results as text for people and as plain data for programs. The first contender is the one that is tested."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.bench.measures import Measure, better_than, holm, measures
from nas.bench.recorded import Recorded
from nas.bench.tournament import Results

QUANTILES = {"median": 0.5, "p10": 0.1, "p90": 0.9}
EARLY = {"diagnosis": "because most candidates failed alike", "exhausted": "with nothing left to propose"}


@dataclass(frozen=True, slots=True)
class Line:
    """One contender by one measure."""

    controller: str
    seeds: Sequence[int]
    measure: Measure
    chance: (
        float | None
    )  # p that the first contender is no better than this one, Holm-corrected; None: the first itself

    def plain(self) -> dict[str, Any]:
        """As JSON has it: None where a number is infinite."""
        told = {name: _finite(self.measure.quantile(share)) for name, share in QUANTILES.items()}
        return {
            "controller": self.controller,
            "n": len(self.seeds),
            **told,
            "mean": _finite(self.measure.mean),
            "failures": self.measure.failures,
            "p": self.chance,
            "values": {str(seed): _finite(v) for seed, v in zip(self.seeds, self.measure.values, strict=True)},
        }


def compare(recorded: Recorded, results: Results) -> dict[str, list[Line]]:
    """By measure, a line for each contender."""
    found: dict[str, list[Line]] = {}
    judged = {name: (list(runs), measures(recorded, list(runs.values()))) for name, runs in results.items() if runs}
    if not judged:
        return found
    first, (seeds, ours) = next(iter(judged.items()))
    for place, measure in enumerate(ours):
        mine = dict(zip(seeds, measure.values, strict=True))
        others = {name: (theirs, told[place]) for name, (theirs, told) in judged.items() if name != first}
        chances = holm(
            [
                better_than(mine, dict(zip(theirs, told.values, strict=True)), higher=measure.higher)
                for theirs, told in others.values()
            ]
        )
        found[measure.name] = [
            Line(first, seeds, measure, None),
            *(Line(name, *others[name], chance) for name, chance in zip(others, chances, strict=True)),
        ]
    return found


def page(recorded: Recorded, results: Results) -> str:
    """The tables of one benchmark as text."""
    compared = compare(recorded, results)
    width = max((len(name) for name in results), default=0) + 2
    out = [_heading(recorded, results)]
    for name, lines in compared.items():
        first = lines[0].controller
        titles = ["n", *QUANTILES, "mean", "failed", f"p ({first} better)" if len(lines) > 1 else ""]
        out.append(f"\n{name:{width}}" + "".join(f"{title:>10}" for title in titles[:-1]) + f"   {titles[-1]}".rstrip())
        for line in lines:
            numbers = [*(line.measure.quantile(share) for share in QUANTILES.values()), line.measure.mean]
            cells = [str(len(line.seeds)), *map(_number, numbers), str(line.measure.failures)]
            chance = "" if line.chance is None else f"{line.chance:.2g}"
            text = f"{line.controller:{width}}" + "".join(f"{cell:>10}" for cell in cells) + f"   {chance}"
            out.append(text.rstrip())
    return "\n".join(out) + "\n"


def plain(recorded: Recorded, results: Results) -> dict[str, Any]:
    """The same as plain JSON, with every seed's value."""
    told = {name: [line.plain() for line in lines] for name, lines in compare(recorded, results).items()}
    protocol = recorded.protocol.model_dump() | {"seconds": recorded.budget_seconds}
    where = {"benchmark": recorded.name, "dataset": recorded.dataset, "protocol": recorded.protocol_name}
    return {**where, "settings": protocol, "measures": told, "wall_seconds": _walls(results), "ended": _ends(results)}


def _walls(results: Results) -> Mapping[str, float]:
    """Mean seconds that a run took here."""
    walls = {name: [trace.wall_seconds for trace in runs.values()] for name, runs in results.items() if runs}
    return {name: math.fsum(times) / len(times) for name, times in walls.items()}


def _ends(results: Results) -> Mapping[str, Mapping[str, int]]:
    """Why searches ended, and how many of each contender's."""
    return {name: Counter(trace.reason for trace in runs.values()) for name, runs in results.items() if runs}


def _early(results: Results) -> str:
    """A table that lacks many candidates ends searches by the machine's diagnosis: that is no result."""
    told = []
    for reason, words in EARLY.items():
        counts = [f"{name} {ends[reason]}" for name, ends in _ends(results).items() if reason in ends]
        told += [f"{words}: {', '.join(counts)}"] if counts else []
    return "\nended before the budget " + "; ".join(told) if told else ""


def _heading(recorded: Recorded, results: Results) -> str:
    seeds = sorted({seed for runs in results.values() for seed in runs})
    protocol = recorded.protocol
    words = [
        f"{recorded.name}, {recorded.dataset}, {recorded.protocol_name}",
        f"seeds {seeds[0]} to {seeds[-1]}" if seeds else "no seeds",
        f"{protocol.evaluations:,} evaluations" if protocol.evaluations else "",
        f"{recorded.budget_seconds:,.0f} s" if recorded.budget_seconds else "",
        f"{protocol.workers:,} workers" if protocol.workers > 1 else "",
    ]
    walls = ", ".join(f"{name} {seconds:.1f}" for name, seconds in _walls(results).items())
    return "; ".join(filter(None, words)) + f"\nseconds a run took: {walls}{_early(results)}"


def _number(value: float) -> str:
    if not math.isfinite(value):
        return "inf"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
