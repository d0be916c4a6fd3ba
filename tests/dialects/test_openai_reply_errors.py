"""Errors inside a 200, and replies that are none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamRateLimited,
)
from penstock.base.events import Started, TextDelta, fold
from penstock.wire.ports import Relay, ReplyReader
from penstock.wire.sse import sse
from tests.dialects.openai_kit import DONE, HELLO, chunk, reader, relay


@pytest.mark.parametrize(
    ("frame", "kind", "status"),
    [
        (b'{"error":{"message":"boom","type":"server_error","code":null}}', UpstreamFault, 502),
        (b'{"error":{"message":"slow","code":429}}', UpstreamRateLimited, 429),
        (b'{"error":{"message":"slow","type":"rate_limit_exceeded"}}', UpstreamRateLimited, 429),
        (b'{"error":{"message":"no","code":"invalid_api_key"}}', UpstreamAuthFailed, 502),
        (b'{"error":{"message":"bad","type":"invalid_request_error"}}', UpstreamBadRequest, 400),
        (b'{"error":{"message":"busy","type":"overloaded_error"}}', UpstreamFault, 503),
        (b'{"error":"plain words"}', UpstreamFault, 502),
        (b'{"object":"error","message":"vllm","type":"BadRequestError","code":400}', UpstreamBadRequest, 400),
        (b'{"detail":"fastapi"}', UpstreamFault, 502),
        (
            b'{"id":"gen-1","choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error":{"code":503}}',
            UpstreamFault,
            503,
        ),
        (b'{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}', UpstreamFault, 502),
        (
            b'{"choices":[{"index":0,"delta":{},"finish_reason":null,"error":{"code":408,"message":"late"}}]}',
            UpstreamFault,
            502,
        ),
    ],
)
def test_behaviour_09_an_error_in_the_first_frame_of_a_200_is_an_error(
    frame: bytes, kind: type[UpstreamError], status: int
) -> None:
    for one in (reader(), relay()):
        with pytest.raises(kind) as caught:
            one.feed(b": ping\n\n" + chunk({"role": "assistant", "content": ""}) + sse(frame))
        assert type(caught.value) is kind
        assert caught.value.status == status


def test_behaviour_09_a_named_error_event_is_an_error_whatever_it_holds() -> None:
    for data in (b"plain words", b'{"x":1}'):
        for one in (reader(), relay()):
            with pytest.raises(UpstreamError):
                one.feed(sse(data, b"error"))


def test_behaviour_10_content_before_an_error_is_delivered_first() -> None:
    error = sse(b'{"error":{"message":"boom","code":500}}')
    one = relay()
    assert one.feed(HELLO + error) == HELLO
    with pytest.raises(UpstreamFault, match="boom"):
        one.close()
    other = reader()
    assert other.feed(HELLO + error) == [Started("m", "c"), TextDelta("Hello")]
    with pytest.raises(UpstreamFault, match="boom"):
        other.feed(b"data: ")


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"x","code":429}}', UpstreamRateLimited),
        (b'[{"error":{"message":"x","code":400}}]', UpstreamBadRequest),
        (b"<html><title>502 Bad Gateway</title></html>", UpstreamMalformed),
        (b'{"id":"c","object":"chat.completion","choices":[]}', UpstreamMalformed),
    ],
)
def test_behaviour_09_a_body_that_is_no_stream_is_never_forwarded(
    body: bytes, kind: type[UpstreamError]
) -> None:
    for one in (reader(), relay()):
        for piece in (b"\n", body[:3], body[3:]):
            assert not one.feed(piece)
        with pytest.raises(kind) as caught:
            one.close()
        assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"message":"x","code":429}}', UpstreamRateLimited),
        (b'{"id":"c","choices":null,"error":{"message":"x"}}', UpstreamFault),
        (b'{"object":"error","message":"x","code":400}', UpstreamBadRequest),
        (b'{"choices":[{"index":0,"message":{"content":""},"finish_reason":"error"}]}', UpstreamFault),
        (
            b'{"choices":[{"index":0,"message":{},"finish_reason":"error","error":{"code":429,"message":"x"}}]}',
            UpstreamRateLimited,
        ),
        (b"<!DOCTYPE html><h1>hello</h1>", UpstreamMalformed),
        (b"upstream connect error", UpstreamMalformed),
        (b'{"id":"c","choices":[', UpstreamMalformed),
        (b'{"id":"c"}', UpstreamMalformed),
        (b'{"id":"c","choices":[]}', UpstreamMalformed),
        (b'{"choices":"none"}', UpstreamMalformed),
        (b"", UpstreamMalformed),
    ],
)
def test_behaviour_09_a_200_that_is_no_completion_is_an_error(body: bytes, kind: type[UpstreamError]) -> None:
    for one in (reader(stream=False), relay(stream=False)):
        assert not one.feed(body)
        with pytest.raises(kind) as caught:
            one.close()
        assert type(caught.value) is kind


@pytest.mark.parametrize("data", [b"hello", b'{"choices":[}', b"[1]", b'"x"', b'{"choices":[{"index":'])
def test_an_event_that_is_not_json_is_malformed(data: bytes) -> None:
    for one in (reader(), relay()):
        one.feed(HELLO + sse(data) + DONE)
        with pytest.raises(UpstreamMalformed):
            one.feed(b"")


def test_half_a_surrogate_pair_passes_and_is_read_as_a_question_mark() -> None:
    """Servers that escape everything split a pair when a model's token does."""
    body = (
        HELLO + sse(rb'{"id":"c","choices":[{"index":0,"delta":{"content":"x\ud83d"}}]}') + chunk({}, "stop")
    )
    one = relay()
    assert one.feed(body) == body
    assert fold([*reader().feed(body)]).text == "Hellox?"


def test_an_endless_page_is_not_kept_whole() -> None:
    one = relay()
    for _ in range(40):
        assert one.feed(b"<html>" + b"x" * 100_000) == b""
    with pytest.raises(UpstreamMalformed):
        one.close()


def _all(one: ReplyReader | Relay, body: bytes) -> None:
    one.feed(body)
    one.close()


@given(st.binary(max_size=80), st.booleans())
def test_no_bytes_can_crash_a_reader_or_a_relay(body: bytes, stream: bool) -> None:
    for one in (reader(stream=stream), relay(stream=stream)):
        with pytest.raises(UpstreamError):
            _all(one, body)


_NAMES = "choices delta message content usage error index tool_calls function finish_reason reasoning_details"
_NAMES += " images audio name arguments id code"
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 600) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(_NAMES.split()),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "error", "id", "model"]), _JSON), st.booleans())
def test_no_json_can_crash_a_reader_or_a_relay(facts: dict[str, Any], stream: bool) -> None:
    body = json.dumps(facts).encode()
    for one in (reader(stream=stream), relay(stream=stream)):
        try:
            _all(one, sse(body) + DONE if stream else body)
        except UpstreamError as error:
            ended = error.message
        else:
            ended = "read"
        assert ended
