"""One budget on several processes: each leases slices of it from a shared pool, and decides alone within them.

Theory
------
A *book* is one budget in one window. A *holder* is one run of one process; its name is never used again. For each
holder the pool keeps money leased to it so far (``granted``), given back so far (``returned``) and reported as spent.
``granted - returned`` is taken out of the limit, so all holders together can never spend more than the limit,
whatever they do and whatever becomes of messages.

Rules
- Figures in messages are totals, not changes: a message that is lost, doubled or late does no harm. An ``Ask`` has
  a number; the pool grants once a number.
- A holder lowers its own limit before it tells of a return, and raises it only when the grant has come.
- A holder that is silent for its lease is counted as having spent all it holds: a crash gives nothing back. If it
  speaks again, or its successor says from its records what it had spent (``final``), that is put right.
- A slice is 2 % of what is left, less near the limit; a call that needs more gets what it needs, whole or not at all,
  so that no two holders starve each other with halves. Who must be refused makes the others return what lies idle.
"""

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from penstock.ledger.budgets import Bucket, Budget, Budgets, Path, Refused, Reservation

LEASE_S = 5.0
_RENEW_S = LEASE_S / 3
_RETRY_S = 0.5
_PERMILLE, _LEAST_PERMILLE = 20, 1
_NEAR_PERCENT = 10
"""Below this part of the limit slices shrink, in proportion, from 2 % of what is left to 0.1 %."""
_CLOSED_KEPT = 256

Book = tuple[str, str, float]
"""Node, budget, start of the window."""


class Ask(Struct, frozen=True):
    """A holder's totals, and what it wants: a slice (``want``), at least ``need`` for a call that waits.

    ``running``: for an extension, which may use a soft budget's overdraft. ``final``: it will not use the book again.
    """

    holder: str
    book: Book
    seq: int
    spent: int
    returned: int
    want: bool = False
    need: int = 0
    running: bool = False
    final: bool = False


class Grant(Struct, frozen=True):
    """The pool's totals: ``granted`` to this holder so far, ``left`` to lease, ``loose``: leased and not known spent.

    ``return_idle``: another holder is short.
    """

    book: Book
    seq: int
    granted: int
    left: int
    loose: int
    until_s: float
    return_idle: bool = False


class SliceStore(Protocol):
    """The port: ``Pool`` behind a socket, or a script in a shared store."""

    async def exchange(self, asks: list[Ask]) -> list[Grant]:
        """All at once; what could not be asked is left out, and is asked again."""
        ...


class _Holding(Struct):
    granted: int = 0
    returned: int = 0
    spent: int = 0
    seq: int = 0
    until_s: float = 0.0
    state: str = "live"

    @property
    def taken(self) -> int:
        return self.granted - self.returned


class _Shared(Struct):
    limit: int
    ceiling: int
    holdings: dict[str, _Holding]
    taken: int = 0
    short_until_s: float = 0.0
    short: str = ""


class Pool:
    """The decision of the shared store. ``spec`` gives the budget of a node and a name (KeyError: there is none)."""

    __slots__ = ("_books", "_lease_s", "_spec")

    def __init__(self, spec: Callable[[str, str], Budget], lease_s: float = LEASE_S) -> None:
        self._books: dict[Book, _Shared] = {}
        self._lease_s = lease_s
        self._spec = spec

    def exchange(self, ask: Ask, now_s: float) -> Grant:
        """Take a holder's report, and grant what it wants if that is left."""
        book = self._book(ask.book)
        mine = book.holdings.get(ask.holder)
        if mine is None:
            mine = book.holdings[ask.holder] = _Holding()
        if ask.seq > mine.seq:
            mine.seq = ask.seq
            mine.until_s = now_s + self._lease_s
            self._report(book, mine, ask)
            if ask.want and not ask.final:
                self._grant(book, mine, ask, now_s)
        left = max(0, book.limit - book.taken)
        loose = book.taken - sum(one.spent for one in book.holdings.values())
        pressed = now_s < book.short_until_s and book.short != ask.holder
        return Grant(ask.book, ask.seq, mine.granted, left, loose, mine.until_s, pressed)

    def expire(self, now_s: float) -> list[tuple[Book, str]]:
        """Holders whose lease has ended: what they hold is counted as spent until they say otherwise."""
        silent: list[tuple[Book, str]] = []
        for key, book in self._books.items():
            for holder, one in book.holdings.items():
                if one.state == "live" and one.until_s <= now_s:
                    one.state = "expired"
                    one.spent = one.taken
                    silent.append((key, holder))
        return silent

    def status(self, book: Book) -> tuple[int, int]:
        """Spent as far as is known, and leased beyond that."""
        shared = self._book(book)
        spent = sum(one.spent for one in shared.holdings.values())
        return spent, shared.taken - spent

    def forget(self, before_s: float) -> None:
        """Drop books whose window began before; their figures are in the ledger."""
        self._books = {key: book for key, book in self._books.items() if key[2] >= before_s}

    def _book(self, key: Book) -> _Shared:
        book = self._books.get(key)
        spec = self._spec(key[0], key[1])
        percent = spec.overdraft_percent if spec.mode == "soft" else 0
        ceiling = spec.limit_nusd + spec.limit_nusd * percent // 100
        if book is None:
            book = self._books[key] = _Shared(spec.limit_nusd, ceiling, {})
        book.limit, book.ceiling = spec.limit_nusd, ceiling
        return book

    def _report(self, book: _Shared, mine: _Holding, ask: Ask) -> None:
        before = mine.taken
        mine.spent = ask.spent
        mine.state = "final" if ask.final else "live"
        mine.returned = mine.granted - ask.spent if ask.final else max(mine.returned, ask.returned)
        if mine.taken < ask.spent:  # a call cost more than it held: that money is gone, whoever granted it
            mine.granted += ask.spent - mine.taken
        book.taken += mine.taken - before

    def _grant(self, book: _Shared, mine: _Holding, ask: Ask, now_s: float) -> None:
        left = (book.ceiling if ask.running else book.limit) - book.taken
        if left < max(1, ask.need):
            if ask.need:
                book.short, book.short_until_s = ask.holder, now_s + self._lease_s
            return
        pressed = now_s < book.short_until_s and book.short != ask.holder
        if pressed and not ask.need:
            return
        size = ask.need if pressed else min(left, max(slice_nusd(left, book.limit), ask.need))
        mine.granted += size
        book.taken += size


def slice_nusd(left: int, limit: int) -> int:
    """2 % of what is left; from a tenth of the limit on less, down to 0.1 %; at least 1."""
    permille = _PERMILLE
    if left * 100 < limit * _NEAR_PERCENT:
        permille = max(_LEAST_PERMILLE, _PERMILLE * left * 100 // (limit * _NEAR_PERCENT))
    return max(1, left * permille // 1000)


class Short(Struct, frozen=True):
    """This process lacks money that the pool may have: exchange ``asks``, ``learn`` the grants, reserve again."""

    asks: list[Ask]


class _Share:
    """One book as this holder has it."""

    __slots__ = (
        "acked", "book", "bucket", "closed", "granted", "left", "loose", "renew_at_s", "returned", "running", "seen",
        "sent_s", "seq", "size", "told_returned", "told_spent", "wanted",
    )  # fmt: skip

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.book: Book = (bucket.account.node, bucket.account.spec.name, bucket.start_s)
        self.granted = self.returned = self.seq = self.acked = self.size = 0
        self.told_returned = self.told_spent = 0
        self.left = self.loose = 0
        self.wanted = 0
        self.running = False
        self.closed = False
        self.seen: tuple[int, int] = (0, 0)
        self.renew_at_s = self.sent_s = float("-inf")

    @property
    def idle(self) -> int:
        return self.bucket.limit - self.bucket.committed

    def give_back(self) -> None:
        """Lower the own limit by what lies idle; the next ask says so."""
        idle = max(0, self.idle)
        self.returned += idle
        self.fit()

    def fit(self) -> None:
        self.bucket.limit = self.bucket.ceiling = self.granted - self.returned


class Slices:
    """Budgets of one process within what it has leased: reserving costs no round trip while a slice lasts.

    Call ``asks`` from time to time (some tens of milliseconds), exchange them, and ``learn`` what comes back.
    """

    __slots__ = ("_books", "_closed", "_shares", "budgets", "holder")

    def __init__(self, holder: str, budgets: Budgets) -> None:
        self.holder = holder
        self.budgets = budgets
        self._shares: dict[Bucket, _Share] = {}
        self._books: dict[Book, _Share] = {}
        self._closed: dict[Bucket, None] = {}

    def reserve(
        self, path: Path, rid: str, amount_nusd: int, now_s: float, *, asked: bool = False
    ) -> Reservation | Refused | Short:
        """As ``Budgets.reserve``; ``Short`` where the pool must be asked first. ``asked``: it has been, refuse now."""
        answer = self.budgets.reserve(path, rid, amount_nusd, now_s)
        if isinstance(answer, Reservation) or answer.code == "lease-ended":
            return answer
        short = [self._share(one) for one in path.at(now_s) if one.committed + amount_nusd > one.limit]
        for share in short:
            if amount_nusd > share.bucket.account.spec.limit_nusd:
                return self._refused(share, amount_nusd, now_s)
        if asked:
            return max(
                (self._refused(one, amount_nusd, now_s) for one in short), key=lambda r: r.retry_after_s or 0
            )
        return Short([self._ask(share, now_s, need=amount_nusd - share.idle) for share in short])

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """As ``Budgets.extend``; what is refused is asked of the pool by the next ``asks``."""
        answer = self.budgets.extend(rid, more_nusd, now_s)
        if isinstance(answer, Refused) and answer.code != "lease-ended":
            for bucket in self.budgets.held(rid):
                if bucket.committed + more_nusd > bucket.ceiling:
                    share = self._share(bucket)
                    share.wanted, share.running = more_nusd, True
        return answer

    def asks(self, now_s: float) -> list[Ask]:
        """What is due: shortages, slices that run low, returns, renewals, windows that are over."""
        due: list[Ask] = []
        for share in list(self._shares.values()):
            bucket = share.bucket
            if share.closed or (now_s >= bucket.end_s and not bucket.reserved):
                self._close(share, due, now_s)
                continue
            waiting = share.acked < share.seq and now_s - share.sent_s < _RETRY_S
            if share.wanted:
                need = share.wanted - share.idle
                share.wanted = 0
                if need > 0:
                    due.append(self._ask(share, now_s, need=need))
                    continue
            now = (bucket.spent, bucket.committed)
            low = share.idle * 2 < share.size and now != share.seen
            if now_s >= share.renew_at_s:
                if now == share.seen:
                    share.give_back()
                due.append(self._ask(share, now_s, want=low))
                share.seen = now
            elif not waiting and (low or (share.acked == share.seq and share.told_returned < share.returned)):
                due.append(self._ask(share, now_s, want=low))
        return due

    def learn(self, grant: Grant, now_s: float) -> None:
        """What the pool said. Of a book that is over, or that is not known, nothing is taken."""
        share = self._books.get(grant.book)
        if share is None:
            return
        if grant.seq > share.acked:
            share.acked = grant.seq
            share.left, share.loose = grant.left, grant.loose
        if share.closed:
            return
        if grant.granted > share.granted:
            share.size = grant.granted - share.granted
            share.granted = grant.granted
            share.fit()
        if grant.return_idle and grant.seq == share.acked:
            share.give_back()
            share.size = 0  # no slices ahead while another is short

    def leave(self, now_s: float) -> list[Ask]:
        """At a clean stop: everything unspent goes back, but for what a call still holds."""
        asks: list[Ask] = []
        for share in self._shares.values():
            share.closed = not share.bucket.reserved
            share.give_back()
            asks.append(self._ask(share, now_s, final=share.closed))
        return asks

    def _close(self, share: _Share, due: list[Ask], now_s: float) -> None:
        """Say what was spent in a window that is over; again if that was not heard, or a late settlement changed it."""
        if not share.closed:
            share.closed = True
            self._closed[share.bucket] = None
        elif share.acked == share.seq and share.told_spent == share.bucket.spent:
            if len(self._closed) > _CLOSED_KEPT:
                del self._closed[share.bucket], self._shares[share.bucket], self._books[share.book]
            return
        elif share.acked < share.seq and now_s - share.sent_s < _RETRY_S:
            return
        due.append(self._ask(share, now_s, final=True))

    def _ask(
        self, share: _Share, now_s: float, *, want: bool = False, need: int = 0, final: bool = False
    ) -> Ask:
        share.seq += 1
        share.sent_s = now_s
        share.renew_at_s = now_s + _RENEW_S
        share.told_returned, share.told_spent = share.returned, share.bucket.spent
        running, share.running = share.running, False
        return Ask(
            self.holder,
            share.book,
            share.seq,
            share.bucket.spent,
            share.returned,
            want=want or need > 0,
            need=need,
            running=running,
            final=final,
        )

    def _share(self, bucket: Bucket) -> _Share:
        share = self._shares.get(bucket)
        if share is None:
            share = self._shares[bucket] = _Share(bucket)
            self._books[share.book] = share
        return share

    def _refused(self, share: _Share, amount_nusd: int, now_s: float) -> Refused:
        """What the pool last said decides whether others may still give something back; unheard, it may be so."""
        bucket, spec = share.bucket, share.bucket.account.spec
        if amount_nusd > spec.limit_nusd:
            code, wait_s = "budget-too-small", None
        elif share.acked < share.seq or amount_nusd <= share.left + share.loose:
            code, wait_s = "budget-held", min(1.0, max(0.0, bucket.end_s - now_s))
        else:
            code, wait_s = "budget-exhausted", max(0.0, bucket.end_s - now_s)
        left = max(0, share.left + share.idle)
        return Refused(code, bucket.account.node, spec.name, amount_nusd, left, bucket.end_s, wait_s)
