"""What a stream's events have in common: learned from one, and true of every text between the same bytes."""

import json
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.dialects.openai_chat import repeats
from penstock.dialects.openai_chat.repeats import learn
from penstock.dialects.openai_chat.shapes import read_chunk
from penstock.wire.sse import Mould, SseEvent, SseReader, sse
from tests.dialects.harness import Case
from tests.dialects.openai_kit import DONE, STREAMS, chunk, relay, streams_by_name


def event(raw: bytes) -> SseEvent:
    (one,) = SseReader().feed(raw)
    return one


def learned(raw: bytes) -> Mould | None:
    one = event(raw)
    assert one.data is not None
    return learn(one, read_chunk(one.data))


def said(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    return chunk(delta, finish, **more)


texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1, max_size=20
)
fillers = st.text("abcXYZ019", min_size=1, max_size=12)
plain_values = st.sampled_from(
    [None, 0, 1.5, "x", "content", 'a"content":"b', [], {}, [{"content": "x"}], {"content": "y"}]
)


@st.composite
def deltas(draw: st.DrawFn) -> tuple[dict[str, Any], str, str]:
    """A delta that says one text, the field that says it, and the text; odd neighbours in any order."""
    field = draw(st.sampled_from(["content", "reasoning", "reasoning_content"]))
    text = draw(texts)
    pairs: list[tuple[str, Any]] = [(field, text)]
    for name in draw(
        st.lists(
            st.sampled_from(["role", "refusal", "tool_calls", "images", "annotations", "zzz"]), unique=True
        )
    ):
        value = {"role": "assistant", "refusal": None, "tool_calls": None, "images": []}.get(
            name, draw(plain_values)
        )
        pairs.append((name, value))
    return dict(draw(st.permutations(pairs))), field, text


@settings(max_examples=300, deadline=None)
@given(
    delta=deltas(),
    more=st.dictionaries(
        st.sampled_from(["object", "created", "x_groq", "content", "logprobs"]), plain_values
    ),
    filler=st.none() | fillers,
    compact=st.booleans(),
    eol=st.sampled_from(["\n\n", "\r\n\r\n"]),
    other=texts,
    other_filler=fillers,
)
def test_any_text_in_a_learned_mould_says_itself_and_nothing_else(
    delta, more, filler, compact, eol, other, other_filler
):
    """For any order and spacing of the fields, and with the words "content" strewn about."""
    piece, field, _ = delta
    body = {**more, "id": "c", "model": "m", "choices": [{"index": 0, "delta": piece, "finish_reason": None}]}
    if filler is not None:
        body["obfuscation"] = filler
    separators = (",", ":") if compact else (", ", ": ")
    raw = f"data: {json.dumps(body, ensure_ascii=False, separators=separators)}{eol}".encode()
    mould = learned(raw)
    assume(mould is not None)  # not learned is slow, never wrong; what must be learned stands below
    assert mould is not None
    assert mould.surrounds(raw)
    between = other.encode() + (mould.filler + other_filler.encode() if mould.filler else b"")
    another = event(mould.opening + between + mould.closing)
    assert another.data is not None
    expected = read_chunk(event(raw).data or b"")
    assert expected.choices is not None
    setattr(expected.choices[0].delta, field, other)
    assert read_chunk(another.data) == expected


@pytest.mark.parametrize(
    "raw",
    [
        said({"content": "hi"}),
        said({"role": "assistant", "content": "hi"}, system_fingerprint=None, usage=None),
        said({"reasoning_content": "hm", "content": None}),
        said({"reasoning": "hm", "content": "", "reasoning_details": []}),
        said({"content": "Grüße 🚰"}),
        said({"content": "hi"}).replace(b": ", b":").replace(b"data:", b"data: "),
        said({"content": "hi"}).replace(b"\n\n", b"\r\n\r\n"),
        said({"content": "hi"}, index=1),
        said({"content": "hi"}, ""),
        said({"content": "hi", "tool_calls": [], "images": [], "annotations": None, "zzz": [1]}),
    ],
)  # fmt: skip
def test_an_event_that_says_one_text_is_learned(raw: bytes) -> None:
    raw = raw.replace(json.dumps("Grüße 🚰").encode(), '"Grüße 🚰"'.encode())
    mould = learned(raw)
    assert mould is not None
    assert mould.filler == b""
    assert len(raw) > len(mould.opening) + len(mould.closing)


def test_openais_filler_is_told_from_the_text() -> None:
    """Their chunks are padded to one length with letters and digits."""
    raw = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}],"obfuscation":"aB3"}\n\n'
    mould = learned(raw)
    assert mould is not None
    assert mould.opening.endswith(b'"content":"')
    assert mould.filler == b'"},"finish_reason":null}],"obfuscation":"'
    assert mould.closing == b'"}\n\n'


@pytest.mark.parametrize(
    "raw",
    [
        said({"content": "hi"}, "stop"),
        said({"content": ""}),
        said({"content": "hi"}, usage={"prompt_tokens": 1}),
        said({"content": "hi"}, error={"message": "no"}),
        said({"content": "hi", "reasoning": "hm"}),
        said({"content": "hi", "refusal": "no"}),
        said({"content": "hi", "tool_calls": [{"index": 0, "function": {"arguments": "x"}}]}),
        said({"content": "hi", "audio": {"data": "AA=="}}),
        said({"content": "hi", "annotations": [{"type": "url_citation"}]}),
        said({"content": "hi", "function_call": {"name": "f"}}),
        said({"content": "hi", "images": [{"image_url": {"url": "data:,"}}]}),
        said({"reasoning": "hm", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}),
        said({"content": 'a "b"'}),
        said({"content": "a\nb"}),
        said({"content": "ä"}),  # written as an escape
        said({"content": [{"type": "text", "text": "hi"}]}),
        said({}, extra={"content": "hi"}),
        said({"other": {"content": "hi"}, "content": "hi"}),
        b": comment\n" + said({"content": "hi"}),
        b"event: x\n" + said({"content": "hi"}),
        said({"content": "hi"}).replace(b"data: ", b"data:"),
        said({"content": "hi"}).replace(b'{"id"', b'\ndata: {"id"'),
        b'data: {"choices":[{"delta":{"content":"hi"}},{"index":1,"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"hi","content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"hi"},"error":{"code":"x"}}]}\n\n',
        b'data: {"x":"\\"content\\":\\"hi\\"","choices":[{"delta":{"c":1,"content":"hi"}}],"y":"content"}\n\n'.replace(
            b'"content":"hi"', b'"con\\u0074ent":"hi"'
        ),
    ],
)  # fmt: skip
def test_an_event_that_says_more_or_elsewhere_is_not_learned(raw: bytes) -> None:
    """Where the words could not be told for sure, the stream is read as ever."""
    assert learned(raw) is None


@streams_by_name
def test_a_relay_offers_an_mould_only_while_it_holds_nothing_back(case: Case) -> None:
    """Byte by byte: between two events, and never after the end."""
    one, body = relay(), case.reply
    events = SseReader()
    for at in range(len(body)):
        one.feed(body[at : at + 1])
        events.feed(body[at : at + 1])
        if events.pending or one.finished:
            assert one.mould is None
        if one.mould is not None:
            assert one.content_seen
    one.close()


def test_the_golden_streams_of_plain_text_are_learned() -> None:
    """Else the tests above would hold for nothing."""
    found = set()
    for case in STREAMS:
        one, events = relay(), SseReader()
        for each in events.feed(case.reply):
            one.feed(each.raw)
            if one.mould is not None:
                found.add(case.name)
    assert len(found) >= 5


def test_what_passes_is_counted_also_when_the_mould_changes() -> None:
    """Per mould, each with the bytes that passed in it."""
    one = relay()
    one.feed(said({"content": "abc"}, created=1))
    assert one.mould is not None
    one.mould.passed_bytes += 10
    one.feed(said({"content": "de"}, created=2))
    second = one.mould
    assert second is not None
    second.passed_bytes += 100
    assert one.content_bytes == 3 + 10 + 2 + 100
    one.feed(said({"content": "f"}, created=2))
    assert one.mould is second
    one.feed(said({}, "stop", created=3) + DONE)
    assert (one.mould, one.content_bytes) == (None, 116)


def test_a_stream_without_an_id_is_read_event_by_event() -> None:
    """Each of its events may still say which tier served it, for the usage that follows."""
    one = relay()
    for tier, words in (("flex", "a"), ("flex", "b"), ("default", "c")):
        body = {"service_tier": tier, "choices": [{"index": 0, "delta": {"content": words}}]}
        one.feed(sse(json.dumps(body).encode()))
        assert one.mould is None
    assert one.content_bytes == 3


@pytest.mark.parametrize(("useful", "most"), [(False, 12), (True, 400)])
def test_lessons_that_are_of_no_use_become_rare(
    monkeypatch: pytest.MonkeyPatch, useful: bool, most: int
) -> None:
    """A stream whose every event differs is read once an event, and hardly ever twice; one that changes now and then
    is learned each time."""
    lessons = 0

    def counted(one: SseEvent, read: Any) -> Mould | None:
        nonlocal lessons
        lessons += 1
        return learn(one, read)

    monkeypatch.setattr(repeats, "learn", counted)
    one = relay()
    for number in range(400):
        one.feed(said({"content": "x"}, created=number))
        if useful and one.mould is not None:
            one.mould.passed_bytes += 1
    assert lessons <= most
    assert lessons >= (400 if useful else 5)
