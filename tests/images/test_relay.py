"""Pass-through of OpenAI's picture streams: any split, any cut, any broken event."""

import base64
import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.base.errors import UpstreamError, UpstreamTruncated
from penstock.dialects.openai_images.relay import StreamRelay, WholeRelay
from penstock.simulate.picture import png

PICTURE = base64.b64encode(png(2, 2, 1)).decode()
USAGE = {
    "input_tokens": 9,
    "input_tokens_details": {"text_tokens": 4, "image_tokens": 5},
    "output_tokens": 372,
    "total_tokens": 381,
}


def event(name: str, **more: Any) -> bytes:
    body = {"type": f"image_generation.{name}", "b64_json": PICTURE, **more}
    return b"event: image_generation.%b\ndata: %b\n\n" % (name.encode(), json.dumps(body).encode())


STREAM = [event("partial_image", partial_image_index=0), event("completed", usage=USAGE)]
BODY = b"".join(STREAM)


def relayed(pieces: list[bytes]) -> tuple[bytes, StreamRelay]:
    relay = StreamRelay(None, 1, "1024x1024", "low")
    out = b"".join([relay.feed(piece) for piece in pieces])
    return out + relay.close(), relay


@given(st.lists(st.integers(0, len(BODY)), max_size=8))
@settings(deadline=None)
def test_any_split_is_the_same(cuts: list[int]):
    """The caller's bytes, and what is billed."""
    places = [0, *sorted(cuts), len(BODY)]
    out, relay = relayed([BODY[start:end] for start, end in pairwise(places) if end > start])
    assert out == BODY
    assert relay.finished
    assert relay.usage is not None
    assert (relay.usage.input, relay.usage.input_image, relay.usage.output_image) == (4, 5, 372)


@given(st.integers(0, len(BODY) - 3))
@settings(deadline=None)
def test_any_cut_is_a_cut(end: int):
    """Nothing is invented: a stream that ends before its picture was cut."""
    with pytest.raises(UpstreamTruncated):
        relayed([BODY[:end]])


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {nonsense\n\n",
        b'event: error\ndata: {"error": {"message": "no", "code": "server_error"}}\n\n',
        b'data: {"type": "error", "error": {"message": "no"}}\n\n',
        b"<html>busy</html>",
        b'{"error": {"message": "no", "type": "server_error"}}',
    ],
)
@pytest.mark.parametrize("before", [b"", STREAM[0]])
def test_a_broken_event_is_an_error_with_blame(before: bytes, broken: bytes):
    """Raised instead of being passed on."""
    if before and not broken.startswith((b"data", b"event")):
        broken = b"data: " + broken + b"\n\n"
    with pytest.raises(UpstreamError) as caught:
        relayed([before, broken] if before else [broken])
    assert caught.value.blame == "upstream"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b'{"data": []}', b'{"data": [{"b64_', b'{"error": {"message": "no"}}', b"[]"],
)
def test_a_whole_reply_without_a_picture_is_an_error(body: bytes):
    """Whatever its status was."""
    relay = WholeRelay(None, 1, None, None)
    relay.feed(body)
    with pytest.raises(UpstreamError):
        relay.close()
