"""A call that the cache makes for itself: asked as a caller asks, answered in events, paid for by nobody's virtual key.

Theory
------
An audit must get what the caller would have got: the same body, read by the same dialect, planned for the same key. So the
call takes every caller's own road; only what is written back is not a caller's bytes but the events behind them. The dialect
is of no family for that: bytes of a provider that go through unread have no events.
"""

from collections.abc import Awaitable, Callable, Mapping
from copy import copy

from msgspec import Struct

from penstock.base.chat import Ask
from penstock.base.errors import PenstockError
from penstock.base.events import Event, Folded, fold
from penstock.base.operations import Operation
from penstock.gateway.ports import CREDENTIALS
from penstock.gateway.principal import ANYONE, Principal
from penstock.ledger.entry import EntryClass
from penstock.wire.ports import CallerDialect, Identity, NeutralRequest, ReplyWriter

_FORGOTTEN = CREDENTIALS | {
    b"origin", b"expect", b"content-length", b"upgrade", b"host", b"x-request-id", b"traceparent",
}  # fmt: skip


class Question(Struct, frozen=True):
    """What is asked, for whom, and why. ``told`` are the headers of the call that it is asked for; no credential among them."""

    caller: CallerDialect
    body: bytes
    told: dict[bytes, bytes]
    principal: Principal
    purpose: EntryClass

    def __repr__(self) -> str:
        """Without the words."""
        return f"Question({self.purpose}, {self.caller.name}, {len(self.body)} bytes)"


class Fresh(Struct, frozen=True):
    """What came back. ``error`` None: an answer. ``cost_nusd`` is what all of its attempts cost; None is not known."""

    folded: Folded
    cost_nusd: int | None
    request_id: str
    error: PenstockError | None = None


Inner = Callable[[Question], Awaitable[Fresh]]
"""Makes such a call; whatever becomes of it is in the answer (server.inner)."""


def told_inside(told: Mapping[bytes, bytes], purpose: str, audited: str) -> dict[bytes, bytes]:
    """The headers of a caller's call for one that is made because of it: last in every queue, past the cache, and named."""
    kept = {
        name: value
        for name, value in told.items()
        if name not in _FORGOTTEN and not name.startswith(b"x-penstock-")
    }
    meta = f"purpose=cache_{purpose}" + (f",audited={audited}" if audited else "")
    return {
        **kept,
        b"x-penstock-cache": b"off",
        b"x-penstock-priority": b"batch",
        b"x-penstock-stage": f"cache_{purpose}".encode(),
        b"x-penstock-meta": meta.encode("latin-1", "replace"),
    }


def on_behalf(principal: Principal) -> Principal:
    """May use what this principal may, and is none of its limits, budgets or entries."""
    return Principal(
        name="", patterns=principal.patterns, provider_keys=principal.provider_keys, priority="batch"
    )


OURSELVES = Principal(name="", priority="batch")
"""Who asks where no caller stands behind it: an embedding, a judge."""
assert ANYONE.name == OURSELVES.name, "spent by the gateway itself is spent by no virtual key"


class _Kept:
    """A writer (wire.ports) that writes nothing down but the events."""

    content_type = b""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def write(self, events: list[Event]) -> bytes:
        """A stream's events."""
        self.events += events
        return b""

    def whole(self, events: list[Event]) -> bytes:
        """All of them."""
        self.events = list(events)
        return b""

    def fail(self, error: PenstockError) -> bytes:
        """A stream that broke is no answer: ``Finished`` is not among its events."""
        return b""


class Overheard:
    """A caller's dialect (wire.ports) whose reply is kept as events, the last attempt's."""

    def __init__(self, caller: CallerDialect) -> None:
        self._caller = copy(caller)  # some remember the call that they serve
        self._kept = _Kept()
        self.name = caller.name
        self.family = ""
        self.operation: Operation = caller.operation
        self.heartbeat = b""

    @property
    def folded(self) -> Folded:
        """The answer."""
        return fold(self._kept.events)

    def read_request(self, body: bytes) -> Ask:
        """As the caller's dialect reads it."""
        return self._caller.read_request(body)

    def expand(self, ask: Ask) -> NeutralRequest:
        """The same."""
        return self._caller.expand(ask)

    def writer(self, ask: Ask, identity: Identity) -> ReplyWriter:
        """Keeps from now on."""
        self._kept = _Kept()
        return self._kept

    def write_error(self, error: PenstockError, request_id: str) -> bytes:
        """Nobody reads it."""
        return b""

    def write_stream_error(self, error: PenstockError, request_id: str) -> bytes:
        """Nobody reads it."""
        return b""
