"""Rates and places that several processes share, in this one: credit leased from a store, and the loop that keeps it fresh.

As ``treasury`` is for money. A call is admitted here and now as long as credit lasts (the short lane too); where it does
not, the long way asks first (``Advance.fetch``), and then decides by the same function. Without other processes nothing of
it runs.
"""

import asyncio

from penstock.base.clock import Clock
from penstock.gateway.together import Together
from penstock.routing.credit import CreditClaim, CreditStore, Lease, Wallet

BUSY_S = 0.025


class Advances:
    """All credit of this process. Belongs to one event loop."""

    def __init__(self, store: CreditStore, holder: str, clock: Clock, *, fail_closed: bool = False) -> None:
        self.wallet = Wallet(holder)
        self._store = store
        self._clock = clock
        self._fail_closed = fail_closed
        self._claims = Together(self._send)
        self._due: asyncio.TimerHandle | None = None
        self.wallet.stir = self._wake

    async def fetch(self, wanted: list[tuple[Lease, int]]) -> bool:
        """Ask for what a call lacks. False: the store has said no, or nothing was lacking: asking again is no use."""
        now_s = self._clock.monotonic_s()
        claims = [
            claim for one, units in wanted if (claim := self.wallet.need(one, units, now_s)) is not None
        ]
        if not claims:
            self._wake()
            return False
        await self._claims.ask(claims)
        now_s = self._clock.monotonic_s()
        return not any(lease.wait_until_s > now_s for lease, _ in wanted)

    def recalled(self, pots: list[str]) -> list[CreditClaim]:
        """Another process is short: the claims that give back what lies idle here."""
        self._wake()
        return self.wallet.recalled(pots, self._clock.monotonic_s())

    async def aclose(self) -> None:
        """Give everything back."""
        if self._due is not None:
            self._due.cancel()
        wallet, now_s = self.wallet, self._clock.monotonic_s()
        await self._claims.ask(wallet.recalled([lease.pot for lease in wallet.active], now_s))

    async def _send(self, claims: list[CreditClaim]) -> None:
        grants = await self._store.exchange_credit(claims)
        self.wallet.alone = grants is None and not self._fail_closed
        now_s = self._clock.monotonic_s()
        for grant in grants or ():
            self.wallet.learn(grant, now_s)
        self._wake()

    def _wake(self) -> None:
        if self._due is None and self.wallet.active:
            self._due = asyncio.get_running_loop().call_later(BUSY_S, self._tick)

    def _tick(self) -> None:
        """What is due goes out, as long as something is."""
        self._due = None
        claims = self.wallet.claims(self._clock.monotonic_s())
        self._claims.tell(claims)
        self._wake()


class Advance:
    """What one principal's calls take of shared credit."""

    __slots__ = ("_advances", "_each", "_tokens")

    def __init__(self, advances: Advances, each: tuple[Lease, ...], tokens: tuple[Lease, ...]) -> None:
        self._advances = advances
        self._each = each
        """Of these a call takes one: requests, places."""
        self._tokens = tokens

    async def fetch(self, tokens: int) -> bool:
        """Ask for what a call lacks; whether it may have come."""
        wanted = [(lease, 1) for lease in self._each]
        return await self._advances.fetch(wanted + [(lease, tokens) for lease in self._tokens])
