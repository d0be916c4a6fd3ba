"""Gemini's batches as AI Studio runs them: of requests in the body or of a file's lines, looked at, listed, cancelled, deleted.

Sources: google-genai 3.4.0 (batches.py, types.py) and the Batch API reference, read 2026-11. A batch is a long-running
operation; counts are strings. Results stand in another order than the requests, as callers have met it
(googleapis/python-genai 1909), so that who goes by their order is found out.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct, field

from penstock.simulate.gemini_files import GeminiFile, GeminiFiles, rfc
from penstock.simulate.reply import Call, Refused, Reply, Speaker
from penstock.simulate.untyped import as_int, as_list, as_object, as_text
from penstock.wire.http import Headers

Serve = Callable[[Call], Reply]
_PATH = re.compile(r"^/(?P<version>v1|v1beta)/batches(?:/(?P<id>[^/:]+))?(?::(?P<verb>cancel))?$")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_JSON: Headers = [(b"content-type", b"application/json; charset=UTF-8")]
_TYPES = "type.googleapis.com/google.ai.generativelanguage.v1main."
_WORDS = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14}
"""gRPC's codes, which a line's error has."""
MAX_INLINE_BYTES = 20_000_000
VERBS = ("batchGenerateContent", "asyncBatchEmbedContent")


class _Answer(Struct):
    key: str
    metadata: dict[str, Any] | None
    status: int
    body: dict[str, Any]


class _Batch(Struct):
    call: Call
    model: str
    embeds: bool
    shown: str
    file: str
    lines: list[tuple[str, dict[str, Any] | None, dict[str, Any]]]
    at_s: float
    failed: str = ""
    cancelled: bool = False
    done: bool = False
    output: str = ""
    answers: list[_Answer] = field(default_factory=list[_Answer])


class GeminiBatches:
    """The service. ``serve`` answers a line; ``clock`` is monotonic seconds; a batch is listed ``listed_after_s`` late."""

    def __init__(
        self,
        delay_s: float,
        listed_after_s: float,
        clock: Callable[[], float],
        serve: Serve,
        files: GeminiFiles,
        dialect: Speaker,
    ) -> None:
        self._delay_s = delay_s
        self._listed_after_s = listed_after_s
        self._clock = clock
        self._serve = serve
        self._files = files
        self._dialect = dialect
        self._batches: dict[str, _Batch] = {}

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(403, "Method doesn't allow unregistered callers.")
        if call.path.rpartition(":")[2] in VERBS and call.method == "POST":
            return self._create(call)
        match = _PATH.match(call.path)
        if match is None:
            raise Refused(404, "Requested entity was not found.")
        if match["id"] is None:
            return self._list(call)
        name = f"batches/{match['id']}"
        batch = self._batches.get(name)
        if batch is None or batch.call.provider != call.provider:
            raise Refused(404, "Requested entity was not found.")
        if match["verb"] == "cancel":
            if not self._due(batch, name):
                batch.cancelled = True
            return _json({})
        if call.method == "DELETE":
            del self._batches[name]
            return _json({})
        return _json(self._shown(name, batch))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return self._dialect.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _create(self, call: Call) -> Reply:
        asked = as_object(as_object(call.json).get("batch"))
        given = as_object(_either(asked, "inputConfig", "input_config"))
        file = as_text(_either(given, "fileName", "file_name"))
        inlined = as_list(as_object(given.get("requests")).get("requests"))
        if bool(file) == bool(inlined):
            raise Refused(400, "* BatchGenerateContentRequest.batch.input_config: one input is required")
        failed = ""
        if inlined:
            if len(call.body) > MAX_INLINE_BYTES:
                raise Refused(400, "Request payload size exceeds the limit: 20000000 bytes.")
            lines = [_inlined(as_object(one)) for one in inlined]
        else:
            lines = _lines(self._files.find(file, call).data)
            keys = [key for key, _, _ in lines]
            failed = "" if lines and all(keys) and len(set(keys)) == len(keys) else "The file cannot be read."
        if any("FAIL_BATCH" in str(one) for one in lines):
            failed = "The batch is refused."
        name = f"batches/sim{call.serial}"
        batch = self._batches[name] = _Batch(
            call,
            call.model,
            call.path.endswith(":asyncBatchEmbedContent"),
            as_text(_either(asked, "displayName", "display_name")),
            file,
            lines,
            self._clock(),
            failed,
        )
        return _json(self._shown(name, batch))

    def _due(self, batch: _Batch, name: str) -> bool:
        over = batch.cancelled or batch.failed or self._clock() - batch.at_s >= self._delay_s
        if over and not batch.done:
            batch.done = True
            if not batch.failed and not batch.cancelled:
                batch.answers = [self._answered(batch, *line) for line in reversed(batch.lines)]
                if batch.file:
                    batch.output = f"files/batch-{name.rpartition('/')[2]}"
                    data = b"".join(_encode(_row(one)) + b"\n" for one in batch.answers)
                    kept = GeminiFile(
                        batch.call.provider,
                        batch.output,
                        "",
                        "application/jsonl",
                        data,
                        batch.call.unix_s,
                        True,
                    )
                    self._files.keep(kept)
        return bool(over)

    def _answered(
        self, batch: _Batch, key: str, metadata: dict[str, Any] | None, request: dict[str, Any]
    ) -> _Answer:
        named = as_text(request.get("model")).removeprefix("models/")
        body = {name: value for name, value in request.items() if name != "model" or batch.embeds}
        verb = "embedContent" if batch.embeds else "generateContent"
        call = msgspec.structs.replace(
            batch.call,
            method="POST",
            path=f"/v1beta/models/{batch.model}:{verb}",
            query={},
            body=_encode(body),
            json=body,
            stream=False,
        )
        if named and named != batch.model:
            return _Answer(key, metadata, 400, {"message": "The request names another model than the batch."})
        reply = self._serve(call)
        said = as_object(_decode(reply.body))
        return _Answer(
            key, metadata, reply.status, said if reply.status == 200 else as_object(said.get("error"))
        )

    def _list(self, call: Call) -> Reply:
        now_s = self._clock()
        found = [
            (name, one)
            for name, one in reversed(self._batches.items())
            if one.call.provider == call.provider and now_s - one.at_s >= self._listed_after_s
        ]
        size = as_int(int(call.query.get("pageSize") or 0)) or 50
        start = int(call.query.get("pageToken") or 0)
        shown: dict[str, Any] = {}
        if found:
            shown["operations"] = [self._shown(name, one) for name, one in found[start : start + size]]
        if start + size < len(found):
            shown["nextPageToken"] = str(start + size)
        return _json(shown)

    def _shown(self, name: str, batch: _Batch) -> dict[str, Any]:
        over = self._due(batch, name)
        state = "PENDING"
        if over:
            state = "FAILED" if batch.failed else "CANCELLED" if batch.cancelled else "SUCCEEDED"
        good = sum(one.status == 200 for one in batch.answers)
        total = len(batch.lines)
        kind = "EmbedContentBatch" if batch.embeds else "GenerateContentBatch"
        made = rfc(batch.call.unix_s)
        counts = {"requestCount": str(total)}
        if not over:
            counts["pendingRequestCount"] = str(total)
        elif batch.answers:
            counts |= {"successfulRequestCount": str(good), "failedRequestCount": str(total - good)}
        meta: dict[str, Any] = {
            "@type": _TYPES + kind,
            "model": f"models/{batch.model}",
            "displayName": batch.shown,
            "createTime": made,
            "updateTime": made,
            "batchStats": counts,
            "state": f"BATCH_STATE_{state}",
            "name": name,
        }
        if batch.file:
            meta["inputConfig"] = {"fileName": batch.file}
        shown: dict[str, Any] = {"name": name, "metadata": meta}
        if over:
            meta["endTime"] = made
            shown["done"] = True
            if state == "SUCCEEDED":
                meta["output"] = output = _output(batch)
                shown["response"] = {"@type": f"{_TYPES}{kind}Output", **output}
            else:
                code = 3 if batch.failed else 1
                shown["error"] = {"code": code, "message": batch.failed or "The batch was cancelled."}
        return shown


def _output(batch: _Batch) -> dict[str, Any]:
    if batch.file:
        return {"responsesFile": batch.output}
    rows = [_row(one) for one in batch.answers]
    for row in rows:
        row.pop("key")
    return {"inlinedResponses": {"inlinedResponses": rows}}


def _row(one: _Answer) -> dict[str, Any]:
    row: dict[str, Any] = {"key": one.key}
    if one.metadata is not None:
        row["metadata"] = one.metadata
    if one.status == 200:
        return {**row, "response": one.body}
    return {**row, "error": {"code": _WORDS.get(one.status, 2), "message": as_text(one.body.get("message"))}}


def _inlined(one: dict[str, Any]) -> tuple[str, dict[str, Any] | None, dict[str, Any]]:
    metadata = as_object(one.get("metadata"))
    return as_text(metadata.get("key")), metadata or None, as_object(one.get("request"))


def _lines(data: bytes) -> list[tuple[str, dict[str, Any] | None, dict[str, Any]]]:
    found: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = []
    for line in data.splitlines():
        if line.strip():
            try:
                row = as_object(_decode(line))
            except msgspec.DecodeError:
                return []
            found.append((as_text(row.get("key")), None, as_object(row.get("request"))))
    return found


def _either(told: dict[str, Any], camel: str, snake: str) -> Any:
    return told.get(camel, told.get(snake))


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, list(_JSON), _encode(value))
