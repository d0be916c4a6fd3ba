"""What OpenAI's audio API answers, read once for both: pass-through looks at it, translation makes events of it.

Rules
- A transcript is a JSON object; a stream of one is over with ``transcript.text.done``, and has no ``[DONE]`` of its own.
- Speech in events is over with ``speech.audio.done``. Bare sound has no end of its own: only its wire knows.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event, SegmentMade, TextDelta, TranscriptFacts
from penstock.dialects.openai_audio.usage import UsageField
from penstock.dialects.openai_chat.errors import read_error_in_200, read_page_in_200
from penstock.wire.sse import SseEvent, SseReader

_NONE = Raw(b"")
_PAGE = re.compile(rb'\s*(?:\{\s*"|<!doctype|<html)', re.IGNORECASE)
PAGE_BYTES = 64
"""So many bytes tell a page or an error from sound."""


class Segment(Struct, gc=False):
    """A segment of a verbose or a diarized transcript."""

    start: float = 0.0
    end: float = 0.0
    text: str = ""
    speaker: str | None = None


class Word(Struct, gc=False):
    """A word of a verbose transcript."""

    word: str
    start: float
    end: float


class Whole(Struct, gc=False):
    """A transcript."""

    text: str | None = None
    segments: list[Raw] | None = None
    words: list[Word] | None = None
    duration: float | str | None = None
    language: str | None = None
    usage: UsageField | None = None
    error: Raw = _NONE


class Said(Struct, gc=False):
    """One event of a stream."""

    type: str = ""
    delta: str | None = None
    text: str | None = None
    audio: str | None = None
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    usage: UsageField | None = None
    error: Raw = _NONE


_whole = msgspec.json.Decoder(Whole).decode
_said = msgspec.json.Decoder(Said).decode
_segment = msgspec.json.Decoder(Segment).decode


def present(raw: Raw) -> bool:
    """Something other than null."""
    return bool(len(raw)) and bytes(raw) != b"null"


def read_whole(body: bytes) -> Whole:
    """A transcript. Raises UpstreamFault for an error inside a 200, UpstreamTruncated, UpstreamMalformed."""
    try:
        reply = _whole(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if body.lstrip()[:1] == b"{" and not body.rstrip().endswith(b"}"):
            raise UpstreamTruncated("The upstream closed before its reply was complete.") from None
        raise read_page_in_200(body) from None
    if present(reply.error):
        raise read_error_in_200(body)
    if reply.text is None:
        raise UpstreamMalformed("The upstream answered 200 without a transcript.")
    return reply


def events_of(reply: Whole) -> Iterator[Event]:
    """What a whole transcript says, in no vendor's words."""
    yield TextDelta(reply.text or "")
    for raw in reply.segments or ():
        one, native = _segment(raw), msgspec.json.decode(raw)
        yield SegmentMade("segment", one.text, one.start, one.end, one.speaker or "", native)
    for word in reply.words or ():
        yield SegmentMade("word", word.word, word.start, word.end)
    duration = None if reply.duration is None else float(reply.duration)
    if duration is not None or reply.language:
        yield TranscriptFacts(duration, reply.language or "")


def read_event(event: SseEvent) -> Said | None:
    """One event; None for what says nothing. Raises UpstreamFault for an error, UpstreamMalformed."""
    data = event.data
    if data is None or data.strip() in (b"[DONE]", b""):
        return None
    try:
        said = _said(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMalformed("The upstream sent an event that is not JSON.") from None
    if present(said.error) or said.type == "error" or event.name == b"error":
        raise read_error_in_200(data)
    return said


def fault_in(body: bytes) -> UpstreamError | None:
    """The error that stands where a text was promised, or None: a transcript may begin with anything."""
    if body[:1] != b"{":
        return None
    try:
        said: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return read_error_in_200(body) if isinstance(said, dict) and "error" in said else None


def looks_like_a_page(first: bytes) -> bool:
    """JSON or HTML where sound was promised."""
    return _PAGE.match(first) is not None


class EventStream:
    """SSE -> events, with what came instead of a stream: a JSON body, whole."""

    def __init__(self) -> None:
        self._sse = SseReader()
        self._begun = False
        self._page: list[bytes] | None = None

    def feed(self, data: bytes) -> list[SseEvent]:
        """Whole events; none while a body comes in."""
        if not self._begun:
            start = data.lstrip()
            self._begun = bool(start)
            if start[:1] in (b"{", b"[", b"<"):
                self._page = []
        if self._page is not None:
            self._page.append(data)
            return []
        return self._sse.feed(data)

    def close(self) -> tuple[list[SseEvent], bytes | None]:
        """What EOF left of the stream; or the body that came instead."""
        if self._page is not None:
            return [], b"".join(self._page)
        return self._sse.close(), None
