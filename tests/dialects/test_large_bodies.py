"""A body above a megabyte takes roads of its own through OpenAI's dialect: the same answers as a small one's."""

import json
from typing import Any

import pytest

from penstock.base.models import ModelFacts, Target
from penstock.dialects.openai_chat import OPENAI
from penstock.dialects.openai_chat.forward import splice_request

TARGET = Target("openai", "gpt-4o-mini", "openai", ModelFacts("openai", "gpt-4o-mini"))
SIZES = pytest.mark.parametrize("size", [600, 2_000_000], ids=["small", "large"])


def body(content: Any, **more: Any) -> bytes:
    return json.dumps(
        {"model": "mine/gpt-4o-mini", "messages": [{"role": "user", "content": content}], **more}
    ).encode()


@SIZES
def test_the_model_alone_is_changed(size: int) -> None:
    """Byte for byte, and in one piece."""
    data = body("x" * size, temperature=0.5)
    out = splice_request(OPENAI.read_request(data), TARGET, "KEY").body
    assert type(out) is bytes
    assert out == data.replace(b"mine/gpt-4o-mini", b"gpt-4o-mini")


@SIZES
def test_a_field_that_says_messages_is_not_the_conversation(size: int) -> None:
    """What is compared is all of it: a text as long, but of another end, is looked at more closely."""
    talk = [{"role": "user", "content": "x" * size}]
    decoy = {"messages": [{"role": "user", "content": "x" * (size - 1) + "y"}]}
    data = json.dumps({"extra": decoy, "messages": talk, "model": "mine/gpt-4o-mini"}).encode()
    out = json.loads(splice_request(OPENAI.read_request(data), TARGET, "KEY").body)
    assert out == {"extra": decoy, "messages": talk, "model": "gpt-4o-mini"}


@SIZES
@pytest.mark.parametrize(
    ("part", "need"),
    [
        (lambda data: {"type": "file", "file": {"file_data": data}}, "document"),
        (lambda data: {"type": "image_url", "image_url": {"url": "data:image/png;base64," + data}}, "image"),
        (lambda data: {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}, "audio"),
        (lambda data: {"type": "video_url", "video_url": {"url": "data:video/mp4;base64," + data}}, "video"),
    ],
)
def test_media_are_seen_and_count_for_less_than_their_bytes(size: int, part: Any, need: str) -> None:
    """Whatever the size."""
    ask = OPENAI.read_request(body([part("A" * size * 4)]))
    assert ask.needs == {need}
    assert 0 < ask.input_bytes < size * 4 // 2 + 1200


@SIZES
def test_words_about_media_are_no_media(size: int) -> None:
    """``"file"`` in a sentence asks nothing of a target."""
    ask = OPENAI.read_request(body('the "file" ' + "x" * size, tool_choice={"type": "file"}))
    assert ask.needs == frozenset()


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ("data:text/plain;base64," + "A" * 4000, 3017),
        ("data:application/pdf;base64," + "A" * 4000, 1000),
        ("A" * 400_000, 2000),
    ],
)
def test_a_files_head_says_how_it_is_read(given: str, counted: int) -> None:
    """Words for three quarters of their base64, pages for much less; slashes may come escaped."""
    for slash in ("/", "\\/"):
        data = body([{"type": "file", "file": {"file_data": "DATA"}}]).replace(
            b"DATA", given.replace("/", slash).encode()
        )
        ask = OPENAI.read_request(data)
        around = len(ask.messages) - len(given.replace("/", slash))
        assert ask.input_bytes - around in (counted, counted + 1)
