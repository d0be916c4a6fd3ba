"""A value that satisfies a simple JSON Schema; used for tool arguments and structured answers.

Rules: every property is filled, required or not; the smallest lawful value is taken; ``$ref`` is followed, cycles end
in null. Google's upper-case type names are understood. Deterministic: ``salt`` makes parallel calls differ.
"""

from typing import Any

from penstock.simulate.untyped import as_int, as_list, as_number, as_object, as_text, is_object

_MAX_DEPTH = 12
_STRINGS = {
    "date-time": "2026-11-21T00:00:00Z",
    "date": "2026-11-21",
    "time": "00:00:00Z",
    "email": "miller@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def sample_of(schema: dict[str, Any], salt: int = 0) -> Any:
    """A value for ``schema``."""
    return _value(schema, schema, salt, 0)


def _value(schema: dict[str, Any], root: dict[str, Any], salt: int, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        return None
    reference = as_text(schema.get("$ref"))
    if reference:
        return _value(_resolve(reference, root), root, salt, depth + 1)
    if "const" in schema:
        return schema["const"]
    choices = as_list(schema.get("enum"))
    if choices:
        return choices[salt % len(choices)]
    branches = as_list(schema.get("anyOf")) or as_list(schema.get("oneOf"))
    if branches:
        return _value(as_object(branches[0]), root, salt, depth + 1)
    parts = as_list(schema.get("allOf"))
    if parts:
        return _all_of(parts, root, salt, depth)
    return _typed(schema, root, salt, depth)


def _all_of(parts: list[Any], root: dict[str, Any], salt: int, depth: int) -> Any:
    merged: dict[str, Any] = {}
    last: Any = None
    for part in parts:
        last = _value(as_object(part), root, salt, depth + 1)
        merged.update(as_object(last))
    return merged if is_object(last) else last


def _typed(schema: dict[str, Any], root: dict[str, Any], salt: int, depth: int) -> Any:
    kind = schema.get("type")
    kinds = as_list(kind)
    name = as_text(kinds[0] if kinds else kind).lower()
    if not name:
        name = "object" if "properties" in schema else "array" if "items" in schema else "string"
    match name:
        case "object":
            properties = as_object(schema.get("properties"))
            return {key: _value(as_object(sub), root, salt, depth + 1) for key, sub in properties.items()}
        case "array":
            count = as_int(schema.get("minItems"))
            item = as_object(schema.get("items"))
            return [
                _value(item, root, salt + index, depth + 1) for index in range(1 if count is None else count)
            ]
        case "integer":
            return int(_least(schema)) + salt
        case "number":
            return _least(schema) + salt + 0.5
        case "boolean":
            return salt % 2 == 0
        case "null":
            return None
        case _:
            return _string(schema, salt)


def _least(schema: dict[str, Any]) -> float:
    least = as_number(schema.get("minimum"))
    return 1 if least is None else least


def _string(schema: dict[str, Any], salt: int) -> str:
    text = _STRINGS.get(as_text(schema.get("format")), f"value-{salt}")
    least = as_int(schema.get("minLength")) or 0
    most = as_int(schema.get("maxLength"))
    text = text.ljust(least, "x")
    return text if most is None else text[:most]


def _resolve(reference: str, root: dict[str, Any]) -> dict[str, Any]:
    place: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        if step:
            place = as_object(place).get(step)
    return as_object(place)
