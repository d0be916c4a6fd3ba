"""What the simulator received and how each exchange ended; bounded in number and in bytes."""

from collections import deque
from typing import Any

from msgspec import Struct

from penstock.wire.http import Headers


class Received(Struct):
    """One request, and its fate. Times are Unix seconds.

    ``bytes_sent`` are the bytes given to the socket, HTTP framing included. ``disconnected_unix_s`` is set when the
    caller hung up before the reply was complete. ``faults`` are the kinds that were applied. ``status`` is what
    was decided, 0 where no head was to be sent. ``provider`` is the name in ``/p/NAME/``, or the dialect.
    """

    method: str
    path: str
    raw_headers: Headers
    body: bytes
    started_unix_s: float
    provider: str = ""
    dialect: str = ""
    model: str = ""
    key: str = ""
    stream: bool = False
    status: int = 0
    bytes_sent: int = 0
    events_sent: int = 0
    faults: tuple[str, ...] = ()
    first_byte_unix_s: float | None = None
    ended_unix_s: float | None = None
    disconnected_unix_s: float | None = None
    connection: int = 0
    """Serial number of the connection that it came on: equal numbers prove reuse."""

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; the last value of a repeated name."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.raw_headers}

    @property
    def complete(self) -> bool:
        """The reply was sent to its end, or the exchange ended otherwise."""
        return self.ended_unix_s is not None or self.disconnected_unix_s is not None

    def __repr__(self) -> str:
        """Without headers, key and body: they hold secrets and people's words."""
        return f"Received({self.method} {self.path.partition('?')[0]} {self.model!r} -> {self.status})"

    def public(self) -> dict[str, Any]:
        """As ``GET /_sim/requests`` shows it."""
        return {
            "method": self.method,
            "path": self.path,
            "headers": self.headers,
            "body": self.body.decode("utf-8", "replace"),
            "provider": self.provider,
            "dialect": self.dialect,
            "model": self.model,
            "key": self.key,
            "stream": self.stream,
            "status": self.status,
            "bytes_sent": self.bytes_sent,
            "events_sent": self.events_sent,
            "faults": list(self.faults),
            "started_unix_s": self.started_unix_s,
            "first_byte_unix_s": self.first_byte_unix_s,
            "ended_unix_s": self.ended_unix_s,
            "disconnected_unix_s": self.disconnected_unix_s,
            "connection": self.connection,
        }


class RequestLog:
    """The newest requests, oldest first."""

    def __init__(self, keep: int, keep_body_bytes: int) -> None:
        self._entries: deque[Received] = deque()
        self._keep = keep
        self._keep_body_bytes = keep_body_bytes
        self._body_bytes = 0

    def add(self, received: Received) -> None:
        """Append, and drop the oldest beyond the bounds; the newest always stays."""
        entries = self._entries
        entries.append(received)
        self._body_bytes += len(received.body)
        while len(entries) > 1 and (len(entries) > self._keep or self._body_bytes > self._keep_body_bytes):
            self._body_bytes -= len(entries.popleft().body)

    def all(self) -> list[Received]:
        """A copy, safe to take from another thread."""
        return list(self._entries)

    def clear(self) -> None:
        """Forget."""
        self._entries.clear()
        self._body_bytes = 0
