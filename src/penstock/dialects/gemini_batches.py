"""Gemini's own batches at AI Studio: a file of lines, a batch of the file, a file of results.

Sources: google-genai 3.4.0 (batches.py, files.py) and the Batch API reference of ai.google.dev, read 2026-11.

Theory
------
Requests may also stand in the creation's body (up to 20 MB). They do not here: their answers have come back in another
order, and without the name that was given with each (googleapis/python-genai 1909 and 2008, open in 2026), and an answer that
cannot be told from another is worse than none. Lines of a file have a ``key``, which each result repeats; a result without
one is nobody's.

Rules
- The display name is ours for the batch, and the file is of this batch alone: by either it is found again.
- Counts are strings; a batch that failed without having answered anything was not run.
- Embeddings are lines of ``asyncBatchEmbedContent``: one input a line.
"""

import re
import secrets
from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamMalformed
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

_encode = msgspec.json.Encoder().encode
_JSON = (b"content-type", b"application/json")
_MISSING: dict[str, Missing] = {"EXPIRED": "expired", "CANCELLED": "cancelled"}
_ENDED = frozenset({"SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED"})
_EMBEDDING = b":batchEmbedContents"
_STATUS = {
    1: 499,
    3: 400,
    4: 504,
    5: 404,
    7: 403,
    8: 429,
    9: 400,
    11: 400,
    12: 501,
    13: 500,
    14: 503,
    16: 401,
}
"""gRPC's codes (google.rpc.Code), in which a line's error comes, as HTTP's."""
_FILE = re.compile(r"files/[A-Za-z0-9_-]+")
_BATCH = re.compile(r"batches/[A-Za-z0-9_-]+")


class _File(Struct):
    name: str


class _Uploaded(Struct):
    file: _File


class _Counts(Struct, rename="camel"):
    request_count: int | str = 0
    successful_request_count: int | str = 0
    failed_request_count: int | str = 0


class _Output(Struct, rename="camel"):
    responses_file: str = ""


class _Input(Struct, rename="camel"):
    file_name: str = ""


class _Meta(Struct, rename="camel"):
    state: str = ""
    display_name: str = ""
    batch_stats: _Counts | None = None
    input_config: _Input | None = None
    output: _Output | None = None


class _Error(Struct):
    code: int = 0
    message: str = ""


class _Operation(Struct):
    name: str
    metadata: _Meta | None = None
    response: _Output | None = None
    error: _Error | None = None
    done: bool = False


class _Page(Struct, rename="camel"):
    operations: list[_Operation] = []
    next_page_token: str = ""


class _Line(Struct):
    key: str = ""
    response: Raw = Raw(b"")
    error: _Error | None = None


class _Embedded(Struct, rename="camel"):
    embedding: Raw = Raw(b"")
    usage_metadata: Raw = Raw(b"")
    token_count: int | str | None = None


class _Inputs(Struct):
    requests: list[Raw]


class GeminiBatches:
    """The service (wire.batches.NativeBatches)."""

    max_items = 50_000
    max_bytes = 200_000_000
    one_model = True
    named = True
    gone = frozenset({403, 404})
    """Of a file that is not there Google says that it may not be seen."""

    def refuse(self, items: list[BatchItem]) -> str | None:
        """Lines that the service has no form of."""
        if not items[0].request.path.endswith((b":generateContent", _EMBEDDING)):
            return "Gemini's batches are of generateContent and of embeddings"
        for n, item in enumerate(items, start=1):
            if (
                item.request.path.endswith(_EMBEDDING)
                and len(decoded(item.request.body, _Inputs, "Gemini").requests) != 1
            ):
                return f"line {n}: Gemini's batches embed one input a line"
        return None

    def upload(self, name: str, items: list[BatchItem]) -> WireRequest | None:
        """The items as a file of lines, in one request of two parts."""
        lines = [
            b'{"key":%b,"request":%b}\n' % (_encode(item.name), one_line(_request_of(item))) for item in items
        ]
        mark = b"penstock-" + secrets.token_hex(16).encode()
        described = _encode({"file": {"displayName": f"{name}.jsonl", "mimeType": "application/jsonl"}})
        body = b"".join(
            [
                b"--%b\r\ncontent-type: application/json\r\n\r\n%b\r\n" % (mark, described),
                b"--%b\r\ncontent-type: application/jsonl\r\n\r\n" % mark,
                *lines,
                b"\r\n--%b--\r\n" % mark,
            ]
        )
        kind = (b"content-type", b"multipart/related; boundary=" + mark)
        return WireRequest(b"POST", b"/upload/v1beta/files?uploadType=multipart", [kind, IDENTITY], body)

    def read_upload(self, body: bytes) -> str:
        """The file's name."""
        return _named(decoded(body, _Uploaded, "Gemini").file.name, _FILE)

    def create(self, name: str, items: list[BatchItem], file: str) -> WireRequest:
        """A batch of the file."""
        model, _, verb = items[0].request.path.rpartition(b":")
        verb = b"asyncBatchEmbedContent" if b":" + verb == _EMBEDDING else b"batchGenerateContent"
        asked = {"batch": {"displayName": name, "inputConfig": {"fileName": file}}}
        return WireRequest(b"POST", model + b":" + verb, [_JSON, IDENTITY], _encode(asked))

    def search(self, after: str = "") -> WireRequest:
        """A page of batches; nothing says in which order they come."""
        return get(b"/v1beta/batches?pageSize=100" + (b"&pageToken=" + after.encode() if after else b""))

    def found(self, body: bytes, sought: Sought) -> list[BatchState]:
        """Those that carry the name, or are of the file."""
        return [
            _state(one)
            for one in decoded(body, _Page, "Gemini").operations
            if _is(one.metadata or _Meta(), sought)
        ]

    def more(self, body: bytes, since_s: int) -> str:
        """The next page."""
        token = decoded(body, _Page, "Gemini").next_page_token
        return token if re.fullmatch(r"[A-Za-z0-9._~=-]{1,2000}", token) else ""

    def ask(self, batch: str) -> WireRequest:
        """One batch."""
        return get(b"/v1beta/" + batch.encode())

    def read(self, body: bytes) -> BatchState:
        """A batch."""
        return _state(decoded(body, _Operation, "Gemini"))

    def cancel(self, batch: str) -> WireRequest:
        """Ends it at once; what it had answered is not given out."""
        return WireRequest(b"POST", b"/v1beta/" + batch.encode() + b":cancel", [_JSON, IDENTITY], b"{}")

    def fetch(self, path: str) -> WireRequest:
        """A file's content."""
        return get(path.encode())

    def read_line(self, line: bytes) -> ItemResult:
        """One result."""
        read = decoded(line, _Line, "Gemini")
        if read.error is not None or not read.response:
            error = read.error or _Error(13, "The line has neither a response nor an error.")
            status = _STATUS.get(error.code, error.code if 400 <= error.code < 600 else 500)
            shown = {"error": {"code": status, "message": error.message}}
            return ItemResult(read.key, "answered", status, _encode(shown))
        return ItemResult(read.key, "answered", 200, _whole(bytes(read.response)))

    def remove(self, name: str) -> WireRequest:
        """A file, or a batch."""
        return WireRequest(b"DELETE", b"/v1beta/" + name.encode(), [IDENTITY], b"")


def _request_of(item: BatchItem) -> bytes:
    if item.request.path.endswith(_EMBEDDING):
        return bytes(decoded(item.request.body, _Inputs, "Gemini").requests[0])
    return item.request.body


def _whole(body: bytes) -> bytes:
    """A result as a single call's answer: that of one embedding as ``batchEmbedContents`` would give it."""
    read = decoded(body, _Embedded, "Gemini")
    if not read.embedding:
        return body
    answer: dict[str, Any] = {"embeddings": [read.embedding]}
    if read.usage_metadata:
        answer["usageMetadata"] = read.usage_metadata
    elif read.token_count is not None:
        answer["usageMetadata"] = {"promptTokenCount": _count(read.token_count)}
    return _encode(answer)


def _is(meta: _Meta, sought: Sought) -> bool:
    file = "" if meta.input_config is None else meta.input_config.file_name
    return meta.display_name == sought.name or bool(sought.file and file == sought.file)


def _state(operation: _Operation) -> BatchState:
    meta = operation.metadata or _Meta()
    state = meta.state.rpartition("STATE_")[2]
    counts = meta.batch_stats or _Counts()
    output = operation.response or meta.output or _Output()
    file = output.responses_file
    good, bad = _count(counts.successful_request_count), _count(counts.failed_request_count)
    ended = state in _ENDED or (operation.done and state not in ("PENDING", "RUNNING"))
    failed = operation.error is not None or state == "FAILED"
    refused = ended and failed and state not in _MISSING and not good and not file
    results = (f"/download/v1beta/{_named(file, _FILE)}:download?alt=media",) if ended and file else ()
    return BatchState(
        _named(operation.name, _BATCH),
        "failed" if refused else "ended" if ended else "running",
        good,
        bad,
        results,
        _MISSING.get(state, ""),
        "" if operation.error is None else operation.error.message[:500],
        (*((file,) if file else ()), operation.name) if ended else (),
    )


def _count(said: int | str) -> int:
    return said if isinstance(said, int) else int(said) if said.isdecimal() else 0


def _named(name: str, pattern: re.Pattern[str]) -> str:
    """A name that goes into a path of ours."""
    if pattern.fullmatch(name) is None:
        raise UpstreamMalformed(f"This is no name of Gemini's: {name[:80]!r}.")
    return name


GEMINI_BATCHES = GeminiBatches()
