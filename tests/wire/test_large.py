"""Taking a large body apart loses nothing, changes nothing, and believes nobody; with native code and without."""

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.bulk import PREFIX, Bulk, is_whole, size_of
from penstock.wire import large
from penstock.wire.large import KEPT_BYTES, LEAST_BYTES, take_apart

NATIVE = pytest.mark.skipif(large.native is None, reason=f"no native code: {large.missing}")
WAYS = [pytest.param(True, id="native", marks=NATIVE), pytest.param(False, id="python")]
FIELD = b"messages"


@pytest.fixture(params=WAYS)
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(large, "native", None)


each_way = pytest.mark.usefixtures("_way")
_ALPHABETS = (
    "ABCz019+/",
    "words, and Words ",
    "é北🚰 x",
    'a"\\\n\t/\x00\x1f\x7f',
    "-_A",
)
_PIECES = st.sampled_from(_ALPHABETS).flatmap(lambda chars: st.text(chars, min_size=1, max_size=24))
_LONG = st.builds(
    lambda piece, size, end: (piece * (size // len(piece) + 1))[:size] + end,
    _PIECES,
    st.sampled_from([LEAST_BYTES - 1, LEAST_BYTES, LEAST_BYTES + 77, 3 * LEAST_BYTES]),
    _PIECES,
)
_LEAVES = st.none() | st.integers() | _PIECES | _LONG
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_PIECES | _LONG, inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(["messages", "model", "input", "extra", 'mess\\ages"'])


def json_of(value: Any, *, ascii_only: bool, indent: int | None) -> bytes:
    return json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()


@each_way
@settings(max_examples=60)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]))
def test_a_slim_body_is_the_same_json_with_tokens_in_it(
    value: dict[str, Any], ascii_only: bool, indent: int | None
) -> None:
    body = json_of(value, ascii_only=ascii_only, indent=indent)
    found = take_apart(body, FIELD)
    if found is None:
        return
    assert len(body) - len(found.slim) == found.hidden_bytes >= len(body) // 4
    assert found.restore(found.slim) == body
    pieces = found.fill(found.slim)
    assert pieces is not None
    assert b"".join(pieces) == body
    slim = msgspec.json.decode(found.slim)
    assert {name: one for name, one in slim.items() if name != "messages"} == {
        name: one for name, one in value.items() if name != "messages"
    }
    again = found.restore(msgspec.json.encode(slim))
    assert json.loads(again) == value


@NATIVE
@settings(max_examples=60)
@given(st.dictionaries(_NAMES, _VALUES, max_size=4), st.booleans(), st.sampled_from([None, 1]), st.data())
def test_python_finds_what_native_code_finds(
    value: dict[str, Any], ascii_only: bool, indent: int | None, data: st.DataObject
) -> None:
    assert large.native is not None
    body = json_of(value, ascii_only=ascii_only, indent=indent)
    if data.draw(st.booleans()):  # and of no JSON, too
        at = data.draw(st.integers(0, len(body)))
        body = body[:at] + data.draw(st.sampled_from([b'"', b"\\", b"{", b"]", b"\xff", b"\xc3"])) + body[at:]
    places = large.strings(body, FIELD, LEAST_BYTES, 4096)
    assert large.native.strings(body, FIELD, LEAST_BYTES, 4096) == places
    for start, end in places:
        by_hand, native = large.kind(body, start, end), large.native.kind(body, start, end)
        assert by_hand == native or (native == 3 and by_hand == 0)


@NATIVE
@settings(max_examples=200)
@given(st.lists(st.sampled_from([
    b"plain text", b"AAAAAAAA", b"\\n", b"\\u00e9", b"\\ud83d\\ude30", b"\\ud83d", b"\\ude30", b"\\u12", b"\\x", b"\\",
    "é北🚰".encode(), b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80", b"\x1f", b"\x7f", b"\x00",
]), max_size=12))  # fmt: skip
def test_what_native_code_takes_is_what_a_reader_takes(pieces: list[bytes]) -> None:
    """A string that any reader of JSON takes as it is, and none that it would refuse."""
    assert large.native is not None
    text = b"".join(pieces)
    body = b'["' + text + b'"]'
    try:
        read = msgspec.json.decode(body)[0]
    except (msgspec.DecodeError, UnicodeDecodeError):
        read = None
    found = large.native.kind(body, 2, 2 + len(text))
    assert (found > 0) == (read is not None)
    if found in (1, 2):
        assert msgspec.json.encode(read) == b'"' + text + b'"'


def body_of(*words: str, **more: Any) -> bytes:
    return json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": one} for one in words], **more}
    ).encode()


def apart(body: bytes) -> Bulk:
    found = take_apart(body, FIELD)
    assert found is not None
    return found


@each_way
def test_equal_strings_have_tokens_of_their_own_and_equal_bodies_equal_ones() -> None:
    book = "word " * 10_000
    body = body_of(book, book)
    found = apart(body)
    assert len(found.places) == 2
    assert found.slim == apart(body_of(book, book)).slim
    assert found.slim != apart(body_of(book, book.replace("word word word w", "word word wore w"))).slim


@each_way
def test_nobody_else_writes_tokens() -> None:
    """A body that has in it what could be a token is left as it is, whoever it is from."""
    book = "word " * 10_000
    slim = apart(body_of(book)).slim
    forged = json.loads(slim)["messages"][0]["content"]
    assert take_apart(body_of(book, forged), FIELD) is None
    assert take_apart(body_of(book, user=forged), FIELD) is None


@each_way
def test_what_is_not_worth_it_stays() -> None:
    assert take_apart(body_of("a" * (LEAST_BYTES - 1)), FIELD) is None
    assert take_apart(body_of("a" * LEAST_BYTES, *["b" * 900] * 400), FIELD) is None
    assert take_apart(json.dumps({"metadata": ["a" * 99_999]}).encode(), FIELD) is None
    assert take_apart(b'{"messages": ["' + b"a" * 99_999, FIELD) is None


@each_way
def test_a_token_that_was_changed_is_missed() -> None:
    """By whatever would have changed the bytes that it stands for."""
    data = base64.b64encode(bytes(range(256)) * 200).decode()
    found = apart(body_of(data, "two words " * 9_000))
    first, second = (one["content"] for one in json.loads(found.slim)["messages"])
    encode = msgspec.json.encode
    assert found.fill(encode([first, second])) is not None
    for wrong in (
        [first], [first, first, second], [first, second, second],
        [first.replace("+", "-").replace("/", "_"), second], [first, " ".join(second.split())],
        [first, second.replace("-", "+").replace("_", "/")], [first, second.upper()], [first.lower(), second],
    ):  # fmt: skip
        assert found.fill(encode(wrong)) is None
    with pytest.raises(UnicodeDecodeError):
        base64.b64decode(first).decode()


@NATIVE
def test_escapes_are_not_spliced_into_a_string_that_is_encoded_twice() -> None:
    found = apart(body_of('a "line"\n' * 4_000))
    content = json.loads(found.slim)["messages"][0]["content"]
    encode = msgspec.json.encode
    assert found.fill(encode([content])) is not None
    assert found.fill(encode([encode([content]).decode()])) is None


@each_way
@pytest.mark.parametrize("words", ["word " * 20_000, "AAAA" * 20_000, "é" * 20_000])
def test_its_length_is_known(words: str) -> None:
    body = json.dumps({"messages": [{"content": words}]}, ensure_ascii=False).encode()
    content = json.loads(apart(body).slim)["messages"][0]["content"]
    size = len(words.encode())
    # Of characters beyond ASCII a string counts one each: here those of its ends.
    assert size_of(content) == size - (len(content.encode()) - len(content))
    assert size_of(msgspec.json.encode(content)) == size + 2
    assert is_whole(words)
    assert not is_whole(f"{content} {content}")
    assert content.startswith(words[: KEPT_BYTES // 2])
    assert content.endswith(words[-KEPT_BYTES // 2 :])


def test_short_strings_are_as_long_as_they_are() -> None:
    for value in ("", "a" * 5000, "a" * 99_999, b"", PREFIX["base64"].decode() * 100):
        assert size_of(value) == len(value)


@NATIVE
@given(st.lists(st.binary(max_size=50), max_size=8), st.integers(-3, 3))
def test_a_body_is_gathered_as_it_was_announced(pieces: list[bytes], more: int) -> None:
    whole = b"".join(pieces)
    size = max(0, len(whole) + more)
    gathered = large.gather(size)
    assert gathered is not None
    try:
        for piece in pieces:
            gathered.add(piece)
        assert gathered.take() == whole
        assert size == len(whole)
    except ValueError:
        assert size != len(whole)
    else:
        with pytest.raises(ValueError, match="announced"):
            gathered.take()
