"""Reranking, in Cohere's and in Jina's shape: spoken by callers, and to providers.

The two ask alike ({model, query, documents, top_n}) and answer alike (results of index and relevance_score); what they
bill differs: Cohere counts searches (``meta.billed_units.search_units``), Jina tokens (``usage.total_tokens``). A reply to a
caller says both, which either's clients read. vLLM and other servers of OpenAI's dialect rerank in Jina's shape.

Facts: docs.cohere.com/reference/rerank (v1 with return_documents, v2 with max_tokens_per_doc), jina.ai/reranker, read 2026-11.
"""

import re
import time
from typing import Any, cast

import msgspec
from msgspec import Struct

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import (
    BadRequest,
    PenstockError,
    UpstreamAuthFailed,
    UpstreamBadRequest,
    UpstreamError,
    UpstreamFault,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTooLarge,
)
from penstock.base.events import Event, Finished, Scored, Started, Stopped, UsageSeen
from penstock.base.models import Target
from penstock.base.operations import Operation
from penstock.base.ranking import RerankRequest
from penstock.base.usage import Usage
from penstock.wire.gathered import Gathered
from penstock.wire.http import Headers, WireRequest
from penstock.wire.ports import Identity
from penstock.wire.preferences import ChainFields
from penstock.wire.retry_hint import retry_after_s
from penstock.wire.unreadable import unreadable

_encode = msgspec.json.Encoder().encode
_REMEDIES = {
    "model": 'Send a string such as "cohere/rerank-v3.5".',
    "query": "Send the words that the documents shall answer.",
    "documents": "Send a list of strings, or of objects with a text.",
    "top_n": "Send a whole number of at least 1.",
}
_PIECE_TOKENS, _PIECES_PER_SEARCH = 500, 100
"""Cohere's pricing page, "search unit" (read 2026-11); no token is shorter than a byte."""
_LEAST_PIECE_TOKENS = 100
_SECRET = re.compile(r"\b(?:sk|jina|co|key)[-_][A-Za-z0-9_\-]{8,}|(?<=[Bb]earer )\S+|\b[A-Za-z0-9]{32,}\b")


class _Body(ChainFields, gc=False):
    model: str = ""
    query: str | None = None
    documents: list[str | dict[str, Any]] | None = None
    top_n: int | None = None
    return_documents: bool | None = None
    max_tokens_per_doc: int | None = None
    rank_fields: tuple[str, ...] | None = None
    top_k: Any = None
    """No field of anybody's: a common mistake for ``top_n``, whose loss would go unseen."""


def _check_documents(read: _Body) -> None:
    """Raise BadRequest for a document that has nothing to rank: what a model would be given of it is no text."""
    for place, one in enumerate(read.documents or ()):
        if isinstance(one, str) or read.rank_fields or "text" in one or "image" in one:
            continue
        raise BadRequest(
            f"The document has no text; it has {', '.join(map(repr, sorted(one)[:5])) or 'no field'}.",
            param=f"documents[{place}].text",
            hint='Send a string, {"text": "..."}, or name its fields in rank_fields.',
        )


def _searches(read: _Body) -> int:
    """The most searches that Cohere may bill: one for up to 100 pieces of documents, of 500 tokens with the query."""
    room = max(_PIECE_TOKENS - len((read.query or "").encode()), _LEAST_PIECE_TOKENS)
    pieces = 0
    for one in read.documents or ():
        size = len(one.encode()) if isinstance(one, str) else len(_encode(one))
        pieces += max(1, -(-size // room))
    return max(1, -(-pieces // _PIECES_PER_SEARCH))


class _Tokens(Struct, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None
    search_units: float | None = None
    total_tokens: int | None = None
    prompt_tokens: int | None = None


class _Meta(Struct, gc=False):
    billed_units: _Tokens | None = None
    tokens: _Tokens | None = None


class _Result(Struct, gc=False):
    index: int
    relevance_score: float


class _Answer(Struct, gc=False):
    results: list[_Result]
    id: str | None = None
    model: str | None = None
    meta: _Meta | None = None
    usage: _Tokens | None = None


_decode = msgspec.json.Decoder(_Body).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


class RerankWriter:
    """The reply: whole only."""

    content_type = b""

    def __init__(self, request: RerankRequest, identity: Identity) -> None:
        self._request = request
        self._identity = identity

    def write(self, events: list[Event]) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def fail(self, error: PenstockError) -> bytes:
        """Nothing: there is no stream."""
        return b""

    def whole(self, events: list[Event]) -> bytes:
        """The body, its results the best first; documents where they were asked for."""
        request, usage, model = self._request, Usage(), ""
        results: list[dict[str, Any]] = []
        for event in events:
            match event:
                case Scored(index=index, score=score):
                    row: dict[str, Any] = {"index": index, "relevance_score": score}
                    if request.return_documents and 0 <= index < len(request.documents):
                        document = request.documents[index]
                        row["document"] = {"text": document} if isinstance(document, str) else document
                    results.append(row)
                case UsageSeen():
                    usage = event.usage
                case Started():
                    model = event.model
                case _:
                    pass
        searches = dict(usage.fees).get("query", 0)
        billed: dict[str, Any] = (
            {"search_units": searches} if searches else {"input_tokens": usage.prompt_tokens}
        )
        return _encode(
            {
                "id": self._identity.id,
                "model": model or self._identity.model,
                "results": results,
                "meta": {"api_version": {"version": "2"}, "billed_units": billed},
                "usage": {"total_tokens": usage.total_tokens, "prompt_tokens": usage.prompt_tokens},
            }
        )


class RerankCaller:
    """CallerDialect: ``/v1/rerank`` (Cohere's first version and Jina's), ``/v2/rerank`` (Cohere's second)."""

    name = "rerank"
    family = ""
    operation: Operation = "rerank"
    heartbeat = b""

    def read_request(self, body: bytes) -> Ask:
        """The envelope. Raises BadRequest naming the field."""
        read = self._read(body)
        for name, given in (("model", read.model), ("query", read.query), ("documents", read.documents)):
            if not given:
                state = "missing" if given is None or name == "model" else "empty"
                raise BadRequest(f"The field {name} is {state}.", param=name, hint=_REMEDIES[name])
        if read.top_k is not None:
            raise BadRequest(
                "The field top_k is not known.",
                param="top_k",
                hint="Did you mean top_n? " + _REMEDIES["top_n"],
            )
        _check_documents(read)
        ask = Ask(
            self.name,
            body,
            read.model,
            input_bytes=len(body),
            operation="rerank",
            units=(("query", _searches(read)),),
            items=len(read.documents or ()),
        )
        read.read_into(ask)
        return ask

    def _read(self, body: bytes) -> _Body:
        try:
            return _decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise unreadable(error, body, _REMEDIES) from None

    def expand(self, ask: Ask) -> RerankRequest:
        """The neutral request. Raises BadRequest naming the field."""
        read = self._read(ask.body)
        if read.top_n is not None and read.top_n < 1:
            raise BadRequest(f"The field top_n is {read.top_n}.", param="top_n", hint=_REMEDIES["top_n"])
        return RerankRequest(
            read.model,
            read.query or "",
            tuple(read.documents or ()),
            read.top_n,
            read.return_documents,
            read.max_tokens_per_doc,
            read.rank_fields or (),
        )

    def writer(self, ask: Ask, identity: Identity) -> RerankWriter:
        """A writer for one reply."""
        return RerankWriter(self.expand(ask), identity)

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """The error body, as both vendors' clients read it: Cohere's ``message``, Jina's ``detail``."""
        said = error.public()
        facts = {"id": request_id, "message": said, "detail": said, "code": error.code, "param": error.param}
        return _encode(facts)

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """Never asked: there is no stream."""
        return self.write_error(error, request_id)


class RerankReader(Gathered):
    """A whole reply of either shape -> events."""

    def read(self, body: bytes) -> list[Event]:
        """All of it. Raises UpstreamMalformed."""
        try:
            answer = _decode_answer(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamMalformed(f"The upstream's ranking cannot be read: {clean(str(error))}") from None
        events: list[Event] = [Started(answer.model or "", answer.id or "")]
        ranked = sorted(answer.results, key=lambda one: -one.relevance_score)
        events += [Scored(one.index, one.relevance_score) for one in ranked]
        usage = _usage(answer)
        if usage is not None:
            events.append(UsageSeen(usage))
        return [*events, Stopped("stop"), Finished()]


def _usage(answer: _Answer) -> Usage | None:
    """Searches where Cohere bills them; else tokens; None where nothing is said."""
    billed = answer.meta.billed_units if answer.meta is not None else None
    if billed is not None and billed.search_units:
        return Usage(fees=(("query", int(billed.search_units)),))
    if billed is not None and billed.input_tokens is not None:
        return Usage(input=int(billed.input_tokens))
    used = answer.usage
    if used is None:
        return None
    tokens = used.total_tokens if used.total_tokens is not None else used.prompt_tokens
    return None if tokens is None else Usage(input=tokens)


class RerankUpstream:
    """UpstreamDialect of a reranker. ``path`` is where it stands; ``cohere``: its second version's fields."""

    def __init__(self, name: str, label: str, default_base_url: str, path: bytes, *, cohere: bool) -> None:
        self.name = name
        self.default_base_url = default_base_url
        self._label = label
        self._path = path
        self._cohere = cohere

    def refuse(self, request: RerankRequest, target: Target) -> Rejected | None:
        """Nothing: both take what callers of either send."""
        return None

    def write_request(self, request: RerankRequest, target: Target, credential: str) -> WireRequest:
        """The provider's request. Objects become words: of ``rank_fields``, of their text, or a line for each field."""
        adjusted: list[str] = []
        documents = [_words(one, request.rank_fields) for one in request.documents]
        if any(isinstance(one, dict) and set(one) != {"text"} for one in request.documents):
            adjusted.append("documents-as-text")
        body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": documents}
        if request.top_n is not None:
            body["top_n"] = request.top_n
        if request.max_tokens_per_doc is not None:
            if self._cohere:
                body["max_tokens_per_doc"] = request.max_tokens_per_doc
            else:
                adjusted.append("max_tokens_per_doc-dropped")
        if not self._cohere:
            body["return_documents"] = False  # the caller's own are put back by the writer
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"accept", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if credential:
            headers.append((b"authorization", b"Bearer " + credential.encode()))
        return WireRequest(b"POST", self._path, headers, _encode(body), tuple(adjusted))

    def reader(self, target: Target, *, stream: bool) -> RerankReader:
        """A reader for one reply."""
        return RerankReader()

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        """A non-2xx answer as our error. Never raises."""
        return read_error(self._label, status, headers, body)


def _words(document: str | dict[str, Any], fields: tuple[str, ...]) -> str:
    if isinstance(document, str):
        return document
    chosen = {name: document[name] for name in fields if name in document} if fields else document
    if set(chosen) == {"text"}:
        return str(chosen["text"])
    return "\n".join(f"{name}: {value}" for name, value in chosen.items())


def clean(text: str) -> str:
    """One line, without secrets, of at most 500 characters."""
    return _SECRET.sub("***", " ".join(text[:5000].split()))[:500]


def read_error(label: str, status: int, headers: Headers, body: bytes) -> UpstreamError:
    """Cohere's ``{"message"}``, Jina's ``{"detail"}``, vLLM's ``{"error": {"message"}}``, or a page."""
    try:
        said = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    words = ""
    if isinstance(said, dict):
        facts = cast("dict[str, Any]", said)
        inner: Any = facts.get("message") or facts.get("detail") or facts.get("error") or ""
        if isinstance(inner, dict):
            inner = cast("dict[str, Any]", inner).get("message", "")
        words = clean(str(inner))
    told = f"{label} answered {status}: {words}" if words else f"{label} answered {status} without a reason."
    wait = retry_after_s(headers, time.time())
    if status == 429:
        return UpstreamRateLimited(told, upstream_status=status, retry_after_s=wait)
    if status in (401, 402, 403):
        return UpstreamAuthFailed(f"{label} refused the gateway's credential.", upstream_status=status)
    if status == 404:
        return UpstreamNotFound(told, upstream_status=status)
    if status == 413:
        return UpstreamTooLarge(told, upstream_status=status)
    if status >= 500 or status in (408, 425, 498, 499):
        return UpstreamFault(told, upstream_status=status, retry_after_s=wait)
    return UpstreamBadRequest(told, status=status, upstream_status=status)


RERANK = RerankCaller()
COHERE_RERANK = RerankUpstream("cohere", "Cohere", "https://api.cohere.com", b"/v2/rerank", cohere=True)
JINA_RERANK = RerankUpstream("jina", "Jina", "https://api.jina.ai/v1", b"/rerank", cohere=False)
OPENAI_RERANK = RerankUpstream(
    "openai", "The upstream", "https://api.openai.com/v1", b"/rerank", cohere=False
)
"""Servers of OpenAI's dialect that rerank (vLLM): their base URL ends in /v1."""
