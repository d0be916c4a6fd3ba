"""Schemas as Gemini's callers write them (an OpenAPI subset) -> JSON Schema, which every other dialect takes.

Rules: types in upper case, names in camelCase or snake_case, ``nullable`` for null, int64 as strings. The order of
``properties`` is the order asked for (``propertyOrdering``). What JSON Schema has no word for is left out: nothing.
"""

from typing import Any, cast

from msgspec import Raw, json

from penstock.base.errors import BadRequest
from penstock.dialects.gemini.fields import camel, wrong

Schema = dict[str, Any]

_ONE = {"items"}
_MAPS = {"properties": "properties", "defs": "$defs"}
_WHOLE = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_SAME = frozenset(
    {
        "title",
        "description",
        "default",
        "enum",
        "format",
        "pattern",
        "required",
        "minimum",
        "maximum",
    }
)
_MAX_DEPTH = 64
_MAX_DIGITS = 20
_NO_FORMATS = frozenset({"enum"})
"""Formats that say nothing in JSON Schema."""


def json_schema(raw: Raw, place: str) -> Schema:
    """A JSON Schema from the caller's own JSON: as it is. Raises BadRequest."""
    found: object = json.decode(raw)
    if not isinstance(found, dict):
        raise wrong(place, "is not an object")
    return cast("Schema", found)


def from_openapi(raw: Raw, place: str) -> Schema:
    """A ``Schema`` as JSON Schema. Raises BadRequest naming the field."""
    return _convert(json.decode(raw), place, 0)


def _convert(node: object, place: str, depth: int) -> Schema:
    if not isinstance(node, dict):
        raise wrong(place, "is not a schema")
    if depth > _MAX_DEPTH:
        raise wrong(place, f"is nested more than {_MAX_DEPTH} deep")
    made: Schema = {}
    nullable, ordering = False, list[str]()
    for key, value in cast("Schema", node).items():
        name, here = camel(key), f"{place}.{key}"
        if value is None:
            continue
        if name == "type":
            made["type"] = _type(value, here)
        elif name in _MAPS:
            inner = _object(value, here)
            made[_MAPS[name]] = {key: _convert(one, f"{here}.{key}", depth + 1) for key, one in inner.items()}
        elif name in _ONE:
            made[name] = _convert(value, here, depth + 1)
        elif name == "anyOf":
            made["anyOf"] = [_convert(one, here, depth + 1) for one in _list(value, here)]
        elif name == "ref":
            made["$ref"] = str(value).replace("#/defs/", "#/$defs/")
        elif name == "nullable":
            nullable = value is True
        elif name == "propertyOrdering":
            ordering = [str(one) for one in _list(value, here)]
        elif name == "additionalProperties":
            made[name] = value if isinstance(value, bool) else _convert(value, here, depth + 1)
        elif name in _WHOLE:
            made[name] = (
                int(value)
                if isinstance(value, str) and value.isdecimal() and len(value) <= _MAX_DIGITS
                else value
            )
        elif name == "example":
            made["examples"] = [value]
        elif name == "format" and value in _NO_FORMATS:
            continue
        elif name in _SAME or key.startswith("$"):
            made[name] = value
        else:
            raise BadRequest(
                f"The field {here} is not of Gemini's Schema.",
                param=here,
                hint="Send a JSON Schema in parametersJsonSchema or responseJsonSchema instead.",
            )
    if ordering and isinstance(made.get("properties"), dict):
        made["properties"] = _ordered(made["properties"], ordering)
    return _or_null(made) if nullable else made


def _ordered(properties: Schema, ordering: list[str]) -> Schema:
    first = [name for name in ordering if name in properties]
    return {name: properties[name] for name in (*first, *(one for one in properties if one not in first))}


def _or_null(made: Schema) -> Schema:
    kind = made.get("type")
    if isinstance(kind, str):
        made["type"] = [kind, "null"]
        if "enum" in made and None not in made["enum"]:
            made["enum"] = [*made["enum"], None]
    elif "anyOf" in made:
        made["anyOf"] = [*made["anyOf"], {"type": "null"}]
    return made


def _type(value: object, place: str) -> str | list[str]:
    if isinstance(value, list):
        return [str(one).lower() for one in cast("list[object]", value)]
    if not isinstance(value, str):
        raise wrong(place, "is not a string")
    return value.lower()


def _object(value: object, place: str) -> Schema:
    if not isinstance(value, dict):
        raise wrong(place, "is not an object")
    return cast("Schema", value)


def _list(value: object, place: str) -> list[object]:
    if not isinstance(value, list):
        raise wrong(place, "is not a list")
    return cast("list[object]", value)
