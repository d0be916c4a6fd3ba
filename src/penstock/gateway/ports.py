"""What the gateway needs from its door: one inbound call, and a reply to write it to."""

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from msgspec import Struct

from penstock.base.bulk import Bulk
from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.wire.ports import CallerDialect

CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key"})
"""Where a virtual key may stand; with several, the first that is known counts."""
TOLD = frozenset(
    {
        *CREDENTIALS,
        b"origin",
        b"x-request-id",
        b"x-penstock-trace",
        b"x-penstock-stage",
        b"x-penstock-meta",
        b"x-penstock-priority",
        b"x-penstock-user",
        b"cache-control",
        b"x-penstock-cache",
        b"x-penstock-cache-ttl",
        b"x-penstock-cache-min-score",
        b"x-penstock-cache-namespace",
        b"x-penstock-cache-tags",
        b"x-penstock-cache-no-store",
        b"x-penstock-async",
        b"x-penstock-webhook",
        b"x-openrouter-metadata",
        b"content-type",
        b"host",
        b"x-forwarded-proto",
        b"anthropic-version",
        b"anthropic-beta",
        b"traceparent",
        b"expect",
        b"content-length",
        b"upgrade",
    }
)
"""The request headers that a gateway reads."""
CACHE_BEGINNING = b"x-penstock-ca"
"""So begin the headers about the cache, and what is meant for one and misspelt."""
MISSPELT = b"x-penstock-cache-?"
"""Where such a header's name is told: no header can have this one (RFC 9110, 5.6.2)."""


class Known(Struct):
    """What a connection remembers between its calls, so that an unchanged credential is not digested again."""

    doors: object = None
    credential: bytes = b""
    principal: object = None

    def __repr__(self) -> str:
        """Without the credential."""
        return f"Known({self.principal!r})"


class Inbound(Struct, gc=False):
    """One call as the door received it. ``received_s`` is the monotonic time of its first byte.

    ``told`` are the headers that a gateway reads (``TOLD``), by name; the first of a name counts. ``known`` is a
    memory of the connection: the credential it presented last, and whose it was.
    """

    caller: CallerDialect
    told: dict[bytes, bytes]
    body: bytes
    received_s: float
    known: Known
    ask: Ask | None = None
    """The body's envelope, where somebody has read it already."""
    looked: bool = False
    bulk: Bulk | None = None
    """Of a large body, once it was ``looked`` at: its long strings, apart from the rest."""
    cache_key: tuple[object, ...] | None = None
    """By what a kept answer to this very body is found (gateway.caching.quick)."""
    uncached: Rejected | None = None
    """Why the cache has no part in this call, where it is on."""
    before_send: Callable[[], Awaitable[None]] | None = None
    """Awaited before each attempt's request leaves: from then on it may have been served."""

    def __repr__(self) -> str:
        """Without headers and body: they hold secrets and people's words."""
        return f"Inbound({self.caller.name}, {len(self.body)} bytes)"


class Reply(Protocol):
    """The way back to the caller. Nothing here waits; back-pressure comes through ``on_pause``/``on_resume``."""

    on_pause: Callable[[], None] | None
    on_resume: Callable[[], None] | None

    @property
    def started(self) -> bool:
        """The status line is out: no other status can be sent."""
        ...

    @property
    def ended(self) -> bool:
        """Nothing more can be sent."""
        ...

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole reply in one write. ``head`` is header lines, each with its line break."""
        ...

    def start(self, status: int, head: bytes, first: bytes) -> None:
        """Begin a stream; ``first`` leaves in the same write as the head."""
        ...

    def write(self, data: bytes) -> None:
        """One piece of a stream, flushed at once."""
        ...

    def forwarder(self) -> Callable[[bytes], None] | None:
        """What writes pieces of this stream that are chunks already; None if it does not leave in chunks."""
        ...

    def end(self, last: bytes = b"") -> None:
        """The stream's proper end."""
        ...


def end_failed(reply: Reply, last: bytes) -> None:
    """End a stream that failed. A format without a word for that (``last`` is empty) is cut off: a proper end would be a lie."""
    abort = cast("Callable[[], None] | None", getattr(reply, "abort", None))
    if last or abort is None:
        reply.end(last)
    else:
        abort()
