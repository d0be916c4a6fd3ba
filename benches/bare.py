"""The limit: the least that a Python gateway can do, without any of the work.

httptools on both sides of uvloop, one pooled connection for each caller's, the body decoded once and its model changed:
no keys, limits, plan, ledger, metrics, deadlines, errors. What it costs is what the language and the loop cost.
``python -m benches.bare PORT UPSTREAM_PORT``
"""

import asyncio
import sys

import httptools
import msgspec
import uvloop


class Model(msgspec.Struct):
    """As much of the body as a router must know."""

    model: str


READ = msgspec.json.Decoder(Model).decode
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: up\r\nauthorization: Bearer sk\r\n"
    b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
)


class Up(asyncio.Protocol):
    """The provider's side."""

    def __init__(self, caller: "Down") -> None:
        self.caller = caller
        self.pieces: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self.pieces)
        self.pieces.clear()
        self.caller.answer(body)


class Down(asyncio.Protocol):
    """The caller's side."""

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.parser = httptools.HttpRequestParser(self)
        self.pieces: list[bytes] = []
        self.up: Up | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        body = b"".join(self.pieces)
        self.pieces.clear()
        model = READ(body).model.encode()
        self.send(body.replace(b'"%b"' % model, b'"gpt-4o-mini-2024"', 1))

    def send(self, body: bytes) -> None:
        request = HEAD % (len(body), body)
        if self.up is None:
            self.task = asyncio.ensure_future(self.dial(request))
        else:
            self.up.transport.write(request)

    async def dial(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        _, self.up = await loop.create_connection(lambda: Up(self), "127.0.0.1", self.upstream)
        self.up.transport.write(request)

    def answer(self, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self.up is not None:
            self.up.transport.close()


async def serve(port: int, upstream: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Down(upstream), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
