"""A connection beyond ``server.max_connections``: answered 503 and closed, without a parser and without a request read.

Theory: each connection costs memory and a file descriptor, whoever opens it; without a bound, one caller's leak takes
the port from all. The answer leaves with the caller's first bytes, not before (clients do not expect words they have not
asked for), and what else comes is thrown away until the caller hangs up: a plain close would reset the connection and
take the answer with it. That again is bounded, in time and in number.
"""

import asyncio
from typing import cast

LINGER_S = 2.0
MAX_LINGERING = 256


class TurnedAway(asyncio.Protocol):
    """One such connection. ``crowd`` are those that have not gone yet."""

    __slots__ = ("_answer", "_crowd", "_transport")

    def __init__(self, answer: bytes, crowd: "set[TurnedAway]") -> None:
        self._answer = answer
        self._crowd = crowd
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for its first word, but not long; with too many waiting, not at all."""
        # Cast, not checked: uvloop's transports are no subclasses.
        self._transport = transport = cast(asyncio.Transport, transport)
        if len(self._crowd) >= MAX_LINGERING:
            transport.abort()
            return
        self._crowd.add(self)
        asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def data_received(self, data: bytes) -> None:
        """The first word is answered, all others are not."""
        answer, self._answer = self._answer, b""
        if answer and self._transport is not None:
            self._transport.write(answer)
            if self._transport.can_write_eof():
                self._transport.write_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has gone."""
        self._crowd.discard(self)
        self._transport = None

    def abort(self) -> None:
        """Cut it now."""
        if self._transport is not None:
            self._transport.abort()
