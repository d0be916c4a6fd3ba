"""OpenAI's audio as its servers write it: transcriptions and translations in all formats, speech, whole and streamed.

Source: openai-openapi 2.3.0 and openai-python 3.52.0, read 2026-11. A recording's words follow from its bytes, two for each
second; whisper-1 is charged by the second and knows no streams, the others by tokens, and know json alone (the one that tells
speakers apart: json, text and diarized_json).
"""

import base64
import zlib
from math import ceil
from typing import Any

import msgspec

from penstock.simulate.content import WORDS
from penstock.simulate.openai import OPENAI
from penstock.simulate.reply import Call, Frame, Frames, Kind, Refused, Reply
from penstock.simulate.sound import sound
from penstock.simulate.stability import read_parts
from penstock.simulate.untyped import as_list, as_object, as_text
from penstock.wire.http import Headers, header
from penstock.wire.sounds import listen

_encode = msgspec.json.Encoder().encode
_HEARD = frozenset(
    {
        "file",
        "model",
        "response_format",
        "language",
        "prompt",
        "temperature",
        "timestamp_granularities",
        "include",
        "chunking_strategy",
        "stream",
        "keywords",
        "languages",
        "known_speaker_names",
        "known_speaker_references",
    }
)
_SPOKEN = frozenset(
    {"model", "input", "voice", "instructions", "response_format", "speed", "stream_format", "stream"}
)
_LISTS = frozenset(
    {
        "timestamp_granularities",
        "include",
        "keywords",
        "languages",
        "known_speaker_names",
        "known_speaker_references",
    }
)
_VOICES = [
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
]
_TYPES = {"mp3": "mpeg", "opus": "opus", "aac": "aac", "flac": "flac", "wav": "wav", "pcm": "pcm"}
_MOST_BYTES = 25 * 1024 * 1024
_PIECE_BYTES = 4096
_SEGMENT_S = 4
_TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
_JSON = [(b"content-type", b"application/json")]
_EVENTS = [(b"content-type", b"text/event-stream; charset=utf-8")]


def fields_of(headers: Headers, body: bytes) -> Any:
    """The fields of a form, or of a JSON body; None where it is neither. The file comes as its bytes."""
    content_type = header(headers, b"content-type") or b""
    if not content_type.startswith(b"multipart/form-data"):
        try:
            return msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
    fields: dict[str, Any] = {}
    try:
        parts = read_parts(content_type, body)
    except Refused:
        return None
    for name, data in parts:
        bare = name.removesuffix("[]")
        if bare == "file":
            fields["file"] = data
        elif bare in _LISTS:
            fields.setdefault(bare, []).append(data.decode("utf-8", "replace"))
        else:
            text = data.decode("utf-8", "replace")
            fields[name] = {"true": True, "false": False}.get(text, text)
    return fields


class OpenAIAudio:
    """``/audio/transcriptions``, ``/audio/translations`` and ``/audio/speech``."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if call.method != "POST":
            raise Refused(405, f"Not allowed to {call.method} on {call.path}.", code="method_not_allowed")
        if not call.key:
            raise Refused(401, "You didn't provide an API key.")
        fields = as_object(call.json)
        if not fields:
            raise Refused(400, "We could not parse the body of your request.")
        if call.path.endswith("/speech"):
            return _speak(fields, call)
        return _hear(fields, call, translate=call.path.endswith("/translations"))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return OPENAI.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """An event of the name ``error``."""
        return b"event: error\n" + OPENAI.error_frame(refused, call, first=first)


OPENAI_AUDIO = OpenAIAudio()


def _bad(param: str, why: str = "") -> Refused:
    return Refused(400, why or f"Invalid value for '{param}'.", code="invalid_value", param=param)


def _known(fields: dict[str, Any], allowed: frozenset[str], call: Call) -> None:
    unknown = sorted(set(fields) - allowed)
    if unknown and call.settings.unknown_fields == "refuse":
        raise Refused(400, f"Unknown parameter: '{unknown[0]}'.", code="unknown_parameter", param=unknown[0])


# -- transcriptions


def _hear(fields: dict[str, Any], call: Call, *, translate: bool) -> Reply:
    _known(fields, _HEARD, call)
    data = fields.get("file")
    if not isinstance(data, bytes):
        raise Refused(400, "Missing required parameter: 'file'.", param="file")
    if len(data) > _MOST_BYTES:
        raise Refused(413, f"Maximum content size limit ({_MOST_BYTES}) exceeded ({len(data)} bytes read)")
    heard = listen(data)
    if heard is None:
        raise _bad("file", "Audio file might be corrupted or unsupported")
    whisper, diarize = "whisper" in call.model, "diarize" in call.model
    form = as_text(fields.get("response_format")) or "json"
    allowed = ("json", "text", "srt", "vtt", "verbose_json") if whisper else ("json",)
    if diarize:
        allowed = ("json", "text", "diarized_json")
    if form not in allowed:
        raise _bad(
            "response_format", f"response_format '{form}' is not compatible with model '{call.model}'."
        )
    said = _Heard(data, heard.seconds or 4.0, as_text(fields.get("prompt")), fields, call, by_second=whisper)
    if fields.get("stream") is True and not whisper and not translate:
        return Reply(200, [*_EVENTS], frames=_heard_frames(said, diarized=form == "diarized_json"))
    if form == "text":
        return Reply(200, [*_TEXT], said.text.encode() + b"\n")
    if form in ("srt", "vtt"):
        return Reply(200, [*_TEXT], said.subtitles(form).encode())
    task = "translate" if translate else "transcribe"
    return Reply(200, [*_JSON], _encode(said.whole(form, task)))


class _Heard:
    """What was understood."""

    def __init__(
        self,
        data: bytes,
        seconds: float,
        prompt: str,
        fields: dict[str, Any],
        call: Call,
        *,
        by_second: bool,
    ) -> None:
        seed, count = zlib.crc32(data), max(3, round(2 * seconds))
        self.words = [WORDS[(seed + at) % len(WORDS)] for at in range(count)]
        self.text = " ".join(self.words)
        self.seconds = seconds
        self.usage = self._usage(prompt, call, by_second=by_second)
        self.granularities = as_list(fields.get("timestamp_granularities")) or ["segment"]

    def _usage(self, prompt: str, call: Call, *, by_second: bool) -> dict[str, Any] | None:
        if call.quirks.usage == "missing":
            return None
        if by_second:
            return {"type": "duration", "seconds": ceil(self.seconds)}
        audio, text = ceil(10 * self.seconds), (len(prompt) + 3) // 4
        return {
            "type": "tokens",
            "input_tokens": audio + text,
            "input_token_details": {"text_tokens": text, "audio_tokens": audio},
            "output_tokens": len(self.words),
            "total_tokens": audio + text + len(self.words),
        }

    def segments(self) -> list[tuple[float, float, str]]:
        """Stretches of four seconds."""
        count = max(1, ceil(self.seconds / _SEGMENT_S))
        size = ceil(len(self.words) / count)
        return [
            (
                float(at * _SEGMENT_S),
                min(self.seconds, (at + 1) * _SEGMENT_S),
                " " + " ".join(self.words[at * size : (at + 1) * size]),
            )
            for at in range(count)
        ]

    def subtitles(self, form: str) -> str:
        """Cues."""
        point = "," if form == "srt" else "."
        out = "" if form == "srt" else "WEBVTT\n\n"
        for number, (start, end, text) in enumerate(self.segments(), 1):
            lead = f"{number}\n" if form == "srt" else ""
            out += f"{lead}{_clock(start, point)} --> {_clock(end, point)}\n{text.strip()}\n\n"
        return out

    def diarized(self) -> list[dict[str, Any]]:
        """Segments with their speakers."""
        return [
            {
                "type": "transcript.text.segment",
                "id": f"seg_{at:03}",
                "start": start,
                "end": end,
                "text": text,
                "speaker": "AB"[at % 2],
            }
            for at, (start, end, text) in enumerate(self.segments())
        ]

    def whole(self, form: str, task: str) -> dict[str, Any]:
        """The body."""
        body: dict[str, Any] = {"text": self.text}
        if form == "verbose_json":
            body = {"task": task, "language": "english", "duration": self.seconds, **body}
            if "word" in self.granularities:
                body["words"] = [
                    {"word": word, "start": at / 2, "end": at / 2 + 0.5} for at, word in enumerate(self.words)
                ]
            if "segment" in self.granularities:
                body["segments"] = [_verbose(at, one) for at, one in enumerate(self.segments())]
        if form == "diarized_json":
            body = {"task": task, "duration": self.seconds, **body, "segments": self.diarized()}
        return body if self.usage is None else {**body, "usage": self.usage}


def _verbose(at: int, one: tuple[float, float, str]) -> dict[str, Any]:
    start, end, text = one
    return {
        "id": at,
        "seek": 0,
        "start": start,
        "end": end,
        "text": text,
        "tokens": [50364, 13],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.1,
        "no_speech_prob": 0.01,
    }


def _clock(at_s: float, point: str) -> str:
    whole = round(at_s * 1000)
    return (
        f"{whole // 3_600_000:02}:{whole // 60_000 % 60:02}:{whole // 1000 % 60:02}{point}{whole % 1000:03}"
    )


def _heard_frames(said: _Heard, *, diarized: bool) -> Frames:
    for at, word in enumerate(said.words):
        delta = word if at == 0 else f" {word}"
        yield Frame(Kind.CONTENT, _event({"type": "transcript.text.delta", "delta": delta}), 1)
    for segment in said.diarized() if diarized else ():
        yield Frame(Kind.CONTENT, _event(segment), 1)
    done: dict[str, Any] = {"type": "transcript.text.done", "text": said.text}
    if said.usage is not None:
        done["usage"] = said.usage
    yield Frame(Kind.FINISH, _event(done))


# -- speech


def _speak(fields: dict[str, Any], call: Call) -> Reply:
    _known(fields, _SPOKEN, call)
    words = as_text(fields.get("input"))
    if not words or len(words) > 4096:
        raise _bad("input", "[{'type': 'string_too_long', 'loc': ('body', 'input')}]")
    voice = fields.get("voice")
    if not isinstance(voice, dict) and voice not in _VOICES:
        raise _bad("voice")
    form = as_text(fields.get("response_format")) or "mp3"
    if form not in _TYPES:
        raise _bad("response_format")
    speed = fields.get("speed", 1.0)
    if not isinstance(speed, int | float) or not 0.25 <= speed <= 4:
        raise _bad("speed")
    events = fields.get("stream_format") == "sse"
    if events and call.model.startswith("tts-1"):
        raise _bad("stream_format", f"stream_format 'sse' is not supported with model '{call.model}'.")
    seconds = len(words) / 15 / speed
    data = sound(form, seconds)
    if events:
        return Reply(200, [*_EVENTS], frames=_spoken_frames(data, words, seconds))
    pieces = (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
    content_type = f"audio/{_TYPES[form]}".encode()
    return Reply(
        200, [(b"content-type", content_type)], frames=(Frame(Kind.CONTENT, piece, 1) for piece in pieces)
    )


def _spoken_frames(data: bytes, words: str, seconds: float) -> Frames:
    for at in range(0, len(data), _PIECE_BYTES):
        piece = base64.b64encode(data[at : at + _PIECE_BYTES]).decode()
        yield Frame(Kind.CONTENT, _event({"type": "speech.audio.delta", "audio": piece}), 1)
    given, made = (len(words) + 3) // 4, ceil(20 * seconds)
    usage = {"input_tokens": given, "output_tokens": made, "total_tokens": given + made}
    yield Frame(Kind.FINISH, _event({"type": "speech.audio.done", "usage": usage}))


def _event(event: dict[str, Any]) -> bytes:
    return b"event: " + event["type"].encode() + b"\ndata: " + _encode(event) + b"\n\n"
