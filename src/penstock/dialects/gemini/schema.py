"""JSON Schema -> Gemini's OpenAPI subset, for models that take nothing else (before 2.5).

Rules (wire names of ``Schema`` in the discovery document aiplatform v1, revision 20261106)
- ``$ref`` is inlined; where it would recurse, or the result would be too large, a JSON string stands in.
- ``const`` -> enum of one; ``oneOf`` -> anyOf; ``allOf`` is merged; null in types -> nullable.
- What stands beside ``anyOf`` is ignored by Google (litellm#11164), so it is pushed into the branches.
- ``enum`` is for strings only; formats other than a few are a 400, so they go.
"""

from typing import Any, cast

_KEPT = frozenset(
    {
        "title",
        "description",
        "nullable",
        "minItems",
        "maxItems",
        "minLength",
        "maxLength",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "pattern",
    }
)
_HANDLED = frozenset(
    {"type", "enum", "const", "format", "properties", "required", "items", "anyOf", "oneOf", "allOf", "$ref"}
)
_SILENT = frozenset({"$defs", "definitions", "$schema", "$id", "$comment", "propertyOrdering"})
_FORMATS = frozenset({"date-time", "enum", "float", "double", "int32", "int64"})
_TYPES = frozenset({"string", "number", "integer", "boolean", "array", "object"})
_MAX_DEPTH = 24
_MAX_NODES = 2_000

Schema = dict[str, Any]


def to_openapi_subset(schema: Schema) -> tuple[Schema, bool]:
    """The schema in Gemini's subset, and whether anything was lost on the way."""
    converter = _Converter(schema)
    return converter.convert(schema, (), 0), converter.lossy


class _Converter:
    def __init__(self, root: Schema) -> None:
        self.root = root
        self.nodes = 0
        self.lossy = False

    def convert(self, node: object, refs: tuple[str, ...], depth: int) -> Schema:
        """One node. ``refs`` are the references being inlined around it."""
        self.nodes += 1
        if depth > _MAX_DEPTH or self.nodes > _MAX_NODES:
            return self._stand_in()
        if not isinstance(node, dict):  # true, false, or nonsense
            return self._stand_in()
        flat, refs = self._flatten(cast("Schema", node), refs)
        if flat is None:
            return self._stand_in()
        branches = _list(flat.pop("anyOf", None)) + _list(flat.pop("oneOf", None))
        if branches:
            return self._any_of(flat, branches, refs, depth)
        kind, nullable = self._type(flat)
        if isinstance(kind, list):
            several = [{**flat, "type": one, "nullable": nullable} for one in kind]
            return {"anyOf": [self.convert(one, refs, depth + 1) for one in several]}
        return self._plain(flat, kind, nullable, refs, depth)

    def _flatten(self, node: Schema, refs: tuple[str, ...]) -> tuple[Schema | None, tuple[str, ...]]:
        """Follow ``$ref`` and merge ``allOf`` until neither is left; None where that would recurse."""
        flat = dict(node)
        for _ in range(_MAX_DEPTH * 4):
            if "$ref" in flat:
                name = str(flat.pop("$ref"))
                found = self._resolve(name)
                if name in refs or found is None:
                    return None, refs
                refs = (*refs, name)
                flat = _merge(found, flat)
            elif "allOf" in flat:
                for part in _list(flat.pop("allOf")):
                    if isinstance(part, dict):
                        flat = _merge(flat, cast("Schema", part))
            else:
                return flat, refs
        return None, refs

    def _resolve(self, name: str) -> Schema | None:
        if not name.startswith("#"):
            return None
        node: Schema = self.root
        for step in name[1:].split("/")[1:]:
            found: object = node.get(step.replace("~1", "/").replace("~0", "~"))
            if not isinstance(found, dict):
                return None
            node = cast("Schema", found)
        return node

    def _any_of(self, flat: Schema, branches: list[Any], refs: tuple[str, ...], depth: int) -> Schema:
        real = [one for one in branches if not _is_null(one)]
        nullable = len(real) < len(branches) or bool(flat.get("nullable"))
        outer = {key: value for key, value in flat.items() if key != "nullable"}
        if nullable:
            outer["nullable"] = True
        made = [
            self.convert(_merge(outer, cast("Schema", one)), refs, depth + 1)
            for one in real
            if isinstance(one, dict)
        ]
        if not made:
            return self._stand_in()
        return made[0] if len(made) == 1 else {"anyOf": made}

    def _type(self, flat: Schema) -> tuple[str | list[str], bool]:
        given = flat.get("type")
        nullable = bool(flat.get("nullable"))
        if isinstance(given, list):
            names = [str(one) for one in cast("list[Any]", given)]
            nullable = nullable or "null" in names
            real = [one for one in names if one.lower() in _TYPES]
            return (real[0] if len(real) == 1 else real or "string"), nullable
        if isinstance(given, str) and given.lower() in _TYPES:
            return given, nullable
        if "properties" in flat:
            return "object", nullable
        return ("array" if "items" in flat else "string"), nullable

    def _plain(self, flat: Schema, kind: str, nullable: bool, refs: tuple[str, ...], depth: int) -> Schema:
        kind = kind.lower()
        made: Schema = {"type": kind.upper()}
        for key, value in flat.items():
            if key in _KEPT and key != "nullable":
                made[key] = value
            elif key not in _HANDLED and key not in _SILENT and key != "nullable":
                self.lossy = True
        if nullable:
            made["nullable"] = True
        self._enum(flat, made)
        if (form := flat.get("format")) in _FORMATS:
            made["format"] = form
        elif form is not None:
            self.lossy = True
        if kind == "array":
            made["items"] = self.convert(flat.get("items", True), refs, depth + 1)
        if kind == "object":
            return self._object(flat, made, refs, depth)
        return made

    def _enum(self, flat: Schema, made: Schema) -> None:
        values = [flat["const"]] if "const" in flat else _list(flat.get("enum"))
        words = [one for one in values if isinstance(one, str)]
        if not values:
            return
        if made["type"] == "STRING" and words:
            made["enum"] = words
            if None in values:
                made["nullable"] = True
        if len(words) < len(values):
            self.lossy = True

    def _object(self, flat: Schema, made: Schema, refs: tuple[str, ...], depth: int) -> Schema:
        properties = flat.get("properties")
        if not isinstance(properties, dict) or not properties:
            return self._stand_in()  # "should be non-empty for OBJECT type" is a 400
        made["properties"] = {
            str(name): self.convert(one, refs, depth + 1)
            for name, one in cast("dict[Any, Any]", properties).items()
        }
        required = [name for name in _list(flat.get("required")) if name in made["properties"]]
        if required:
            made["required"] = required
        return made

    def _stand_in(self) -> Schema:
        self.lossy = True
        return {"type": "STRING", "description": "Any JSON value, as JSON text."}


def _merge(base: Schema, more: Schema) -> Schema:
    """``allOf`` of two: properties joined, required united, lists of allOf chained, the rest overlaid."""
    merged = {**base, **more}
    for key in ("properties", "$defs", "definitions"):
        mine, theirs = base.get(key), more.get(key)
        if isinstance(mine, dict) and isinstance(theirs, dict):
            merged[key] = {**cast("Schema", mine), **cast("Schema", theirs)}
    if "required" in base and "required" in more:
        merged["required"] = list(dict.fromkeys([*_list(base["required"]), *_list(more["required"])]))
    for key in ("allOf", "anyOf", "oneOf"):
        if key in base and key in more:
            merged[key] = [*_list(base[key]), *_list(more[key])]
    return merged


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _is_null(node: object) -> bool:
    return isinstance(node, dict) and cast("Schema", node).get("type") == "null"
