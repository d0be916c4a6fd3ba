"""Anthropic's own message batches (anthropic-python 2.11.0, resources/messages/batches; read 2026-11).

A batch carries no name of ours: one whose creation may have arrived is known by its time and its number of requests. Each
request's custom_id is ours: once a batch has ended, its results tell whose it is, and those of another are nobody's.
"""

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.wire.batches import IDENTITY, BatchItem, BatchState, ItemResult, Sought, decoded, get
from penstock.wire.http import Headers, WireRequest

_PATH = b"/v1/messages/batches"
_VERSION = (b"anthropic-version", b"2023-06-01")
_encode = msgspec.json.Encoder().encode
_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


class _Counts(Struct):
    processing: int = 0
    succeeded: int = 0
    errored: int = 0
    canceled: int = 0
    expired: int = 0


class _Batch(Struct):
    id: str
    processing_status: str
    created_at: str = ""
    request_counts: _Counts | None = None


class _Page(Struct):
    data: list[_Batch]
    has_more: bool = False


class _Result(Struct):
    type: str
    message: Raw = Raw(b"")
    error: Raw = Raw(b"")


class _Line(Struct):
    custom_id: str
    result: _Result


class _Kind(Struct):
    type: str = ""
    error: Any = None


class AnthropicBatches:
    """The service (wire.batches.NativeBatches)."""

    max_items = 100_000
    max_bytes = 256_000_000
    one_model = False
    named = False
    gone = frozenset({404})

    def refuse(self, items: list[BatchItem]) -> str | None:
        """What a single call may be, a line may be."""
        return None

    def upload(self, name: str, items: list[BatchItem]) -> WireRequest | None:
        """Nothing comes first."""
        return None

    def read_upload(self, body: bytes) -> str:
        """Nothing did."""
        return ""

    def create(self, name: str, items: list[BatchItem], file: str) -> WireRequest:
        """All requests in one body. They share what their headers say."""
        rows = [b'{"custom_id":%b,"params":%b}' % (_encode(item.name), item.request.body) for item in items]
        said = [
            pair for pair in items[0].request.headers if pair[0] in (b"anthropic-version", b"anthropic-beta")
        ]
        headers: Headers = [(b"content-type", b"application/json"), *(said or [_VERSION]), IDENTITY]
        return WireRequest(b"POST", _PATH, headers, b'{"requests":[' + b",".join(rows) + b"]}")

    def search(self, after: str = "") -> WireRequest:
        """A hundred, newest first."""
        return get(_PATH + b"?limit=100" + (b"&after_id=" + after.encode() if after else b""), _VERSION)

    def found(self, body: bytes, sought: Sought) -> list[BatchState]:
        """Those of as many requests, made since then."""
        return [
            _state(one)
            for one in decoded(body, _Page, "Anthropic").data
            if one.request_counts is not None
            and sum(msgspec.structs.astuple(one.request_counts)) == sought.total
            and _unix_s(one.created_at) >= sought.since_s
        ]

    def more(self, body: bytes, since_s: int) -> str:
        """Behind the last one, unless that is older already."""
        page = decoded(body, _Page, "Anthropic")
        over = not page.has_more or not page.data or _unix_s(page.data[-1].created_at) < since_s
        return "" if over else page.data[-1].id

    def ask(self, batch: str) -> WireRequest:
        """One batch."""
        return get(_PATH + b"/" + batch.encode(), _VERSION)

    def read(self, body: bytes) -> BatchState:
        """A batch."""
        return _state(decoded(body, _Batch, "Anthropic"))

    def cancel(self, batch: str) -> WireRequest:
        """Requests that run are ended."""
        return WireRequest(b"POST", _PATH + b"/" + batch.encode() + b"/cancel", [_VERSION, IDENTITY], b"")

    def fetch(self, path: str) -> WireRequest:
        """The results; at our own address for them, whatever ``results_url`` says."""
        return get(path.encode(), _VERSION)

    def read_line(self, line: bytes) -> ItemResult:
        """One result."""
        read = decoded(line, _Line, "Anthropic")
        result = read.result
        if result.type == "succeeded":
            return ItemResult(read.custom_id, "answered", 200, bytes(result.message))
        if result.type == "expired":
            return ItemResult(read.custom_id, "expired")
        if result.type == "canceled":
            return ItemResult(read.custom_id, "cancelled")
        body = bytes(result.error)
        kind = decoded(body, _Kind, "Anthropic")
        inner = kind.error.get("type") if isinstance(kind.error, dict) else kind.type  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        return ItemResult(read.custom_id, "answered", _STATUS.get(str(inner), 500), body)  # pyright: ignore[reportUnknownArgumentType]

    def remove(self, name: str) -> WireRequest:
        """A batch, with its requests and results."""
        return WireRequest(b"DELETE", _PATH + b"/" + name.encode(), [_VERSION, IDENTITY], b"")


def _state(batch: _Batch) -> BatchState:
    counts = batch.request_counts or _Counts()
    ended = batch.processing_status == "ended"
    path = f"{_PATH.decode()}/{batch.id}/results"
    return BatchState(
        batch.id,
        "ended" if ended else "running",
        counts.succeeded,
        counts.errored,
        (path,) if ended else (),
        files=(batch.id,) if ended else (),
    )


def _unix_s(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return float("inf")  # a time that is not read excludes nothing


ANTHROPIC_BATCHES = AnthropicBatches()
