"""An objective in steps that leaves its state and goes on from it, as a trial does that is paused or preempted."""

from __future__ import annotations

import json
from collections.abc import Callable

from nas.objective import Context


def stepwise(
    context: Context,
    steps: int,
    change: Callable[[float], float] = lambda value: value + 1.0,
    meanwhile: Callable[[int], object] = lambda step: None,
) -> tuple[int, float]:
    """Step and value that it came to, from where an earlier attempt left off. ``meanwhile``: before each report."""
    step, value = json.loads((context.saved / "state.json").read_text()) if context.saved else (0, 0.0)
    while step < steps:
        step, value = step + 1, change(value)
        meanwhile(step)
        if context.report(step, {"value": value}):
            break
    if context.folder and step < steps:
        (context.folder / "state.json").write_text(json.dumps([step, value]))
    return step, value
