"""OpenAI's audio API spoken to a provider: the neutral requests -> its requests, its replies -> events.

Rule: subtitles and plain text are made here, of a verbose transcript: it says what they are made of, and what was used.
"""

import base64
from typing import Any

import msgspec

from penstock.base.audio import SpeechRequest, TranscriptionRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamMalformed, UpstreamTruncated
from penstock.base.events import (
    Event,
    Finished,
    MediaMade,
    SegmentMade,
    Started,
    Stopped,
    TextDelta,
    UsageSeen,
)
from penstock.base.models import PriceRow, Target
from penstock.base.usage import UsageSource
from penstock.dialects.openai_audio.forward import PATHS, SPEECH, headers, text_of
from penstock.dialects.openai_audio.hearing import MOST_FILE_BYTES
from penstock.dialects.openai_audio.replies import (
    PAGE_BYTES,
    EventStream,
    Said,
    events_of,
    looks_like_a_page,
    read_event,
    read_whole,
)
from penstock.dialects.openai_audio.speaking import TYPES
from penstock.dialects.openai_audio.usage import Made, UsageField, read_usage
from penstock.dialects.openai_chat.errors import read_page_in_200
from penstock.wire.gathered import Gathered
from penstock.wire.http import WireRequest
from penstock.wire.multipart import FormPart, write_form
from penstock.wire.sounds import listen
from penstock.wire.sse import SseEvent

_ASKED = {"srt": "verbose_json", "vtt": "verbose_json", "text": "json"}
_OPENAI = "openai"
_MIME_OF = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
}


def refuse_hearing(request: TranscriptionRequest, target: Target) -> Rejected | None:
    """A file over OpenAI's bound. Other servers of its dialect have bounds of their own."""
    if target.facts.provider == _OPENAI and len(request.audio) > MOST_FILE_BYTES:
        return Rejected(
            "file-too-large",
            f"{target.name} takes recordings of at most {MOST_FILE_BYTES // 2**20} MB; this one has "
            f"{len(request.audio) / 2**20:.1f} MB. Send a compressed format, or cut it into pieces.",
            param="file",
            caller_fault=True,
        )
    return None


def write_hearing(request: TranscriptionRequest, target: Target, credential: str) -> WireRequest:
    """The form."""
    form = request.response_format or "json"
    fields: dict[str, Any] = {"model": target.model, "response_format": _ASKED.get(form, form)}
    if not request.translate:
        fields |= {"language": request.language, "chunking_strategy": request.chunking}
        fields["stream"] = True if request.stream else None
    fields |= {"prompt": request.prompt, "temperature": request.temperature, "url": request.url or None}
    parts = [FormPart(name, text_of(value)) for name, value in fields.items() if value is not None]
    lists: dict[str, Any] = {
        "timestamp_granularities": request.granularities,
        "include": request.include,
        **request.extras.get("openai", {}),
    }
    parts += [FormPart(f"{name}[]", text_of(one)) for name, values in lists.items() for one in values]
    if request.audio:
        mime = request.mime or "application/octet-stream"
        parts.append(FormPart("file", request.audio, request.filename or "audio", mime))
    content_type, body = write_form(parts)
    accept = b"text/event-stream" if request.stream else b"application/json"
    path = PATHS["translate" if request.translate else "transcribe"]
    return WireRequest(b"POST", path, headers(credential, content_type, accept), body)


def write_speech(request: SpeechRequest, target: Target, credential: str) -> WireRequest:
    """The JSON body."""
    fields: dict[str, Any] = {
        "model": target.model,
        "input": request.text,
        "voice": request.voice,
        "instructions": request.instructions,
        "response_format": request.format,
        "speed": request.speed,
        "stream_format": "sse" if request.stream == "sse" else None,
        **request.extras.get("openai", {}),
    }
    body = msgspec.json.encode({name: value for name, value in fields.items() if value is not None})
    accept = b"text/event-stream" if request.stream == "sse" else b"application/octet-stream"
    return WireRequest(b"POST", SPEECH, headers(credential, b"application/json", accept), body)


class WholeReader(Gathered):
    """A whole transcript -> events."""

    def __init__(self, row: PriceRow | None) -> None:
        super().__init__()
        self._row = row

    def read(self, body: bytes) -> list[Event]:
        """All of it."""
        reply = read_whole(body)
        events: list[Event] = [Started(), *events_of(reply)]
        events += _usage(reply.usage, self._row, "words", "provider")
        return [*events, Stopped("stop"), Finished()]


def _usage(seen: UsageField | None, row: PriceRow | None, made: Made, source: UsageSource) -> list[Event]:
    usage = None if seen is None else read_usage(seen, row, made, source)
    return [] if usage is None else [UsageSeen(usage)]


class StreamReader:
    """A transcript's stream -> events; a whole one where a stream was asked for, too."""

    def __init__(self, row: PriceRow | None) -> None:
        self._row = row
        self._stream = EventStream()
        self._started = self._worded = self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        return [one for event in self._stream.feed(data) for one in self._see(event)]

    def close(self) -> list[Event]:
        """The end."""
        rest, page = self._stream.close()
        if page is not None:
            whole = WholeReader(self._row)
            whole.feed(page)
            return whole.close()
        try:
            out = [one for event in rest for one in self._see(event)]
        except UpstreamMalformed:
            raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
        if not self._done:
            raise UpstreamTruncated("The upstream closed its stream before it was done.")
        return out

    def _see(self, event: SseEvent) -> list[Event]:
        said = read_event(event)
        if said is None or self._done:
            return []
        events: list[Event] = [] if self._started else [Started()]
        self._started = True
        return events + self._events(said)

    def _events(self, said: Said) -> list[Event]:
        match said.type:
            case "transcript.text.delta":
                self._worded = self._worded or bool(said.delta)
                return [TextDelta(said.delta or "")]
            case "transcript.text.segment":
                return [
                    SegmentMade(
                        "segment", said.text or "", said.start or 0.0, said.end or 0.0, said.speaker or ""
                    )
                ]
            case "transcript.text.done":
                self._done = True
                text: list[Event] = [] if self._worded else [TextDelta(said.text or "")]
                usage = _usage(said.usage, self._row, "words", "stream")
                return [*text, *usage, Stopped("stop"), Finished()]
            case _:
                return []


class SpeechReader:
    """Speech -> events: bare sound, or events with it; its first bytes tell which, and of what kind it is."""

    def __init__(self, row: PriceRow | None) -> None:
        self._row = row
        self._stream: EventStream | None = None
        self._first: bytes | None = b""
        self._mime = ""
        self._page: list[bytes] = []
        self._started = self._done = False

    def feed(self, data: bytes) -> list[Event]:
        """Sound so far."""
        if self._first is not None:
            self._first += data
            if len(self._first) < PAGE_BYTES:
                return []
            return self._begin()
        return self._more(data)

    def _begin(self) -> list[Event]:
        first, self._first = self._first or b"", None
        if first.lstrip()[:6] in (b"event:", b"data: ") or first.lstrip()[:5] == b"data:":
            self._stream = EventStream()
        elif looks_like_a_page(first):
            self._page = [first]
            return []
        return self._more(first)

    def _more(self, data: bytes) -> list[Event]:
        if self._page:
            self._page.append(data)
            return []
        if self._stream is None:
            return self._sound(data)
        return [one for event in self._stream.feed(data) for one in self._see(event)]

    def close(self) -> list[Event]:
        """The end of what knows one; bare sound ends with its wire."""
        out = self._begin() if self._first else []
        if self._page:
            raise read_page_in_200(b"".join(self._page))
        if self._stream is not None:
            try:
                out += [one for event in self._stream.close()[0] for one in self._see(event)]
            except UpstreamMalformed:
                raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
            if not self._done:
                raise UpstreamTruncated("The upstream closed its stream before it was done.")
            return out
        if not self._started:
            raise UpstreamMalformed("The upstream answered 200 without a sound.")
        return [*out, Stopped("stop"), Finished()]

    def _see(self, event: SseEvent) -> list[Event]:
        said = read_event(event)
        if said is None or self._done:
            return []
        if said.type == "speech.audio.delta" and said.audio:
            return self._sound(base64.b64decode(said.audio))
        if said.type == "speech.audio.done":
            self._done = True
            events: list[Event] = [] if self._started else [Started()]
            usage = _usage(said.usage, self._row, "sound", "stream")
            return [*events, *usage, Stopped("stop"), Finished()]
        return []

    def _sound(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if not self._started:
            self._started = True
            sound = listen(data)
            self._mime = _MIME_OF.get("" if sound is None else sound.format, TYPES["pcm"].decode())
            events.append(Started())
        return [*events, MediaMade("audio", self._mime, base64.b64encode(data).decode())]
