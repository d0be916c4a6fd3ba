"""Which path speaks which dialect: one literal table of all that is asked of a model.

Theory
------
A path names the caller's dialect and the operation. Chat's own paths stand in a dictionary of their own (server.app): nearly
all calls ask for them. A dialect whose path or headers say part of the request (Gemini's model and verb, a multipart
body's boundary) makes a caller of its own for each of them, so that ``read_request`` is the same for all.

Rules
- A path is matched whole, without its query and without a slash at its end.
- What is asked of no model (lists, files, stored replies) is no route but a page (server.pages).
- Below a path's prefix its errors have its dialect's shape (``caller_of``), found path or not.
"""

import re
from collections.abc import Callable, Mapping
from typing import cast
from urllib.parse import parse_qsl

from msgspec import Struct

from penstock.dialects import CALLERS
from penstock.dialects.anthropic import anthropic_caller
from penstock.dialects.gemini import EmbedVerb, Framing, GeminiCall, GeminiEmbed, model_of
from penstock.dialects.openai_audio import HearingCaller, SpeakingCaller
from penstock.dialects.openai_images import ImagesCaller, Kind
from penstock.dialects.openai_responses import ResponsesCaller
from penstock.server.astray import without_repeat
from penstock.wire.ports import CallerDialect

_OPENAI = CALLERS["openai"]
_OPENROUTER = CALLERS["openrouter"]
_GEMINI = CALLERS["gemini"]

CHAT_ROUTES: dict[bytes, CallerDialect] = {
    b"/v1/chat/completions": _OPENAI,
    b"/chat/completions": _OPENAI,
    b"/openai/v1/chat/completions": _OPENAI,
    b"/openai/chat/completions": _OPENAI,
    b"/v1beta/openai/chat/completions": _OPENAI,
    b"/api/v1/chat/completions": _OPENROUTER,
}


class Asked(Struct, frozen=True):
    """What a route's maker may look at: the path's named groups, the headers a gateway reads, the query."""

    groups: dict[str, bytes]
    told: Mapping[bytes, bytes]
    query: bytes


Maker = Callable[[Asked], CallerDialect]

OPENAI_PREFIX = rb"(?:/openai|/api)?(?:/v1)?"
"""Of OpenAI's paths: with and without their version, below the prefix that XRoute's callers use, and OpenRouter's."""


def always(caller: CallerDialect) -> Maker:
    """One and the same caller, whatever was asked."""
    return lambda _asked: caller


def _messages(asked: Asked) -> CallerDialect:
    """Anthropic's callers say their API version, and what beta features they want, in headers."""
    return anthropic_caller(asked.told.get(b"anthropic-version", b""), asked.told.get(b"anthropic-beta", b""))


_GEMINI_MODEL = (
    rb"(?P<version>v1(?:beta|beta1|alpha)?)/(?P<project>projects/[^/]+/locations/[^/]+/)?"
    rb"(?:publishers/(?P<publisher>[^/]+)/)?models/(?P<model>.+)"
)


def _key_in_query(asked: Asked) -> dict[str, str]:
    """The query; Google's callers may present their key there."""
    query = dict(parse_qsl(asked.query.decode("latin-1")))
    key = query.get("key")
    if key and isinstance(asked.told, dict) and b"x-goog-api-key" not in asked.told:
        asked.told[b"x-goog-api-key"] = key.encode("latin-1", "replace")
    return query


def _gemini(asked: Asked) -> CallerDialect:
    """Gemini's model, verb and framing stand in the path and the query; so may the key (``?key=``)."""
    query = _key_in_query(asked)
    groups = {name: value.decode("latin-1") for name, value in asked.groups.items()}
    framing: Framing = "whole"
    if groups["verb"] == "streamGenerateContent":
        framing = "sse" if query.get("alt") == "sse" else "array"
    return GeminiCall(
        model_of(groups["model"], groups.get("publisher", "")),
        framing,
        vertex="project" in groups or "publisher" in groups,
        version=groups["version"],
    )


def _images(asked: Asked) -> CallerDialect:
    """Pictures: a form's boundary stands in a header, and a link to us begins with the host that was asked."""
    told = asked.told
    scheme = "https" if told.get(b"x-forwarded-proto", b"").strip().lower() == b"https" else "http"
    host = told.get(b"host", b"").decode("latin-1").strip()
    kind: Kind = "edit" if asked.groups["verb"] == b"edits" else "generation"
    return ImagesCaller(kind, told.get(b"content-type", b""), f"{scheme}://{host}" if host else "")


def _hearing(asked: Asked) -> CallerDialect:
    """A recording: the form's boundary stands in a header."""
    translate = asked.groups["verb"] == b"translations"
    return HearingCaller("translate" if translate else "transcribe", asked.told.get(b"content-type", b""))


def _gemini_embeds(asked: Asked) -> CallerDialect:
    groups = {name: value.decode("latin-1") for name, value in asked.groups.items()}
    _key_in_query(asked)
    verb = cast("EmbedVerb", groups["verb"])
    return GeminiEmbed(model_of(groups["model"], groups.get("publisher", "")), verb)


ROUTES: list[tuple[re.Pattern[bytes], Maker]] = [
    (re.compile(OPENAI_PREFIX + rb"/embeddings"), always(CALLERS["embeddings"])),
    (re.compile(OPENAI_PREFIX + rb"/moderations"), always(CALLERS["moderations"])),
    (re.compile(rb"(?:/openai|/api)?(?:/v[12])?/rerank"), always(CALLERS["rerank"])),
    (re.compile(rb"(?:%b|/api/v1)/images/(?P<verb>generations|edits)" % OPENAI_PREFIX), _images),
    (re.compile(rb"%b/audio/(?P<verb>transcriptions|translations)" % OPENAI_PREFIX), _hearing),
    (re.compile(rb"%b/audio/speech" % OPENAI_PREFIX), lambda _asked: SpeakingCaller()),
    (re.compile(b"/" + _GEMINI_MODEL + b":(?P<verb>generateContent|streamGenerateContent)"), _gemini),
    (
        re.compile(b"/" + _GEMINI_MODEL + b":(?P<verb>embedContent|batchEmbedContents|predict)"),
        _gemini_embeds,
    ),
    (re.compile(rb"(?:%b|/api/v1)/completions" % OPENAI_PREFIX), always(CALLERS["completions"])),
    # One caller a call: it remembers the stream that it has to end.
    (re.compile(OPENAI_PREFIX + rb"/responses"), lambda _asked: ResponsesCaller()),
    (re.compile(rb"(?:/anthropic)?/v1/messages"), _messages),
]
"""Tried in order; the first that matches the whole path counts."""

QUICK: dict[bytes, Maker] = {
    b"/v1/messages": _messages,
    b"/anthropic/v1/messages": _messages,
    b"/v1/embeddings": always(CALLERS["embeddings"]),
}
"""Paths whose calls may take the short lane, beside CHAT_ROUTES: all that they need is read of headers and body."""


def quick_caller(url: bytes, told: Mapping[bytes, bytes]) -> CallerDialect | None:
    """Who asks, where the call may be short; None: the long way finds it."""
    maker = QUICK.get(url)
    return CHAT_ROUTES.get(url) if maker is None else maker(Asked({}, told, b""))


SHAPES: list[tuple[re.Pattern[bytes], CallerDialect]] = [
    (re.compile(rb"(?:/openai|/api)?(?:/v[12])?/rerank"), CALLERS["rerank"]),
    (re.compile(rb"/api/v1(?:/.*)?"), _OPENROUTER),
    (re.compile(rb"(?:/anthropic(?:/.*)?|/v1/messages(?:/.*)?)"), CALLERS["anthropic"]),
    (re.compile(rb"/v1beta/openai/.*"), _OPENAI),
    (re.compile(rb"/v1(?:beta|beta1|alpha)/.*|/v1/(?:projects|publishers)/.*|/v1/models/.+:\w+"), _GEMINI),
]
"""Whose error shape the callers of a path read; OpenAI's anywhere else."""


def route(path: bytes, query: bytes, told: Mapping[bytes, bytes]) -> CallerDialect | None:
    """Who asks below this path, or None: it is no call of a model. May raise BadRequest."""
    chat = CHAT_ROUTES.get(path)
    if chat is not None:
        return chat
    for pattern, maker in ROUTES:
        match = pattern.fullmatch(path)
        if match is not None:
            groups = {name: value for name, value in match.groupdict().items() if value is not None}
            return maker(Asked(groups, told, query))
    return None


def caller_of(path: bytes) -> CallerDialect:
    """Whose error shape a path's caller reads; a version that stands there twice was meant once."""
    meant = without_repeat(path.decode("latin-1"))
    if meant is not None:
        path = meant[0].encode("latin-1")
    for pattern, caller in SHAPES:
        if pattern.fullmatch(path):
            return caller
    return _OPENAI
