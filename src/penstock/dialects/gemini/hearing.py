"""Gemini as a transcriber: the recording and an instruction in, words out.

Rules
- What is asked for in OpenAI's fields (language, hint, translation) is said in the instruction, and reported so.
- Gemini gives no measured timestamps: what is made of them (srt, vtt, verbose_json, diarized_json) is refused, for a model's
  guess would look like a measurement.
- A transcript that came to the model's limit, or that a filter ended, is no transcript: it fails.
"""

import base64
from typing import Any

import msgspec

from penstock.base.audio import TranscriptionRequest
from penstock.base.chat import Audio
from penstock.base.decisions import Accepted, Rejected
from penstock.base.errors import UpstreamError
from penstock.base.events import Event, Stopped, TextDelta
from penstock.base.models import Target
from penstock.dialects.gemini import errors
from penstock.dialects.gemini.media import media_part
from penstock.dialects.gemini.models import rules
from penstock.dialects.gemini.reply import GeminiReader
from penstock.dialects.gemini.request import path_of, request_headers
from penstock.wire.http import Headers, WireRequest
from penstock.wire.refused import blocked
from penstock.wire.sounds import listen

_TIMED = ("srt", "vtt", "verbose_json", "diarized_json")
_WRITE = "Write down what is said in this recording, word for word, in the language in which it is said."
_TRANSLATE = "Translate what is said in this recording into English."
_ALONE = "Answer with these words alone: no introduction, no timestamps, no remarks. Where nothing is said, answer with nothing."
STREAM = "streamGenerateContent?alt=sse"


class GeminiHearing:
    """UpstreamDialect for recordings, for AI Studio or Vertex."""

    def __init__(self, name: str, label: str, default_base_url: str, *, vertex: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._vertex = vertex

    def refuse(self, request: TranscriptionRequest, target: Target) -> Rejected | None:
        """Why this target cannot take the request as it stands, or None."""
        if self._vertex and not target.options.get("project"):
            return Rejected("vertex-project-missing", f"{target.name} has no `project` in its configuration.")
        if request.response_format in _TIMED:
            return Rejected(
                "timestamps-unsupported",
                f"{target.name} gives no measured timestamps, which {request.response_format} is made of; "
                "ask for json or text.",
                param="response_format",
                caller_fault=True,
            )
        part = self._part(request)
        return part if isinstance(part, Rejected) else None

    def write_request(self, request: TranscriptionRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        part = self._part(request)
        assert not isinstance(part, Rejected), "refused before"
        words, adjusted = _instruction(request)
        config: dict[str, Any] = {}
        if request.temperature is not None:
            config["temperature"] = request.temperature
            if not rules(target.model, self._vertex).sampling:
                adjusted.append("temperature-ignored")
        body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": words}, part.value]}]}
        if config:
            body["generationConfig"] = config
        if not self._vertex:
            body["store"] = False
        dropped = {"include": request.include, "chunking_strategy": request.chunking}
        adjusted += [f"{name}-dropped" for name, value in dropped.items() if value]
        adjusted += [
            f"{name}-dropped" for name in request.extras.get("openai", {}) if name.startswith("known_")
        ]
        return WireRequest(
            b"POST",
            path_of(target, self._vertex, STREAM if request.stream else "generateContent"),
            request_headers(credential, self._vertex, stream=request.stream),
            msgspec.json.encode(body),
            tuple(adjusted),
        )

    def reader(self, target: Target, *, stream: bool) -> "HearingReader":
        """A reader for one reply."""
        del target
        return HearingReader(self._label, stream=stream)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return errors.read_error(self._label, status, headers, body)

    def _part(self, request: TranscriptionRequest) -> Accepted[dict[str, Any]] | Rejected:
        if request.url and not request.audio:
            ending = request.url.partition("?")[0].rpartition(".")[2].lower()
            found = media_part(Audio("", ending, request.url), self._vertex)
        else:
            sound = listen(request.audio)
            named = request.filename.rpartition(".")[2].lower()
            form = named if sound is None else sound.format
            found = media_part(Audio(base64.b64encode(request.audio).decode(), form), self._vertex)
        return msgspec.structs.replace(found, param="file") if isinstance(found, Rejected) else found


def _instruction(request: TranscriptionRequest) -> tuple[str, list[str]]:
    """What to do, and what of it OpenAI has fields for."""
    said = [_TRANSLATE if request.translate else _WRITE]
    adjusted: list[str] = []
    extras = request.extras.get("openai", {})
    for name, value, words in (
        ("language", request.language, "The language is {}."),
        ("languages", ", ".join(extras.get("languages", ())), "The language is one of {}."),
        ("prompt", request.prompt, "For the spelling of names and words, and for the style: {}"),
        ("keywords", ", ".join(extras.get("keywords", ())), "These may be said: {}."),
    ):
        if value:
            said.append(words.format(value))
            adjusted.append(f"{name}-as-instruction")
    return " ".join([*said, _ALONE]), adjusted


class HearingReader:
    """Gemini's reply -> a transcript, or none at all."""

    def __init__(self, label: str, *, stream: bool) -> None:
        self._label = label
        self._inner = GeminiReader(label, stream=stream)
        self._worded = False

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        return self._seen(self._inner.feed(data))

    def close(self) -> list[Event]:
        """The end."""
        return [self._ended(event) for event in self._seen(self._inner.close())]

    def _seen(self, events: list[Event]) -> list[Event]:
        self._worded = self._worded or any(isinstance(event, TextDelta) and event.text for event in events)
        return events

    def _ended(self, event: Event) -> Event:
        if not isinstance(event, Stopped) or event.why == "stop":
            return event
        if event.why == "content_filter" and not self._worded:
            raise blocked(self._label, event.native)
        return Stopped("error", event.native)


GEMINI_HEARING = GeminiHearing("gemini", "Gemini", "https://generativelanguage.googleapis.com", vertex=False)
VERTEX_HEARING = GeminiHearing("vertex", "Vertex AI", "https://aiplatform.googleapis.com", vertex=True)
