"""A slim body (base.bulk) through every dialect: what leaves is what would leave of the whole one, byte for byte.

Where a dialect looks into a long string, the slim request is refused, or has lost its token: then the whole one is used,
and nothing is sent in the meantime. Never may anything else leave.
"""

import base64
import json
from typing import Any

import pytest

from penstock.base.chat import Ask
from penstock.base.errors import BadRequest
from penstock.base.models import ModelFacts, Target
from penstock.dialects import CALLERS, UPSTREAMS, anthropic_caller
from penstock.dialects.gemini.caller import GeminiCall
from penstock.dialects.openai_responses import ResponsesCaller
from penstock.gateway.large import envelope, filled, thicken
from penstock.gateway.ports import Inbound, Known
from penstock.wire.large import native, take_apart
from penstock.wire.ports import CallerDialect

SIZE = 20_000
BYTES = {
    "pdf": b"%PDF-1.4\n" + bytes(range(256)) * (SIZE // 256) + b"\n%%EOF\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * (SIZE // 256),
    "txt": b"A book of words, of which there are many.\n" * (SIZE // 42),
    "wav": b"RIFF\0\0\0\0WAVEfmt " + bytes(range(256)) * (SIZE // 256),
}
DATA = {name: base64.b64encode(data).decode() for name, data in BYTES.items()}
WORDS = {
    "plain": "word " * (SIZE // 5),
    "foreign": "été à Zürich, 北京, 🚰 " * (SIZE // 30),
    "lines": 'A line, and "another".\n\tAnd a \\ third.\n' * (SIZE // 40),
    "json": json.dumps(list(range(SIZE // 5))),
}
TARGETS = {
    dialect: Target(dialect, model, dialect, ModelFacts(dialect, model), options=options)
    for dialect, model, options in (
        ("openai", "gpt-4o-mini", {}),
        ("responses", "gpt-4o-mini", {}),
        ("anthropic", "claude-sonnet-4-5", {}),
        ("gemini", "gemini-2.5-flash", {}),
        ("vertex", "gemini-2.5-flash", {"project": "p", "location": "l"}),
        ("bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", {}),
        ("cohere", "command-a-03-2025", {}),
    )
}
OLD = b"2023-06-01"


def openai(part: Any, words: str) -> dict[str, Any]:
    return {"model": "m", "messages": [
        {"role": "user", "content": words}, {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [part, {"type": "text", "text": words}]},
    ]}  # fmt: skip


def anthropic(part: Any, words: str) -> dict[str, Any]:
    return {**openai(part, words), "max_tokens": 100}


def gemini(part: Any, words: str) -> dict[str, Any]:
    return {"contents": [
        {"role": "user", "parts": [{"text": words}]}, {"role": "model", "parts": [{"text": "yes"}]},
        {"role": "user", "parts": [part, {"text": words}]},
    ]}  # fmt: skip


def responses(part: Any, words: str) -> dict[str, Any]:
    return {"model": "m", "input": [
        {"role": "user", "content": words}, {"role": "assistant", "content": "yes"},
        {"role": "user", "content": [part, {"type": "input_text", "text": words}]},
    ]}  # fmt: skip


def url(mime: str, data: str) -> str:
    return f"data:{mime};base64,{data}"


OPENAI_PARTS = {
    "pdf": {"type": "file", "file": {"filename": "a.pdf", "file_data": url("application/pdf", DATA["pdf"])}},
    "bare pdf": {"type": "file", "file": {"filename": "a.pdf", "file_data": DATA["pdf"]}},
    "txt": {"type": "file", "file": {"filename": "a.txt", "file_data": url("text/plain", DATA["txt"])}},
    "png": {"type": "image_url", "image_url": {"url": url("image/png", DATA["png"])}},
    "wav": {"type": "input_audio", "input_audio": {"data": DATA["wav"], "format": "wav"}},
}


def source(mime: str, data: str) -> dict[str, Any]:
    return {"type": "base64", "media_type": mime, "data": data}


ANTHROPIC_PARTS = {
    "pdf": {"type": "document", "source": source("application/pdf", DATA["pdf"])},
    "words": {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": WORDS["plain"]}},
    "png": {"type": "image", "source": source("image/png", DATA["png"])},
}  # fmt: skip
GEMINI_PARTS = {
    name: {"inlineData": {"mimeType": mime, "data": DATA[name]}}
    for name, mime in (("pdf", "application/pdf"), ("txt", "text/plain"), ("png", "image/png"), ("wav", "audio/wav"))
} | {"url-safe": {"inlineData": {"mimeType": "image/png", "data": base64.urlsafe_b64encode(BYTES["png"] + b"\xff" * 99).decode()}}}  # fmt: skip
RESPONSES_PARTS = {
    "pdf": {"type": "input_file", "filename": "a.pdf", "file_data": url("application/pdf", DATA["pdf"])},
    "png": {"type": "input_image", "image_url": url("image/png", DATA["png"])},
}
CALLS: list[tuple[str, Any, dict[str, Any], Any]] = [
    ("openai", lambda: CALLERS["openai"], OPENAI_PARTS, openai),
    ("openrouter", lambda: CALLERS["openrouter"], {"pdf": OPENAI_PARTS["pdf"]}, openai),
    ("anthropic", lambda: anthropic_caller(OLD), ANTHROPIC_PARTS, anthropic),
    ("gemini", lambda: GeminiCall("m"), GEMINI_PARTS, gemini),
    ("responses", ResponsesCaller, RESPONSES_PARTS, responses),
]
CASES = [
    pytest.param(make, write(part, words), id=f"{name}-{kind}-{spelling}")
    for name, make, parts, write in CALLS
    for kind, part in parts.items()
    for spelling, words in WORDS.items()
]


def slim_ask(caller: CallerDialect, body: bytes) -> Ask:
    inbound = Inbound(caller, {}, body, 0.0, Known())
    inbound.bulk = take_apart(body, caller.long_field)  # type: ignore[attr-defined] - these have one
    if native is None and inbound.bulk is None:
        pytest.skip("Python leaves strings with escapes where they are")
    assert inbound.bulk is not None
    assert len(inbound.bulk.slim) < len(body) * 3 / 4
    return envelope(inbound)


def written(caller: CallerDialect, ask: Ask, dialect: str) -> bytes | str | None:
    """What leaves, or why nothing does; None: a token got lost, the whole body is to be used."""
    upstream, target = UPSTREAMS[dialect], TARGETS[dialect]
    try:
        request = caller.expand(ask)
    except BadRequest as error:
        return str(error.param)
    no = upstream.refuse(request, target)
    if no is not None:
        return no.code
    wire = upstream.write_request(request, target, "KEY")
    return (wire.body or b"".join(wire.pieces)) if filled(wire, ask) else None


@pytest.mark.parametrize(("make", "asked"), CASES)
def test_what_leaves_is_the_same(make: Any, asked: dict[str, Any]) -> None:
    body = json.dumps(asked, ensure_ascii=False).encode()
    whole = make().read_request(body)
    for dialect in UPSTREAMS:
        caller = make()
        slim = slim_ask(caller, body)
        assert (slim.needs, slim.input_bytes) == (whole.needs, whole.input_bytes)
        assert (slim.body_bytes, slim.messages_bytes) == (whole.body_bytes, whole.messages_bytes)
        expected, found = written(make(), whole, dialect), written(caller, slim, dialect)
        if isinstance(found, bytes):
            assert isinstance(expected, bytes)
            assert found == expected or json.loads(found) == json.loads(expected)
        elif isinstance(found, str) and not isinstance(expected, bytes):
            assert found == expected
        else:
            thicken(slim)
            assert slim.bulk is None
            assert slim.body == body
            assert written(caller, slim, dialect) == expected


@pytest.mark.parametrize(("make", "asked"), CASES)
def test_what_passes_through_is_the_same(make: Any, asked: dict[str, Any]) -> None:
    body = json.dumps(asked, ensure_ascii=False).encode()
    caller: Any = make()
    upstream: Any = UPSTREAMS[caller.family]
    target = TARGETS[caller.family]
    expected = upstream.splice_request(make().read_request(body), target, "KEY").body
    slim = slim_ask(caller, body)
    wire = upstream.splice_request(slim, target, "KEY")
    assert filled(wire, slim)
    assert wire.size == len(expected)
    assert b"".join(wire.pieces) == expected


def test_most_goes_the_short_way() -> None:
    """What the rule above allows must stay the exception: of the common cases none needs the whole body."""
    lost: list[str] = []
    for (name, make, parts, write), dialect in ((call, dialect) for call in CALLS for dialect in UPSTREAMS):
        for kind in set(parts) & {"pdf", "png"}:
            for spelling in ("plain", "foreign", "lines") if native is not None else ("plain", "foreign"):
                body = json.dumps(write(parts[kind], WORDS[spelling]), ensure_ascii=False).encode()
                caller = make()
                if written(caller, slim_ask(caller, body), dialect) is None:
                    lost.append(f"{name} {dialect} {kind} {spelling}")
    assert lost == []


@pytest.mark.parametrize("spelling", WORDS)
@pytest.mark.parametrize("dialect", UPSTREAMS)
def test_the_words_of_tools_may_be_json(dialect: str, spelling: str) -> None:
    """Some dialects look whether a tool's answer is JSON, and a call's arguments are."""
    words = WORDS[spelling]
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "f", "arguments": json.dumps({"a": words}, ensure_ascii=False)},
    }
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
    asked = {"model": "m", "tools": [tool], "messages": [
        {"role": "user", "content": words}, {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": words},
    ]}  # fmt: skip
    body = json.dumps(asked, ensure_ascii=False).encode()
    caller = CALLERS["openai"]
    slim = slim_ask(caller, body)
    expected, found = (written(caller, ask, dialect) for ask in (caller.read_request(body), slim))
    if found is None:
        thicken(slim)
        found = written(caller, slim, dialect)
    assert isinstance(found, bytes)
    assert isinstance(expected, bytes)
    assert json.loads(found) == json.loads(expected)
