"""Lines of a batch, and of its results: OpenAI's JSONL and Anthropic's. Pure (API references of both; read 2026-11).

Rules
- A batch is taken whole or not at all: what is wrong with any of its lines is said with the line's number.
- A line's body goes on as it was written, byte for byte.
"""

from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from msgspec import Raw, Struct

Shape = Literal["openai", "anthropic"]
MAX_ID_CHARS = 512
MAX_SHOWN_ERRORS = 100
_encode = msgspec.json.Encoder().encode


class Line(Struct, frozen=True):
    """One request of a batch."""

    custom_id: str
    body: bytes


class LineFault(Struct, frozen=True):
    """What is wrong with a line (from 1), in OpenAI's shape of it."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


class _Written(Struct):
    custom_id: str
    method: str
    url: str
    body: Raw


class _Body(Struct):
    stream: Any = False
    model: Any = None


class _Kept(Struct):
    custom_id: str
    body: Raw


_written = msgspec.json.Decoder(_Written).decode
_body = msgspec.json.Decoder(_Body).decode
_kept = msgspec.json.Decoder(_Kept).decode


def lines_of(text: bytes) -> Iterator[bytes]:
    """Lines that are not blank."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start)
        end = len(text) if end < 0 else end
        line = text[start:end].strip()
        if line:
            yield line
        start = end + 1


def read_lines(text: bytes, endpoint: str, most: int) -> tuple[list[Line], list[LineFault]]:
    """The requests of an input file, or what is wrong with it."""
    lines: list[Line] = []
    faults: list[LineFault] = []
    seen: set[str] = set()
    for number, raw in enumerate(lines_of(text), start=1):
        if number > most:
            faults.append(LineFault("too_many_requests", f"A batch has at most {most} lines."))
            break
        found = _line(raw, number, endpoint, seen)
        if isinstance(found, LineFault):
            faults.append(found)
            if len(faults) >= MAX_SHOWN_ERRORS:
                break
        else:
            lines.append(found)
    if not lines and not faults:
        faults.append(LineFault("empty_file", "The input file is empty."))
    return lines, faults


def _line(raw: bytes, number: int, endpoint: str, seen: set[str]) -> Line | LineFault:
    try:
        written = _written(raw)
        body = _body(written.body)
    except (msgspec.DecodeError, RecursionError) as error:
        return LineFault("invalid_json_line", f"This line is no request: {error}.", number)
    if not written.custom_id or len(written.custom_id) > MAX_ID_CHARS:
        return LineFault(
            "invalid_custom_id", f"custom_id has 1 to {MAX_ID_CHARS} characters.", number, "custom_id"
        )
    if written.custom_id in seen:
        return LineFault(
            "duplicate_custom_id", f"The custom_id {written.custom_id!r} stands twice.", number, "custom_id"
        )
    seen.add(written.custom_id)
    if written.method != "POST":
        return LineFault("invalid_method", "The method of a line is POST.", number, "method")
    if written.url != endpoint:
        return LineFault("mismatched_url", f"The url of this batch's lines is {endpoint}.", number, "url")
    if body.stream:
        return LineFault("invalid_request", "A line of a batch is not streamed.", number, "body.stream")
    return Line(written.custom_id, bytes(written.body))


def model_of(line: Line) -> str:
    """The model that a line names; "" if none."""
    model = _body(line.body).model
    return model if isinstance(model, str) else ""


def packed(lines: list[Line]) -> bytes:
    """Lines as they are kept."""
    return b"\n".join(_encode({"custom_id": line.custom_id, "body": Raw(line.body)}) for line in lines)


def unpacked(text: bytes) -> list[Line]:
    """The same, read again."""
    found: list[Line] = []
    for raw in lines_of(text):
        kept = _kept(raw)
        found.append(Line(kept.custom_id, bytes(kept.body)))
    return found


def answered(shape: Shape, name: str, custom_id: str, status: int, request_id: str, body: bytes) -> bytes:
    """The result of a line that was called."""
    shown = _json_or_text(body)
    if shape == "anthropic":
        kind, field = ("succeeded", "message") if status == 200 else ("errored", "error")
        return _encode({"custom_id": custom_id, "result": {"type": kind, field: shown}})
    response = {"status_code": status, "request_id": request_id, "body": shown}
    return _encode({"id": name, "custom_id": custom_id, "response": response, "error": None})


def unanswered(shape: Shape, name: str, custom_id: str, why: Literal["expired", "cancelled"]) -> bytes:
    """The result of a line that was never called."""
    if shape == "anthropic":
        kind = "expired" if why == "expired" else "canceled"
        return _encode({"custom_id": custom_id, "result": {"type": kind}})
    message = (
        "This request could not be executed before the completion window expired."
        if why == "expired"
        else "This request was not executed: the batch was cancelled."
    )
    error = {"code": f"batch_{why}", "message": message}
    return _encode({"id": name, "custom_id": custom_id, "response": None, "error": error})


def _json_or_text(body: bytes) -> Any:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body.decode("utf-8", "replace")
    # The pretty print of a provider must not break the line: one line a result.
    return Raw(body if b"\n" not in body else msgspec.json.format(body, indent=-1))


class _Counts(Struct):
    prompt_tokens: Any = 0
    completion_tokens: Any = 0
    input_tokens: Any = 0
    output_tokens: Any = 0
    total_tokens: Any = 0


class _Answer(Struct):
    usage: _Counts | None = None


class _Response(Struct):
    body: Raw = Raw(b"null")


class _Result(Struct):
    response: _Response | None = None


_result = msgspec.json.Decoder(_Result).decode
_answer = msgspec.json.Decoder(_Answer | None).decode


def usage_of(result: bytes) -> tuple[int, int, int]:
    """Input, output and total tokens of one result; zeros where it says none."""
    try:
        response = _result(result).response
        found = None if response is None else _answer(response.body)
    except msgspec.DecodeError:
        return 0, 0, 0
    usage = None if found is None else found.usage
    if usage is None:
        return 0, 0, 0
    figures = (usage.input_tokens or usage.prompt_tokens, usage.output_tokens or usage.completion_tokens)
    read, made = (one if type(one) is int else 0 for one in figures)
    return read, made, usage.total_tokens if type(usage.total_tokens) is int else read + made
