"""What this process answers its neighbours (workers of this machine, nodes elsewhere), and what it tells them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from penstock.gateway.advances import Advances
from penstock.gateway.house import House
from penstock.ledger.leases import Pot
from penstock.routing.keys import KeyNews
from penstock.server.app import App
from penstock.wiring.build import Shared

WRITE_S = 2.0
Answerer = Callable[[bytes], Awaitable[bytes]]
_pots = msgspec.msgpack.Decoder(list[Pot]).decode
_strings = msgspec.msgpack.Decoder(list[str]).decode
_key_news = msgspec.msgpack.Decoder(KeyNews).decode
_hint = msgspec.msgpack.Decoder(tuple[str, float]).decode
_encode = msgspec.msgpack.Encoder().encode


class Gateway(Protocol):
    """The gateway of this process (wiring.serve)."""

    app: App | None

    def reload(self, who: str) -> Awaitable[list[str]]:
        """Build the configuration anew, and swap; the faults."""
        ...


class Neighbourhood(Protocol):
    """The way to the others: a worker's seat, a store that nodes share."""

    def on(self, kind: str, answerer: Answerer) -> None:
        """Who answers messages of this kind."""
        ...

    def tell(self, kind: str, payload: bytes) -> None:
        """Say something to all others."""
        ...

    async def gather(self, kind: str, payload: bytes = b"") -> list[bytes]:
        """What each of them answers, where that can be heard; else some time in which they have heard it."""
        ...


def answer_hub(seat: Neighbourhood, gateway: Gateway, shared: Shared) -> None:
    """Answer what only workers of one machine ask each other."""

    async def reload(who: bytes) -> bytes:
        return _encode(await gateway.reload(who.decode()))

    async def metrics(_payload: bytes) -> bytes:
        shared.books.flush()
        if gateway.app is not None:
            gateway.app.take_gauges()
        return _encode(shared.metrics.snapshot())

    async def write(_payload: bytes) -> bytes:
        """Whatever has been served stands in the ledger when this is answered."""
        shared.books.flush()
        await asyncio.to_thread(shared.journal.flush, WRITE_S)
        return b""

    seat.on("reload", reload)
    seat.on("metrics", metrics)
    seat.on("write", write)


def answer_others(others: Neighbourhood, gateway: Gateway, shared: Shared, advances: Advances) -> None:
    """Answer, and hear, what any process that shares limits and keys says."""

    async def recall(pots: bytes) -> bytes:
        return _encode(advances.recalled(_strings(pots)))

    async def idle(pots: bytes) -> bytes:
        treasury = shared.kept.treasury
        if treasury is not None:
            await treasury.exchange(treasury.slices.return_idle(_pots(pots), treasury.unix_s()))
        return b""

    async def key(payload: bytes) -> bytes:
        news = _key_news(payload)
        provider = None if gateway.app is None else gateway.app.house.providers.get(news.provider)
        if provider is not None:
            provider.keys.hear(news, shared.clock.monotonic_s())
        return b""

    async def health(payload: bytes) -> bytes:
        target, open_s = _hint(payload)
        shared.health.hint(target, open_s, shared.clock.monotonic_s())
        return b""

    others.on("recall", recall)
    others.on("idle", idle)
    others.on("key", key)
    others.on("health", health)


def call_back(others: Neighbourhood) -> Callable[[list[Pot]], Awaitable[object]]:
    """Makes the others return what lies idle in these budgets: returns when they have, or may have."""

    async def ask(pots: list[Pot]) -> None:
        await others.gather("idle", _encode(pots))

    return ask


def tell_others(others: Neighbourhood, house: House, shared: Shared) -> None:
    """From now on they hear of keys that cool down, and of targets that fail."""

    def key(news: KeyNews) -> None:
        others.tell("key", _encode(news))

    def health(target: str, open_s: float) -> None:
        others.tell("health", _encode((target, open_s)))

    for provider in house.providers.values():
        provider.keys.tell = key
    shared.health.tell = health
