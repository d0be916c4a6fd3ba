"""What a worker answers the others, and what it tells them."""

import asyncio
from collections.abc import Awaitable
from typing import Protocol

import msgspec

from penstock.server.app import App
from penstock.state.workers import Seat
from penstock.wiring.build import Shared

_WRITE_S = 2.0
_encode = msgspec.msgpack.Encoder().encode


class Reloads(Protocol):
    """The gateway of this process (wiring.serve)."""

    app: App | None

    def reload(self, who: str) -> Awaitable[list[str]]:
        """Build the configuration anew, and swap; the faults."""
        ...


def answer_others(seat: Seat, gateway: Reloads, shared: Shared) -> None:
    """Answer the hub, and the other workers through it."""

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
        await asyncio.to_thread(shared.journal.flush, _WRITE_S)
        return b""

    seat.on("reload", reload)
    seat.on("metrics", metrics)
    seat.on("write", write)
