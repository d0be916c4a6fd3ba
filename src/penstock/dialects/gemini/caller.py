"""Gemini as callers speak it: the model and the verb stand in the path, so each call has a caller object of its own.

``/v1/models/{m}:verb``, ``/v1beta/...``, ``/v1beta1/projects/{p}/locations/{l}/publishers/{pub}/models/{m}:verb`` and the
express form without a project. google-genai writes "openai/gpt-4o-mini" as ``models/openai/gpt-4o-mini`` to AI Studio
and as ``publishers/openai/models/gpt-4o-mini`` to Vertex: both are the model "openai/gpt-4o-mini".
"""

from typing import cast
from urllib.parse import unquote

import msgspec

from penstock.base.chat import Ask, ChatRequest
from penstock.base.errors import PenstockError
from penstock.base.operations import Operation
from penstock.dialects.gemini.envelope import Framing, GeminiAsk, read_envelope, top_level
from penstock.dialects.gemini.expand import expand
from penstock.dialects.gemini.failure import write_error
from penstock.dialects.gemini.framing import ending, frame
from penstock.dialects.gemini.writer import GeminiWriter
from penstock.wire.ports import Identity, ReplyWriter

_encode = msgspec.json.Encoder().encode
_GOOGLE = "google"


def model_of(name: str, publisher: str = "") -> str:
    """The model's name as the rest of the gateway knows it, out of a path's pieces."""
    name = unquote(name)
    while name.startswith("models/"):
        name = name.removeprefix("models/")
    publisher = unquote(publisher)
    return name if publisher in ("", _GOOGLE) else f"{publisher}/{name}"


class GeminiCall:
    """A CallerDialect, bound to one call's path. ``vertex``: it came by a Vertex path."""

    name = "gemini"
    operation: Operation = "chat"
    heartbeat = b""
    long_field = b"contents"

    def __init__(
        self, model: str = "", framing: Framing = "whole", *, vertex: bool = False, version: str = "v1beta"
    ) -> None:
        self.family = "vertex" if vertex else "gemini"
        self._model = model
        self._framing: Framing = framing
        self._vertex = vertex
        self._version = version
        self._ask: GeminiAsk | None = None

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field, or the position of what is not JSON."""
        self._ask = read_envelope(
            body,
            dialect=self.name,
            model=self._model,
            framing=self._framing,
            vertex=self._vertex,
            version=self._version,
        )
        return self._ask

    def expand(self, ask: Ask) -> ChatRequest:
        """The neutral request. Raises BadRequest naming the field."""
        return expand(cast("GeminiAsk", ask))

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """A writer for one reply."""
        return GeminiWriter(cast("GeminiAsk", ask), identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body; where the stream would have been an array, a list of one, as Google has it."""
        body = _encode(write_error(error, request_id))
        return b"[" + body + b"]" if self._framing == "array" else body

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """The piece that ends a stream already begun: the official client raises on it."""
        ask = self._ask or GeminiAsk(self.name, b"", self._model)
        return frame(ask, _encode(write_error(error, request_id))) + ending(ask)


class GeminiCount(GeminiCall):
    """The same for ``countTokens``, whose body holds the contents, or the whole request in ``generateContentRequest``."""

    def read_request(self, body: bytes) -> Ask:
        """The envelope of the request that is to be counted."""
        inner = top_level(body).get("generateContentRequest")
        ask = super().read_request(body if inner is None else bytes(inner))
        cast("GeminiAsk", ask).counting = True
        return ask


GEMINI_CALLER = GeminiCall()
"""For errors of paths that name no model."""
