"""A call that the gateway makes to itself: the caller's own road, without a socket; its answer is gathered.

Lines of batches and jobs go this way, so that keys, limits, budgets, fallbacks and the ledger hold for them as for any call.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import unquote_plus

from msgspec import Struct

from penstock.base.errors import Forbidden, NotFound, PenstockError
from penstock.cache.controls import controls_of
from penstock.gateway.caching.asking import Fresh, Overheard, Question
from penstock.gateway.call import ChatCall
from penstock.gateway.conversation import call_of
from penstock.gateway.heads import refusal_lines
from penstock.gateway.ports import CACHE_BEGINNING, CREDENTIALS, MISSPELT, TOLD, Inbound, Known
from penstock.gateway.principal import Principal
from penstock.gateway.settle import begin_facts
from penstock.server.app import App
from penstock.server.respond import respond
from penstock.server.routes import route

_INSIDE: Final = b"penstock-inside"
"""What stands in a credential's place. It opens nothing: the connection's memory says whose call it is."""
_FORGOTTEN = CREDENTIALS | {
    b"origin", b"expect", b"content-length", b"upgrade", b"x-penstock-async", b"x-penstock-webhook",
}  # fmt: skip

_BROKE_OFF = (
    b'{"error":{"message":"The provider\'s reply broke off.","type":"server_error","param":null,'
    b'"code":"upstream_truncated"}}'
)


class Gathered:
    """An answer (gateway.ports.Reply) that is kept: ``status``, header lines, body; ``error`` is why it is none of 200."""

    __slots__ = ("_pieces", "ended", "error", "head", "on_pause", "on_resume", "request_id", "status")

    def __init__(self) -> None:
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        self.status = 0
        self.head = b""
        self.ended = False
        self.error: PenstockError | None = None
        self.request_id = ""
        self._pieces: list[bytes] = []

    @property
    def started(self) -> bool:
        """Its status is known."""
        return self.status != 0

    @property
    def body(self) -> bytes:
        """All that was written."""
        return b"".join(self._pieces)

    @property
    def headers(self) -> dict[str, str]:
        """By name; of several of a name the last."""
        lines = self.head.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines if line]
        return {name: value for name, _, value in pairs}

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole reply."""
        self.start(status, head, body)
        self.end()

    def start(self, status: int, head: bytes, first: bytes) -> None:
        """The beginning of a stream."""
        self.status, self.head = status, head
        self._pieces.append(first)

    def write(self, data: bytes) -> None:
        """A piece of it."""
        self._pieces.append(data)

    def forwarder(self) -> None:
        """Pieces are kept, not chunks."""

    def end(self, last: bytes = b"") -> None:
        """Its end."""
        self._pieces.append(last)
        self.ended = True

    def abort(self) -> None:
        """It broke off where its format has no word for that (bare sound): what came so far is no answer."""
        self.status, self.head, self._pieces = 502, b"content-type: application/json\r\n", [_BROKE_OFF]
        self.ended = True


class Inner(Struct, frozen=True):
    """What is asked: as a caller would ask it, and for whom."""

    path: bytes
    query: bytes
    told: dict[bytes, bytes]
    body: bytes
    owner: str


def remembered(told: Mapping[bytes, bytes]) -> dict[str, str]:
    """The headers that a later call needs, without any that opens a door."""
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in told.items()
        if name not in _FORGOTTEN
    }


def cache_words(told: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    """What a request says of the cache, for the calls that are made of it later. Raises BadRequest, for nobody reads it then."""
    found = {name: value for name, value in told.items() if name.startswith(CACHE_BEGINNING)}
    misspelt = [name for name in found if name not in TOLD]
    if misspelt:
        found[MISSPELT] = misspelt[0]
    if found:
        controls_of(found, None)
    return found


def without_key(query: str) -> str:
    """A query without the key that Google's callers may present there (server.routes), however it is written."""
    return "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != "key")


def holder(app: App, owner: str) -> Principal:
    """Who left something with us. Raises Forbidden where the key is gone or has expired."""
    principal = app.house.doors.named(owner)
    expires = None if principal is None else principal.expires_unix_s
    if principal is None or (expires is not None and app.house.clock.unix_s() >= expires):
        raise Forbidden(f"There is no virtual key {owner!r}, or it has expired.", code="key_expired")
    return principal


async def serve_inside(
    app: App, asked: Inner, before_send: Callable[[], Awaitable[None]] | None = None
) -> Gathered:
    """Make the call; whatever becomes of it is in the answer. Raises NotFound for a path that calls no model."""
    caller = route(asked.path, asked.query, asked.told)
    if caller is None:
        raise NotFound(f"{asked.path.decode('latin-1')} calls no model.")
    reply = Gathered()
    request_id = reply.request_id = app.request_id()
    house = app.house
    told = {**asked.told, b"authorization": _INSIDE}
    app.inflight += 1
    try:
        received_s = time.monotonic()
        facts = begin_facts(request_id, received_s, house.clock.unix_s())
        lines = b""
        try:
            known = Known(house.doors, _INSIDE, holder(app, asked.owner))
            inbound = Inbound(caller, told, asked.body, received_s, known, before_send=before_send)
            try:
                await call_of(house, inbound, reply, facts, app.log.failure).run()
            except PenstockError:
                lines = refusal_lines(facts, time.monotonic())
                raise
        except PenstockError as error:
            reply.error = error
            respond(reply, error, caller, request_id, lines=lines)
    finally:
        app.inflight -= 1
    return reply


async def ask_inside(app: App, asked: Question) -> Fresh:
    """A call that the gateway makes for itself; the answer in events, whatever became of it in ``error``.

    It is none of the calls that a drain waits for: who asks ends it before.
    """
    house, heard = app.house, Overheard(asked.caller)
    received_s = time.monotonic()
    facts = begin_facts(app.request_id(), received_s, house.clock.unix_s())
    facts.purpose = asked.purpose
    known = Known(house.doors, _INSIDE, asked.principal)
    told = {**asked.told, b"authorization": _INSIDE}
    inbound = Inbound(heard, told, asked.body, received_s, known)
    error: PenstockError | None = None
    try:
        await ChatCall(house, inbound, Gathered(), facts).run()
    except PenstockError as failed:
        error = failed
    return Fresh(heard.folded, facts.cost_nusd, facts.request_id, error)
