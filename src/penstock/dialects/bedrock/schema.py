"""JSON Schemas as Bedrock's structured outputs demand them (Bedrock user guide, structured output, read 2026-11).

Objects carry ``additionalProperties: false``. Bounds on numbers, strings and arrays are refused: they move into the
description, where the model still reads them.
"""

from typing import Any, cast

Schema = dict[str, Any]

_BOUNDS = frozenset(
    {
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "maxItems",
        "uniqueItems",
        "minProperties",
        "maxProperties",
    }
)
_LISTS = ("anyOf", "allOf", "oneOf")
_MAPS = ("properties", "$defs", "definitions")


def output_format(schema: Schema) -> Schema:
    """The schema within what is taken. The caller's own object is not touched."""
    out: Schema = {}
    said: list[str] = []
    for key, value in schema.items():
        if key in _BOUNDS or (key == "minItems" and value not in (0, 1)):
            said.append(f"{key}: {value}")
        elif key in _LISTS and isinstance(value, list):
            name = "anyOf" if key == "oneOf" else key
            out[name] = [_node(item) for item in cast("list[object]", value)]
        elif key in _MAPS and isinstance(value, dict):
            out[key] = {name: _node(item) for name, item in cast("dict[str, object]", value).items()}
        elif key == "items":
            out[key] = _node(value)
        elif key != "additionalProperties":
            out[key] = value
    if out.get("type") == "object" or "properties" in out:
        out["additionalProperties"] = False
    if said:
        words = "{" + ", ".join(said) + "}"
        out["description"] = f"{out['description']}\n\n{words}" if out.get("description") else words
    return out


def _node(value: object) -> object:
    return output_format(cast("Schema", value)) if isinstance(value, dict) else value
