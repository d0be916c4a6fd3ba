"""Media in base64 are no words: what they count for in every inlet's estimate, and which documents Gemini takes."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.chat import ChatRequest, Document, Message, Part, Video
from penstock.base.errors import BadRequest
from penstock.base.media_size import data_url_bytes, medium_bytes
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS
from penstock.dialects.gemini import GEMINI, VERTEX, GeminiCall

PDF = base64.b64encode(b"%PDF-1.7\n" + b"\0" * 3_000_000).decode()
SOUND = base64.b64encode(b"RIFF" + b"\0" * 3_000_000).decode()


def _chat(part: dict[str, Any]) -> tuple[Any, bytes]:
    return CALLERS["openai"], json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": [part]}]}
    ).encode()


def _anthropic(kind: str, mime: str, data: str) -> tuple[Any, bytes]:
    part = {"type": kind, "source": {"type": "base64", "media_type": mime, "data": data}}
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [part]}]}
    return CALLERS["anthropic"], json.dumps(body).encode()


def _gemini(mime: str, data: str) -> tuple[Any, bytes]:
    part = {"inlineData": {"mimeType": mime, "data": data}}
    return GeminiCall("m"), json.dumps({"contents": [{"parts": [part]}]}).encode()


def _responses(part: dict[str, Any]) -> tuple[Any, bytes]:
    return CALLERS["responses"], json.dumps(
        {"model": "m", "input": [{"role": "user", "content": [part]}]}
    ).encode()


CASES = {
    "chat pdf": _chat({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}}),
    "chat bare pdf": _chat({"type": "file", "file": {"file_data": PDF}}),
    "chat sound": _chat({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}),
    "chat picture": _chat({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PDF}"}}),
    "chat film": _chat({"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{PDF}"}}),
    "anthropic pdf": _anthropic("document", "application/pdf", PDF),
    "anthropic picture": _anthropic("image", "image/png", PDF),
    "gemini pdf": _gemini("application/pdf", PDF),
    "gemini sound": _gemini("audio/wav", SOUND),
    "gemini picture": _gemini("image/png", PDF),
    "responses pdf": _responses({"type": "input_file", "file_data": f"data:application/pdf;base64,{PDF}"}),
    "responses picture": _responses({"type": "input_image", "image_url": f"data:image/png;base64,{PDF}"}),
    "responses sound": _responses({"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}),
}


@pytest.mark.parametrize("name", CASES)
def test_three_megabytes_are_no_million_tokens(name: str) -> None:
    caller, body = CASES[name]
    ask = caller.read_request(body)
    assert 0 < ask.input_bytes < 80_000
    assert ask.needs & {"image", "audio", "video", "document"}


@given(
    medium=st.sampled_from(("image", "audio", "video", "document")),
    chars=st.integers(0, 10**9),
    mime=st.sampled_from(("", "text/plain", "application/pdf", "audio/wav")),
)
def test_a_medium_never_counts_for_more_than_it_is(medium: Any, chars: int, mime: str) -> None:
    assert 0 <= medium_bytes(medium, chars, mime) <= chars


def test_words_in_base64_are_words() -> None:
    url = "data:text/plain;base64," + "QUFB" * 1000
    assert len(url) + data_url_bytes("document", url) == pytest.approx(3000, abs=50)
    assert data_url_bytes("image", "https://example.com/a.png") == 0


def _target(dialect: str) -> Target:
    return Target(
        provider=dialect,
        dialect=dialect,
        model="gemini-2.5-flash",
        facts=ModelFacts(provider=dialect, model="gemini-2.5-flash"),
        options={"project": "p", "location": "global"},
    )


def _request(part: Part) -> ChatRequest:
    return ChatRequest("m", (Message("user", (part,)),))


@pytest.mark.parametrize("door", [GEMINI, VERTEX], ids=lambda door: door.name)
def test_gemini_refuses_what_no_door_takes(door: Any) -> None:
    large = "A" * (51 * 1024 * 1024 * 4 // 3)
    no = door.refuse(_request(Document(data=large, mime="application/pdf")), _target(door.name))
    assert no.code == "document-too-large"
    assert "at most 50 MB; this one has 51.0 MB" in no.reason
    assert no.param == "messages[0].content[0]"
    no = door.refuse(_request(Document(data="AAAA", mime="application/msword")), _target(door.name))
    assert no.code == "document-type"
    assert "application/pdf and text/plain only" in no.reason
    assert (
        door.refuse(_request(Document(data="JVBERi0=", mime="application/pdf")), _target(door.name)) is None
    )
    assert door.refuse(_request(Document(data="AAAA", mime="text/plain")), _target(door.name)) is None


def test_vertex_takes_less_text() -> None:
    text = "A" * (8 * 1024 * 1024 * 4 // 3)
    no = VERTEX.refuse(_request(Document(data=text, mime="text/plain")), _target("vertex"))
    assert no is not None
    assert "text of at most 7 MB" in no.reason
    assert GEMINI.refuse(_request(Document(data=text, mime="text/plain")), _target("gemini")) is None


@pytest.mark.parametrize("door", [GEMINI, VERTEX], ids=lambda door: door.name)
def test_a_gemini_caller_is_told_too(door: Any) -> None:
    caller, body = _gemini("application/msword", "AAAA")
    with pytest.raises(BadRequest, match="application/pdf and text/plain only") as refused:
        door.splice_request(caller.read_request(body), _target(door.name), "key")
    assert refused.value.param == "contents[0].parts[0]"


def test_a_film_that_google_cannot_read_is_refused() -> None:
    no = GEMINI.refuse(_request(Video(data="AAAA", mime="video/x-matroska")), _target("gemini"))
    assert no is not None
    assert no.code == "video-unsupported"
