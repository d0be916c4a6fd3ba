"""One budget on several processes: each leases slices of it from a shared pool, and decides alone within them.

Theory
------
A *pot* is one budget in one window. A *holder* is one run of one process; its name is never used again. For each
holder the pool keeps money leased to it so far (``granted``), given back so far (``returned``) and reported as spent.
``granted - returned`` is taken out of the limit, so all holders together can never spend more than the limit,
whatever they do and whatever becomes of messages.

Rules
- A pool's figures are stored before it answers: one that forgot what it granted would grant it again.
- Figures in messages are totals, not changes: a message that is lost, doubled or late does no harm. An ``Claim`` has
  a number; the pool grants once a number.
- A holder lowers its own limit before it tells of a return, and raises it only when the grant has come.
- A holder that is silent for its lease is counted as having spent all it holds: a crash gives nothing back. If it
  speaks again, or its successor says from its records what it had spent (``final``), that is put right.
- A pool that has forgotten (its store came back empty, or older than it was) is told what it had granted by those who
  hold it, and what all had taken by the last who heard of it. What stands in the ledger is taken too, whoever knows of it.
- A slice is 2 % of what is left, less near the limit; a call that needs more gets what it needs, whole or not at all,
  so that no two holders starve each other with halves. Who must be refused makes the others return what lies idle.
"""

from collections.abc import Iterable
from typing import Protocol

from msgspec import Struct

from penstock.ledger.budgets import Account, Bucket, Budget, Budgets, Path, Refused, Reservation

LEASE_S = 5.0
_RENEW_S = LEASE_S / 3
_RETRY_S = 0.5
_CLOSED_KEPT = 256

Pot = tuple[str, str, float]
"""Node, budget, start of the window."""


class Claim(Struct, frozen=True):
    """A holder's totals, and what it wants: a slice (``want``), at least ``need`` for a call that waits.

    ``running``: for an extension, which may use a soft budget's overdraft. ``final``: it will not use the pot again.
    ``granted``: as far as it has heard; ``floor``: what all together had taken when it last heard, or have spent as the
    ledger says. A pool that knows the holder needs neither.
    """

    holder: str
    pot: Pot
    seq: int
    spent: int
    returned: int
    want: bool = False
    need: int = 0
    running: bool = False
    final: bool = False
    granted: int = 0
    floor: int = 0
    limit: int = 0
    """The budget's, as the holder has it configured: a pool without ``spec`` knows no other."""
    ceiling: int = 0


class Grant(Struct, frozen=True):
    """The pool's totals: ``granted`` to this holder so far, ``left`` to lease, ``loose``: leased and not known spent.

    ``return_idle``: another holder is short. ``taken``: by all holders together.
    """

    pot: Pot
    seq: int
    granted: int
    left: int
    loose: int
    until_s: float
    return_idle: bool = False
    taken: int = 0


class SliceStore(Protocol):
    """The port: ``Pool`` on a disk, behind a socket, or as a script in a shared store."""

    fault: str | None
    """Why the last exchange did not succeed, as a sentence; None: it did."""

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        """All at once; what could not be sent is left out, and is claimed again. Raises nothing but cancellation."""
        ...

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        """Of each pot what was spent as far as is known, and what is leased beyond that; () where it does not answer."""
        ...

    async def aclose(self) -> None:
        """Let go of it. What was exchanged stays."""
        ...


def ceiling_nusd(spec: Budget) -> int:
    """The limit of a running call: a soft budget's has the overdraft in it."""
    percent = spec.overdraft_percent if spec.mode == "soft" else 0
    return spec.limit_nusd + spec.limit_nusd * percent // 100


class Short(Struct, frozen=True):
    """This process lacks money that the pool may have: exchange ``claims``, ``learn`` the grants, reserve again."""

    claims: list[Claim]


class _Share:
    """One pot as this holder has it."""

    __slots__ = (
        "acked", "bucket", "closed", "granted", "heard_spent", "left", "lent", "loose", "others", "pot",
        "renew_at_s", "returned", "running", "seen", "sent_s", "seq", "size", "taken",
        "told_returned", "told_spent", "wanted",
    )  # fmt: skip

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.pot: Pot = (bucket.account.node, bucket.account.spec.name, bucket.start_s)
        self.lent = 0
        self.granted = self.returned = self.seq = self.acked = self.size = 0
        self.told_returned = self.told_spent = 0
        self.left = self.loose = self.taken = self.heard_spent = 0
        self.others = 0
        """Of ``loose``, what other holders have: they may hold it for calls, or it lies idle there."""
        self.wanted = 0
        self.running = False
        self.closed = False
        self.seen: tuple[int, int] = (0, 0)
        self.renew_at_s = self.sent_s = float("-inf")

    @property
    def idle(self) -> int:
        return self.bucket.limit - self.bucket.committed

    @property
    def room(self) -> int:
        """What the pool, as last heard, still has for running calls."""
        return max(0, ceiling_nusd(self.bucket.account.spec) - self.taken)

    @property
    def settled(self) -> bool:
        """Nothing is held beyond what was spent, and the pool has heard so."""
        told = (
            self.acked == self.seq
            and self.told_returned == self.returned
            and self.told_spent == self.bucket.spent
        )
        return told and self.granted - self.returned == self.bucket.spent

    def may_lend(self, amount_nusd: int) -> bool:
        """It is soft, and so much was left when the pool was last heard: by then the limit, where it never was."""
        spec = self.bucket.account.spec
        left = self.left if self.acked else spec.limit_nusd
        return (
            spec.mode == "soft"
            and self.bucket.committed + amount_nusd - self.bucket.limit <= left - self.lent
        )

    def lend(self, amount_nusd: int) -> None:
        """More than the pool has granted. It is told afterwards what was spent of it."""
        self.lent += max(0, self.bucket.committed + amount_nusd - self.bucket.limit)
        self.fit()

    def give_back(self) -> None:
        """Lower the own limit by what lies idle; the next claim says so."""
        self.lent = min(self.lent, max(0, self.bucket.committed - self.granted + self.returned))
        self.fit()
        idle = max(0, self.idle)
        self.returned += idle
        self.fit()

    def take_over(self, before: "_Share") -> None:
        """The same pot in another bucket: its budget has another period or zone, and a window that begins alike.

        What running calls hold in the bucket before is counted as spent: they will be settled there, unheard.
        """
        before.give_back()
        self.bucket.spent = self.bucket.committed = before.bucket.committed
        self.granted, self.returned = before.granted, before.returned
        self.seq, self.acked = before.seq, before.acked
        self.left, self.loose, self.taken = before.left, before.loose, before.taken
        self.others = before.others
        self.fit()

    def fit(self) -> None:
        self.bucket.limit = self.bucket.ceiling = self.granted - self.returned + self.lent


class Slices:
    """Budgets of one process within what it has leased: reserving costs no round trip while a slice lasts.

    Call ``claims`` from time to time (some tens of milliseconds), exchange them, and ``learn`` what comes back.
    """

    __slots__ = ("_closed", "_pots", "_shares", "alone", "budgets", "holder", "known")

    def __init__(self, holder: str, budgets: Budgets) -> None:
        self.holder = holder
        self.budgets = budgets
        self._shares: dict[Bucket, _Share] = {}
        self._pots: dict[Pot, _Share] = {}
        self._closed: dict[Bucket, None] = {}
        self.alone = False
        """The pool does not answer: soft budgets go on by what it last said, each process for itself."""
        self.known: dict[Pot, int] = {}
        """What the ledger says was spent in a pot before this run, by anybody; to be set before its first claim."""

    def reserve(
        self, path: Path, rid: str, amount_nusd: int, now_s: float, *, claimed: Short | bool = False
    ) -> Reservation | Refused | Short:
        """As ``Budgets.reserve``; ``Short`` where the pool comes first. ``claimed``: it was heard on that, so refuse now."""
        answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
        if isinstance(answer, Reservation) or answer.code == "lease-ended":
            return answer
        short = [self._share(one) for one in path.at(now_s) if one.committed + amount_nusd > one.limit]
        if claimed and self.alone and all(share.may_lend(amount_nusd) for share in short):
            for share in short:
                share.lend(amount_nusd)
            return self.budgets.reserve(path, rid, amount_nusd, now_s)
        for share in short:
            if amount_nusd > share.bucket.account.spec.limit_nusd:
                return self._refused(share, amount_nusd, now_s)
        if claimed:
            # Later claims, of other calls, may still be on their way: what was said to this one's is what counts.
            seqs = {one.pot: one.seq for one in claimed.claims} if isinstance(claimed, Short) else {}
            return max(
                (self._refused(one, amount_nusd, now_s, seqs.get(one.pot)) for one in short),
                key=lambda r: r.retry_after_s or 0,
            )
        return Short([self._claim(share, now_s, need=amount_nusd - share.idle) for share in short])

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """As ``Budgets.extend``; what is refused is claimed of the pool by the next ``claims``."""
        answer = self.budgets.extend(rid, more_nusd, now_s)
        if isinstance(answer, Reservation) or answer.code == "lease-ended":
            return answer
        held, found = self.budgets.live_of(rid), list[Refused]()
        for share in self._lacking(rid, more_nusd):
            # Whoever is refused asks for less and less: the most of it is claimed, as far as the pool has it.
            share.wanted, share.running = max(share.wanted, more_nusd), True
            found.append(self._refused_running(share, more_nusd, 0 if held is None else held.held, now_s))
        return max(found, key=lambda one: one.retry_after_s or 0, default=answer)

    def extension(self, rid: str, more_nusd: int, least_nusd: int, now_s: float) -> list[Claim]:
        """Claims for a running call that waits: ``more_nusd``, or what the pool was heard to have, if that is enough."""
        claims: list[Claim] = []
        for share in self._lacking(rid, least_nusd):
            share.running = True
            wanted = max(least_nusd, min(more_nusd, share.room + share.idle) if share.acked else more_nusd)
            claims.append(self._claim(share, now_s, need=wanted - share.idle))
        return claims

    def return_idle(self, pots: Iterable[Pot], now_s: float) -> list[Claim]:
        """Another holder is short: claims that give back what lies idle here."""
        shares = [self._pots[pot] for pot in pots if pot in self._pots]
        idle = [share for share in shares if not share.closed and share.idle > 0]
        for share in idle:
            share.give_back()
            share.size = 0  # no slices ahead while another is short
        return [self._claim(share, now_s) for share in idle]

    def elsewhere(self, buckets: Iterable[Bucket], more_nusd: int, *, part: bool = False) -> list[Pot]:
        """Pots that are short of so much while other holders have it (``part``: some of it): that may lie idle there."""
        short = [self._share(one) for one in buckets if one.committed + more_nusd > one.limit]
        if not part and any(share.room + share.idle + share.others < more_nusd for share in short):
            return []
        return [share.pot for share in short if share.others]

    def _lacking(self, rid: str, more_nusd: int) -> list[_Share]:
        buckets = self.budgets.held(rid)
        return [self._share(one) for one in buckets if one.committed + more_nusd > one.ceiling]

    def cut(self, account: Account) -> None:
        """Its limit was changed: what was leased under the old one is not spent under the new, but asked for again."""
        share = None if account.current is None else self._shares.get(account.current)
        if share is not None and not share.closed:
            share.give_back()
            share.size = 0

    def claims(self, now_s: float) -> list[Claim]:
        """What is due: shortages, slices that run low, returns, renewals, windows that are over."""
        due: list[Claim] = []
        for share in list(self._shares.values()):
            bucket = share.bucket
            if share.closed or (now_s >= bucket.end_s and not bucket.reserved):
                self._close(share, due, now_s)
                continue
            waiting = share.acked < share.seq and now_s - share.sent_s < _RETRY_S
            if share.wanted:
                wanted, share.wanted = share.wanted, 0
                # Of a pool that has less, that: whole or not at all would be not at all.
                need = wanted - share.idle
                need = min(need, share.room or need) if share.acked else need
                if need > 0:
                    due.append(self._claim(share, now_s, need=need))
                    continue
            now = (bucket.spent, bucket.committed)
            low = share.idle * 2 < share.size and now != share.seen
            if now_s >= share.renew_at_s:
                if now == share.seen:
                    share.give_back()
                    if share.settled:
                        continue  # it holds nothing that a lease would be for
                due.append(self._claim(share, now_s, want=low))
                share.seen = now
            elif not waiting and (low or (share.acked == share.seq and share.told_returned < share.returned)):
                due.append(self._claim(share, now_s, want=low))
        return due

    def learn(self, grant: Grant, now_s: float) -> None:
        """What the pool said. Of a pot that is over, or that is not known, nothing is taken."""
        share = self._pots.get(grant.pot)
        if share is None:
            return
        if grant.seq > share.acked:
            share.acked = grant.seq
            share.left, share.loose, share.taken = grant.left, grant.loose, grant.taken
            share.heard_spent = share.told_spent
            share.others = max(0, grant.loose - (grant.granted - share.told_returned - share.told_spent))
            if share.lent and not share.closed:
                share.lent = 0
                share.fit()
        if share.closed:
            return
        grew = grant.granted > share.granted
        if grew:
            share.size = grant.granted - share.granted
            share.granted = grant.granted
            share.fit()
        # What has just come is for a call that waits: it has not had the time to hold it.
        if grant.return_idle and grant.seq == share.acked and not grew:
            idle = max(0, share.idle)
            share.give_back()
            share.size = 0  # no slices ahead while another is short
            share.left, share.loose, share.taken = share.left + idle, share.loose - idle, share.taken - idle

    def presume(self, bucket: Bucket, more_nusd: int) -> None:
        """Count as granted what the pool could not be asked for. It hears of it as of any grant."""
        self._share(bucket).granted += more_nusd
        self._share(bucket).fit()

    def elsewhere_nusd(self, bucket: Bucket) -> int:
        """What others have spent in this window, and runs before, as the pool last said."""
        share = self._shares.get(bucket)
        if share is None or not share.acked:
            return self.known.get((bucket.account.node, bucket.account.spec.name, bucket.start_s), 0)
        return max(0, share.taken - share.loose - share.heard_spent)

    def leave(self, now_s: float) -> list[Claim]:
        """At a clean stop: everything unspent goes back, but for what a call still holds."""
        claims: list[Claim] = []
        for share in self._shares.values():
            share.closed = not share.bucket.reserved
            share.give_back()
            claims.append(self._claim(share, now_s, final=share.closed))
        return claims

    def _close(self, share: _Share, due: list[Claim], now_s: float) -> None:
        """Say what was spent in a window that is over; again if that was not heard, or a late settlement changed it."""
        if not share.closed:
            share.closed = True
            self._closed[share.bucket] = None
        elif share.acked == share.seq and share.told_spent == share.bucket.spent:
            if len(self._closed) > _CLOSED_KEPT:
                del self._closed[share.bucket], self._shares[share.bucket], self._pots[share.pot]
            return
        elif share.acked < share.seq and now_s - share.sent_s < _RETRY_S:
            return
        due.append(self._claim(share, now_s, final=True))

    def _claim(
        self, share: _Share, now_s: float, *, want: bool = False, need: int = 0, final: bool = False
    ) -> Claim:
        share.seq += 1
        share.sent_s = now_s
        share.renew_at_s = now_s + _RENEW_S
        share.told_returned, share.told_spent = share.returned, share.bucket.spent
        running, share.running = share.running, False
        spec = share.bucket.account.spec
        return Claim(
            self.holder,
            share.pot,
            share.seq,
            share.bucket.spent,
            share.returned,
            want=want or need > 0,
            need=need,
            running=running,
            final=final,
            granted=share.granted,
            floor=share.taken or self.known.get(share.pot, 0),
            limit=spec.limit_nusd,
            ceiling=ceiling_nusd(spec),
        )

    def _share(self, bucket: Bucket) -> _Share:
        share = self._shares.get(bucket)
        if share is None:
            share = _Share(bucket)
            before = self._pots.get(share.pot)
            if before is not None:
                share.take_over(before)
                del self._shares[before.bucket]
            self._shares[bucket] = self._pots[share.pot] = share
        return share

    def _refused(
        self, share: _Share, amount_nusd: int, now_s: float, asked_seq: int | None = None
    ) -> Refused:
        """What the pool last said decides whether others may still give something back; unheard, it may be so."""
        bucket, spec = share.bucket, share.bucket.account.spec
        if amount_nusd > spec.limit_nusd:
            code, wait_s = "budget-too-small", None
        elif (
            share.acked < (share.seq if asked_seq is None else asked_seq)
            or amount_nusd <= share.left + share.loose
        ):
            code, wait_s = "budget-held", min(1.0, max(0.0, bucket.end_s - now_s))
        else:
            code, wait_s = "budget-exhausted", max(0.0, bucket.end_s - now_s)
        left = max(0, share.left + share.idle) if share.acked else spec.limit_nusd
        return Refused(code, bucket.account.node, spec.name, amount_nusd, left, bucket.end_s, wait_s)

    def _refused_running(self, share: _Share, more_nusd: int, held_nusd: int, now_s: float) -> Refused:
        """The same of an extension: what the call holds itself will not come back while it runs."""
        bucket, spec = share.bucket, share.bucket.account.spec
        left = max(0, share.room + share.idle)
        others = max(0, share.others + bucket.reserved - held_nusd)
        unheard = share.acked < share.seq or not share.acked
        if unheard or more_nusd <= left + others:
            code, wait_s = "budget-held", min(1.0, max(0.0, bucket.end_s - now_s))
        else:
            code, wait_s = "budget-exhausted", max(0.0, bucket.end_s - now_s)
        return Refused(code, bucket.account.node, spec.name, more_nusd, left, bucket.end_s, wait_s)
