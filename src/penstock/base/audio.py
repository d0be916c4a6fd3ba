"""What a caller asks of a model that speaks or listens, in the neutral form that every upstream dialect can write."""

from typing import Any, Literal

from msgspec import Struct, field


class SpeechRequest(Struct):
    """Words to be spoken. ``format``: mp3, opus, aac, flac, wav or pcm. ``stream``: how the sound shall come piece by piece."""

    model: str
    text: str
    voice: str
    instructions: str | None = None
    format: str | None = None
    speed: float | None = None
    stream: Literal["audio", "sse"] | None = None
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


class TranscriptionRequest(Struct):
    """A recording to be written down. ``audio`` are its bytes, ``url`` where they lie ("" where they are here).

    ``response_format``: json, text, srt, vtt, verbose_json or diarized_json. ``translate``: into English.
    """

    model: str
    audio: bytes
    filename: str = ""
    mime: str = ""
    url: str = ""
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    response_format: str | None = None
    granularities: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    chunking: Any = None
    translate: bool = False
    stream: bool = False
    extras: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])

    def __repr__(self) -> str:
        """Without the recording."""
        return f"TranscriptionRequest({self.model}, {len(self.audio)} bytes)"
