"""The envelope of speech: a JSON body -> SpeakingAsk; and the neutral request, only to translate.

Rule: sound goes out as it comes, so every call of speech is delivered as a stream, with or without ``stream_format``.

References: OpenAI's audio/speech (specification 2.3.0): at most 4,096 characters, a speed from 0.25 to 4.
"""

from typing import Any, Literal, get_args

import msgspec
from msgspec import Struct, field

from penstock.base.audio import SpeechRequest
from penstock.base.chat import Ask
from penstock.base.errors import BadRequest
from penstock.base.models import PriceRow
from penstock.base.operations import Operation
from penstock.base.sound_fees import CHARACTERS_PER_S, SPOKEN
from penstock.wire.preferences import ProviderField, read_preferences
from penstock.wire.unreadable import unreadable

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
MOST_CHARACTERS = 4_096
SLOWEST, FASTEST = 0.25, 4.0
TYPES: dict[str, bytes] = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/opus",
    "aac": b"audio/aac",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "penstock")
_REMEDIES = {
    "model": 'Send a string such as "openai/gpt-4o-mini-tts".',
    "input": f"Send the words to speak, at most {MOST_CHARACTERS} characters a call.",
    "voice": 'Send a name such as "alloy".',
    "response_format": f"Send one of {', '.join(get_args(Format))}.",
    "speed": f"Send a number from {SLOWEST} to {FASTEST:g}.",
    "stream_format": "Send audio or sse.",
    "instructions": "Send a string.",
}


class _Voice(Struct, gc=False):
    id: str


class Fields(Struct):
    """What we read of the body."""

    model: str | None = None
    input: str | None = None
    voice: str | _Voice | None = None
    instructions: str | None = None
    response_format: Format | None = None
    speed: float | None = None
    stream_format: Literal["audio", "sse"] | None = None
    user: str | None = None
    models: tuple[str, ...] | None = None
    fallbacks: tuple[str, ...] | None = None
    provider: ProviderField | None = None
    penstock: Any = None


_decode = msgspec.json.Decoder(Fields).decode


class SpeakingAsk(Ask):
    """The envelope of one call, with what was read on the way."""

    fields: Fields = field(default_factory=Fields)
    row: PriceRow | None = None
    """The prices of the target that the bytes are passed on to: its relay charges by them."""

    @property
    def events(self) -> bool:
        """The sound is asked for in server-sent events."""
        return self.fields.stream_format == "sse"

    @property
    def format(self) -> Format:
        """What the sound is to be."""
        return self.fields.response_format or "mp3"

    @property
    def characters(self) -> int:
        """How much is to be spoken."""
        return len(self.fields.input or "")


def read_envelope(body: bytes) -> SpeakingAsk:
    """Body -> SpeakingAsk. Raises BadRequest naming the field."""
    try:
        fields = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body, _REMEDIES) from None
    _check(fields)
    words = fields.input or ""
    wish = fields.provider
    seconds = max(1, -(-len(words) // CHARACTERS_PER_S))
    operation: Operation = "speech"
    return SpeakingAsk(
        "openai",
        body,
        fields.model or "",
        True,
        models=fields.models or (),
        fallbacks=fields.fallbacks or (),
        provider=None if wish is None else read_preferences(wish, body),
        input_bytes=len(words.encode()) + len((fields.instructions or "").encode()),
        gateway_fields=tuple(name for name in GATEWAY_FIELDS if getattr(fields, name) is not None),
        user=fields.user or "",
        operation=operation,
        units=(*((unit, len(words)) for unit in SPOKEN), ("second", seconds)),
        fields=fields,
    )


def _check(fields: Fields) -> None:
    if not fields.model and not fields.models:
        raise _wrong("model", "The field model is missing.")
    if not fields.input:
        raise _wrong("input", "The field input is missing: there is nothing to speak.")
    if len(fields.input) > MOST_CHARACTERS:
        raise _wrong(
            "input", f"The field input has {len(fields.input)} characters; {MOST_CHARACTERS} are the most."
        )
    if not fields.voice:
        raise _wrong("voice", "The field voice is missing.")
    if fields.speed is not None and not SLOWEST <= fields.speed <= FASTEST:
        raise _wrong("speed", f"The field speed is {fields.speed:g}.")


def expand(ask: SpeakingAsk) -> SpeechRequest:
    """The neutral request."""
    fields = ask.fields
    voice = fields.voice
    extras: dict[str, dict[str, Any]] = {}
    if isinstance(voice, _Voice):
        extras = {"openai": {"voice": {"id": voice.id}}}
    return SpeechRequest(
        fields.model or "",
        fields.input or "",
        voice if isinstance(voice, str) else "" if voice is None else voice.id,
        fields.instructions,
        ask.format,
        fields.speed,
        fields.stream_format or "audio",
        extras,
    )


def _wrong(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, hint=_REMEDIES.get(param))
