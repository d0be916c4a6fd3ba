"""A line between two processes of this machine: each may ask the other, and tell it things.

A frame is its length (4 bytes, big-endian) and a message: a number, a kind and a payload. Number n > 0 asks, -n answers
it, 0 only tells. Answers come in any order. When the other end is gone, whoever waits is told (``LineGone``).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import cast

import msgspec

Handler = Callable[[str, bytes], Awaitable[bytes]]
"""What answers the other end: kind and payload of what it asks, or of what it tells (then the answer is dropped)."""

_HEAD_BYTES = 4
_FAULT = "fault"
_encode = msgspec.msgpack.Encoder().encode


class _Message(msgspec.Struct, array_like=True, frozen=True):
    number: int
    kind: str
    payload: bytes


_decode = msgspec.msgpack.Decoder(_Message).decode


class LineGone(Exception):
    """The other process does not answer (any more)."""


class Line(asyncio.Protocol):
    """One end of it. ``gone`` is called once, when the other end hangs up."""

    def __init__(self, handle: Handler, gone: Callable[[], None]) -> None:
        self._handle = handle
        self._gone = gone
        self._numbers = count(1)
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._heard = bytearray()
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def over(cls, end: socket.socket, handle: Handler, gone: Callable[[], None]) -> "Line":
        """A line over this socket, which it owns from here on."""
        end.setblocking(False)
        _, line = await asyncio.get_running_loop().create_connection(lambda: cls(handle, gone), sock=end)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        # Cast, not checked: uvloop's transports are no subclasses.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Cut it into frames."""
        heard = self._heard
        heard += data
        at = 0
        while len(heard) - at >= _HEAD_BYTES:
            start = at + _HEAD_BYTES
            end = start + int.from_bytes(heard[at:start], "big")
            if len(heard) < end:
                break
            self._message(_decode(heard[start:end]))
            at = end
        if at:
            del heard[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        """The other end has hung up, or we have."""
        self._transport = None
        waiting, self._waiting = self._waiting, {}
        for waiter in waiting.values():
            if not waiter.done():
                waiter.set_exception(LineGone("The other process has gone."))
        self._gone()

    @property
    def up(self) -> bool:
        """Somebody may be listening."""
        return self._transport is not None

    async def ask(self, kind: str, payload: bytes = b"", timeout_s: float = 5.0) -> bytes:
        """The other end's answer. Raises LineGone, also where there is none in time."""
        number = next(self._numbers)
        waiter: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiter
        try:
            self._send(_Message(number, kind, payload))
            return await asyncio.wait_for(waiter, timeout_s)
        except TimeoutError as error:
            raise LineGone(f"The other process has not answered in {timeout_s:g} s.") from error
        finally:
            self._waiting.pop(number, None)

    def tell(self, kind: str, payload: bytes = b"") -> None:
        """Say it, if anybody is there."""
        if self._transport is not None:
            self._send(_Message(0, kind, payload))

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def _send(self, message: _Message) -> None:
        if self._transport is None:
            raise LineGone("The other process has gone.")
        words = _encode(message)
        self._transport.write(len(words).to_bytes(_HEAD_BYTES, "big") + words)

    def _message(self, message: _Message) -> None:
        if message.number < 0:
            waiter = self._waiting.get(-message.number)
            if waiter is None or waiter.done():
                return
            if message.kind == _FAULT:
                waiter.set_exception(LineGone("The other process failed at it; its log says why."))
            else:
                waiter.set_result(message.payload)
            return
        task = asyncio.get_running_loop().create_task(self._serve(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: _Message) -> None:
        try:
            answer = await self._handle(message.kind, message.payload)
        except BaseException:
            if message.number and self.up:
                self._send(_Message(-message.number, _FAULT, b""))
            raise
        if message.number and self.up:
            self._send(_Message(-message.number, "", answer))
