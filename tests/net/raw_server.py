"""A raw TCP server that follows a script for each connection, so that tests own every byte on the wire."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

import uvloop

from penstock.base.endpoint import parse_base_url
from penstock.net.transport import Deadlines, Exchange, Transport, TransportSettings
from penstock.wire.http import WireRequest

LOOPS = [asyncio.run, uvloop.run]
LONG = Deadlines(connect_s=10.0, first_byte_s=10.0, idle_s=10.0, total_s=20.0)
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


class Link:
    """One accepted connection, in the hands of a script."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> tuple[bytes, bytes]:
        """The next request's head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        return head, await self.reader.readexactly(length)

    async def send(self, *pieces: bytes, gap_s: float = 0.0) -> None:
        """Bytes, each piece on its own."""
        for piece in pieces:
            try:
                self.writer.write(piece)
            except RuntimeError as error:  # uvloop's word for a closed socket
                raise ConnectionResetError from error
            await self.writer.drain()
            if gap_s:
                await asyncio.sleep(gap_s)

    async def gone(self) -> bool:
        """Waits until the other side has closed; True."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass
        return True

    def reset(self) -> None:
        """Close at once."""
        self.writer.transport.abort()


Script = Callable[[Link], Awaitable[None]]


class RawServer:
    """``async with RawServer(script) as server``: ``server.url``, ``server.accepted``."""

    def __init__(self, script: Script, *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.script = script
        self.tls = tls
        self.host = host
        self.accepted = 0
        self.port = 0
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, self.host, 0, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # let aborted transports say goodbye
        if error is None:
            assert self.failures == []

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.get_running_loop().create_task(self._follow(Link(reader, writer, self.accepted)))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, link: Link) -> None:
        try:
            await self.script(link)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except AssertionError as failure:
            self.failures.append(failure)
        finally:
            link.writer.close()
            if self.tls:
                await asyncio.sleep(0)
                link.writer.transport.abort()

    def transport(self, path: str = "", **settings: object) -> Transport:
        """A Transport to this server."""
        return Transport(TransportSettings(parse_base_url(self.url + path), **settings))


def replies(*answers: bytes) -> Script:
    """A script: the next request, the next answer; then wait for the end."""

    async def script(link: Link) -> None:
        for answer in answers:
            await link.request()
            await link.send(answer)
        await link.gone()

    return script


def always(answer: bytes) -> Script:
    """A script: the same answer to every request."""

    async def script(link: Link) -> None:
        while True:
            await link.request()
            await link.send(answer)

    return script


def once_and_close(answer: bytes) -> Script:
    """A script: one answer, and the connection closes."""

    async def script(link: Link) -> None:
        await link.request()
        await link.send(answer)

    return script


def post(path: bytes = b"/x", body: bytes = b"{}", *headers: tuple[bytes, bytes]) -> WireRequest:
    return WireRequest(b"POST", path, list(headers), body)


async def ask(
    transport: Transport, deadlines: Deadlines = LONG, request: WireRequest | None = None
) -> Exchange:
    return await transport.send(request or post(), deadlines)


async def fetch(transport: Transport, max_bytes: int = 10_000_000) -> bytes:
    """Send and read the whole body."""
    return await (await ask(transport)).read(max_bytes)


async def pumped(transport: Transport) -> bytes:
    """Send and pump the whole body."""
    pieces: list[bytes] = []
    await (await ask(transport)).pump(pieces.append)
    assert all(pieces)
    return b"".join(pieces)


async def settle() -> None:
    """Let closed sockets and cancelled dials be noticed."""
    for _ in range(20):
        await asyncio.sleep(0.002)


def nothing_left(transport: Transport) -> bool:
    """No connection, no waiter, no dial, no slot, no deadline."""
    return (transport.open, transport.idle, transport.in_use, transport.waiting) == (0, 0, 0, 0) and not (
        transport._slots or transport._active or transport._dials
    )
