"""Rates and places shared by several processes: each leases credit from a pool and admits within it, alone.

Theory
------
One GCRA for all would need a question per call. So the pool hands out *credit* ahead, and keeps it out of the limit: what
may pass at a moment is the burst, less what was used and is not paid off yet, less all credit that is out. Used credit
starts to be paid off when the pool hears of it, which is not before it was used. So in no stretch of time can all holders
together pass more than one GCRA would have let pass, whatever they do and whenever they say so. A limit of concurrent
calls is the same with a rate of nothing: a place that is out comes back, and is never paid off.

Rules
- Figures in messages are totals, not changes: what is lost, doubled or late does no harm (as in ``ledger.leases``).
- Who lacks credit gets what it needs, whole or not at all; what lies idle with others is called back first.
- A holder that does not use its credit returns it. One that falls silent has used its rates and left its places.
- An ask above the whole burst passes when nothing else is owed and no credit is out, as in ``routing.limits``.
"""

from collections.abc import Callable, Iterable
from math import ceil
from typing import Protocol

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.routing.limits import Gcra, go_duration

LEASE_S = 10.0
RENEW_S = LEASE_S / 3
FORGET_S = 3600.0
"""A holder that has been silent for so long comes back as one that is new."""
_MINUTE_NS = 60_000_000_000
_AHEAD_PART = 8
"""Beyond what it needs, a holder gets at most this part of what is free, divided by the holders there are."""
_UNHEARD_WAIT_S = 0.05


class CreditClaim(Struct, frozen=True, array_like=True):
    """A holder's totals. ``need``: units for a call that waits. ``granted``: as far as it has heard.

    ``per_minute`` 0: ``burst`` places, which are never paid off.
    """

    holder: str
    pot: str
    seq: int
    per_minute: int
    burst: int
    used: int
    returned: int
    granted: int
    need: int = 0


class CreditGrant(Struct, frozen=True, array_like=True):
    """``granted`` to this holder so far; ``left`` to grant; ``wait_s`` until what was needed may be free.

    ``idle``: others hold what was needed, and may not need it. ``reset_s``: until all is paid off.
    """

    pot: str
    seq: int
    granted: int
    left: int
    wait_s: float
    reset_s: float
    idle: bool = False


class CreditStore(Protocol):
    """The port: a ``CreditPool`` behind a socket, or a script in a shared store."""

    async def exchange_credit(self, claims: list[CreditClaim]) -> list[CreditGrant] | None:
        """All at once; None: nobody answers. What was needed and lay idle elsewhere has been called back."""
        ...


class _Out(Struct):
    """What one holder has of one pot."""

    granted: int = 0
    returned: int = 0
    used: int = 0
    seq: int = 0
    until_s: float = 0.0
    lapsed: bool = False

    @property
    def idle(self) -> int:
        return 0 if self.lapsed else max(0, self.granted - self.returned - self.used)


class _Pot(Struct):
    outs: dict[str, _Out]
    paid_at: int | None = None
    """As in ``Gcra``: nanoseconds x ``per_minute``."""


class CreditPool:
    """The decision of who shares it out. Not thread-safe."""

    __slots__ = ("_lease_s", "_pots")

    def __init__(self, lease_s: float = LEASE_S) -> None:
        self._pots: dict[str, _Pot] = {}
        self._lease_s = lease_s

    def exchange(self, claim: CreditClaim, now_s: float) -> CreditGrant:
        """Take a holder's report, and grant what it needs if that is free."""
        pot = self._pots.get(claim.pot)
        if pot is None:
            pot = self._pots[claim.pot] = _Pot({})
        mine = pot.outs.get(claim.holder)
        if mine is None:
            # What it has used before this pool knew it cannot be told apart: it is not charged again.
            mine = pot.outs[claim.holder] = _Out(claim.granted, claim.returned, claim.used)
        now = int(now_s * 1e9) * claim.per_minute
        fresh = claim.seq > mine.seq
        if fresh:
            self._report(pot, mine, claim, now, now_s)
        return self._decide(pot, mine, claim, now, claim.need if fresh else 0)

    def again(self, claim: CreditClaim, now_s: float) -> CreditGrant:
        """Decide again on a claim that was heard and not granted: others have given back since."""
        pot = self._pots[claim.pot]
        now = int(now_s * 1e9) * claim.per_minute
        return self._decide(pot, pot.outs[claim.holder], claim, now, claim.need)

    def _decide(self, pot: _Pot, mine: _Out, claim: CreditClaim, now: int, need: int) -> CreditGrant:
        rate, owed = claim.per_minute, max(0, (pot.paid_at or now) - now)
        room = claim.burst * _MINUTE_NS - owed
        out = sum(one.idle for one in pot.outs.values())
        free = room - out * _MINUTE_NS
        wait_s, idle = 0.0, False
        if need > 0:
            if need * _MINUTE_NS <= free or (need > claim.burst and not owed and not out):
                ahead = max(0, free // _MINUTE_NS - need) // (_AHEAD_PART * len(pot.outs))
                mine.granted += need + ahead
                free -= (need + ahead) * _MINUTE_NS
            else:
                wait_s = _wait_s(need * _MINUTE_NS - free, owed + out * _MINUTE_NS, rate)
                idle = out > mine.idle
        reset_s = owed / rate / 1e9 if rate else 0.0
        return CreditGrant(
            claim.pot, claim.seq, mine.granted, max(0, free // _MINUTE_NS), wait_s, reset_s, idle
        )

    def expire(self, now_s: float) -> None:
        """Who has been silent for its lease has used what it held, until it says otherwise."""
        for name, pot in list(self._pots.items()):
            for holder, one in list(pot.outs.items()):
                if one.until_s <= now_s:
                    _lapse(pot, _rate(name), one, now_s)
                if one.until_s + FORGET_S <= now_s:
                    del pot.outs[holder]
            if not pot.outs and (pot.paid_at or 0) <= int(now_s * 1e9) * _rate(name):
                del self._pots[name]

    def drop(self, holder: str, now_s: float) -> None:
        """A holder is known to have died: its places are free."""
        for name, pot in self._pots.items():
            one = pot.outs.pop(holder, None)
            if one is not None:
                _lapse(pot, _rate(name), one, now_s)

    def holders(self, pot: str) -> list[str]:
        """Who has credit of it that it has not used."""
        found = self._pots.get(pot)
        return [] if found is None else [holder for holder, one in found.outs.items() if one.idle]

    def _report(self, pot: _Pot, mine: _Out, claim: CreditClaim, now: int, now_s: float) -> None:
        mine.seq, mine.until_s, mine.lapsed = claim.seq, now_s + self._lease_s, False
        mine.granted = max(mine.granted, claim.granted)
        mine.returned = max(mine.returned, claim.returned)
        used, mine.used = claim.used - mine.used, claim.used
        if used and claim.per_minute:
            pot.paid_at = max(now, pot.paid_at or now) + used * _MINUTE_NS


def _lapse(pot: _Pot, rate: int, one: _Out, now_s: float) -> None:
    if rate and one.idle:
        now = int(now_s * 1e9) * rate
        pot.paid_at = max(now, pot.paid_at or now) + one.idle * _MINUTE_NS
        one.used += one.idle
    one.lapsed = not rate


def pot_of(node: str, what: str, per_minute: int, burst: int) -> str:
    """A pot's name: another limit is another pot."""
    return f"{node}|{what}|{per_minute}|{burst}"


def _rate(pot: str) -> int:
    return int(pot.rsplit("|", 2)[1])


def _wait_s(short: int, all_of_it: int, rate: int) -> float:
    """Until what is short is paid off, or everything is."""
    return min(short, all_of_it) / rate / 1e9 if rate else 1.0


class Lease:
    """One pot as this holder has it. Takes the place of a ``Gcra`` in ``routing.limits.KeyLimits``."""

    __slots__ = (
        "acked",
        "alone",
        "burst",
        "granted",
        "left",
        "per_minute",
        "pot",
        "renew_at_s",
        "reset_at_s",
        "returned",
        "said",
        "seen",
        "seq",
        "used",
        "wait_until_s",
        "wallet",
    )  # fmt: skip

    def __init__(self, wallet: "Wallet", pot: str, per_minute: int, burst: int) -> None:
        self.wallet = wallet
        self.pot = pot
        self.per_minute = per_minute
        self.burst = self.left = burst
        self.granted = self.returned = self.used = self.seq = self.acked = self.seen = 0
        self.said: tuple[int, int] = (0, 0)
        self.alone: Gcra | None = None
        """While nobody answers for all: this process's own."""
        self.renew_at_s = self.reset_at_s = self.wait_until_s = 0.0

    @property
    def idle(self) -> int:
        """Credit that may be used now; below nothing after a correction."""
        return self.granted - self.returned - self.used

    def admit(self, cost: float, now_s: float) -> float:
        """Take ``cost`` units: 0.0, or the seconds to wait (nothing is taken then)."""
        if cost > self.granted - self.returned - self.used:
            wait_s = self._admit_alone(cost, now_s)
            if wait_s:
                return wait_s
        self.used += int(cost)
        self.wallet.active[self] = None
        return 0.0

    def _admit_alone(self, cost: float, now_s: float) -> float:
        if not self.wallet.alone:
            return max(_UNHEARD_WAIT_S, self.wait_until_s - now_s)
        if not self.per_minute:
            return 0.0 if self.used + cost <= self.burst else 1.0
        if self.alone is None:
            self.alone = Gcra(self.per_minute, self.burst)
        return self.alone.admit(cost, now_s)

    def correct(self, delta: float, now_s: float) -> None:
        """Debit (positive) or credit (negative) what an estimate missed."""
        self.used += int(delta)
        self.wallet.active[self] = None
        self.wallet.stir()

    def mark(self) -> int | None:
        """The state, for ``restore``."""
        return self.used

    def restore(self, mark: int | None) -> None:
        """Back to ``mark``; only within one decision."""
        if mark is not None:
            self.used = mark

    def told(self, now_ns: int) -> tuple[int, int, bytes]:
        """What a header says, as far as the pool has said it."""
        reset_ms = ceil(max(0.0, self.reset_at_s - now_ns / 1e9) * 1000)
        left = min(self.burst, self.left + max(0, self.idle))
        return self.burst, left, b"%dms" % reset_ms if reset_ms < 1000 else go_duration(reset_ms)


class LeasedPlaces:
    """Takes the place of ``routing.concurrency.Places``: places come from a pool that several processes share."""

    __slots__ = ("_held", "_lease", "_lease_s", "most")

    def __init__(self, lease: Lease, lease_s: float) -> None:
        self.most = lease.burst
        self._lease = lease
        self._lease_s = lease_s
        self._held: dict[str, float] = {}

    @property
    def lease(self) -> Lease:
        """Where places come from."""
        return self._lease

    def take(self, rid: str, now_s: float) -> Rejected | None:
        """A place for ``rid`` until its lease ends; taking it again renews the lease."""
        held = self._held
        if held.pop(rid, None) is None:
            if self._lease.idle < 1:
                self.sweep(now_s)
            if self._lease.admit(1, now_s):
                return Rejected(
                    "too-many-concurrent",
                    f"{self.most} calls run already, which is the limit; ask again when one has ended.",
                    retry_after_s=1.0,
                )
        held[rid] = now_s + self._lease_s
        return None

    def give(self, rid: str) -> bool:
        """The call has ended. False: it held no place (any more)."""
        if self._held.pop(rid, None) is None:
            return False
        self._lease.correct(-1, 0.0)
        return True

    def sweep(self, now_s: float) -> list[str]:
        """Places whose lease has ended, freed."""
        ended = [rid for rid, until_s in self._held.items() if until_s <= now_s]
        for rid in ended:
            self.give(rid)
        return ended

    def free(self) -> int:
        """How many may begin here, now."""
        return max(0, self._lease.idle)


class Wallet:
    """All credit that this process holds. ``claims`` is to be called some tens of times a second while it is ``active``."""

    __slots__ = ("_leases", "active", "alone", "holder", "stir")

    def __init__(self, holder: str) -> None:
        self.holder = holder
        self.alone = False
        """Nobody answers: each process keeps its limits by itself, and tells afterwards what it let pass."""
        self.stir: Callable[[], None] = lambda: None
        """Called when something may have become due that nobody asked for."""
        self._leases: dict[str, Lease] = {}
        self.active: dict[Lease, None] = {}
        """Leases in which something may be due."""

    def lease(self, node: str, what: str, per_minute: int, burst: int) -> Lease:
        """The one of this limit, as long as the process lives."""
        pot = pot_of(node, what, per_minute, burst)
        found = self._leases.get(pot)
        if found is None:
            found = self._leases[pot] = Lease(self, pot, per_minute, burst)
        return found

    def need(self, lease: Lease, units: int, now_s: float) -> CreditClaim | None:
        """What a call lacks of ``units``; None: nothing."""
        short = units - lease.idle
        return self._claim(lease, now_s, short) if short > 0 else None

    def claims(self, now_s: float) -> list[CreditClaim]:
        """What is due: credit used, credit that lies idle, renewals."""
        due: list[CreditClaim] = []
        for lease in list(self.active):
            if lease.used == lease.seen and lease.idle > 0:
                lease.returned += lease.idle
            lease.seen = lease.used
            if lease.said != _figures(lease) or lease.acked < lease.seq:
                due.append(self._claim(lease, now_s))
            elif not _holds(lease):
                del self.active[lease]
            elif now_s >= lease.renew_at_s:
                due.append(self._claim(lease, now_s))
        return due

    def recalled(self, pots: Iterable[str], now_s: float) -> list[CreditClaim]:
        """Somebody else is short: what lies idle here goes back at once."""
        found: list[CreditClaim] = []
        for name in pots:
            lease = self._leases.get(name)
            if lease is not None and lease.seq:
                lease.returned += max(0, lease.idle)
                found.append(self._claim(lease, now_s))
        return found

    def learn(self, grant: CreditGrant, now_s: float) -> None:
        """What the pool said."""
        lease = self._leases.get(grant.pot)
        if lease is None:
            return
        if grant.granted > lease.granted:
            lease.granted = grant.granted
            self.active[lease] = None
        if grant.seq > lease.acked:
            lease.acked, lease.left = grant.seq, grant.left
            lease.wait_until_s, lease.reset_at_s = now_s + grant.wait_s, now_s + grant.reset_s
            lease.alone = None

    def _claim(self, lease: Lease, now_s: float, need: int = 0) -> CreditClaim:
        lease.seq += 1
        lease.renew_at_s = now_s + RENEW_S
        lease.said = used, returned = _figures(lease)
        self.active[lease] = None
        rate, burst = lease.per_minute, lease.burst
        return CreditClaim(
            self.holder, lease.pot, lease.seq, rate, burst, used, returned, lease.granted, need
        )


def _figures(lease: Lease) -> tuple[int, int]:
    """Places in use are not told: they are out as long as they are not returned."""
    return (lease.used if lease.per_minute else 0), lease.returned


def _holds(lease: Lease) -> bool:
    """Something is out, in the pool's eyes."""
    return lease.granted - lease.returned > (lease.used if lease.per_minute else 0)
