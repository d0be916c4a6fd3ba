"""Rendered answers, remembered for a second: load tests ask the same thing thousands of times.

Theory
------
An answer without faults and delays depends on the target, the body, a few headers and the second. Rendered once, it is
given again with the call's own serial number put in the place of the first one's; serial numbers are twelve digits, so
that no length changes. What depends on state (prompts marked for caching) or time (a token that expires) is not kept.
"""

from msgspec import Struct

from penstock.simulate.file_names import names_files
from penstock.simulate.http1 import RawRequest
from penstock.simulate.log import Received

FIRST_SERIAL = 100_000_000_000
_MATTERS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"anthropic-version"})
_DIALECTS = frozenset({"openai", "anthropic", "gemini"})
_MAX_BODY_BYTES = 64 * 1024
_MAX_WIRE_BYTES = 1024 * 1024
_MAX_KEPT = 256

Key = tuple[str, tuple[tuple[bytes, bytes], ...], bool, bool, bytes]


class Rendered(Struct, frozen=True):
    """An answer as bytes, with ``serial`` in it, and what the log says of it."""

    wire: bytes
    serial: bytes
    unix_s: int
    provider: str
    dialect: str
    model: str
    key: str
    stream: bool
    status: int
    events: int

    def with_serial(self, serial: int) -> bytes:
        """The bytes for another call."""
        return self.wire.replace(self.serial, b"%d" % serial)


class Memory:
    """Bounded; forgets everything when full or told to."""

    def __init__(self) -> None:
        self._kept: dict[Key, Rendered] = {}

    def key(self, request: RawRequest) -> Key | None:
        """What the answer depends on; None for what is not kept."""
        if len(request.body) > _MAX_BODY_BYTES or request.method != "POST":
            return None
        matters = tuple([pair for pair in request.headers if pair[0] in _MATTERS])
        return (request.target, matters, request.keep_alive, request.chunked_ok, request.body)

    def find(self, key: Key, unix_s: int) -> Rendered | None:
        """What was rendered in this second."""
        found = self._kept.get(key)
        return found if found is not None and found.unix_s == unix_s else None

    def keep(self, key: Key, wire: bytes, serial: int, unix_s: int, received: Received) -> None:
        """Remember, if the answer depends on nothing else."""
        digits = b"%d" % serial
        body = received.body
        if (
            len(wire) > _MAX_WIRE_BYTES
            or received.dialect not in _DIALECTS
            or b"cache_control" in body
            or names_files(body)
            or digits in body
        ):
            return
        if len(self._kept) >= _MAX_KEPT:
            self._kept.clear()
        self._kept[key] = Rendered(
            wire,
            digits,
            unix_s,
            received.provider,
            received.dialect,
            received.model,
            received.key,
            received.stream,
            received.status,
            received.events_sent,
        )

    def forget(self) -> None:
        """Nothing is remembered."""
        self._kept.clear()
