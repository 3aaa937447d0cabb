"""The schema of a space. There are two positions, as in the reader (space.grammar.read): of a value, and of a layer.

A setting that wants a T may also hold an expression or a form that makes one: ``{choice: [...]}`` with options that are
again such settings. So each kind of value has a definition of its own, ``value.<kind>``, which mentions itself. Layers
and their settings come from the trainer's classes: a layer that is added there is completed in the editor.

Left out: whether a name is defined, whether a range holds anything, and what a plugin's layers take. A space whose
layers come from a plugin has them marked as unknown here, and only here.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import TypeAdapter
from pydantic.fields import FieldInfo

from nas.schema.parts import DRAFT, Schema, any_of, by_key, by_type, grouped, mapping, ref, tidied
from nas.space.grammar.graph import MOST_GRAPH_NODES, WORDS
from nas.space.grammar.read import MOST_TIMES
from nas.space.grammar.settings import USUAL
from nas.space.words import FORMS, RESERVED
from nas.train.layers import LAYERS
from nas.train.layers.layer import Layer, Layers
from nas.train.settings import Hyperparameters, Optimizer

WORD = "^[A-Za-z_][A-Za-z0-9_]*$"
_SCALAR: Schema = {"type": ["string", "number", "boolean", "null"]}
_NUMBER: Schema = {"type": "number"}
_EXPRESSION: Schema = {"type": "string", "pattern": "^=", "description": "A define, or arithmetic with defines."}
_WORD: Schema = {"type": "string", "pattern": WORD, "not": {"enum": sorted(RESERVED)}}
_CONSTANT = any_of(_NUMBER, _EXPRESSION)  # of a range: the same in every candidate


def space_schema() -> Schema:
    """For files that `nas space check` takes."""
    defs = _Definitions()
    properties = {
        "name": {"type": "string", "minLength": 1, "description": "What the space is called."},
        "define": ref("define"),
        "architecture": {"description": "The layers, in order.", **ref("entry")},
        "hyperparameters": _hyperparameters(defs),
        "constraints": {
            "description": "Conditions over defines, decisions and costs, such as parameters <= 500_000.",
            "type": "array",
            "items": {"type": "string"},
        },
        "start": {
            "description": "Candidates that are known to be good: decisions by path or name, with their values.",
            "type": "array",
            "items": {"type": "object"},
        },
    }
    head = {"$schema": DRAFT, "title": "A search space of nas", "description": "What may be built."}
    some = any_of({"required": ["architecture"]}, {"required": ["hyperparameters"]})
    body = mapping(properties, **some, **{"$defs": _language(defs) | defs.made})
    return {**head, **grouped(body)}


class _Definitions:
    """``value.<kind>`` for each kind of value that a setting wants, made when it is first asked for."""

    def __init__(self) -> None:
        self.made: Schema = {}
        self.names: dict[str, str] = {}  # of a kind's schema, as JSON

    def wanting(self, plain: Schema, hint: str) -> Schema:
        """A reference to what may stand where ``plain`` is wanted."""
        text = json.dumps(plain, sort_keys=True)
        if text not in self.names:
            taken = set(self.names.values())
            name = f"value.{_kind(plain, hint)}"
            while name in taken:
                name += "_"
            self.names[text] = name
            branches = [self._of_drawn_items(branch, hint) for branch in plain.get("anyOf", [plain])]
            mappings = [branch for branch in branches if branch.get("type") == "object"]
            others = [branch for branch in branches if branch.get("type") != "object"]
            self.made[name] = _drawn(ref(name), any_of(*mappings or others), any_of(*others, ref("expression")))
        return ref(self.names[text])

    def _of_drawn_items(self, plain: Schema, hint: str) -> Schema:
        """A tuple's items may be drawn each by itself."""
        items = plain.get("prefixItems", [])
        return plain | {"prefixItems": [self.wanting(item, hint) for item in items]} if items else plain


# The language --------------------------------------------------------------------------------------------------------


_FORMS_OF_VALUES = ("int", "float", "subset", "new", "literal")


def _drawn(option: Schema, mapped: Schema, otherwise: Schema) -> Schema:
    """A value that may be drawn: from ``option``s, from a range, ... ; else a ``mapped`` value, else no mapping."""
    forms = {"choice": _choice(option)} | {form: ref(form) for form in _FORMS_OF_VALUES}
    return by_type({"object": by_key(forms, mapped)}, otherwise)


def _choice(option: Schema) -> Schema:
    options = {"type": "array", "items": option, "minItems": 1, "description": "One of these."}
    beside = {key: ref(f"choice.{key}") for key in ("weights", "default", "ordered", "name")}
    return mapping({"choice": options, **beside}, "choice")


_BESIDE_CHOICE: Schema = {
    "choice.weights": {
        "type": "array",
        "items": {"type": "number", "exclusiveMinimum": 0},
        "description": "A prior: how often each option is drawn. One number for each.",
    },
    "choice.default": {"description": "The option to begin with: its value, or its label."},
    "choice.ordered": {"type": "boolean", "description": "Whether neighbours are alike; controllers may use it."},
    "choice.name": {**_WORD, "description": "What the decision is called, instead of its path."},
}


def _range(form: str) -> Schema:
    ends: Schema = {"type": "array", "items": _CONSTANT, "minItems": 2, "maxItems": 2}
    if form == "float":
        ends = any_of(ends, {"const": USUAL, "description": "The range that suits this setting of this optimizer."})
    return mapping(
        {
            form: {**ends, "description": "[lowest, highest], both included."},
            "log": {"type": "boolean", "description": "Drawn log-uniformly."},
            "step": {**_CONSTANT, "description": "From the lowest in steps, which reach the highest."},
            "default": _CONSTANT,
            "name": _WORD,
        },
        form,
    )


def _language(defs: _Definitions) -> Schema:
    """The words of the language that do not depend on the kind of value."""
    members = {"type": "array", "items": ref("value"), "minItems": 1}
    sizes = any_of({"type": "integer", "minimum": 0}, {"type": "array", "minItems": 2, "maxItems": 2}, _EXPRESSION)
    return {
        "expression": _EXPRESSION,
        **_BESIDE_CHOICE,
        "value": _drawn(
            ref("value"),
            {"type": "object", "propertyNames": {"not": {"enum": list(FORMS)}}, "additionalProperties": ref("value")},
            by_type({"array": {"items": ref("value")}}, _SCALAR),
        ),
        "int": _range("int"),
        "float": _range("float"),
        "subset": mapping({"subset": members, "size": sizes, "default": {"type": "array"}, "name": _WORD}, "subset"),
        "new": mapping(
            {
                "new": {"type": "string", "pattern": WORD},
                "depth": any_of({"type": "integer", "minimum": 1}, _EXPRESSION),
            },
            "new",
        ),
        "literal": mapping({"literal": {"description": "This value as it stands, whatever it looks like."}}, "literal"),
        "define": {
            "description": "Drawn once, at the first mention; =name is that value wherever it stands.",
            "type": "object",
            "propertyNames": _WORD,
            "additionalProperties": any_of(ref("entry"), ref("value")),
        },
        **_positions(defs),
    }


def _positions(defs: _Definitions) -> Schema:
    """What may stand among layers: an entry; and on an edge of a graph also `none`."""
    times = defs.wanting({"type": "integer", "minimum": 0, "maximum": MOST_TIMES}, "times")
    of = {**ref("entry"), "description": "One entry or a list of them."}
    repeat = mapping({"times": times, "of": of, "define": ref("define")}, "times", "of")
    sequence = mapping({"of": of, "define": ref("define")}, "of")
    forms = {
        "repeat": mapping(
            {"repeat": {**repeat, "description": "Several times, with fresh draws each time."}}, "repeat"
        ),
        "sequence": mapping({"sequence": {**sequence, "description": "A list with defines of its own."}}, "sequence"),
        "graph": mapping({"graph": _graph(defs)}, "graph"),
        "new": ref("new"),
    }
    bare = [name for name, kind in LAYERS.items() if not _required(kind) and name != "graph"]
    layers = {name: _settings(kind, defs) for name, kind in LAYERS.items() if name != "graph"}
    offered: Schema = {form: {} for form in ("choice", *forms)}  # so that an editor completes them; never looked at
    layer = mapping(layers | offered, minProperties=1, maxProperties=1)

    def position(name: str, words: list[str]) -> Schema:
        mapped = by_key({"choice": _choice(ref(name)), **forms}, layer)
        named = {"type": "string", "anyOf": [{"enum": words}, ref("expression")]}
        return by_type({"object": mapped, "array": {"items": ref("entry")}, "string": named}, {"type": "null"})

    return {"entry": position("entry", bare), "operation": position("operation", ["none", *bare])}


def _graph(defs: _Definitions) -> Schema:
    """The short form; or, where its nodes are a list, the explicit one."""
    written = {"required": ["nodes"], "properties": {"nodes": {"type": "array"}}}
    return {"if": written, "then": _written_graph(defs), "else": _short_graph(defs)}


def _short_graph(defs: _Definitions) -> Schema:
    picked = mapping(
        {"pick": any_of({"type": "integer", "minimum": 1}, _EXPRESSION), "distinct": {"type": "boolean"}}, "pick"
    )
    count = {"type": "integer", "minimum": 1, "maximum": MOST_GRAPH_NODES}
    return mapping(
        {
            "nodes": {**any_of(count, _EXPRESSION), "description": "How many nodes are computed."},
            "from": {
                **any_of({"enum": ["every", "previous"]}, picked),
                "description": "Where a node's edges come from.",
            },
            "op": {**ref("operation"), "description": "Drawn for each edge; under `from: previous` for each node."},
            "skip": {"const": "subset", "description": "Earlier nodes that are fed to a node, too."},
            **_graph_words(defs),
        },
        "nodes",
        "op",
    )


def _written_graph(defs: _Definitions) -> Schema:
    """How candidates write it."""
    sources = {"type": "array", "items": {"type": "integer", "minimum": 0}}
    ops = {"type": "array", "items": ref("operation")}
    merge = _graph_words(defs)["merge"]
    node = any_of(
        mapping({"from": sources, "ops": ops, "merge": merge}, "from", "ops"),
        mapping({"from": sources, "op": ref("entry"), "merge": merge}, "from", "op"),
    )
    nodes = {"type": "array", "items": node, "minItems": 1, "maxItems": MOST_GRAPH_NODES}
    return mapping({"nodes": nodes, **_graph_words(defs)}, "nodes")


def _graph_words(defs: _Definitions) -> Schema:
    project = mapping({"project": defs.wanting({"type": "integer", "minimum": 1}, "positive")}, "project")
    words = {word: {"enum": list(allowed)} for word, allowed in WORDS.items()}
    return {
        "inputs": {"enum": [[-1], [-2, -1]], "description": "The entries before that it reads."},
        "merge": defs.wanting(words["merge"], "merge"),
        "output": defs.wanting(words["output"], "output"),
        "match": defs.wanting(any_of(words["match"], project), "match"),
        "stride": defs.wanting({"type": "integer", "minimum": 1}, "positive"),
    }


# Layers and hyperparameters ------------------------------------------------------------------------------------------


def _required(kind: type[Layer]) -> list[str]:
    return [name for name, field in kind.model_fields.items() if field.is_required()]


def _settings(kind: type[Layer], defs: _Definitions) -> Schema:
    """What stands below a layer's name: its settings, its main value, or a form that makes one of these."""
    fields = {name: _setting(name, field, defs) for name, field in kind.model_fields.items()}
    if not kind.model_fields:
        return {"description": _said(kind), "type": "object", "maxProperties": 0}
    here = f"layer.{kind.name}"
    main = fields[kind.main] if kind.main else ref("expression")
    schema = _drawn(ref(here), mapping(fields, *_required(kind)), main)
    if main == ref("entry"):
        schema = {
            "if": any_of(*({"required": [form]} for form in ("repeat", "sequence", "graph"))),
            "then": main,
            "else": schema,
        }
        schema = {"if": {"type": "object"}, "then": schema, "else": main}
    defs.made[here] = schema
    return {"description": _said(kind), **ref(here)}


def _setting(name: str, field: FieldInfo, defs: _Definitions) -> Schema:
    if field.annotation == Layers.__origin__:  # type: ignore[attr-defined]  # of Annotated[...]
        return ref("entry")
    plain, more = _plain(field)
    defs.made.update(more)
    default = {} if field.is_required() or field.default is None else {"default": field.default}
    return {**defs.wanting(plain, name), **default}


def _plain(field: FieldInfo) -> tuple[Schema, Schema]:
    """pydantic's schema of a field, and the definitions that it mentions."""
    annotated: Any = field.annotation
    for metadata in field.metadata:
        annotated = Annotated[annotated, metadata]
    schema = tidied(TypeAdapter(annotated).json_schema(ref_template="#/$defs/{model}"))
    more = schema.pop("$defs", {})
    schema.pop("description", None)
    return schema, more


def _kind(plain: Schema, name: str) -> str:
    """A readable name of a definition."""
    match plain:
        case {"type": "integer", "minimum": 1}:
            return "positive"
        case {"type": "boolean"}:
            return "flag"
    return name


def _said(kind: type[Layer]) -> str:
    """The first paragraph of what a layer says of itself."""
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split())


def _hyperparameters(defs: _Definitions) -> Schema:
    """Those that the trainer knows are looked at; an objective of one's own may take any others."""
    properties: Schema = {}
    for name, field in Hyperparameters.model_fields.items():
        if name != "optimizer":
            plain, _ = _plain(field)
            wanted = [branch for branch in plain.get("anyOf", [plain]) if branch != {"type": "null"}]
            properties[name] = defs.wanting(any_of(*wanted), name)
    properties["optimizer"] = _optimizer(defs)
    return {
        "description": "What training may vary. The trainer knows those that are offered here.",
        "type": "object",
        "propertyNames": {"not": {"enum": list(FORMS)}},
        "properties": properties,
        "additionalProperties": ref("value"),
    }


def _optimizer(defs: _Definitions) -> Schema:
    kinds: Schema = {}
    for name, field in Optimizer.model_fields.items():
        model: Any = next(part for part in field.annotation.__args__ if part is not type(None))  # type: ignore[union-attr]
        held = mapping({key: _setting(key, inner, defs) for key, inner in model.model_fields.items()})
        kinds[name] = {"description": model.__doc__, **defs.wanting(held, name)}
    names = {"type": "string", "enum": list(kinds)}
    return defs.wanting(any_of(names, mapping(kinds, minProperties=1, maxProperties=1)), "optimizer")
