"""Numbers, durations and candidates as people read them. Every page and table of nas.report writes them alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nas.reward import Front


def number(value: float | None) -> str:
    """A metric or a reward: four decimals where that says something, four digits elsewhere; "-" for None.

    >>> [number(x) for x in (1.0, 0.98333, 6.0, -12.5, 0.00001234, 1234.5678, 1.5e8, None)]
    ['1.0000', '0.9833', '6', '-12.5', '1.234e-05', '1,235', '150M', '-']
    """
    if value is None:
        return "-"
    size = abs(value)
    if 2 <= size < 1000 and float(value).is_integer():
        return f"{value:.0f}"  # a count, such as epochs
    if value == 0 or 0.001 <= size < 10:
        return f"{value:.4f}"
    if size >= 1e6:
        return count(value)
    return f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"


def count(value: float | None) -> str:
    """Parameters and FLOPs in three digits and a letter (k, M, G, T, P, E: powers of 1000); "-" for None.

    >>> [count(x) for x in (7, 999, 36_400, 1.2e6, 999_999, 3e10, 1e308, None)]
    ['7', '999', '36.4k', '1.2M', '1M', '30G', '1e+308', '-']
    """
    if value is None:
        return "-"
    left = value
    for letter in ("", "k", "M", "G", "T", "P", "E"):
        if abs(left) < 999.5:
            return f"{left:.3g}{letter}"
        left /= 1000
    return f"{value:.3g}"


def front(told: Front) -> str:
    """A front in words.

    >>> from nas.reward import Front
    >>> front(Front({"accuracy": "maximize", "flops": "minimize"}, 3, 9, 8e5, {"accuracy": 0.1, "flops": 1e6}, False))
    '3 of 9 trials; hypervolume 800,000 beyond accuracy 0.1000, flops 1M (the worst of each so far)'
    """
    point = ", ".join(f"{name} {number(value)}" for name, value in told.reference.items())
    whose = "the config's reference" if told.given else "the worst of each so far"
    return f"{told.trials} of {told.of} trials; hypervolume {number(told.hypervolume)} beyond {point} ({whose})"


def duration(seconds: float | None) -> str:
    """Seconds as the largest two units; "-" for None.

    >>> [duration(x) for x in (0.123, 4.1, 75, 3_725, 90_000, None)]
    ['0.12s', '4.1s', '1m15s', '1h02m', '1d01h', '-']
    """
    if seconds is None:
        return "-"
    if seconds < 59.95:
        return f"{seconds:.2g}s" if seconds < 10 else f"{seconds:.0f}s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def spent(seconds: Any) -> str:
    """Where a training's time went, as the trainer noted it; "" for what somebody else noted under that name.

    >>> spent({"data": 0.1, "forward": 1.2, "backward": 2.4, "optimizer": 0.04, "evaluation": 0.26})
    'data 2 %, forward 30 %, backward 60 %, optimizer 1 %, evaluation 6 % of 4s'
    """
    if not isinstance(seconds, Mapping) or not all(isinstance(one, int | float) for one in seconds.values()):
        return ""
    total = sum(seconds.values())
    shares = ", ".join(f"{phase} {part / total * 100:.0f} %" for phase, part in seconds.items()) if total > 0 else ""
    return shares and f"{shares} of {duration(total)}"


def hyperparameters(values: Mapping[str, Any]) -> str:
    """Hyperparameters in one line.

    >>> hyperparameters({"batch_size": 256, "optimizer": {"adamw": {"learning_rate": 0.0031234567}}})
    'batch_size 256, optimizer adamw(learning_rate 0.003123)'
    """
    return ", ".join(f"{key} {_value(value)}".rstrip() for key, value in values.items())


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case float():
            return f"{value:.4g}"
        case None:
            return "none"
        case Mapping() if len(value) == 1 and isinstance(inner := next(iter(value.values())), Mapping):
            return str(next(iter(value))) + (f"({hyperparameters(inner)})" if inner else "")
        case Mapping():
            return f"({hyperparameters(value)})"
        case list() | tuple():
            return "[" + ", ".join(map(_value, value)) + "]"
        case _:
            return str(value)
