"""OpenAI's own batches: a file of lines, a batch of the file, files of results (API reference, files and batches; read 2026-11).

Every creation carries our name for the batch in its metadata, and is of a file of its own: by either it is found again.
"""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.wire.batches import (
    IDENTITY,
    BatchItem,
    BatchState,
    ItemResult,
    Missing,
    Sought,
    decoded,
    get,
    one_line,
)
from penstock.wire.http import WireRequest
from penstock.wire.multipart import FormPart, write_form

MARK = "penstock_batch"
"""The key of our name in a batch's metadata."""
_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_MISSING: dict[str, Missing] = {"expired": "expired", "cancelled": "cancelled"}


class _File(Struct):
    id: str


class _Counts(Struct):
    completed: int = 0
    failed: int = 0


class _Batch(Struct):
    id: str
    status: str
    input_file_id: str = ""
    output_file_id: str | None = None
    error_file_id: str | None = None
    request_counts: _Counts | None = None
    errors: Any = None
    metadata: dict[str, Any] | None = None
    created_at: int = 0


class _Page(Struct):
    data: list[_Batch]
    has_more: bool = False


class _Response(Struct):
    status_code: int
    body: Raw = Raw(b"null")


class _Error(Struct):
    code: str | None = None
    message: str | None = None


class _Line(Struct):
    custom_id: str
    response: _Response | None = None
    error: _Error | None = None


class OpenAIBatches:
    """The service (wire.batches.NativeBatches)."""

    max_items = 50_000
    max_bytes = 200_000_000
    one_model = True
    named = True
    gone = frozenset({404})

    def refuse(self, items: list[BatchItem]) -> str | None:
        """What a single call may be, a line may be."""
        return None

    def upload(self, name: str, items: list[BatchItem]) -> WireRequest | None:
        """The items as a file of lines."""
        lines = [
            b'{"custom_id":%b,"method":"POST","url":%b,"body":%b}'
            % (_encode(item.name), _encode(_url(item)), one_line(item.request.body))
            for item in items
        ]
        kind, body = write_form(
            [
                FormPart("purpose", b"batch"),
                FormPart("file", b"\n".join(lines) + b"\n", f"{name}.jsonl", "application/jsonl"),
            ]
        )
        return WireRequest(b"POST", b"/files", [(b"content-type", kind), IDENTITY], body)

    def read_upload(self, body: bytes) -> str:
        """The file's id."""
        return decoded(body, _File, "OpenAI").id

    def create(self, name: str, items: list[BatchItem], file: str) -> WireRequest:
        """A batch of the file, done within a day: the only window that there is."""
        asked = {
            "input_file_id": file,
            "endpoint": _url(items[0]),
            "completion_window": "24h",
            "metadata": {MARK: name},
        }
        return WireRequest(b"POST", b"/batches", [_JSON, IDENTITY], _encode(asked))

    def search(self, after: str = "") -> WireRequest:
        """A hundred, newest first."""
        return get(b"/batches?limit=100" + (b"&after=" + after.encode() if after else b""))

    def found(self, body: bytes, sought: Sought) -> list[BatchState]:
        """Those that carry the name, or are of the file: a server that drops metadata still says the file."""
        return [
            _state(one)
            for one in decoded(body, _Page, "OpenAI").data
            if (one.metadata or {}).get(MARK) == sought.name
            or (sought.file and one.input_file_id == sought.file)
        ]

    def more(self, body: bytes, since_s: int) -> str:
        """Behind the last one, unless that is older already."""
        page = decoded(body, _Page, "OpenAI")
        over = not page.has_more or not page.data or page.data[-1].created_at < since_s
        return "" if over else page.data[-1].id

    def ask(self, batch: str) -> WireRequest:
        """One batch."""
        return get(b"/batches/" + batch.encode())

    def read(self, body: bytes) -> BatchState:
        """A batch."""
        return _state(decoded(body, _Batch, "OpenAI"))

    def cancel(self, batch: str) -> WireRequest:
        """Takes up to ten minutes."""
        return WireRequest(b"POST", b"/batches/" + batch.encode() + b"/cancel", [_JSON, IDENTITY], b"")

    def fetch(self, path: str) -> WireRequest:
        """A file's content."""
        return get(path.encode())

    def read_line(self, line: bytes) -> ItemResult:
        """Of the output file, or of the error file."""
        read = decoded(line, _Line, "OpenAI")
        if read.response is not None:
            return ItemResult(
                read.custom_id, "answered", read.response.status_code, bytes(read.response.body)
            )
        error = read.error or _Error()
        if error.code == "batch_expired":
            return ItemResult(read.custom_id, "expired")
        if error.code == "batch_cancelled":
            return ItemResult(read.custom_id, "cancelled")
        shown = {"error": {"code": error.code, "message": error.message or "This line failed."}}
        return ItemResult(read.custom_id, "answered", 500, _encode(shown))

    def remove(self, name: str) -> WireRequest:
        """A file; batches themselves stay."""
        return WireRequest(b"DELETE", b"/files/" + name.encode(), [IDENTITY], b"")


def _state(batch: _Batch) -> BatchState:
    counts = batch.request_counts or _Counts()
    files = [one for one in (batch.output_file_id, batch.error_file_id) if one]
    ended = batch.status in ("completed", "expired", "cancelled")
    return BatchState(
        batch.id,
        "failed" if batch.status == "failed" else "ended" if ended else "running",
        counts.completed,
        counts.failed,
        tuple(f"/files/{one}/content" for one in files) if ended else (),
        _MISSING.get(batch.status, ""),
        _encode(batch.errors).decode()[:500] if batch.errors else "",
        tuple(files) if ended else (),
    )


def _url(item: BatchItem) -> str:
    return "/v1" + item.request.path.decode("latin-1")


OPENAI_BATCHES = OpenAIBatches()
