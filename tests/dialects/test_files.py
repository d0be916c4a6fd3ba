"""Providers' files, without sockets: where files stand in a request, how they are brought, what a refusal means."""

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import UpstreamBadRequest, UpstreamMalformed
from penstock.config.meaning import WITH_FILES
from penstock.config.schema import UploadsConfig
from penstock.dialects import UPLOADS
from penstock.gateway.upload_shelf import content_key
from penstock.gateway.uploads import chosen_of
from penstock.wire.http import header
from penstock.wire.large import take_apart
from penstock.wire.multipart import read_form
from penstock.wire.poured import Decoded
from penstock.wire.uploads import (
    Answer,
    Ask,
    Inline,
    NewFile,
    Pause,
    Uploaded,
    UploadService,
    names_missing_file,
    says_gone,
)
from tests.config.make import faults, sound

PDF = b"%PDF-1.4 a heron at the weir"
DATA = base64.b64encode(PDF).decode()
URL = f"data:application/pdf;base64,{DATA}"
THERE = Uploaded("file-1", "https://files/1")


def new(name: str = "a.pdf") -> NewFile:
    return NewFile("penstock-1", name, "application/pdf", Decoded((memoryview(DATA.encode()),)), 7200)


PLACES: list[tuple[str, Any, Any]] = [
    (
        "openai",
        {"role": "user", "content": [{"type": "file", "file": {"filename": "a.pdf", "file_data": URL}}]},
        {"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]},
    ),
    (
        "responses",
        {"role": "user", "content": [{"type": "input_file", "filename": "a.pdf", "file_data": URL}]},
        {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
    ),
    (
        "responses",
        {"type": "function_call_output", "output": [{"type": "input_image", "image_url": URL, "detail": "low"}]},
        {"type": "function_call_output", "output": [{"type": "input_image", "detail": "low", "file_id": "file-1"}]},
    ),
    (
        "anthropic",
        {"content": [{"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf", "data": DATA}}]},
        {"content": [{"type": "document", "title": "T", "source": {"type": "file", "file_id": "file-1"}}]},
    ),
    (
        "gemini",
        {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": DATA}, "videoMetadata": {"fps": 1}}]},
        {"parts": [{"videoMetadata": {"fps": 1}, "fileData": {"mimeType": "video/mp4", "fileUri": THERE.uri}}]},
    ),
    (
        "gemini",
        {"parts": {"inline_data": {"mime_type": "audio/wav", "data": DATA}}},
        {"parts": {"file_data": {"mime_type": "audio/wav", "file_uri": THERE.uri}}},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "before", "after"), PLACES, ids=[str(n) for n in range(len(PLACES))])
def test_a_file_is_named_in_its_own_place(dialect: str, before: Any, after: Any):
    """And again, with another id: the first one was gone."""
    value = msgspec.json.decode(msgspec.json.encode([{"text": "first"}, before]))
    (found,) = UPLOADS[dialect].inlines(value)
    assert found.data == DATA
    found.put(Uploaded("gone", "https://files/gone"))
    found.put(THERE)
    assert value == [{"text": "first"}, after]


@pytest.mark.parametrize(
    ("dialect", "value"),
    [
        ("openai", [{"content": "words"}, {"content": [{"type": "file", "file": {"file_id": "file-2"}}]}]),
        ("openai", [{"content": [{"type": "image_url", "image_url": {"url": URL}}]}]),
        ("openai", [{"content": [{"type": "file", "file": {"file_data": "https://a/b.pdf"}}]}]),
        ("openai", "only words"),
        ("anthropic", [{"content": [{"type": "document", "source": {"type": "text", "data": DATA}}]}]),
        ("gemini", [{"parts": [{"text": DATA}, {"inlineData": {"data": DATA}}, None]}]),
        ("gemini", {"parts": "odd"}),
    ],
)
def test_what_is_none_stays(dialect: str, value: Any):
    """Words, addresses, files that are there already, what the provider takes inline only, and odd shapes."""
    assert UPLOADS[dialect].inlines(value) == []


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_a_form_is_as_long_as_it_says(dialect: str):
    """The file among its fields, whatever it is called; the provider is told when it expires."""
    steps = UPLOADS[dialect].upload(new('odd/"name".pdf'))
    asked = next(steps)
    assert isinstance(asked, Ask)
    body = b"".join(asked.request.poured or ())
    assert len(body) == asked.request.size
    parts = {
        part.name: part for part in read_form(header(asked.request.headers, b"content-type") or b"", body)
    }
    assert parts["file"].data == PDF
    assert parts["file"].content_type == "application/pdf"
    assert b"7200" in [part.data for part in parts.values()]
    with pytest.raises(StopIteration) as ended:
        steps.send(Answer([], b'{"id": "file-9", "more": 1}'))
    assert ended.value.value == Uploaded("file-9")


@pytest.mark.parametrize("dialect", ["openai", "anthropic", "gemini"])
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"id": 5}', b'{"file": 5}'], ids=["no", "page", "id", "file"]
)
def test_an_answer_that_is_none(dialect: str, body: bytes):
    steps = UPLOADS[dialect].upload(new())
    next(steps)
    answer = Answer([(b"x-goog-upload-url", b"/upload?id=1")], body)
    if dialect == "gemini":
        steps.send(answer)
    with pytest.raises(UpstreamMalformed):
        steps.send(answer)


def gemini_file(state: str) -> bytes:
    return msgspec.json.encode(
        {
            "name": "files/penstock-1",
            "uri": "https://g/files/penstock-1",
            "state": state,
            "error": {"message": "odd"},
        }
    )


def test_gemini_is_waited_for():
    """Announced with its name and length, brought to the path alone of the address, looked at until it is ready."""
    steps = UPLOADS["gemini"].upload(new())
    start = next(steps)
    assert isinstance(start, Ask)
    assert header(start.request.headers, b"x-goog-upload-header-content-length") == b"%d" % len(PDF)
    assert msgspec.json.decode(start.request.body)["file"]["name"] == "files/penstock-1"
    bring = steps.send(Answer([(b"x-goog-upload-url", b"https://elsewhere.example/upload?id=1")], b""))
    assert isinstance(bring, Ask)
    assert (bring.request.path, bring.absolute) == (b"/upload?id=1", True)
    assert b"".join(bring.request.poured or ()) == PDF
    waits: list[float] = []
    step = steps.send(Answer([], b'{"file":' + gemini_file("PROCESSING") + b"}"))
    for _ in range(6):
        assert isinstance(step, Pause)
        waits.append(step.wait_s)
        look = steps.send(None)
        assert isinstance(look, Ask)
        assert look.request.path == b"/v1beta/files/penstock-1"
        if len(waits) < 6:
            step = steps.send(Answer([], gemini_file("PROCESSING")))
    assert waits == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]
    with pytest.raises(StopIteration) as ended:
        steps.send(Answer([], gemini_file("ACTIVE")))
    assert ended.value.value == Uploaded("files/penstock-1", "https://g/files/penstock-1")


def test_gemini_cannot_read_it():
    steps = UPLOADS["gemini"].upload(new())
    next(steps)
    steps.send(Answer([(b"x-goog-upload-url", b"/upload?id=1")], b""))
    with pytest.raises(UpstreamBadRequest, match="odd"):
        steps.send(Answer([], b'{"file":' + gemini_file("FAILED") + b"}"))


@pytest.mark.parametrize(
    ("status", "message", "gone"),
    [
        (404, "File not found: file_1", True),
        (400, "No such File object: file-1", True),
        (403, "You do not have permission to access the File penstock-1 or it may not exist.", True),
        (404, "The file has expired.", True),
        (404, "The model gpt-9 does not exist.", False),
        (403, "This key may not use this model.", False),
        (429, "file-1: too many requests", False),
        (500, "file-1 not found", False),
    ],
)
def test_what_says_that_a_file_is_gone(status: int, message: str, gone: bool):
    assert says_gone(status, message, Uploaded("files/penstock-1")) is gone


def test_a_page_that_is_missing_names_no_file():
    """What a web server says of its own files is about the address."""
    assert not names_missing_file("File not found.")
    assert not names_missing_file("The model `m` does not exist")
    assert names_missing_file("No such File object: file-abc123")


def inline(size: int) -> Inline:
    return Inline("document", "A" * size, "application/pdf", "", lambda _: None)


@given(
    sizes=st.lists(st.integers(0, 6_000_000), max_size=6),
    rest=st.integers(0, 3_000_000),
    most=st.one_of(st.none(), st.integers(1, 12_000_000)),
    when=st.sampled_from(["needed", "large"]),
)
def test_which_are_brought(sizes: list[int], rest: int, most: int | None, when: Any):
    """The large ones where that is wanted; else as few as make the rest small enough, the largest first."""

    class Service:
        most_request_bytes = most
        most_file_bytes = 4_000_000

    service: UploadService = Service()  # type: ignore[assignment] - it has what is asked for
    settings = UploadsConfig(when=when, min_bytes=1_048_576)
    size = sum(sizes) + rest
    chosen = [len(one.data) for one in chosen_of(service, settings, size, [inline(one) for one in sizes])]
    able = sorted((one for one in sizes if one * 3 // 4 <= 4_000_000), reverse=True)
    assert chosen == able[: len(chosen)]
    left = size - sum(chosen)
    large = [one for one in able if when == "large" and one * 3 // 4 >= 1_048_576]
    assert len(chosen) >= len(large)
    over = most is not None and left > most
    if over:
        assert all(one < 1_048_576 for one in able[len(chosen) :])
    if len(chosen) > len(large):
        assert most is not None
        assert left + chosen[-1] > most


def test_the_same_file_has_one_key_wherever_it_stands():
    """In another place of another body, with other long strings before it; another account has another key."""
    long = base64.b64encode(bytes(range(256)) * 8_000).decode()
    other = base64.b64encode(bytes(2_000_000)).decode()

    def keys(*texts: str) -> list[str]:
        body = msgspec.json.encode({"messages": [{"content": text} for text in texts]})
        bulk = take_apart(body, b"messages")
        assert bulk is not None
        slim = msgspec.json.decode(bulk.slim)["messages"]
        return [content_key("p", "secret", "m", "f", one["content"].encode()) for one in slim]

    assert keys(long)[0] == keys(other, long)[1] == keys(other, other[:-4], long)[2] != keys(other)[0]
    (slim,) = keys(long)
    data = long.encode()
    assert (
        len({slim, *(content_key(*who, "m", "f", data) for who in (("p", "s"), ("p", "t"), ("q", "s")))}) == 4
    )


def test_the_configuration_knows_who_has_a_store():
    """It names the dialects itself, below the room that speaks them; a knob that would do nothing is a fault."""
    assert set(UPLOADS) == WITH_FILES
    block = "{keys: [{value: env.K}], uploads: {when: large}}"
    assert set(faults(f"providers: {{cohere: {block}}}")) == {"$.providers.cohere.uploads.when"}
    sound(f"providers: {{gemini: {block}}}")
