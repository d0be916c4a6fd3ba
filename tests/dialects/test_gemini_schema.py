"""JSON Schema -> the subset of models before 2.5: nothing forbidden remains, recursion ends, strings stay strings."""

from typing import Any

from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from penstock.dialects.gemini.schema import to_openapi_subset

ALLOWED = {
    "type", "format", "title", "description", "nullable", "enum", "items", "minItems", "maxItems", "properties",
    "required", "minProperties", "maxProperties", "minLength", "maxLength", "pattern", "anyOf", "minimum", "maximum",
}  # fmt: skip


def walk(node: dict[str, Any]):
    yield node
    for inner in [*node.get("properties", {}).values(), *node.get("anyOf", [])]:
        yield from walk(inner)
    if "items" in node:
        yield from walk(node["items"])


def lawful(made: dict[str, Any]) -> None:
    """Only what ``Schema`` in Google's discovery document takes, the way it takes it."""
    for node in walk(made):
        assert set(node) <= ALLOWED, set(node) - ALLOWED
        if "anyOf" in node:
            assert set(node) == {"anyOf"}  # what stands beside it is ignored
            continue
        assert node["type"] in {"STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT"}
        assert ("items" in node) == (node["type"] == "ARRAY")
        assert bool(node.get("properties")) == (node["type"] == "OBJECT")
        assert set(node.get("required", [])) <= set(node.get("properties", {}))
        assert all(isinstance(word, str) for word in node.get("enum", []))


def test_what_can_be_said_is_said():
    made, lossy = to_openapi_subset(
        {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {
                "unit": {"const": "K"},
                "when": {"type": ["string", "null"], "format": "date-time"},
                "who": {"$ref": "#/$defs/Person"},
                "any": {"oneOf": [{"type": "integer"}, {"type": "null"}], "description": "d"},
                "two": {"description": "d", "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "both": {
                    "allOf": [{"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}],
                    "properties": {"b": {"type": "boolean"}},
                    "required": ["b"],
                },
            },
            "required": ["unit", "gone"],
            "$defs": {
                "Person": {"type": "object", "properties": {"name": {"type": "string", "minLength": 1}}}
            },
        }
    )
    lawful(made)
    assert not lossy
    properties = made["properties"]
    assert properties["unit"] == {"type": "STRING", "enum": ["K"]}
    assert properties["when"] == {"type": "STRING", "nullable": True, "format": "date-time"}
    assert properties["who"] == {"type": "OBJECT", "properties": {"name": {"type": "STRING", "minLength": 1}}}
    assert properties["any"] == {"type": "INTEGER", "description": "d", "nullable": True}
    assert properties["two"]["anyOf"] == [
        {"type": "INTEGER", "description": "d"},
        {"type": "STRING", "description": "d"},
    ]
    assert set(properties["both"]["properties"]) == {"a", "b"}
    assert set(properties["both"]["required"]) == {"a", "b"}
    assert made["required"] == ["unit"]


def test_what_cannot_be_said_is_reported():
    for schema in (
        {"type": "string", "format": "uuid"},
        {"type": "integer", "enum": [1, 2]},
        {"type": "object"},
        {"not": {"type": "string"}},
        {"$ref": "#/nowhere"},
        {"$ref": "https://example.org/schema"},
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
    ):
        made, lossy = to_openapi_subset(schema)
        lawful(made)
        assert lossy, schema


def test_recursion_ends():
    """Straight, mutual, through allOf, and in number: 10 references to each of 10 levels."""
    tree = {"type": "object", "properties": {"v": {"type": "string"}, "kids": {"items": {"$ref": "#"}}}}
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}
    self_of = {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}}
    wide: dict[str, Any] = {"$ref": "#/$defs/l0", "$defs": {}}
    for n in range(10):
        inner = {f"p{k}": {"$ref": f"#/$defs/l{n + 1}"} for k in range(10)}
        wide["$defs"][f"l{n}"] = {"type": "object", "properties": inner}
    wide["$defs"]["l10"] = {"type": "string"}
    for schema in (tree, loop, self_of, wide):
        made, lossy = to_openapi_subset(schema)
        lawful(made)
        assert lossy
        assert sum(1 for _ in walk(made)) < 25_000


REFS = st.sampled_from(["#", "#/$defs/a", "#/$defs/b", "#/nowhere", "x", "#/properties/p"])
NAMES = st.sampled_from(["p", "q", "type", "$ref", "a/b"])
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "array", "object", "null", "weird"])
LEAF = st.booleans() | st.fixed_dictionaries(
    {},
    optional={
        "type": TYPES | st.lists(TYPES, max_size=3),
        "enum": st.lists(st.none() | st.text(max_size=3) | st.integers(), max_size=3),
        "const": st.none() | st.text(max_size=3) | st.integers(),
        "format": st.sampled_from(["date-time", "uuid", "int32"]),
        "$ref": REFS,
        "default": st.integers(),
        "additionalProperties": st.booleans(),
        "description": st.text(max_size=3),
        "patternProperties": st.just({}),
        "nullable": st.booleans(),
    },
)
SCHEMAS = st.recursive(
    LEAF,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES,
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "required": st.lists(NAMES, max_size=3),
            "items": inner,
            "anyOf": st.lists(inner, max_size=3),
            "oneOf": st.lists(inner, max_size=3),
            "allOf": st.lists(inner, max_size=3),
            "not": inner,
            "$ref": REFS,
            "$defs": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
        },
    ),
    max_leaves=12,
)


@given(SCHEMAS.filter(lambda one: isinstance(one, dict)))
def test_any_schema_becomes_a_lawful_one(schema):
    """No forbidden keyword is left, it ends, Google's own type takes it, and the caller's object is untouched."""
    before = repr(schema)
    made, _ = to_openapi_subset(schema)
    lawful(made)
    types.Schema.model_validate(made)
    assert repr(schema) == before
