"""JSON Schemas as Anthropic demands them: tool inputs are objects, output formats use a subset.

The subset (platform.claude.com, structured outputs, limits; the SDK's ``transform_schema`` does the same): objects
carry ``additionalProperties: false``; bounds on numbers, strings and arrays are not enforced and are refused, so
they move into the description, where the model still reads them.
"""

from typing import Any, cast

Schema = dict[str, Any]

_UNENFORCED = frozenset(
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
        "contains",
        "minProperties",
        "maxProperties",
        "patternProperties",
        "propertyNames",
        "not",
        "if",
        "then",
        "else",
    }
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_LISTS = ("anyOf", "allOf", "oneOf")
_MAPS = ("properties", "$defs", "definitions")


def tool_input(parameters: Schema | None) -> Schema:
    """``input_schema``: always an object; what the caller wrote keeps its order."""
    if not parameters:
        return {"type": "object", "properties": {}}
    return parameters if "type" in parameters else {"type": "object", **parameters}


def output_format(schema: Schema) -> Schema:
    """The schema within the subset. The caller's own object is not touched."""
    out: Schema = {}
    said: list[str] = []
    for key, value in schema.items():
        if key in _UNENFORCED or (key == "minItems" and value not in (0, 1)):
            said.append(f"{key}: {value}")
        elif key == "format" and value not in _FORMATS:
            said.append(f"format: {value}")
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
