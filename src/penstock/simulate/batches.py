"""OpenAI's files and batches, and Anthropic's message batches, as their servers write them.

Sources: openai-python 3.52.0 (types/batch.py, types/file_object.py) and anthropic-python 2.11.0 (types/messages), read 2026-11.
A batch is done ``Scenario.batch_delay_s`` after it was made; its lines are answered then, as single calls would be, and the
results stand in another order than the lines. A cancelled one has answered its first half.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct, field

from penstock.base.errors import BadRequest
from penstock.simulate.reply import Call, Refused, Reply, Speaker
from penstock.simulate.untyped import as_list, as_object, as_text
from penstock.wire.http import Headers, header
from penstock.wire.multipart import FormPart, read_form

Serve = Callable[[Call], Reply]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_JSON: Headers = [(b"content-type", b"application/json")]
_OPENAI = re.compile(r"^.*/(?P<what>files|batches)(?:/(?P<id>[^/]+)(?:/(?P<verb>content|cancel))?)?$")
_ANTHROPIC = re.compile(r"^/v1/messages/batches(?:/(?P<id>[^/]+)(?:/(?P<verb>results|cancel))?)?$")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
DAY_S = 86_400


class _File(Struct):
    provider: str
    filename: str
    purpose: str
    data: bytes
    at_s: int
    key: str = ""
    """Whose it is; of one that the service has made: everybody's."""
    expires_s: int = 0


class _Batch(Struct):
    provider: str
    lines: list[dict[str, Any]]
    call: Call
    at_s: float
    made_s: int
    file: str = ""
    endpoint: str = ""
    metadata: Any = None
    cancelled: bool = False
    failed: str = ""
    answers: list[tuple[str, int, bytes]] = field(default_factory=list[tuple[str, int, bytes]])
    done: bool = False
    output: str = ""
    errors: str = ""


class Batches:
    """Both vendors' services. ``serve`` answers a line; ``clock`` is monotonic seconds."""

    def __init__(
        self, delay_s: float, listed_after_s: float, clock: Callable[[], float], serve: Serve
    ) -> None:
        self._delay_s = delay_s
        self._listed_after_s = listed_after_s
        self._clock = clock
        self._serve = serve
        self._files: dict[str, _File] = {}
        self._batches: dict[str, _Batch] = {}

    def due(self, batch: _Batch) -> bool:
        """Its time is over; its answers are there."""
        if not (batch.cancelled or batch.failed or self._clock() - batch.at_s >= self._delay_s):
            return False
        if not batch.done:
            batch.done = True
            lines = [] if batch.failed else batch.lines
            for line in lines[: len(lines) // 2] if batch.cancelled else lines:
                reply = self._serve(_line_call(batch, line))
                batch.answers.append((as_text(line.get("custom_id")), reply.status, reply.body))
            batch.answers.reverse()
        return True

    def make(self, name: str, batch: _Batch) -> _Batch:
        """One more."""
        self._batches[name] = batch
        return batch

    def batch(self, name: str, call: Call) -> _Batch:
        """A provider's own, or Refused."""
        found = self._batches.get(name)
        if found is None or found.provider != call.provider:
            raise Refused(404, f"No batch found with id '{name}'.")
        return found

    def all(self, call: Call) -> list[tuple[str, _Batch]]:
        """A provider's that are listed by now, newest first."""
        now_s = self._clock()
        return [
            (name, one)
            for name, one in reversed(self._batches.items())
            if one.provider == call.provider and now_s - one.at_s >= self._listed_after_s
        ]

    def page(self, call: Call, after: str) -> tuple[list[tuple[str, _Batch]], bool]:
        """One page of them, as ``limit`` and the query's ``after`` say, and whether there are more."""
        found = self.all(call)
        names = [name for name, _ in found]
        start = names.index(call.query[after]) + 1 if call.query.get(after) in names else 0
        limit = int(call.query.get("limit") or 20)
        return found[start : start + limit], start + limit < len(found)

    def drop(self, name: str) -> None:
        """A batch is gone."""
        del self._batches[name]

    def drop_file(self, name: str) -> None:
        """A file is gone."""
        del self._files[name]

    def keep(self, name: str, file: _File) -> str:
        """One more file."""
        self._files[name] = file
        return name

    def file(self, name: str, call: Call) -> _File:
        """A provider's own, or Refused."""
        found = self._files.get(name)
        if found is None or found.provider != call.provider or found.key not in ("", call.key):
            raise Refused(404, f"No such File object: {name}")
        return found

    def files(self, call: Call) -> list[tuple[str, _File]]:
        """A provider's own, newest first."""
        own = (call.provider, ("", call.key))
        return [
            (name, one)
            for name, one in reversed(self._files.items())
            if one.provider == own[0] and one.key in own[1]
        ]

    def held(self) -> list[tuple[str, str, int]]:
        """All that callers have uploaded: the provider, the file's name, its bytes."""
        return [(one.provider, name, len(one.data)) for name, one in self._files.items() if one.key]

    def forget_files(self) -> None:
        """All of them are gone."""
        self._files.clear()

    def now_s(self) -> float:
        """The clock that delays are told by."""
        return self._clock()


class OpenAIBatches:
    """``/files`` and ``/batches``."""

    def __init__(self, desk: Batches, dialect: Speaker) -> None:
        self._desk = desk
        self._dialect = dialect

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "You didn't provide an API key.")
        match = _OPENAI.match(call.path)
        assert match is not None, "routed here"
        if match["what"] == "files":
            return self._file(match["id"], match["verb"], call)
        if match["id"] is None:
            return self._create(call) if call.method == "POST" else self._list(call)
        batch = self._desk.batch(match["id"], call)
        if match["verb"] == "cancel":
            if self._desk.due(batch):
                raise Refused(409, "Cannot cancel a batch that has ended.")
            batch.cancelled = True
        return _json(self._shown(match["id"], batch))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return self._dialect.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _file(self, name: str | None, verb: str | None, call: Call) -> Reply:
        if name is None and call.method == "GET":
            data = [_file_view(name, one) for name, one in self._desk.files(call)]
            return _json({"object": "list", "data": data, "has_more": False})
        if name is None:
            return self._upload(call)
        file = self._desk.file(name, call)
        if call.method == "DELETE":
            self._desk.drop_file(name)
            return _json({"id": name, "object": "file", "deleted": True})
        if verb == "content":
            return Reply(200, [(b"content-type", b"application/octet-stream")], file.data)
        return _json(_file_view(name, file))

    def _upload(self, call: Call) -> Reply:
        try:
            parts = {
                part.name: part for part in read_form(header(call.headers, b"content-type") or b"", call.body)
            }
        except BadRequest as error:
            raise Refused(400, error.message) from error
        if "file" not in parts or parts["file"].filename is None or parts.get("purpose") is None:
            raise Refused(400, "'file' and 'purpose' are required.")
        file = _File(
            call.provider,
            parts["file"].filename,
            parts["purpose"].data.decode(),
            parts["file"].data,
            call.unix_s,
            call.key,
            _expiry_s(parts),
        )
        name = self._desk.keep(f"file-sim{call.serial}", file)
        return _json(_file_view(name, file))

    def _create(self, call: Call) -> Reply:
        body = as_object(_decoded(call.body))
        file = self._desk.file(as_text(body.get("input_file_id")), call)
        if file.purpose != "batch":
            raise Refused(400, "The file's purpose is not batch.", param="input_file_id")
        if body.get("completion_window") != "24h":
            raise Refused(400, "Invalid value for completion_window.", param="completion_window")
        lines = [as_object(_decoded(line)) for line in file.data.splitlines() if line.strip()]
        endpoint = as_text(body.get("endpoint"))
        wrong = [one for one in lines if one.get("url") != endpoint or one.get("method") != "POST"]
        models = {as_text(as_object(one.get("body")).get("model")) for one in lines}
        failed = "mismatched_url" if wrong else "mismatched_model" if len(models) > 1 else ""
        if any("FAIL_BATCH" in as_text(str(one)) for one in lines):
            failed = "token_limit_exceeded"
        batch = self._desk.make(
            f"batch_sim{call.serial}",
            _Batch(
                call.provider,
                lines,
                call,
                self._desk.now_s(),
                call.unix_s,
                as_text(body.get("input_file_id")),
                endpoint,
                body.get("metadata"),
                failed=failed,
            ),
        )
        return _json(self._shown(f"batch_sim{call.serial}", batch))

    def _list(self, call: Call) -> Reply:
        found, more = self._desk.page(call, "after")
        data = [self._shown(name, one) for name, one in found]
        return _json({"object": "list", "data": data, "has_more": more})

    def _shown(self, name: str, batch: _Batch) -> dict[str, Any]:
        over = self._desk.due(batch)
        status = "in_progress"
        if over:
            status = "failed" if batch.failed else "cancelled" if batch.cancelled else "completed"
        good = [one for one in batch.answers if one[1] == 200]
        bad = [one for one in batch.answers if one[1] != 200]
        if over and not batch.output and not batch.errors:
            batch.output = self._results(f"file-out-{name}", batch, good)
            batch.errors = self._results(f"file-err-{name}", batch, bad)
        errors = {"object": "list", "data": [{"code": batch.failed, "message": "The batch is refused."}]}
        return {
            "id": name,
            "object": "batch",
            "endpoint": batch.endpoint,
            "errors": errors if batch.failed else None,
            "input_file_id": batch.file,
            "completion_window": "24h",
            "status": status,
            "output_file_id": batch.output or None,
            "error_file_id": batch.errors or None,
            "created_at": batch.made_s,
            "expires_at": batch.made_s + DAY_S,
            "request_counts": {"total": len(batch.lines), "completed": len(good), "failed": len(bad)},
            "metadata": batch.metadata,
        }

    def _results(self, name: str, batch: _Batch, answers: list[tuple[str, int, bytes]]) -> str:
        if not answers:
            return ""
        rows = [
            {
                "id": f"batch_req_{number}",
                "custom_id": custom_id,
                "response": {"status_code": status, "request_id": f"req-{number}", "body": _decoded(body)},
                "error": None,
            }
            for number, (custom_id, status, body) in enumerate(answers)
        ]
        data = b"".join(_encode(row) + b"\n" for row in rows)
        return self._desk.keep(
            name, _File(batch.provider, f"{name}.jsonl", "batch_output", data, batch.made_s)
        )


class AnthropicBatches:
    """``/v1/messages/batches``."""

    def __init__(self, desk: Batches, dialect: Speaker) -> None:
        self._desk = desk
        self._dialect = dialect

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        if not call.key:
            raise Refused(401, "x-api-key header is required")
        if header(call.headers, b"anthropic-version") is None:
            raise Refused(400, "anthropic-version: header is required")
        match = _ANTHROPIC.match(call.path)
        if match is None:
            raise Refused(404, "Not Found")
        name = match["id"]
        if name is None:
            return self._create(call) if call.method == "POST" else self._list(call)
        batch = self._desk.batch(name, call)
        if match["verb"] == "results":
            return self._results(batch)
        if call.method == "DELETE":
            if not self._desk.due(batch):
                raise Refused(400, "Batch cannot be deleted while it is in progress.")
            self._desk.drop(name)
            return _json({"id": name, "type": "message_batch_deleted"})
        if match["verb"] == "cancel" and not self._desk.due(batch):
            batch.cancelled = True
        return _json(self._shown(name, batch, call))

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        return self._dialect.refuse(refused, call)

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """Never streamed."""
        return self.refuse(refused, call).body

    def _create(self, call: Call) -> Reply:
        lines = [as_object(one) for one in as_list(as_object(_decoded(call.body)).get("requests"))]
        if not lines:
            raise Refused(400, "requests: at least one is required")
        names = [as_text(one.get("custom_id")) for one in lines]
        if any(_NAME.fullmatch(name) is None for name in names) or len(set(names)) < len(names):
            raise Refused(400, "requests.custom_id: must match ^[a-zA-Z0-9_-]{1,64}$ and be unique")
        name = f"msgbatch_sim{call.serial}"
        batch = self._desk.make(name, _Batch(call.provider, lines, call, self._desk.now_s(), call.unix_s))
        return _json(self._shown(name, batch, call))

    def _list(self, call: Call) -> Reply:
        found, more = self._desk.page(call, "after_id")
        data = [self._shown(name, one, call) for name, one in found]
        ends = (data[0]["id"], data[-1]["id"]) if data else (None, None)
        return _json({"data": data, "has_more": more, "first_id": ends[0], "last_id": ends[1]})

    def _results(self, batch: _Batch) -> Reply:
        if not self._desk.due(batch):
            raise Refused(404, "The results are not there yet.")
        rows: list[dict[str, Any]] = []
        for custom_id, status, body in batch.answers:
            kind, name = ("succeeded", "message") if status == 200 else ("errored", "error")
            rows.append({"custom_id": custom_id, "result": {"type": kind, name: _decoded(body)}})
        answered = {row["custom_id"] for row in rows}
        rows += [
            {"custom_id": line["custom_id"], "result": {"type": "canceled"}}
            for line in batch.lines
            if line["custom_id"] not in answered
        ]
        data = b"".join(_encode(row) + b"\n" for row in rows)
        return Reply(200, [(b"content-type", b"application/x-jsonl")], data)

    def _shown(self, name: str, batch: _Batch, call: Call) -> dict[str, Any]:
        over, made = self._desk.due(batch), datetime.fromtimestamp(batch.made_s, UTC)
        good = sum(status == 200 for _, status, _ in batch.answers)
        bad, total = len(batch.answers) - good, len(batch.lines)
        url = f"http://{(header(call.headers, b'host') or b'').decode()}/v1/messages/batches/{name}/results"
        return {
            "id": name,
            "type": "message_batch",
            "processing_status": "ended" if over else "in_progress",
            "request_counts": {
                "processing": 0 if over else total,
                "succeeded": good,
                "errored": bad,
                "canceled": total - good - bad if over else 0,
                "expired": 0,
            },
            "created_at": made.isoformat(),
            "expires_at": datetime.fromtimestamp(batch.made_s + DAY_S, UTC).isoformat(),
            "ended_at": made.isoformat() if over else None,
            "cancel_initiated_at": made.isoformat() if batch.cancelled else None,
            "archived_at": None,
            "results_url": url if over else None,
        }


def _line_call(batch: _Batch, line: dict[str, Any]) -> Call:
    """The call that a line would be."""
    shown = as_object(line.get("body") if batch.endpoint else line.get("params"))
    return msgspec.structs.replace(
        batch.call,
        method="POST",
        path=batch.endpoint or "/v1/messages",
        query={},
        body=_encode(shown),
        json=shown,
        model=as_text(shown.get("model")),
        stream=False,
    )


def _expiry_s(parts: dict[str, FormPart]) -> int:
    """``expires_after``, in the two fields that a form has for it; 0: never."""
    told = {
        name: parts[f"expires_after[{name}]"].data
        for name in ("anchor", "seconds")
        if f"expires_after[{name}]" in parts
    }
    if not told:
        return 0
    seconds = told.get("seconds", b"")
    if told.get("anchor") != b"created_at" or not seconds.isdigit() or not 3600 <= int(seconds) <= 2_592_000:
        raise Refused(400, "Invalid value for 'expires_after'.", param="expires_after")
    return int(seconds)


def _file_view(name: str, file: _File) -> dict[str, Any]:
    return {
        "id": name,
        "object": "file",
        "bytes": len(file.data),
        "created_at": file.at_s,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "expires_at": file.at_s + file.expires_s if file.expires_s else None,
    }


def _decoded(body: bytes) -> Any:
    try:
        return _decode(body)
    except msgspec.DecodeError:
        raise Refused(400, "We could not parse the JSON body of your request.") from None


def _json(value: dict[str, Any]) -> Reply:
    return Reply(200, _JSON, _encode(value))
