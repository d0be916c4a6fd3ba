"""The only place that turns an error into HTTP, in the caller's dialect."""

import math
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from penstock.base.errors import PenstockError, UpstreamRateLimited
from penstock.gateway.heads import also_named
from penstock.gateway.ports import Reply, end_failed
from penstock.routing.keys import QUOTA_FIRST_S, RATE_FIRST_S
from penstock.wire.http import Headers, header, header_block
from penstock.wire.ports import CallerDialect

MAX_CLIENT_ID_BYTES = 256
_REFUSALS = frozenset({429, 503, 529})
"""Statuses that mean: not now."""


def echoed(headers: Headers) -> Headers:
    """A caller's own request id, given back under another name: ``x-request-id`` is always ours."""
    own = header(headers, b"x-request-id")
    return [] if own is None else [(b"x-client-request-id", own[:MAX_CLIENT_ID_BYTES])]


def respond(
    reply: Reply,
    error: PenstockError,
    caller: CallerDialect,
    request_id: str,
    extra: Headers | None = None,
    lines: bytes = b"",
) -> None:
    """Answer ``error``: with its status if nothing was sent yet, else as the stream's honest end.

    ``extra`` are headers, ``lines`` header lines ready to be sent.
    """
    if reply.ended:
        return
    if reply.started:
        end_failed(reply, caller.write_stream_error(error, request_id))
        return
    headers = _headers(error, request_id) + also_named(caller.name, request_id)
    if extra:
        headers += extra
    reply.send(status_of(error, caller), header_block(headers) + lines, caller.write_error(error, request_id))


def last_words(error: PenstockError, caller: CallerDialect, request_id: str) -> bytes:
    """The answer of a connection that is closed without a request read: the same for every path."""
    body = caller.write_error(error, request_id)
    headers = _headers(error, request_id)
    headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    line = b"HTTP/1.1 %d %b" % (error.status, HTTPStatus(error.status).phrase.encode())
    return b"%b\r\n%b\r\n%b" % (line, header_block(headers), body)


def status_of(error: PenstockError, caller: CallerDialect) -> int:
    """The status that this caller gets: Anthropic's has one of its own for an overloaded provider."""
    own = cast("Callable[[PenstockError], int] | None", getattr(caller, "status_of", None))
    return error.status if own is None else own(error)


def patience_s(error: PenstockError) -> float | None:
    """How long to wait before asking again. A refusal that is not for ever always says it."""
    if error.retry_after_s is not None or error.status not in _REFUSALS:
        return error.retry_after_s
    spent = isinstance(error, UpstreamRateLimited) and error.quota_exhausted
    return QUOTA_FIRST_S if spent else RATE_FIRST_S


def patience(error: PenstockError) -> Headers:
    """The same as headers, rounded up to whole seconds and to whole milliseconds."""
    wait_s = patience_s(error)
    if wait_s is None:
        return []
    return [
        (b"retry-after", b"%d" % max(1, math.ceil(wait_s))),
        (b"retry-after-ms", b"%d" % max(1, math.ceil(wait_s * 1000))),
    ]


def _headers(error: PenstockError, request_id: str) -> Headers:
    return [
        (b"content-type", b"application/json"),
        (b"x-request-id", request_id.encode()),
        *patience(error),
    ]
