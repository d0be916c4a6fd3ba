"""A provider's Response and its stream events as typed structs, and what its end means: shared by reader and relay."""

from typing import Any

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamError, UpstreamMalformed
from penstock.base.events import StopReason
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.openai_chat.errors import read_error_in_200
from penstock.dialects.openai_chat.usage import ResponsesUsage, read_responses_usage
from penstock.dialects.openai_responses.shapes import NONE, Item

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_SEARCHES = frozenset({"web_search_call", "web_search"})
_LONGEST_NULL = 4


class Incomplete(Struct, gc=False):
    """``incomplete_details``."""

    reason: str | None = None


class Whole(Struct, gc=False):
    """A Response. ``output`` may hold items of types that we do not read."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    output: list[Raw] | None = None
    usage: ResponsesUsage | None = None
    service_tier: str | None = None
    error: Raw = NONE
    incomplete_details: Incomplete | None = None


class Happening(Struct, gc=False):
    """A stream event, as far as we read it."""

    type: str = ""
    sequence_number: int | None = None
    output_index: int | None = None
    summary_index: int | None = None
    delta: Any = None
    arguments: str | None = None
    input: str | None = None
    item: Raw = NONE
    response: Raw = NONE
    error: Raw = NONE
    code: str | None = None
    message: str | None = None


class _Kind(Struct, gc=False):
    type: str = ""


_decode_whole = msgspec.json.Decoder(Whole).decode
_decode_happening = msgspec.json.Decoder(Happening).decode
_decode_item = msgspec.json.Decoder(Item).decode
_decode_kind = msgspec.json.Decoder(_Kind).decode


def present(raw: Raw) -> bool:
    """There, and not null."""
    return len(raw) > _LONGEST_NULL or bytes(raw) not in (b"", b"null", b"{}")


def read_happening(data: bytes) -> Happening:
    """One event's JSON. Raises UpstreamMalformed."""
    try:
        return _decode_happening(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMalformed("The upstream's stream holds an event that cannot be read.") from None


def read_response(data: bytes | Raw) -> Whole:
    """A Response. Raises UpstreamMalformed; what is an error instead, as that error."""
    try:
        return _decode_whole(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise UpstreamMalformed("The upstream's reply is not a Response.") from None


def read_item(raw: Raw) -> Item | None:
    """An output item; None for a shape that we do not know."""
    try:
        return _decode_item(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def failure(whole: Whole) -> UpstreamError | None:
    """What a Response that failed says, as our error; None for any other."""
    if whole.status not in ("failed", "cancelled"):
        return None
    if present(whole.error):
        return read_error_in_200(b'{"error":' + bytes(whole.error) + b"}")
    return read_error_in_200(b'{"error":"The response %s."}' % whole.status.encode())


def error_of(happening: Happening, data: bytes) -> UpstreamError:
    """The event ``error``: nested, as it is sent, or flat, as it is documented."""
    if present(happening.error):
        return read_error_in_200(data)
    flat = {"code": happening.code, "message": happening.message or "The stream ended in an error."}
    return read_error_in_200(msgspec.json.encode({"error": flat}))


def stop_of(whole: Whole, *, calls: bool) -> tuple[StopReason, str]:
    """Why the model stopped, and in its provider's word."""
    if whole.status == "incomplete":
        reason = (whole.incomplete_details or Incomplete()).reason or "incomplete"
        if reason == "max_output_tokens":
            return "length", reason
        return ("content_filter" if reason == "content_filter" else "error"), reason
    if whole.status not in (None, "completed"):
        return "error", whole.status or ""
    return ("tool_calls" if calls else "stop"), whole.status or ""


def usage_of(whole: Whole, source: UsageSource) -> Usage | None:
    """What was consumed, searches of the web among it: they are counted in the output."""
    if whole.usage is None:
        return None
    usage = read_responses_usage(whole.usage, source, whole.service_tier)
    searches = sum(_kind(raw) in _SEARCHES for raw in whole.output or ())
    if searches:
        usage = msgspec.structs.replace(usage, fees=(*usage.fees, ("web_search", searches)))
    return usage


def _kind(raw: Raw) -> str:
    try:
        return _decode_kind(raw).type
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
