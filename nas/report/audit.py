"""An audit in words: the sample, how well its two orders agree, and what follows. And the warning of a leaderboard."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from nas.correlation import FEWEST
from nas.report import text

WIDTH = 100  # columns of what is prose
MEASURES = {"kendall": "Kendall's tau-b", "spearman": "Spearman's rho"}


def page(audit: Mapping[str, Any], run: str) -> str:
    """``audit``: Audit.plain(); ``run``: its folder, as the person wrote it."""
    trials = audit["trials"]
    shorter = sorted({one["epochs"] for one in trials}) or [0]
    searched = f"{shorter[0]}" if len(shorter) == 1 else f"{shorter[0]} to {shorter[-1]}"
    head = f"{len(trials)} of {audit['of']} ranked trials of {run}, trained for {audit['epochs']} epochs with their own"
    lines = [f"{head} seeds; in the search for {searched}", "", *_table(trials, list(audit["agreement"])), ""]
    for name, found in audit["agreement"].items():
        for key, title in MEASURES.items():
            title = title if len(audit["agreement"]) == 1 else f"{title} of {name}"
            lines.append(f"{title.ljust(16)}  {_estimate(found[key])}")
    few = f"; there is none of less than {FEWEST} trials" if len(trials) < FEWEST else ""
    lines += [f"Intervals: 95 %, by Fisher's z; n = {len(trials)}{few}.", "", *textwrap.wrap(verdict(audit), WIDTH)]
    lines += textwrap.wrap(_dtypes(trials), WIDTH)
    return "\n".join(lines) + "\n"


def _dtypes(trials: Sequence[Mapping[str, Any]]) -> str:
    """Of the trainings, where they are not all in one."""
    alike: dict[tuple[str | None, str | None], list[str]] = {}
    for one in trials:
        alike.setdefault((one["dtype"], one["full_dtype"]), []).append(str(one["trial"]))
    if len({dtype for both in alike for dtype in both if dtype}) < 2:
        return ""
    told = "; ".join(f"{search}, in full {full}: trials {', '.join(named)}" for (search, full), named in alike.items())
    return f"Compared across dtypes, so a small difference may be the dtype's. In the search {told}."


def verdict(audit: Mapping[str, Any]) -> str:
    """Whether ranks can be relied on, in a sentence or two."""
    least, wide = audit["threshold"], any(one["kendall"]["low"] is None for one in audit["agreement"].values())
    if audit["low"]:
        return (
            f"Tau is below {least}: the search's order says little about that of full training{_spread(audit)}. Let it "
            "train longer (train.epochs), or choose among its best by full training: --sample with more of them."
        )
    unsure = wide or any(one["kendall"]["low"] < least for one in audit["agreement"].values())
    more = f" The interval reaches below {least}: a larger --sample would say more." if unsure else ""
    return f"Tau is not below {least}: the search orders candidates much as full training does.{more}"


def _spread(audit: Mapping[str, Any]) -> str:
    """How far apart they are in full: ranks between numbers that hardly differ may matter little."""
    if len(audit["agreement"]) > 1:
        return ""
    full = [value for one in audit["trials"] if one["full"] for value in one["full"].values()]
    return f", where they lie between {text.number(min(full))} and {text.number(max(full))}" if full else ""


def warning(briefs: Sequence[Mapping[str, Any]]) -> str:
    """For below a ranking: of the runs whose audits found their order to say little. ``briefs``: Audit.brief()."""
    low = [one for one in briefs if one and one["low"]]
    if not low:
        return ""
    told = ", ".join(dict.fromkeys(f"{_taus(one['kendall'])} ({one['trials']} trials)" for one in low))
    epochs = " or ".join(dict.fromkeys(str(one["epochs"]) for one in low))
    return (
        f"WARNING: these ranks are not to be relied on. An audit over {epochs} epochs found that the search's order "
        f"agrees little with that of full training: Kendall's tau-b {told}. Let the search train longer, or judge its "
        "best by full training; `nas audit RUN` tells more."
    )


def _taus(kendall: Any) -> str:
    if isinstance(kendall, Mapping):
        return ", ".join(f"{_number(tau)} by {name}" for name, tau in kendall.items())
    return _number(kendall)


def _table(trials: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    heads = ["reward"] if len(names) == 1 else list(names)
    rows = [["rank", "trial", "epochs", *heads, *(f"full {head}" for head in heads)]]
    for one in trials:
        signal = [text.number(one["signal"][name]) for name in names]
        full = [text.number(one["full"][name]) for name in names] if one["full"] else [one["failure"]] * len(names)
        rows.append([str(one["rank"]), str(one["trial"]), str(one["epochs"]), *signal, *full])
    sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.rjust(size) for cell, size in zip(row, sizes, strict=True)) for row in rows]


def _estimate(found: Mapping[str, Any]) -> str:
    if found["low"] is None:
        return _number(found["estimate"])
    return f"{_number(found['estimate'])}  ({found['low']:.2f} to {found['high']:.2f})"


def _number(estimate: float | None) -> str:
    return "none (all equal)" if estimate is None else f"{estimate:.2f}"
