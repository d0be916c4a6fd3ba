"""A splice changes what it names and no byte beside it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import BadRequest
from penstock.wire.splice import edit, spans

_SPACE = st.sampled_from(["", "", " ", "\n  ", "\t", "\r\n"])
_KEYS = st.text(alphabet='abcmodelé"\\ \n🚰,:{}', max_size=6)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def _bodies(draw: st.DrawFn) -> tuple[bytes, list[tuple[str, str]]]:
    """An object as text with random spaces and escapes, and its members' own texts."""
    fields = draw(st.dictionaries(_KEYS, _VALUES, max_size=6))
    members: list[tuple[str, str]] = []
    pieces: list[str] = []
    for key, value in fields.items():
        name = json.dumps(key, ensure_ascii=draw(st.booleans()))
        text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        members.append((key, text))
        pieces.append(f"{draw(_SPACE)}{name}{draw(_SPACE)}:{draw(_SPACE)}{text}{draw(_SPACE)}")
    space = draw(_SPACE)
    return f"{draw(_SPACE)}{{{','.join(pieces) or space}}}{draw(_SPACE)}".encode(), members


@given(_bodies())
def test_spans_find_every_value(case: tuple[bytes, list[tuple[str, str]]]) -> None:
    body, members = case
    found = spans(body)
    assert [(key, body[start:end].decode()) for key, (_, start, end) in found.items()] == members
    for key, (key_start, start, _) in found.items():
        assert json.loads(body[key_start:start].rstrip().removesuffix(b":")) == key


@given(_bodies(), st.data())
def test_an_edit_decodes_to_the_edited_object_and_leaves_the_rest_alone(
    case: tuple[bytes, list[tuple[str, str]]], data: st.DataObject
) -> None:
    body, members = case
    names = [key for key, _ in members]
    replace = data.draw(st.dictionaries(st.sampled_from(names), _VALUES) if names else st.just({}))
    remove = data.draw(st.sets(st.sampled_from(names)) if names else st.just(set()))
    add = data.draw(st.dictionaries(_KEYS.filter(lambda key: key not in names), _VALUES, max_size=2))
    encoded: dict[str, bytes] = {key: json.dumps(value).encode() for key, value in replace.items()}
    out = edit(
        body,
        spans(body),
        replace=encoded,
        remove=remove,
        add={key: json.dumps(value).encode() for key, value in add.items()},
    )
    expected: dict[str, Any] = {
        key: replace[key] if key in replace else json.loads(text)
        for key, text in members
        if key not in remove
    }
    assert list(json.loads(out).items()) == [*expected.items(), *add.items()]
    kept = spans(out)
    for key, text in members:
        if key not in remove and key not in replace:
            _, start, end = kept[key]
            assert out[start:end] == text.encode()


@given(_bodies())
def test_no_edit_is_no_change(case: tuple[bytes, list[tuple[str, str]]]) -> None:
    body, _ = case
    assert edit(body, spans(body)) == body


@given(_bodies(), st.data())
def test_renaming_keeps_value_and_place(
    case: tuple[bytes, list[tuple[str, str]]], data: st.DataObject
) -> None:
    body, members = case
    if not members:
        return
    old = data.draw(st.sampled_from([key for key, _ in members]))
    out = edit(body, spans(body), rename={old: "brand-new"})
    renamed = [("brand-new" if key == old else key, json.loads(text)) for key, text in members]
    assert list(json.loads(out).items()) == renamed


@given(_bodies(), st.data())
def test_a_repeated_key_is_found_wherever_it_stands(
    case: tuple[bytes, list[tuple[str, str]]], data: st.DataObject
) -> None:
    """Whatever the second value is, shorter, longer or equal; readers differ on which one counts."""
    body, members = case
    if not members:
        return
    key, text = data.draw(st.sampled_from(members))
    again = data.draw(st.sampled_from([text, "1", "12", '"x"', json.dumps(text)]))
    name = json.dumps(key, ensure_ascii=data.draw(st.booleans())).encode()
    if data.draw(st.booleans()):
        twice = body.rstrip()[:-1] + b"," + name + b":" + again.encode() + b"}"
    else:
        twice = b"{" + name + b":" + again.encode() + b"," + body.lstrip()[1:]
    with pytest.raises(BadRequest) as caught:
        spans(twice)
    assert caught.value.param == key


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":12}',
        b'{"a":12,"a":1}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":"______\\",\\"b\\":1","b":1,"a":"x"}',
        b'{ "a" : [1,{"a":2}] , "a" : [1,{"a":2}] }',
    ],
)
def test_a_repeated_key_cannot_hide(body: bytes) -> None:
    with pytest.raises(BadRequest, match="'a'") as caught:
        spans(body)
    assert caught.value.param == "a"
    assert caught.value.status == 400


def test_a_number_keeps_its_spelling() -> None:
    body = b'{"t":1.10,"big":123456789012345678901234567890,"e":1E+2,"m":"x"}'
    assert edit(body, spans(body), replace={"m": b'"y"'}) == body.replace(b'"x"', b'"y"')


def test_what_is_no_object_is_no_business_of_ours() -> None:
    with pytest.raises(msgspec.DecodeError):
        spans(b"[1]")
