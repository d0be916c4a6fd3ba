"""What this process shares with others, and how: nothing, as a worker over the line to its supervisor, or in a Redis.

Slices of budgets, credit of rates and places, cool-downs of keys and hints about targets go the same way. What only the
workers of one machine ask each other (reloads, metrics, calls not yet written) goes over the line in any case.
"""

import asyncio
import socket
from typing import TYPE_CHECKING

from penstock.config.load import Loaded
from penstock.config.schema import Config
from penstock.gateway.advances import Advances
from penstock.gateway.house import House
from penstock.state.opening import open_shared
from penstock.state.workers import Seat
from penstock.wiring.build import Shared
from penstock.wiring.neighbours import (
    Gateway,
    Neighbourhood,
    answer_hub,
    answer_others,
    call_back,
    tell_others,
)

if TYPE_CHECKING:
    from penstock.state.redis_store import RedisStore


class Sharing:
    """The ways to the others. ``join`` once, before a house is built."""

    def __init__(self) -> None:
        self.seat: Seat | None = None
        self.orphaned = asyncio.Event()
        """The supervisor has gone: there is nobody to ask, and nobody who would start another."""
        self._redis: RedisStore | None = None
        self._others: Neighbourhood | None = None
        self._advances: Advances | None = None

    async def join(
        self, gateway: Gateway, shared: Shared, config: Config, loaded: Loaded, seat: tuple[int, int] | None
    ) -> None:
        """Connect. ``seat``: a worker's number, and the file descriptor of its line."""
        if seat is not None:
            index, line_fd = seat
            self.seat = Seat(index, self.orphaned.set)
            answer_hub(self.seat, gateway, shared)
            await self.seat.connect(socket.socket(fileno=line_fd))
        state = config.state
        if state.url is not None:
            secret = loaded.secrets.get(state.url)
            url = state.url if secret is None else secret.reveal()
            self._redis = await open_shared(url, state.prefix, shared.run)
        others = self._redis or self.seat
        if others is None:
            return
        self._others = others
        closed = state.limits_fail_mode == "closed"
        self._advances = Advances(others, shared.run, shared.clock, fail_closed=closed)
        shared.kept.advances = self._advances
        shared.open_store = lambda: others
        shared.call_back = call_back(others)
        answer_others(others, gateway, shared, self._advances)

    def introduce(self, house: House, shared: Shared) -> None:
        """A house that is now in force tells the others what it learns."""
        if self._others is not None:
            tell_others(self._others, house, shared)

    async def give_back(self) -> None:
        """At the end: what lies idle here others may use at once."""
        if self._advances is not None:
            await self._advances.aclose()

    async def aclose(self) -> None:
        """Hang up."""
        if self._redis is not None:
            await self._redis.aclose()
        if self.seat is not None:
            await self.seat.aclose()
