"""The only place that turns an error into HTTP, in the caller's dialect."""

import math
from http import HTTPStatus

from penstock.base.errors import PenstockError
from penstock.gateway.ports import Reply
from penstock.wire.http import Headers, header, header_block
from penstock.wire.ports import CallerDialect

MAX_CLIENT_ID_BYTES = 256


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
) -> None:
    """Answer ``error``: with its status if nothing was sent yet, else as the stream's honest end."""
    if reply.ended:
        return
    if reply.started:
        reply.end(caller.write_stream_error(error, request_id))
        return
    headers = _headers(error, request_id)
    if extra:
        headers += extra
    reply.send(error.status, header_block(headers), caller.write_error(error, request_id))


def last_words(error: PenstockError, caller: CallerDialect, request_id: str) -> bytes:
    """The answer of a connection that is closed without a request read: the same for every path."""
    body = caller.write_error(error, request_id)
    headers = _headers(error, request_id)
    headers += [(b"connection", b"close"), (b"content-length", b"%d" % len(body))]
    line = b"HTTP/1.1 %d %b" % (error.status, HTTPStatus(error.status).phrase.encode())
    return b"%b\r\n%b\r\n%b" % (line, header_block(headers), body)


def _headers(error: PenstockError, request_id: str) -> Headers:
    headers: Headers = [(b"content-type", b"application/json"), (b"x-request-id", request_id.encode())]
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, math.ceil(error.retry_after_s))))
        headers.append((b"retry-after-ms", b"%d" % max(1, math.ceil(error.retry_after_s * 1000))))
    return headers
