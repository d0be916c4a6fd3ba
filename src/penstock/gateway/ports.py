"""What the gateway needs from its door: one inbound call, and a reply to write it to."""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from penstock.wire.http import Headers
from penstock.wire.ports import CallerDialect


class Inbound(Struct, gc=False):
    """One call as the door received it. ``received_s`` is the monotonic time of its first byte."""

    caller: CallerDialect
    headers: Headers
    body: bytes
    received_s: float
    path: str = ""


class Reply(Protocol):
    """The way back to the caller. Nothing here waits; back-pressure comes through ``on_pause``/``on_resume``."""

    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def started(self) -> bool:
        """The status line is out: no other status can be sent."""
        ...

    def send(self, status: int, headers: Headers, body: bytes) -> None:
        """A whole reply in one write."""
        ...

    def start(self, status: int, headers: Headers, first: bytes) -> None:
        """Begin a stream; ``first`` leaves in the same write as the head."""
        ...

    def write(self, data: bytes) -> None:
        """One piece of a stream, flushed at once."""
        ...

    def end(self, last: bytes = b"") -> None:
        """The stream's proper end."""
        ...
