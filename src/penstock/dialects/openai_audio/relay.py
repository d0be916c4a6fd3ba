"""Pass-through of a reply: words and sounds go on as they came; beside them we read what settling needs.

Rules
- A transcript's body is sent on once it is known to be one; a stream's events go on whole, and an error among them is raised.
- A model that knows no streams (whisper-1) answers one with a whole transcript: its caller gets it as two events.
- Bare sound goes on piece by piece as soon as it is known to be none of JSON and HTML. Where its connection breaks off it was
  cut: nothing in it says otherwise (``unframed``).
- Where no usage is told: seconds of a recording that says its length, characters by their number, speech by its samples.
  What is left is estimated, and says so.
"""

from math import ceil
from typing import Any

import msgspec

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event
from penstock.base.sound_fees import (
    CHARACTERS_PER_S,
    SPOKEN_TOKENS_PER_S,
    by_character,
    by_second,
    heard_fees,
)
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.openai_audio.hearing import HearingAsk
from penstock.dialects.openai_audio.replies import (
    PAGE_BYTES,
    EventStream,
    Said,
    fault_in,
    looks_like_a_page,
    read_event,
    read_whole,
)
from penstock.dialects.openai_audio.speaking import TYPES, SpeakingAsk
from penstock.dialects.openai_audio.subtitles import ends_s
from penstock.dialects.openai_audio.usage import UsageField, read_usage
from penstock.dialects.openai_chat.errors import read_page_in_200
from penstock.wire.sounds import PCM_RATE
from penstock.wire.sse import Mould, SseEvent, completed, sse

_BYTES_PER_SHOWN = {"pcm": 600, "wav": 600, "flac": 300, "opus": 60}
_MP3_PER_SHOWN = 200
"""Bytes of sound that count as one of content: a second of speech is 20 tokens, or 80 bytes of words."""
_PCM_BYTES_PER_S = 2 * PCM_RATE
_WAV_HEAD_BYTES = 44
TEXT = b"text/plain; charset=utf-8"
_encode = msgspec.json.encode


class _Reading:
    """What all relays learn: the attributes of wire.ports.Relay."""

    content_type = b""
    unframed = False
    """The reply has no end of its own: one that broke off cannot be told from one that is whole."""

    def __init__(self) -> None:
        self.content_seen = False
        self.content_bytes = 0
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        self.mould: Mould | None = None

    def _bill(self, usage: Usage | None) -> None:
        self.usage = usage

    def _stop(self) -> None:
        self.content_seen = True
        self.stopped, self.finished = "stop", True


class HeardWhole(_Reading):
    """A transcript that is not streamed, in any of its formats."""

    def __init__(self, ask: HearingAsk) -> None:
        super().__init__()
        self._ask = ask
        self._pieces: list[bytes] = []
        self._form = ask.fields.response_format or "json"
        self._is_text = self._form in ("text", "srt", "vtt")
        if self._is_text:
            self.content_type = TEXT

    def feed(self, data: bytes) -> bytes:
        """Nothing yet."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        body, ask = b"".join(self._pieces), self._ask
        if self._is_text:
            fault = fault_in(body)
            if fault is not None:
                raise fault
            if self._form != "text" and looks_like_a_page(body[:PAGE_BYTES]):
                raise read_page_in_200(body)
            self.content_bytes = len(body)
            self._bill(_by_length(ask, ends_s(body)))
        else:
            reply = read_whole(body)
            self.content_bytes = len((reply.text or "").encode())
            if reply.usage is not None:
                self._bill(read_usage(reply.usage, ask.row, "words", "provider"))
            if self.usage is None:
                self._bill(_by_length(ask, 0.0 if reply.duration is None else float(reply.duration)))
        self._stop()
        return body


def _by_length(ask: HearingAsk, said_s: float) -> Usage | None:
    """Seconds, where they are what is charged: as the provider says, or as the recording does."""
    units = {} if ask.row is None else ask.row.units
    seconds, source = (ask.seconds, "counted") if ask.seconds else (said_s, "estimated")
    fees = heard_fees(ask.row, seconds)
    if not fees or (fees[0][0] not in units and "input" in units):
        return None
    kind: UsageSource = "counted" if source == "counted" else "estimated"
    return Usage(fees=fees, source=kind)


class _Stream(_Reading):
    """Events, one by one."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = EventStream()

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller, as they came."""
        return b"".join([event.raw for event in self._stream.feed(data) if self._see(event)])

    def close(self) -> bytes:
        """EOF: the last event even without its blank line, or UpstreamTruncated."""
        rest, page = self._stream.close()
        if page is not None:
            return self._instead(page)
        try:
            out = b"".join([completed(event.raw) for event in rest if self._see(event)])
        except UpstreamMalformed:
            raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
        if not self.finished:
            raise UpstreamTruncated("The upstream closed its stream before it was done.")
        return out

    def _instead(self, page: bytes) -> bytes:
        raise read_page_in_200(page)

    def _see(self, event: SseEvent) -> bool:
        said = read_event(event)
        if said is not None:
            self._note(said)
        return True

    def _note(self, said: Said) -> None:
        raise NotImplementedError


class HeardStream(_Stream):
    """A transcript, word by word."""

    def __init__(self, ask: HearingAsk) -> None:
        super().__init__()
        self._ask = ask
        self._words: list[str] = []

    def end_early(self, _events: list[Event]) -> bytes:
        """The end that we give it before its model did: what was written down until then."""
        self.finished = True
        body = {"type": "transcript.text.done", "text": "".join(self._words)}
        return sse(_encode(body), b"transcript.text.done")

    def _note(self, said: Said) -> None:
        if said.type == "transcript.text.delta" and said.delta:
            self.content_seen = True
            self.content_bytes += len(said.delta.encode())
            self._words.append(said.delta)
        elif said.type == "transcript.text.segment":
            self.content_seen = True
        elif said.type == "transcript.text.done":
            self._done(said.usage, "stream")

    def _done(self, usage: UsageField | None, source: UsageSource) -> None:
        if usage is not None:
            self._bill(read_usage(usage, self._ask.row, "words", source))
        if self.usage is None:
            self._bill(_by_length(self._ask, 0.0))
        self._stop()

    def _instead(self, page: bytes) -> bytes:
        reply = read_whole(page)
        text = reply.text or ""
        self.content_bytes = len(text.encode())
        self._done(reply.usage, "provider")
        done: dict[str, Any] = {"type": "transcript.text.done", "text": text}
        if reply.usage is not None and reply.usage.input_tokens is not None:
            done["usage"] = reply.usage
        frames = ({"type": "transcript.text.delta", "delta": text}, done)
        return b"".join([sse(_encode(frame), str(frame["type"]).encode()) for frame in frames])


class SpokenStream(_Stream):
    """Speech in events."""

    def __init__(self, ask: SpeakingAsk) -> None:
        super().__init__()
        self._ask = ask

    def end_early(self, _events: list[Event]) -> bytes:
        """The end that we give it before its model did."""
        self.finished = True
        return sse(_encode({"type": "speech.audio.done"}), b"speech.audio.done")

    def _note(self, said: Said) -> None:
        if said.type == "speech.audio.delta" and said.audio:
            self.content_seen = True
            self.content_bytes += _shown(self._ask.format, len(said.audio) * 3 // 4)
        elif said.type == "speech.audio.done":
            if said.usage is not None:
                self._bill(read_usage(said.usage, self._ask.row, "sound", "stream"))
            if self.usage is None:
                self._bill(spoken_usage(self._ask, 0.0))
            self._stop()


class SpokenBytes(_Reading):
    """Bare sound."""

    unframed = True

    def __init__(self, ask: SpeakingAsk) -> None:
        super().__init__()
        self._ask = ask
        self.content_type = TYPES[ask.format]
        self._bytes = 0
        self._first: bytes | None = b""
        self._page: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """The sound, as soon as it is known to be one."""
        if self._page:
            self._page.append(data)
            return b""
        if self._first is not None:
            self._first += data
            if len(self._first) < PAGE_BYTES:
                return b""
            data, self._first = self._first, None
            if looks_like_a_page(data):
                self._page.append(data)
                return b""
        return self._sound(data)

    def close(self) -> bytes:
        """What is left of the sound."""
        out = b""
        if self._first:
            first, self._first = self._first, None
            if looks_like_a_page(first):
                self._page.append(first)
            else:
                out = self._sound(first)
        if self._page:
            raise read_page_in_200(b"".join(self._page))
        if not self._bytes:
            raise UpstreamMalformed("The upstream answered 200 without a sound.")
        self._bill(spoken_usage(self._ask, self._seconds()))
        self._stop()
        return out

    def end_early(self, _events: list[Event]) -> bytes:
        """Nothing can be added to a sound."""
        self.finished = True
        return b""

    def _sound(self, data: bytes) -> bytes:
        self.content_seen = True
        self._bytes += len(data)
        self.content_bytes = _shown(self._ask.format, self._bytes)
        return data

    def _seconds(self) -> float:
        """How long it was, where its bytes are samples."""
        head = {"pcm": 0, "wav": _WAV_HEAD_BYTES}.get(self._ask.format)
        return 0.0 if head is None else max(0, self._bytes - head) / _PCM_BYTES_PER_S


def _shown(form: str, size: int) -> int:
    return -(-size // _BYTES_PER_SHOWN.get(form, _MP3_PER_SHOWN))


def spoken_usage(ask: SpeakingAsk, seconds: float) -> Usage:
    """What speech cost whose provider does not say: by its characters, by its seconds, or tokens as far as we can tell."""
    fees = by_character(ask.row, ask.characters)
    if fees:
        return Usage(fees=fees, source="counted")
    kind: UsageSource = "counted" if seconds else "estimated"
    seconds = seconds or ask.characters / CHARACTERS_PER_S / (ask.fields.speed or 1.0)
    fees = by_second(ask.row, seconds)
    if fees:
        return Usage(fees=fees, source=kind)
    return Usage(
        input=ceil(ask.input_bytes / 4), output_audio=ceil(seconds * SPOKEN_TOKENS_PER_S), source="estimated"
    )
