"""The envelope of a transcription or translation: a form -> HearingAsk; and the neutral request, only to translate.

References: OpenAI's audio/transcriptions and audio/translations (specification 2.3.0, openai-python 3.52.0). ``url`` beside
them is Groq's field for a recording that lies elsewhere.
"""

from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct, field

from penstock.base.audio import TranscriptionRequest
from penstock.base.chat import Ask
from penstock.base.errors import BadRequest
from penstock.base.models import PriceRow
from penstock.base.operations import Operation
from penstock.base.sound_fees import HEARD
from penstock.wire.multipart import FormPart, is_form, read_form
from penstock.wire.preferences import ProviderField, read_preferences, refuse_misspelt
from penstock.wire.sounds import listen
from penstock.wire.unreadable import unreadable

Task = Literal["transcribe", "translate"]
Form = Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"]
MOST_FILE_BYTES = 25 * 1024 * 1024
"""OpenAI's own bound (speech-to-text guide, 2026-11)."""
PROMPT_BYTES_PER_S = 40
"""What a second of sound counts for in ``input_bytes``: ten tokens at OpenAI (measured by its prices), 32 at Gemini."""
UNKNOWN_BYTES_PER_S = 4_000
"""Of a recording that does not say its length: 32 kbit/s, usual for speech."""
GATEWAY_FIELDS = ("models", "fallbacks", "provider", "penstock")
_STREAMED: tuple[Form, ...] = ("json", "text", "diarized_json")
_LISTS = (
    "timestamp_granularities",
    "include",
    "keywords",
    "languages",
    "known_speaker_names",
    "known_speaker_references",
)
_KNOWN = frozenset(
    {
        "file",
        "model",
        "url",
        "language",
        "prompt",
        "temperature",
        "response_format",
        "stream",
        "chunking_strategy",
    }
) | {*_LISTS, *GATEWAY_FIELDS}
_REMEDIES = {
    "file": "Send the recording as a file of the form: flac, mp3, mp4, mpeg, mpga, m4a, ogg, wav or webm.",
    "model": 'Send a string such as "openai/gpt-4o-transcribe".',
    "response_format": f"Send one of {', '.join(get_args(Form))}.",
    "temperature": "Send a number from 0 to 1.",
    "stream": "Send true or false.",
    "timestamp_granularities": "Send word or segment, together with response_format verbose_json.",
    "chunking_strategy": 'Send auto, or a JSON object such as {"type": "server_vad"}.',
    "provider": 'Send JSON such as {"order": ["openai"], "allow_fallbacks": true}.',
    "models": "Send a JSON list of model names.",
    "fallbacks": "Send a JSON list of model names.",
}


class Fields(Struct):
    """What we read of a form."""

    model: str | None = None
    url: str | None = None
    language: str | None = None
    prompt: str | None = None
    temperature: float | None = None
    response_format: Form | None = None
    stream: bool | None = None
    chunking_strategy: Any = None
    timestamp_granularities: tuple[Literal["word", "segment"], ...] = ()
    include: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    known_speaker_names: tuple[str, ...] = ()
    known_speaker_references: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    fallbacks: tuple[str, ...] | None = None
    provider: ProviderField | None = None
    penstock: Any = None


class HearingAsk(Ask):
    """The envelope of one call, with what was read on the way; the recording stays in the body."""

    task: Task = "transcribe"
    content_type: bytes = b""
    names: tuple[str, ...] = ()
    """Of the form's parts, in their order."""
    fields: Fields = field(default_factory=Fields)
    file_bytes: int = 0
    seconds: float = 0.0
    """How long the recording says it is; 0.0 where it does not."""
    row: PriceRow | None = None
    """The prices of the target that the bytes are passed on to: its relay charges by them."""


def read_envelope(task: Task, content_type: bytes, body: bytes) -> HearingAsk:
    """Body -> HearingAsk. Raises BadRequest naming the field."""
    if not is_form(content_type):
        raise BadRequest(
            "The body is no multipart form.",
            param="file",
            hint="Send multipart/form-data with the recording as file.",
        )
    form = read_form(content_type, body)
    fields = _of_form(form)
    recording = next((part for part in form if part.name == "file" and part.filename is not None), None)
    _check(task, fields, recording)
    seconds, size = 0.0, 0
    if recording is not None:
        size, sound = len(recording.data), listen(recording.data)
        seconds = 0.0 if sound is None else sound.seconds
    counted = max(1, round(seconds or size / UNKNOWN_BYTES_PER_S))
    wish = fields.provider
    operation: Operation = "transcriptions"
    return HearingAsk(
        "openai",
        body,
        fields.model or "",
        fields.stream is True and task == "transcribe",
        models=fields.models or (),
        fallbacks=fields.fallbacks or (),
        provider=None if wish is None else read_preferences(wish, b""),
        input_bytes=len((fields.prompt or "").encode()) + counted * PROMPT_BYTES_PER_S,
        gateway_fields=tuple(name for name in GATEWAY_FIELDS if getattr(fields, name) is not None),
        operation=operation,
        units=tuple((unit, counted) for unit in HEARD),
        task=task,
        content_type=content_type,
        names=tuple(part.name for part in form),
        fields=fields,
        file_bytes=size,
        seconds=seconds,
    )


def _of_form(form: list[FormPart]) -> Fields:
    """The texts of a form: lists by repeating a name, with or without ``[]``; JSON where a field is an object."""
    given: dict[str, Any] = {}
    for part in form:
        name = part.name.removesuffix("[]")
        if part.filename is not None or name not in _KNOWN:
            continue
        text = part.data.decode("utf-8", "replace")
        if name in _LISTS:
            given.setdefault(name, []).append(text)
        elif name in GATEWAY_FIELDS or (name == "chunking_strategy" and text.lstrip()[:1] == "{"):
            try:
                given[name] = msgspec.json.decode(part.data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                raise _wrong(name, f"The field {name} of the form is not JSON.") from None
        elif text:
            given[name] = text
    try:
        fields = msgspec.convert(given, Fields, strict=False)
    except msgspec.ValidationError as error:
        raise unreadable(error, b"", _REMEDIES) from None
    if fields.provider is not None:
        refuse_misspelt(given["provider"])
    return fields


def _check(task: Task, fields: Fields, recording: FormPart | None) -> None:
    """Raises BadRequest for what no provider can take."""
    if not fields.model and not fields.models:
        raise _wrong("model", "The field model is missing.")
    if recording is None and not fields.url:
        raise _wrong("file", "The field file is missing: there is no recording.")
    if recording is not None and not recording.data:
        raise _wrong("file", "The field file is empty.")
    if fields.temperature is not None and not 0 <= fields.temperature <= 1:
        raise _wrong("temperature", f"The field temperature is {fields.temperature:g}.")
    form = fields.response_format or "json"
    if fields.timestamp_granularities and form != "verbose_json":
        raise _wrong("timestamp_granularities", f"There are no timestamps in response_format {form}.")
    if fields.stream and task == "transcribe" and form not in _STREAMED:
        raise BadRequest(
            f"A stream carries the words as they come: response_format {form} is for whole replies.",
            param="response_format",
            hint=f"Leave stream out, or ask for {', '.join(_STREAMED)}.",
        )
    if task == "translate" and form == "diarized_json":
        raise _wrong("response_format", "A translation knows no speakers.")


def expand(ask: HearingAsk) -> TranscriptionRequest:
    """The neutral request."""
    fields = ask.fields
    recording = next((part for part in read_form(ask.content_type, ask.body) if part.name == "file"), None)
    extras = {
        name: list(value) for name in _LISTS[2:] if (value := cast("tuple[str, ...]", getattr(fields, name)))
    }
    return TranscriptionRequest(
        fields.model or "",
        b"" if recording is None else recording.data,
        "" if recording is None else recording.filename or "",
        "" if recording is None else recording.content_type,
        fields.url or "",
        fields.language,
        fields.prompt,
        fields.temperature,
        fields.response_format,
        fields.timestamp_granularities,
        fields.include,
        fields.chunking_strategy,
        ask.task == "translate",
        ask.stream,
        {"openai": extras} if extras else {},
    )


def _wrong(param: str, message: str) -> BadRequest:
    return BadRequest(message, param=param, hint=_REMEDIES.get(param))
