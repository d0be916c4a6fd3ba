"""What workers of one machine share: the supervisor's ``Hub``, and each worker's ``Seat`` at it.

The hub serves no traffic. It grants slices and credit (``ledger.leases``, ``routing.credit``), passes news on from each
worker to the others, and asks them all on behalf of one. Whatever a worker may use it has been granted before; so its
death costs at most what it held, and the supervisor's death stops its workers (they hear their line go).
"""

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable

import msgspec

from penstock.ledger.leases import Claim, Grant, Pot, SliceStore
from penstock.routing.credit import CreditClaim, CreditGrant, CreditPool
from penstock.state.line import Line, LineGone

ASK_S = 5.0
RECALL_S = 0.1
RECALL_EVERY_S = 0.02
EXPIRE_EVERY_S = 1.0
RELOAD_S = 120.0

_claims = msgspec.msgpack.Decoder(list[Claim]).decode
_granted = msgspec.msgpack.Decoder(tuple[list[Grant], str | None]).decode
_credit_claims = msgspec.msgpack.Decoder(list[CreditClaim]).decode
_credit_grants = msgspec.msgpack.Decoder(list[CreditGrant]).decode
_pots = msgspec.msgpack.Decoder(list[Pot]).decode
_standings = msgspec.msgpack.Decoder(list[tuple[int, int]]).decode
_answers = msgspec.msgpack.Decoder(list[bytes]).decode
_strings = msgspec.msgpack.Decoder(list[str]).decode
_encode = msgspec.msgpack.Encoder().encode
Answerer = Callable[[bytes], Awaitable[bytes]]


class _News(msgspec.Struct, array_like=True, frozen=True):
    """A message for the other workers."""

    kind: str
    payload: bytes


_news = msgspec.msgpack.Decoder(_News).decode


class Hub:
    """The supervisor's side. ``store``: where slices come from; None: workers have a shared store of their own."""

    def __init__(self, store: SliceStore | None, count: int) -> None:
        self._store = store
        self._count = count
        self._lines: dict[int, Line] = {}
        self._ready: set[int] = set()
        self._credit = CreditPool()
        self._holders: dict[int, set[str]] = {}
        self._recalled_at_s: dict[str, float] = {}
        self._expire_at_s = 0.0
        self.on_ready: Callable[[int], None] = lambda _index: None

    async def join(self, index: int, end: socket.socket) -> None:
        """A worker (again): its end of the line is elsewhere."""

        async def handle(kind: str, payload: bytes) -> bytes:
            return await self._serve(index, kind, payload)

        def gone() -> None:
            if self._lines.get(index) is line:
                del self._lines[index]
                self._ready.discard(index)
                for holder in self._holders.pop(index, ()):
                    self._credit.drop(holder, time.monotonic())

        line = await Line.over(end, handle, gone)
        self._lines[index] = line

    @property
    def complete(self) -> bool:
        """Every worker serves."""
        return len(self._ready) == self._count

    async def reload(self, who: str) -> list[str]:
        """All workers, because ``who`` asked for it: the faults that any of them found."""
        found = await self._ask_all(None, "reload", who.encode(), RELOAD_S)
        return list(dict.fromkeys(fault for answer in found for fault in _strings(answer)))

    async def aclose(self) -> None:
        """Hang up, and let go of the store."""
        for line in list(self._lines.values()):
            line.close()
        if self._store is not None:
            await self._store.aclose()

    async def _serve(self, index: int, kind: str, payload: bytes) -> bytes:
        match kind:
            case "slices":
                if self._store is None:
                    return _encode(([], None))
                grants = await self._store.exchange(_claims(payload))
                return _encode((grants, self._store.fault))
            case "credit":
                return _encode(await self._share_credit(index, _credit_claims(payload)))
            case "standing":
                return _encode([] if self._store is None else await self._store.standing(_pots(payload)))
            case "tell":
                news = _news(payload)
                for other, line in list(self._lines.items()):
                    if other != index:
                        line.tell(news.kind, news.payload)
            case "gather":
                news = _news(payload)
                return _encode(await self._ask_all(index, news.kind, news.payload, ASK_S))
            case "reload":
                return _encode(await self.reload(payload.decode()))
            case "ready":
                self._ready.add(index)
                self.on_ready(index)
                if self.complete:
                    for line in list(self._lines.values()):
                        line.tell("complete")
            case _:
                raise ValueError(f"A worker asks for {kind!r}.")
        return b""

    async def _share_credit(self, index: int, claims: list[CreditClaim]) -> list[CreditGrant]:
        """What is short and lies idle elsewhere is called back, and then decided again."""
        now_s = time.monotonic()
        self._holders.setdefault(index, set()).update(claim.holder for claim in claims)
        if now_s >= self._expire_at_s:
            self._expire_at_s = now_s + EXPIRE_EVERY_S
            self._credit.expire(now_s)
            self._recalled_at_s.clear()
        grants = [self._credit.exchange(claim, now_s) for claim in claims]
        short = {
            grant.pot
            for grant in grants
            if grant.idle and now_s - self._recalled_at_s.get(grant.pot, 0.0) > RECALL_EVERY_S
        }
        if not short:
            return grants
        self._recalled_at_s.update(dict.fromkeys(short, now_s))
        answers = await self._ask_all(index, "recall", _encode(list(short)), RECALL_S)
        now_s = time.monotonic()
        for answer in answers:
            for claim in _credit_claims(answer):
                self._credit.exchange(claim, now_s)
        # The same question under the same number would not be heard: it is asked as if it had just come.
        return [
            self._credit.again(claim, now_s) if grant.pot in short and grant.wait_s else grant
            for claim, grant in zip(claims, grants, strict=True)
        ]

    async def _ask_all(self, but: int | None, kind: str, payload: bytes, timeout_s: float) -> list[bytes]:
        """The answers of those who gave one: a worker that is starting, or ending, has nothing to say."""
        asked = [
            line.ask(kind, payload, timeout_s)
            for index, line in list(self._lines.items())
            if index != but and index in self._ready
        ]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, LineGone):
                raise answer
        return [answer for answer in answers if isinstance(answer, bytes)]


class Seat:
    """A worker's side: ``ledger.leases.SliceStore``, and its way to the other workers. Belongs to one event loop."""

    def __init__(self, index: int, gone: Callable[[], None]) -> None:
        self.index = index
        self.fault: str | None = None
        self.complete = False
        """All workers have served at some time: this process is ready for traffic."""
        self._gone = gone
        self._line: Line | None = None
        self._answerers: dict[str, Answerer] = {}

    async def connect(self, end: socket.socket) -> None:
        """Take the seat."""
        self._line = await Line.over(end, self._handle, self._lost)

    def on(self, kind: str, answerer: Answerer) -> None:
        """Who answers the others' (and the hub's) messages of this kind."""
        self._answerers[kind] = answerer

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        """Slices of the hub's pool."""
        if not claims:
            return []
        try:
            grants, self.fault = _granted(await self._ask("slices", _encode(claims)))
        except LineGone as error:
            self.fault = f"The supervisor does not answer: {error}"
            return []
        return grants

    async def exchange_credit(self, claims: list[CreditClaim]) -> list[CreditGrant] | None:
        """Credit of the hub's pool (``routing.credit.CreditStore``)."""
        try:
            return _credit_grants(await self._ask("credit", _encode(claims)))
        except LineGone:
            return None

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        """Of each pot what was spent as far as is known, and what is leased beyond that; () where nobody answers."""
        try:
            return _standings(await self._ask("standing", _encode(pots)))
        except LineGone:
            return []

    async def aclose(self) -> None:
        """Hang up."""
        if self._line is not None:
            self._line.close()

    async def ready(self) -> None:
        """This worker serves from now on."""
        await self._ask("ready")

    async def reload(self, who: str) -> list[str]:
        """Reload every worker, this one too: the faults."""
        return _strings(await self._ask("reload", who.encode(), RELOAD_S))

    def tell(self, kind: str, payload: bytes) -> None:
        """Say something to all other workers."""
        if self._line is not None:
            self._line.tell("tell", _encode(_News(kind, payload)))

    async def gather(self, kind: str, payload: bytes = b"") -> list[bytes]:
        """What each other worker answers; none of one that cannot."""
        try:
            return _answers(await self._ask("gather", _encode(_News(kind, payload)), 2 * ASK_S))
        except LineGone:
            return []

    async def _ask(self, kind: str, payload: bytes = b"", timeout_s: float = ASK_S) -> bytes:
        if self._line is None:
            raise LineGone("There is no line to the supervisor.")
        return await self._line.ask(kind, payload, timeout_s)

    async def _handle(self, kind: str, payload: bytes) -> bytes:
        if kind == "complete":
            self.complete = True
            return b""
        answerer = self._answerers.get(kind)
        return b"" if answerer is None else await answerer(payload)

    def _lost(self) -> None:
        self.fault = "The supervisor has gone."
        self._gone()
