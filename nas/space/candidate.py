"""A candidate: what a trainer sees. Concrete values only, and nothing of the decisions they came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from string import ascii_uppercase
from typing import Any

from nas.documents import copied
from nas.space.canonical import canonical
from nas.space.words import FORMS, RESERVED, is_layer_list, mistaken_form

_FORMS = frozenset(FORMS)
_AS_THEY_ARE = frozenset((int, float, bool, type(None)))  # are never quoted: most values, and each call counts
Entry = dict[str, Any]  # {layer: settings}; settings are a mapping, or the layer's one main value


@dataclass(frozen=True)  # no slots: the hash is cached on the instance
class Candidate:
    """``architecture`` is a list of ``{layer: settings}``, or None where the space has none.

    >>> Candidate([{"conv": {"filters": 32, "kernel": 3}}, {"activation": "relu"}], {"batch_size": 64}).one_line()
    'conv 32 k3 > relu'
    """

    architecture: list[Entry] | None
    hyperparameters: dict[str, Any]

    @staticmethod
    def of(data: Mapping[str, Any]) -> Candidate:
        """The candidate whose ``json()`` this is. Raises ValueError where it is no such mapping."""
        unknown = set(data) - {"architecture", "hyperparameters"}
        if unknown:
            raise ValueError(f"not a candidate: it has {', '.join(sorted(unknown))}")
        architecture = data.get("architecture")
        return Candidate(
            None if architecture is None else unquoted(architecture), unquoted(data.get("hyperparameters") or {})
        )

    def json(self) -> dict[str, Any]:
        """Plain JSON that is itself a valid space without decisions.

        A value that the language would take for a form or an expression (it came from ``{literal: ...}``) is written
        as a literal again; ``of`` takes that off.
        """
        data: dict[str, Any] = {"hyperparameters": quoted(self.hyperparameters)}
        if self.architecture is not None:
            data = {"architecture": _quoted_entries(self.architecture)} | data
        return data

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the canonical JSON (RFC 8785), in hexadecimal."""
        return sha256(canonical(self.json())).hexdigest()

    def one_line(self) -> str:
        """The architecture (or, without one, the hyperparameters) in one readable line."""
        if self.architecture is None:
            return ", ".join(f"{name}={_word(value)}" for name, value in self.hyperparameters.items())
        line = _layers(self.architecture)
        for letter, graph in zip(ascii_uppercase, _graphs(self.architecture), strict=False):
            if line.count(graph) > 1:  # a cell that is used again is written out once: A=graph(...) > A
                before, _, after = line.partition(graph)
                line = f"{before}{letter}={graph}{after.replace(graph, letter)}"
        return line


# Literals ------------------------------------------------------------------------------------------------------------


def quoted(value: Any) -> Any:
    """A copy in which whatever would be read as a form or an expression is a literal."""
    if isinstance(value, dict):
        if not _FORMS.isdisjoint(value) or (len(value) == 1 and mistaken_form(value)):
            return {"literal": copied(value)}
        return {key: held if type(held) in _AS_THEY_ARE else quoted(held) for key, held in value.items()}
    if isinstance(value, list):
        return [held if type(held) in _AS_THEY_ARE else quoted(held) for held in value]
    return {"literal": value} if isinstance(value, str) and value.startswith("=") else value


def unquoted(value: Any) -> Any:
    """A copy with the literals taken off."""
    if isinstance(value, dict):
        if len(value) == 1 and "literal" in value:
            return copied(value["literal"])
        return {key: unquoted(held) for key, held in value.items()}
    return [unquoted(held) for held in value] if isinstance(value, list) else value


def _quoted_entries(entries: list[Entry]) -> list[Entry]:
    return [{name: _quoted_settings(name, settings) for name, settings in entry.items()} for entry in entries]


def _quoted_settings(name: str, settings: Any) -> Any:
    if type(settings) in _AS_THEY_ARE:
        return settings
    if _is_graph(name, settings):
        nodes = [_quoted_node(node) for node in settings["nodes"]]
        return {name: nodes if name == "nodes" else quoted(value) for name, value in settings.items()}
    if not is_layer_list(settings):
        return quoted(settings)
    return _quoted_entries(settings) if all(map(_is_entry, settings)) else {"literal": copied(settings)}


def _quoted_node(node: dict[str, Any]) -> dict[str, Any]:
    if "op" in node:
        return node | {"op": _quoted_entries(node["op"])}
    return node | {"ops": [_quoted_entries(op) for op in node["ops"]]}


def _is_graph(name: str, settings: Any) -> bool:
    """Whether a layer is a graph as a candidate writes it (see tree_graph)."""
    return name == "graph" and isinstance(settings, dict) and isinstance(settings.get("nodes"), list)


def _is_entry(value: Any) -> bool:
    """Whether this is a layer as a candidate writes one, and not a value that only stands in a list."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    ((name, settings),) = value.items()
    if _is_graph(name, settings):
        return True
    return name not in RESERVED and not name.startswith("=") and settings is not None


# One readable line ---------------------------------------------------------------------------------------------------

_BARE = frozenset({"filters", "units", "rate"})  # settings whose number needs no name beside it
_SHORT = {"kernel": "k", "stride": "s", "groups": "g"}
_LONGEST_PERIOD = 16  # entries; what repeats is folded, and longer groups read no better folded


def _layers(entries: list[Entry]) -> str:
    return " > ".join(_folded([_layer(*next(iter(entry.items()))) for entry in entries]))


def _layer(name: str, settings: Any) -> str:
    if _is_graph(name, settings):
        return _graph(settings)
    if is_layer_list(settings):
        return f"{name}({_settings_list(settings)})"
    if isinstance(settings, dict):
        return " ".join([name, *filter(None, map(_setting, settings, settings.values()))])
    return _word(settings) if name == "activation" else f"{name} {_word(settings)}"


def _graphs(entries: list[Entry]) -> list[str]:
    """The different graphs of a list, as ``_layer`` writes them, in order."""
    found = (_layer(name, settings) for entry in entries for name, settings in entry.items() if name == "graph")
    return list(dict.fromkeys(found))


def _graph(settings: dict[str, Any]) -> str:
    """``graph(1 = conv 16 k3 @0; 2 = identity @0 + max_pool k3 @1)``: each node, what is done, and to which node."""
    first = len(settings.get("inputs", [-1]))
    nodes = [f"{first + i} = {_graph_node(node)}" for i, node in enumerate(settings["nodes"])]
    said = [
        f"{name} {_word(value)}" if name in ("match", "stride") else str(value)
        for name, value in settings.items()
        if name not in ("inputs", "nodes")
    ]
    return f"graph({'; '.join([*nodes, *filter(None, [', '.join(said)])])})"


def _graph_node(node: dict[str, Any]) -> str:
    if "op" in node:
        merged = _merged(list(map(str, node["from"])), node)
        return f"{_operation(node['op'])}@{merged if 'merge' in node else f'({merged})'}"
    edges = [f"{_operation(op)}@{source}" for source, op in zip(node["from"], node["ops"], strict=True)]
    return _merged(edges, node) or "zeros"


def _merged(terms: list[str], node: dict[str, Any]) -> str:
    """``a + b``, or ``concat(a, b)`` where the node says so itself."""
    return f"{node['merge']}({', '.join(terms)})" if "merge" in node else " + ".join(terms)


def _operation(entries: list[Entry]) -> str:
    text = _layers(entries)
    return f"[{text}] " if len(entries) > 1 else f"{text} ".lstrip()


def _settings_list(settings: list[Any]) -> str:
    return _layers(settings) if all(map(_is_entry, settings)) else ", ".join(map(_word, settings))


def _setting(name: str, value: Any) -> str:
    if name in _SHORT:
        sides = value if isinstance(value, list) else [value]  # a kernel's: k3, k1x7
        return "" if value == 1 and name != "kernel" else _SHORT[name] + "x".join(map(_word, sides))
    return _word(value) if name in _BARE else f"{name}={_word(value)}"


def _word(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_word, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_word(held)}" for key, held in value.items()) + "}"
    return str(value)


def _folded(words: list[str]) -> list[str]:
    """["a", "a", "b"] as ["2x[a]", "b"]; groups that repeat are folded too, longest saving first."""
    folded: list[str] = []
    start = 0
    while start < len(words):
        period, times = 1, 1
        for length in range(1, min(_LONGEST_PERIOD, (len(words) - start) // 2) + 1):
            group, count = words[start : start + length], 1
            while words[start + count * length : start + (count + 1) * length] == group:
                count += 1
            if (count - 1) * length > (times - 1) * period:
                period, times = length, count
        group = words[start : start + period]
        folded += [f"{times}x[{' > '.join(group)}]"] if times > 1 else group
        start += period * times
    return folded
