"""The words that the language keeps for itself, and the shapes that both readers and writers of it must agree on."""

from __future__ import annotations

import difflib
from functools import lru_cache
from typing import Any

# Keys that make a mapping a form instead of a plain value. `define` is one so that a misplaced one is noticed.
FORMS = ("choice", "int", "float", "subset", "repeat", "sequence", "graph", "new", "literal", "define")
FUNCTIONS = ("min", "max", "round", "abs", "floor", "ceil")
COSTS = ("parameters", "flops", "memory", "depth", "latency")
RESERVED = frozenset((*FORMS, *FUNCTIONS, *COSTS, "task", "path", "value", "active", "and", "or", "not", "none"))


def is_number(value: Any) -> bool:
    """Numbers of the language: booleans are none, though Python counts them as integers."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def forms_in(value: Any) -> list[str]:
    """The form words among a mapping's keys."""
    return [word for word in FORMS if word in value] if isinstance(value, dict) else []


def mistaken_form(value: Any) -> str:
    """The form that ``{chioce: [3, 5]}`` was probably meant to be, or "". Short words are too near to others."""
    if not isinstance(value, dict) or len(value) != 1 or forms_in(value):
        return ""
    ((word, held),) = value.items()
    return _near_form(word) if isinstance(held, list | dict) else ""


@lru_cache(4096)  # asked for every small mapping of every candidate
def _near_form(word: str) -> str:
    found = difflib.get_close_matches(word, [form for form in FORMS if len(form) > 4], n=1, cutoff=0.8)
    return found[0] if found else ""


def is_layer_list(value: Any) -> bool:
    """Whether a list that is the whole value of a layer (`residual: [...]`) holds layers: it holds no number.

    `{adaptive_pool: [2, 2]}` is a pair of numbers, `{residual: [conv3, norm]}` a list of layers. The rule looks at
    the text alone, because this package does not know the layers; `{literal: [...]}` makes any list a plain value.
    """
    return isinstance(value, list) and not any(is_number(item) or isinstance(item, bool) for item in value)
