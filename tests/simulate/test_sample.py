"""Values made for a schema satisfy it; answers hold to caps, for any request."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from penstock.simulate.sample import sample_of

LEAVES = st.one_of(
    st.builds(lambda least: {"type": "integer", "minimum": least}, st.integers(-5, 5)),
    st.just({"type": "number"}),
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.builds(lambda values: {"enum": values}, st.lists(st.text(max_size=3), min_size=1, max_size=3)),
    st.builds(
        lambda least, more: {"type": "string", "minLength": least, "maxLength": least + more},
        st.integers(0, 12),
        st.integers(0, 9),
    ),
    st.builds(lambda value: {"const": value}, st.integers()),
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(
            lambda fields: {"type": "object", "properties": fields},
            st.dictionaries(st.text(max_size=3), inner, max_size=3),
        ),
        st.builds(
            lambda item, least: {"type": "array", "items": item, "minItems": least}, inner, st.integers(0, 3)
        ),
        st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


def satisfies(value: Any, schema: dict[str, Any]) -> bool:
    """A checker of its own, for the keywords used here."""
    if "const" in schema:
        return value == schema["const"]
    if "enum" in schema:
        return value in schema["enum"]
    if "anyOf" in schema:
        return any(satisfies(value, branch) for branch in schema["anyOf"])
    match schema["type"]:
        case "object":
            fields = schema["properties"]
            return value.keys() == fields.keys() and all(satisfies(value[key], fields[key]) for key in fields)
        case "array":
            return len(value) >= schema["minItems"] and all(
                satisfies(item, schema["items"]) for item in value
            )
        case "integer":
            return isinstance(value, int) and value >= schema["minimum"]
        case "string":
            return isinstance(value, str) and schema["minLength"] <= len(value) <= schema["maxLength"]
        case kind:
            types = {"number": float, "boolean": bool, "null": type(None)}
            return isinstance(value, types[kind])


@given(schema=SCHEMAS, salt=st.integers(0, 3))
def test_a_sample_satisfies_its_schema(schema: dict[str, Any], salt: int) -> None:
    """For every schema of the simple kind, and whatever the salt."""
    assert satisfies(sample_of(schema, salt), schema)


def test_references_are_followed_and_cycles_end() -> None:
    """$defs, allOf, upper-case types, a schema that contains itself."""
    schema = {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"next": {"$ref": "#/$defs/node"}, "n": {"type": "INTEGER"}},
            }
        },
        "allOf": [{"$ref": "#/$defs/node"}, {"properties": {"name": {"type": ["string", "null"]}}}],
    }
    made = sample_of(schema)
    assert (made["n"], made["name"]) == (1, "value-0")
    depth = 0
    while made is not None:
        made, depth = made.get("next"), depth + 1
    assert depth < 15
