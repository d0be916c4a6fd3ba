"""Google's embeddings: ``batchEmbedContents`` of AI Studio, ``predict`` of Vertex.

Rules
- Vectors shorter than a model's own are not of length 1 (gemini-embedding-001): they are made so, as OpenAI's are; to those
  that are, it does nothing.
- AI Studio says no usage of older models: then nothing is made up, the ledger estimates and says so.
- Vertex takes one input a call for gemini-embedding models (Vertex AI documentation, text embeddings, 2026-11).
"""

from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from penstock.base.chat import Image
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsInput, EmbeddingsRequest
from penstock.base.errors import UpstreamError, UpstreamMalformed
from penstock.base.events import Event, Finished, Started, Stopped, UsageSeen, VectorMade
from penstock.base.models import Target
from penstock.base.usage import Usage
from penstock.dialects.gemini import errors
from penstock.dialects.gemini.models import bare_name
from penstock.wire.floats import normalised, packed
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest

MAX_INPUTS = {False: 100, True: 250}
"""Of a call: AI Studio's batch, Vertex's instances."""
_TASKS = frozenset(
    {
        "RETRIEVAL_QUERY",
        "RETRIEVAL_DOCUMENT",
        "SEMANTIC_SIMILARITY",
        "CLASSIFICATION",
        "CLUSTERING",
        "QUESTION_ANSWERING",
        "FACT_VERIFICATION",
        "CODE_RETRIEVAL_QUERY",
    }
)
_OF_COHERE = {
    "search_query": "RETRIEVAL_QUERY",
    "search_document": "RETRIEVAL_DOCUMENT",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
}
_encode = msgspec.json.Encoder().encode


class _Values(Struct, gc=False):
    values: list[float]


class _Counts(Struct, gc=False, rename="camel"):
    prompt_token_count: int | None = None
    total_token_count: int | None = None


class _Batch(Struct, gc=False, rename="camel"):
    embeddings: list[_Values]
    usage_metadata: _Counts | None = None


class _Statistics(Struct, gc=False):
    token_count: float | None = None


class _Embeddings(Struct, gc=False):
    values: list[float]
    statistics: _Statistics | None = None


class _Prediction(Struct, gc=False):
    embeddings: _Embeddings


class _Predictions(Struct, gc=False):
    predictions: list[_Prediction]


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_predictions = msgspec.json.Decoder(_Predictions).decode


class GeminiEmbeddings:
    """UpstreamDialect for embeddings. ``vertex`` says which of Google's two doors."""

    def __init__(self, name: str, label: str, default_base_url: str, *, vertex: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._vertex = vertex

    def refuse(self, request: EmbeddingsRequest, target: Target) -> Rejected | None:
        """What this door cannot take."""
        if self._vertex and not target.options.get("project"):
            return Rejected("vertex-project-missing", f"{target.name} has no `project` in its configuration.")
        most = MAX_INPUTS[self._vertex]
        if self._vertex and "gemini-embedding" in target.model:
            most = 1
        if len(request.inputs) > most:
            why = f"{target.name} embeds at most {most} inputs a call; {len(request.inputs)} were given."
            return Rejected("input-too-many", why, param="input", caller_fault=True)
        for index, one in enumerate(request.inputs):
            if isinstance(one, tuple):
                why = "Google takes no tokens. Send the words, or configure the provider's `tokenizer`."
            elif isinstance(one, Image) and (self._vertex or not one.data):
                why = f"{self._label} takes a picture's bytes on AI Studio only."
            else:
                continue
            return Rejected("input-unsupported", why, param=f"input[{index}]", caller_fault=True)
        return None

    def write_request(self, request: EmbeddingsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        adjusted = [
            f"{name}-dropped"
            for name, value in (("user", request.user), ("truncate", request.truncate))
            if value
        ]
        task = request.task if request.task in _TASKS else _OF_COHERE.get(request.task, "")
        if request.task and not task:
            adjusted.append("task-dropped")
        secret = credential.encode("latin-1", "replace")
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"authorization", b"Bearer " + secret) if self._vertex else (b"x-goog-api-key", secret),
        ]
        model = bare_name(target.model)
        quoted = quote(model, safe="")
        if not self._vertex:
            one = [_content(given, model, task, request) for given in request.inputs]
            path = f"/v1beta/models/{quoted}:batchEmbedContents"
            return WireRequest(b"POST", path.encode(), headers, _encode({"requests": one}), tuple(adjusted))
        project = quote(target.options.get("project", ""), safe="")
        location = quote(target.options.get("location") or "global", safe="")
        path = f"/v1/projects/{project}/locations/{location}/publishers/google/models/{quoted}:predict"
        body: dict[str, Any] = {"instances": [_instance(given, task, request) for given in request.inputs]}
        if request.dimensions is not None:
            body["parameters"] = {"outputDimensionality": request.dimensions}
        return WireRequest(b"POST", path.encode(), headers, _encode(body), tuple(adjusted))

    def reader(self, target: Target, *, stream: bool) -> "EmbeddingsReader":
        """A reader for one reply."""
        return EmbeddingsReader(self._label, target.model, vertex=self._vertex)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return errors.read_error(self._label, status, headers, body)


def _content(one: EmbeddingsInput, model: str, task: str, request: EmbeddingsRequest) -> dict[str, Any]:
    part: dict[str, Any] = (
        {"inlineData": {"mimeType": one.mime, "data": one.data}} if isinstance(one, Image) else {"text": one}
    )
    asked: dict[str, Any] = {"model": f"models/{model}", "content": {"parts": [part]}}
    if task:
        asked["taskType"] = task
    if request.title:
        asked["title"] = request.title
    if request.dimensions is not None:
        asked["outputDimensionality"] = request.dimensions
    return asked


def _instance(one: EmbeddingsInput, task: str, request: EmbeddingsRequest) -> dict[str, Any]:
    instance: dict[str, Any] = {"content": one}
    if task:
        instance["task_type"] = task
    if request.title:
        instance["title"] = request.title
    return instance


class EmbeddingsReader(Gathered):
    """A whole reply -> events."""

    def __init__(self, label: str, model: str, *, vertex: bool) -> None:
        super().__init__()
        self._label = label
        self._model = model
        self._vertex = vertex

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamMalformed."""
        tokens: int | None = None
        try:
            if self._vertex:
                made = [one.embeddings for one in _decode_predictions(body).predictions]
                vectors = [one.values for one in made]
                counted = [one.statistics.token_count for one in made if one.statistics is not None]
                if counted and all(count is not None for count in counted):
                    tokens = int(sum(count or 0 for count in counted))
            else:
                batch = _decode_batch(body)
                vectors = [one.values for one in batch.embeddings]
                counts = batch.usage_metadata
                if counts is not None:
                    tokens = counts.prompt_token_count or counts.total_token_count
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamMalformed(f"{self._label}'s embeddings cannot be read: {error}") from None
        # Google's replies do not name the model: by answering it says that it was the one asked for.
        events: list[Event] = [Started(self._model)]
        events += [VectorMade(index, packed(normalised(values))) for index, values in enumerate(vectors)]
        if tokens is not None:
            events.append(UsageSeen(Usage(input=tokens)))
        return [*events, Stopped("stop"), Finished()]


GEMINI_EMBEDDINGS = GeminiEmbeddings(
    "gemini", "Gemini", "https://generativelanguage.googleapis.com", vertex=False
)
VERTEX_EMBEDDINGS = GeminiEmbeddings("vertex", "Vertex AI", "https://aiplatform.googleapis.com", vertex=True)
