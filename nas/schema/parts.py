"""What both schemas are made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
GROUPED = r"^[-+]?[0-9]+(_[0-9]+)+(\.[0-9_]*)?([eE][-+]?[0-9]+)?$"


def ref(name: str) -> Schema:
    """What the definition of this name says."""
    return {"$ref": f"#/$defs/{name}"}


def any_of(*branches: Schema) -> Schema:
    """Whatever one of these takes."""
    return branches[0] if len(branches) == 1 else {"anyOf": list(branches)}


def by_key(keys: Mapping[str, Schema], otherwise: Schema) -> Schema:
    """For objects: the schema of the first of these keys that they have. A chain of conditions, not an anyOf, so that
    what is wrong is marked where it is wrong.
    """
    schema = otherwise
    for key, held in reversed([*keys.items()]):
        schema = {"if": {"required": [key]}, "then": held, "else": schema}
    return schema


def by_type(kinds: Mapping[str, Schema], otherwise: Schema) -> Schema:
    """The schema for each type of value; see ``by_key``."""
    schema = otherwise
    for kind, held in reversed([*kinds.items()]):
        schema = {"if": {"type": kind}, "then": held, "else": schema}
    return schema


def mapping(properties: Schema, *required: str, **more: Any) -> Schema:
    """An object with these keys and no others."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False} | more
    return {**schema, "required": list(required)} if required else schema


def grouped(schema: Any) -> Any:
    """A copy in which a number may be written 100_000: nas reads that as one, an editor's YAML as a word.

    ``pattern`` concerns strings alone and ``minimum`` numbers alone, so one schema can say both.
    """
    if isinstance(schema, list):
        return [grouped(held) for held in schema]
    if not isinstance(schema, dict):
        return schema
    copied = {key: grouped(held) for key, held in schema.items()}
    if copied.get("type") in ("integer", "number") and "enum" not in copied and "const" not in copied:
        copied |= {"type": [copied["type"], "string"], "pattern": GROUPED}
    return copied


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def tidied(schema: Any) -> Any:
    """A copy of what pydantic made, without titles (they repeat the keys in every hint that an editor shows), and with
    the bounds that it leaves in its own words where a validator runs before them.
    """
    if isinstance(schema, list):
        return [tidied(held) for held in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        _BOUNDS.get(key, key): {name: tidied(held) for name, held in value.items()}
        if key in ("properties", "$defs")
        else tidied(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }
