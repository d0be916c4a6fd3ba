"""Cohere's embeddings (``POST /v2/embed``), of words and of pictures, as they are spoken to Cohere.

Facts (docs.cohere.com/reference/embed, read 2026-11): ``input_type`` is required from version 3 on; at most 96 texts a call;
``embedding_types`` float; ``output_dimension`` 256, 512, 1024 or 1536 from version 4 on; pictures as data URLs in ``inputs``;
billed by ``meta.billed_units``: input_tokens, image_tokens, images.
"""

import time
from typing import Any, cast

import msgspec
from msgspec import Struct, field

from penstock.base.chat import Image
from penstock.base.decisions import Rejected
from penstock.base.embeddings import EmbeddingsInput, EmbeddingsRequest
from penstock.base.errors import (
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.base.events import Event, Finished, Started, Stopped, UsageSeen, VectorMade
from penstock.base.models import Target
from penstock.base.usage import Usage
from penstock.wire.floats import packed
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest
from penstock.wire.retry_hint import retry_after_s

MAX_INPUTS = 96
DEFAULT_TASK = "search_document"
"""Where the caller does not say: what texts are embedded for most often, and OpenAI's callers cannot say."""
_TASKS = frozenset({"search_document", "search_query", "classification", "clustering", "image"})
_OF_GOOGLE = {
    "RETRIEVAL_QUERY": "search_query",
    "RETRIEVAL_DOCUMENT": "search_document",
    "CLASSIFICATION": "classification",
    "CLUSTERING": "clustering",
    "QUESTION_ANSWERING": "search_query",
    "CODE_RETRIEVAL_QUERY": "search_query",
}
_encode = msgspec.json.Encoder().encode


class _Billed(Struct, gc=False):
    input_tokens: float | None = None
    image_tokens: float | None = None
    images: float | None = None


class _Meta(Struct, gc=False):
    billed_units: _Billed | None = None


class _Vectors(Struct, gc=False):
    floats: list[list[float]] = field(name="float", default_factory=list[list[float]])


class _Answer(Struct, gc=False):
    embeddings: _Vectors
    id: str | None = None
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Answer).decode


class CohereEmbeddings:
    """UpstreamDialect for embeddings."""

    name = "cohere"
    default_base_url = "https://api.cohere.com"

    def refuse(self, request: EmbeddingsRequest, target: Target) -> Rejected | None:
        """Too many inputs, tokens, and pictures by address."""
        if len(request.inputs) > MAX_INPUTS:
            why = f"Cohere embeds at most {MAX_INPUTS} inputs a call; {len(request.inputs)} were given."
            return Rejected("input-too-many", why, param="input", caller_fault=True)
        for index, one in enumerate(request.inputs):
            why = ""
            if isinstance(one, tuple):
                why = "Cohere takes no tokens of another tokenizer. Send the words, or configure the provider's `tokenizer`."
            elif isinstance(one, Image) and not one.data:
                why = "Cohere takes a picture's bytes (a data URL), not its address."
            if why:
                return Rejected("input-unsupported", why, param=f"input[{index}]", caller_fault=True)
        return None

    def write_request(self, request: EmbeddingsRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request."""
        adjusted: list[str] = []
        task = request.task if request.task in _TASKS else _OF_GOOGLE.get(request.task, "")
        if not task:
            task = DEFAULT_TASK
            adjusted.append("input_type-assumed" if not request.task else "task-approximated")
        body: dict[str, Any] = {"model": target.model, "input_type": task, "embedding_types": ["float"]}
        if any(isinstance(one, Image) for one in request.inputs):
            body["inputs"] = [{"content": [_content(one)]} for one in request.inputs]
        else:
            body["texts"] = request.inputs
        if request.dimensions is not None:
            body["output_dimension"] = request.dimensions
        if request.truncate:
            body["truncate"] = request.truncate
        adjusted += [
            f"{name}-dropped" for name, value in (("user", request.user), ("title", request.title)) if value
        ]
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
            (b"authorization", b"Bearer " + credential.encode()),
        ]
        return WireRequest(b"POST", b"/v2/embed", headers, _encode(body), tuple(adjusted))

    def reader(self, target: Target, *, stream: bool) -> "CohereEmbedReader":
        """A reader for one reply."""
        return CohereEmbedReader(target.model)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return _read_error(status, headers, body)


def _content(one: EmbeddingsInput) -> dict[str, Any]:
    if isinstance(one, Image):
        return {"type": "image_url", "image_url": {"url": f"data:{one.mime};base64,{one.data}"}}
    return {"type": "text", "text": one}


class CohereEmbedReader(Gathered):
    """A whole reply -> events."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamMalformed."""
        try:
            answer = _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamMalformed(f"Cohere's embeddings cannot be read: {error}") from None
        # Cohere does not name the model in its reply: the one that was asked for is what it says by answering.
        events: list[Event] = [Started(self._model, answer.id or "")]
        events += [VectorMade(index, packed(row)) for index, row in enumerate(answer.embeddings.floats)]
        billed = answer.meta.billed_units if answer.meta is not None else None
        if billed is not None:
            fees = (("image_input", int(billed.images)),) if billed.images else ()
            images = int(billed.image_tokens or 0)
            usage = Usage(
                input=int(billed.input_tokens or 0), input_image=images, fees=() if images else fees
            )
            events.append(UsageSeen(usage))
        return [*events, Stopped("stop"), Finished()]


def _read_error(status: int, headers: Headers, body: bytes) -> UpstreamError:
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    words = cast("dict[str, Any]", said).get("message", "") if isinstance(said, dict) else ""
    shown = " ".join(str(words)[:2000].split())[:500]
    told = f"Cohere answered {status}: {shown}" if shown else f"Cohere answered {status} without a reason."
    wait = retry_after_s(headers, time.time())
    if status == 429:
        return UpstreamRateLimited(told, upstream_status=status, retry_after_s=wait)
    if status in (401, 402, 403):
        return UpstreamAuthFailed("Cohere refused the gateway's credential.", upstream_status=status)
    if status == 404:
        return UpstreamNotFound(told, upstream_status=status)
    if status == 413:
        return UpstreamTooLarge(told, upstream_status=status)
    if status >= 500 or status in (408, 425, 498, 499):
        return UpstreamFault(told, upstream_status=status, retry_after_s=wait)
    return UpstreamBadRequest(told, status=status, upstream_status=status)


COHERE_EMBEDDINGS = CohereEmbeddings()
