"""A small ASGI host (asgi.readthedocs.io, HTTP spec 2.3): all routes off the hot path are one ASGI app."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import unquote

from penstock.server.http1 import HttpReply
from penstock.server.reading import Request
from penstock.server.respond import echoed
from penstock.wire.http import Headers, header_block

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Scope, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


async def run_asgi(app: AsgiApp, request: Request, reply: HttpReply, request_id: str) -> None:
    """Serve one request through ``app``. A small body leaves in one write, anything longer as chunks."""
    path, _, query = request.url.partition(b"?")
    path = path.rstrip(b"/") or b"/"
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method.decode("ascii", "replace"),
        "scheme": "http",
        "path": unquote(path.decode("latin-1")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": request.headers,
        "client": None,
        "server": None,
        "penstock.request_id": request_id,
    }
    exchange = _Exchange(request, reply, request_id)
    await app(scope, exchange.receive, exchange.send)


class _Exchange:
    __slots__ = ("_echo", "_headers", "_held", "_reply", "_request", "_request_id", "_status")

    def __init__(self, request: Request, reply: HttpReply, request_id: str) -> None:
        self._request: Request | None = request
        self._reply = reply
        self._request_id = request_id
        self._echo = echoed(request.headers)
        self._status = 500
        self._headers: Headers = []
        self._held = b""

    async def receive(self) -> Message:
        """The whole body at once; then nothing more until the caller hangs up (our task is cancelled then)."""
        if self._request is not None:
            body, self._request = self._request.body, None
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.get_running_loop().create_future()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """http.response.start is kept until the first body piece shows whether there will be more."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [
                (name, value)
                for name, value in message.get("headers", ())
                if name not in (b"content-length", b"transfer-encoding")
            ]
            self._headers.append((b"x-request-id", self._request_id.encode()))
            self._headers += self._echo
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self._reply.started:
            head = header_block(self._headers)
            if more:
                self._reply.start(self._status, head, body)
            else:
                self._reply.send(self._status, head, body)
        elif more:
            self._reply.write(body)
        else:
            self._reply.end(body)
