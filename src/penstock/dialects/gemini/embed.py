"""Embeddings as Gemini's callers ask for them: one content, a batch, or Vertex's older ``predict`` with instances.

Rules
- A content of several texts is one input, its texts in lines; one picture may be an input of its own.
- All requests of a batch are asked of one model with one set of settings: that is one call at every provider.
- ``taskType`` goes on in Google's words; who has none of it reports that.
"""

from typing import Any, Literal

import msgspec
from msgspec import Raw

from penstock.base.chat import Ask, Image, Text
from penstock.base.embeddings import EmbeddingsInput, EmbeddingsRequest
from penstock.base.errors import PenstockError
from penstock.base.events import Event, UsageSeen, VectorMade
from penstock.base.operations import Operation
from penstock.base.usage import Usage
from penstock.dialects.gemini.envelope import top_level
from penstock.dialects.gemini.failure import write_error
from penstock.dialects.gemini.fields import Json, Reader, loose, wrong
from penstock.dialects.gemini.turns import Turns
from penstock.wire.floats import floats
from penstock.wire.ports import Identity, ReplyWriter
from penstock.wire.unreadable import unreadable

EmbedVerb = Literal["embedContent", "batchEmbedContents", "predict"]
_encode = msgspec.json.Encoder().encode


class _Wanted(msgspec.Struct):
    """What a body asks for: contents, and the settings that all of them share."""

    contents: list[Raw | str]
    settings: Json


def _read(body: bytes, verb: EmbedVerb) -> _Wanted:
    reader = Reader()
    top_level(body)
    raw = msgspec.json.decode(body, type=Raw)
    if verb == "predict":
        return _instances(top_level(body))
    if verb == "embedContent":
        requests = [reader.message("EmbedRequest", raw, "")]
    else:
        requests = reader.message("BatchEmbedRequest", raw, "").get("requests", [])
    if not requests:
        raise wrong("requests", "is missing or empty", 'Send [{"content": {"parts": [{"text": "..."}]}}].')
    contents: list[Raw | str] = []
    settings: list[Json] = []
    for index, one in enumerate(requests):
        place = "content" if verb == "embedContent" else f"requests[{index}].content"
        if "content" not in one:
            raise wrong(place, "is missing")
        contents.append(one.pop("content"))
        one.pop("model", None)
        settings.append({**one.pop("embedContentConfig", {}), **one})
    if any(one != settings[0] for one in settings):
        raise wrong(
            "requests", "ask for different settings", "Send requests with other settings in another call."
        )
    return _Wanted(contents, settings[0])


def _instances(fields: dict[str, Raw]) -> _Wanted:
    """Vertex's ``predict``: ``{"instances": [{"content", "task_type", "title"}], "parameters": {...}}``."""
    if "instances" not in fields:
        raise wrong("instances", "is missing", 'Send [{"content": "..."}].')
    contents: list[Raw | str] = []
    settings: list[Json] = []
    for index, raw in enumerate(msgspec.json.decode(fields["instances"], type=list[Raw])):
        one = loose(raw)
        words = one.get("content")
        if not isinstance(words, str) or not words:
            raise wrong(
                f"instances[{index}].content", "is not a text", "Here only embeddings of text are made."
            )
        contents.append(words)
        settings.append({name: one[name] for name in ("taskType", "title") if name in one})
    if not contents or any(one != settings[0] for one in settings):
        raise wrong(
            "instances", "are none, or ask for different settings", "Send those in calls of their own."
        )
    shared = loose(fields.get("parameters"))
    wanted = {name: shared[name] for name in ("outputDimensionality", "autoTruncate") if name in shared}
    return _Wanted(contents, settings[0] | wanted)


def _input(content: Raw | str, place: str) -> EmbeddingsInput:
    if isinstance(content, str):
        return content
    turns = Turns(Reader(), None)
    parts = [part for message in turns.contents(content) for part in message.parts]
    words = [part.text for part in parts if isinstance(part, Text)]
    pictures = [part for part in parts if isinstance(part, Image)]
    if len(words) + len(pictures) != len(parts) or turns.lost:
        raise wrong(place, "holds something that is neither text nor a picture")
    if len(pictures) > 1 or (pictures and words):
        raise wrong(place, "holds a picture among other parts", "Send each picture as a content of its own.")
    if pictures:
        return pictures[0]
    if not any(words):
        raise wrong(place, "is empty")
    return "\n".join(words)


class GeminiEmbed:
    """A CallerDialect for embeddings, bound to one call's path."""

    name = "gemini"
    family = ""
    operation: Operation = "embeddings"
    heartbeat = b""

    def __init__(self, model: str, verb: EmbedVerb) -> None:
        self._model = model
        self._verb: EmbedVerb = verb

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        try:
            wanted = _read(body, self._verb)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error, body) from None
        ask = Ask(self.name, body, self._model, operation="embeddings")
        ask.input_bytes = sum(map(len, wanted.contents))
        if b'"penstock"' in body:  # ours to read: it is not sent on
            ask.gateway_fields = ("penstock",)
        return ask

    def expand(self, ask: Ask) -> EmbeddingsRequest:
        """The neutral request. Raises BadRequest naming the field."""
        wanted = _read(ask.body, self._verb)
        settings = wanted.settings
        rest = {
            name: value
            for name, value in settings.items()
            if name not in ("taskType", "title", "outputDimensionality", "autoTruncate")
        }
        truncate = settings.get("autoTruncate")
        return EmbeddingsRequest(
            model=ask.model,
            inputs=tuple(_input(one, f"contents[{at}]") for at, one in enumerate(wanted.contents)),
            dimensions=settings.get("outputDimensionality"),
            task=settings.get("taskType", ""),
            title=settings.get("title", ""),
            truncate="" if truncate is None else ("END" if truncate else "NONE"),
            extras={"gemini": rest} if rest else {},
        )

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return _EmbedWriter(self._verb)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body."""
        return _encode(write_error(error, request_id))

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """Nothing is streamed: the same body."""
        return self.write_error(error, request_id)


class _EmbedWriter:
    """One reply, whole only."""

    content_type = b""

    def __init__(self, verb: EmbedVerb) -> None:
        self._verb = verb

    def write(self, events: list[Event]) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def fail(self, error: PenstockError) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def whole(self, events: list[Event]) -> bytes:
        """The body, its vectors in the order of the inputs."""
        made = sorted((event for event in events if isinstance(event, VectorMade)), key=lambda one: one.index)
        usage = next((event.usage for event in reversed(events) if isinstance(event, UsageSeen)), None)
        vectors = [floats(one.vector) for one in made]
        body: Json
        if self._verb == "predict":
            tokens = None if usage is None else usage.prompt_tokens // max(1, len(vectors))
            statistics: dict[str, Any] = {"truncated": False} | (
                {} if tokens is None else {"token_count": tokens}
            )
            body = {
                "predictions": [{"embeddings": {"values": one, "statistics": statistics}} for one in vectors]
            }
        elif self._verb == "embedContent":
            body = {"embedding": {"values": vectors[0] if vectors else []}}
        else:
            body = {"embeddings": [{"values": one} for one in vectors]}
        if usage is not None and self._verb != "predict":
            body["usageMetadata"] = _counts(usage)
        return _encode(body)


def _counts(usage: Usage) -> Json:
    return {"promptTokenCount": usage.prompt_tokens, "totalTokenCount": usage.prompt_tokens}
