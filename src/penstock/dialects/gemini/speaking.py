"""Gemini's speech models: ``generateContent`` with responseModalities AUDIO and a voice; bare samples come back.

Rules
- It makes PCM (16 bits, 24 kHz, one channel): that, or WAV around it. Other formats are refused: nothing here encodes sound.
- OpenAI's voices are other people's: each is one of Google's, and reported so. Any other name goes to Google as it is.
- How to speak is said in the text, as Google's guide does ("Say cheerfully: ..."); a speed has no word here.

References: ai.google.dev "Speech generation" (read 2026-11): audio/L16;codec=pcm;rate=24000.
"""

from typing import Any

import msgspec

from penstock.base.audio import SpeechRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamError, UpstreamFault
from penstock.base.events import Event, Finished, MediaMade, Started, Stopped, UsageSeen
from penstock.base.models import Target
from penstock.dialects.gemini import errors
from penstock.dialects.gemini.reply import GeminiReader
from penstock.dialects.gemini.request import path_of, request_headers
from penstock.wire.http import Headers, WireRequest
from penstock.wire.refused import blocked

FORMATS = ("wav", "pcm")
_VOICES = {
    "alloy": "Kore",
    "ash": "Orus",
    "ballad": "Enceladus",
    "cedar": "Charon",
    "coral": "Aoede",
    "echo": "Puck",
    "fable": "Fenrir",
    "marin": "Leda",
    "nova": "Zephyr",
    "onyx": "Algenib",
    "sage": "Sulafat",
    "shimmer": "Despina",
    "verse": "Iapetus",
}
_STREAM = "streamGenerateContent?alt=sse"


class GeminiSpeaking:
    """UpstreamDialect for speech, for AI Studio or Vertex."""

    def __init__(self, name: str, label: str, default_base_url: str, *, vertex: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._vertex = vertex

    def refuse(self, request: SpeechRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        if self._vertex and not target.options.get("project"):
            return Rejected("vertex-project-missing", f"{target.name} has no `project` in its configuration.")
        form = request.format or "mp3"
        if form not in FORMATS:
            return Rejected(
                "response_format-unsupported",
                f"{target.name} makes PCM, and the gateway encodes no {form}: ask for response_format wav or pcm.",
                param="response_format",
                caller_fault=True,
            )
        return None

    def write_request(self, request: SpeechRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        adjusted: list[str] = []
        words = request.text
        if request.instructions:
            words = f"{request.instructions.rstrip().rstrip(':')}: {words}"
            adjusted.append("instructions-in-text")
        voice = _VOICES.get(request.voice.lower(), request.voice)
        if voice != request.voice:
            adjusted.append("voice-approximated")
        if request.speed not in (None, 1.0):
            adjusted.append("speed-dropped")
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [{"text": words}]}],
            "generationConfig": {
                "responseModalities": ["AUDIO"],
                "speechConfig": {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": voice}}},
            },
        }
        if not self._vertex:
            body["store"] = False
        return WireRequest(
            b"POST",
            path_of(target, self._vertex, _STREAM),
            request_headers(credential, self._vertex, stream=True),
            msgspec.json.encode(body),
            tuple(adjusted),
        )

    def reader(self, target: Target, *, stream: bool) -> "SpeakingReader":
        """A reader for one reply."""
        del target, stream  # a stream is always asked for: sound goes on as it comes
        return SpeakingReader(self._label)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return errors.read_error(self._label, status, headers, body)


class SpeakingReader:
    """Gemini's stream -> sound. One that ended early, or made no sound, fails."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._inner = GeminiReader(label, stream=True)
        self._sounded = False

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        return self._sound(self._inner.feed(data))

    def close(self) -> list[Event]:
        """The end."""
        events = self._sound(self._inner.close())
        stopped = next((event for event in events if isinstance(event, Stopped)), None)
        if stopped is None or (stopped.why == "stop" and self._sounded):
            return events
        if self._sounded:
            return [Stopped("error", stopped.native) if event is stopped else event for event in events]
        if stopped.why == "content_filter":
            raise blocked(self._label, stopped.native)
        raise UpstreamFault(
            f"{self._label} made no sound ({stopped.native or 'no reason'}).", code="no_audio"
        )

    def _sound(self, events: list[Event]) -> list[Event]:
        """Sound and what is told of it: words beside it are none of the speech."""
        kept: list[Event] = []
        for event in events:
            if isinstance(event, MediaMade):
                if event.kind != "audio" or not event.data:
                    continue
                self._sounded = True
            elif not isinstance(event, Started | UsageSeen | Stopped | Finished):
                continue
            kept.append(event)
        return kept


GEMINI_SPEAKING = GeminiSpeaking(
    "gemini", "Gemini", "https://generativelanguage.googleapis.com", vertex=False
)
VERTEX_SPEAKING = GeminiSpeaking("vertex", "Vertex AI", "https://aiplatform.googleapis.com", vertex=True)
