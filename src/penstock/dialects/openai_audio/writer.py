"""Events -> what an OpenAI client reads: a transcript in any of its formats, its stream, or sound.

Rules
- Timestamps are the provider's: a transcript that came without them has no subtitles.
- Gemini's samples (audio/L16) are OpenAI's pcm; wav is a header before them, without a length where it leaves first.
"""

import base64
import binascii
import re
from typing import Any

import msgspec

from penstock.base.errors import PenstockError, UpstreamMalformed
from penstock.base.events import (
    Event,
    Finished,
    Folded,
    MediaMade,
    SegmentMade,
    TextDelta,
    TranscriptFacts,
    UsageSeen,
    fold,
)
from penstock.base.usage import Usage
from penstock.dialects.openai_audio.hearing import HearingAsk
from penstock.dialects.openai_audio.relay import TEXT
from penstock.dialects.openai_audio.speaking import TYPES, SpeakingAsk
from penstock.dialects.openai_audio.subtitles import srt, vtt
from penstock.dialects.openai_audio.usage import written
from penstock.dialects.openai_chat.errors import write_error
from penstock.wire.ports import Identity
from penstock.wire.sounds import PCM_RATE, wav_head
from penstock.wire.sse import sse

_encode = msgspec.json.encode
_RATE = re.compile(r"rate=(\d+)")
_TYPE_OF = {name: mime.decode() for name, mime in TYPES.items()}


def _frame(body: dict[str, Any]) -> bytes:
    return sse(_encode(body), body["type"].encode())


def failure(error: PenstockError, request_id: str) -> bytes:
    """The frame that ends a stream: the official client raises on it."""
    return sse(_encode({"type": "error", **write_error(error, request_id)}), b"error")


class HearingWriter:
    """One transcript."""

    def __init__(self, ask: HearingAsk, identity: Identity) -> None:
        self._form = ask.fields.response_format or "json"
        self._task = ask.task
        self._stream = ask.stream
        self._granularities = ask.fields.timestamp_granularities or ("segment",)
        self._length_s = ask.seconds
        self._identity = identity
        self._text: list[str] = []
        self._usage: Usage | None = None
        self._segments = 0

    @property
    def content_type(self) -> bytes:
        """Of the reply."""
        return TEXT if not self._stream and self._form in ("text", "srt", "vtt") else b""

    def write(self, events: list[Event]) -> bytes:
        """Stream frames for these events."""
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta(text=text) if text:
                    self._text.append(text)
                    out.append(_frame({"type": "transcript.text.delta", "delta": text}))
                case SegmentMade(kind="segment") if self._form == "diarized_json":
                    out.append(_frame(_diarized(event, self._segments)))
                    self._segments += 1
                case UsageSeen():
                    self._usage = event.usage
                case Finished():
                    out.append(_frame(self._done()))
                case _:
                    pass
        return b"".join(out)

    def _done(self) -> dict[str, Any]:
        done: dict[str, Any] = {"type": "transcript.text.done", "text": "".join(self._text)}
        usage = None if self._usage is None else written(self._usage)
        if (
            usage is not None and usage["type"] == "tokens"
        ):  # the only kind that a stream's end has a word for
            done["usage"] = usage
        return done

    def fail(self, error: PenstockError) -> bytes:
        """The honest end of a stream that failed after its start."""
        return failure(error, self._identity.id)

    def whole(self, events: list[Event]) -> bytes:
        """The transcript."""
        folded = fold(events)
        segments = [one for one in folded.made if isinstance(one, SegmentMade)]
        spans = [one for one in segments if one.kind == "segment"]
        if self._form == "text":
            return folded.text.encode() + b"\n"
        if (
            self._form in ("srt", "vtt", "diarized_json", "verbose_json")
            and folded.text.strip()
            and not segments
        ):
            raise UpstreamMalformed(f"The upstream gave no timestamps, which {self._form} is made of.")
        if self._form == "srt":
            return srt(spans).encode()
        if self._form == "vtt":
            return vtt(spans).encode()
        body: dict[str, Any] = {"text": folded.text}
        if self._form != "json":
            body |= self._facts(folded, segments)
        usage = None if folded.usage is None else written(folded.usage)
        if usage is not None:
            body["usage"] = usage
        return _encode(body)

    def _facts(self, folded: Folded, segments: list[SegmentMade]) -> dict[str, Any]:
        told = next((one for one in folded.made if isinstance(one, TranscriptFacts)), TranscriptFacts())
        spans = [one for one in segments if one.kind == "segment"]
        ends = max((one.end_s for one in segments), default=0.0)
        facts: dict[str, Any] = {"task": self._task, "duration": told.duration_s or self._length_s or ends}
        if self._form == "diarized_json":
            return {**facts, "segments": [_diarized(one, at) for at, one in enumerate(spans)]}
        facts["language"] = told.language
        if "segment" in self._granularities:
            facts["segments"] = [
                {**one.native, "id": at, "start": one.start_s, "end": one.end_s, "text": one.text}
                for at, one in enumerate(spans)
            ]
        words = [one for one in segments if one.kind == "word"]
        if "word" in self._granularities:
            facts["words"] = [{"word": one.text, "start": one.start_s, "end": one.end_s} for one in words]
        return facts


def _diarized(one: SegmentMade, at: int) -> dict[str, Any]:
    return {
        "type": "transcript.text.segment",
        "id": str(one.native.get("id", f"seg_{at}")),
        "start": one.start_s,
        "end": one.end_s,
        "text": one.text,
        "speaker": one.speaker,
    }


class SpeakingWriter:
    """One sound, piece by piece."""

    def __init__(self, ask: SpeakingAsk, identity: Identity) -> None:
        self._format = ask.format
        self._events = ask.events
        self._identity = identity
        self._usage: Usage | None = None
        self._begun = False
        self.content_type = b"" if ask.events else TYPES[ask.format]

    def write(self, events: list[Event]) -> bytes:
        """Sound, or frames with it."""
        out: list[bytes] = []
        for event in events:
            match event:
                case MediaMade(kind="audio"):
                    out.append(self._piece(_samples(event, self._format)))
                case UsageSeen():
                    self._usage = event.usage
                case Finished() if self._events:
                    out.append(_frame(self._done()))
                case _:
                    pass
        return b"".join(out)

    def _piece(self, sound: tuple[bytes, int]) -> bytes:
        data, rate = sound
        if not self._begun:
            self._begun = True
            if rate and self._format == "wav":
                data = wav_head(rate=rate) + data
        if not self._events:
            return data
        return _frame({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})

    def _done(self) -> dict[str, Any]:
        done: dict[str, Any] = {"type": "speech.audio.done"}
        usage = self._usage
        if usage is not None and usage.total_tokens:
            done["usage"] = {
                "input_tokens": usage.prompt_tokens,
                "output_tokens": usage.completion_tokens,
                "total_tokens": usage.total_tokens,
            }
        return done

    def fail(self, error: PenstockError) -> bytes:
        """The honest end of a stream; bare sound has none (its connection is cut)."""
        return failure(error, self._identity.id) if self._events else b""

    def whole(self, events: list[Event]) -> bytes:
        """All of it at once."""
        return self.write(events)


def _samples(made: MediaMade, wanted: str) -> tuple[bytes, int]:
    """The bytes, and the samples a second where they are bare ones. Raises UpstreamMalformed for another kind of sound."""
    try:
        data = base64.b64decode(made.data, validate=True)
    except (binascii.Error, ValueError):
        raise UpstreamMalformed("The upstream's sound is no base64.") from None
    kind = made.mime.partition(";")[0].strip().lower()
    if kind in ("audio/l16", "audio/pcm") and wanted in ("pcm", "wav"):
        found = _RATE.search(made.mime)
        rate = int(found[1]) if found else PCM_RATE
        if wanted == "pcm" and rate != PCM_RATE:
            raise UpstreamMalformed(f"The upstream's sound has {rate} samples a second, not {PCM_RATE}.")
        return data, rate
    if kind == _TYPE_OF[wanted]:
        return data, 0
    raise UpstreamMalformed(f"The upstream made {kind or 'something'}, not {wanted}.")
