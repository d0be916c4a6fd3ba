"""Budgets: money is reserved before a call, extended while it streams, and settled at what it really cost.

Theory
------
Organisation, team, virtual key and user are a tree; each node has any number of budgets. A call reserves in every
budget on its path to the root, in all or in none: one step of one thread, no await in between. Each budget keeps two
integers per calendar window: ``spent``, and ``committed`` = spent + what running calls hold. Admission asks
``committed + amount <= limit``.

Rules
- A reservation keeps the windows in which it began, and is settled there, however late.
- A reserve must fit the limit. An extension of a running call must fit the limit too (hard), or the limit and its
  overdraft (soft).
- Settling is idempotent by the reservation's id: the first settlement counts.
- What is not settled within its lease is swept as spent at what it held: a crash never gives money back. A settlement
  that comes late corrects it.
- A settlement above what was held is recorded as it is, never hidden, and says by how much (``over_nusd``). Hard
  holds because what cannot be cut holds its maximum: see ``reserving``.
"""

from collections.abc import Iterable
from pathlib import Path as FilePath
from typing import Literal, cast
from zoneinfo import ZoneInfo

from msgspec import Struct

from penstock.base.money import usd_text
from penstock.base.native import load_native
from penstock.ledger.periods import Period, window_at

Mode = Literal["hard", "soft"]
Code = Literal["budget-exhausted", "budget-held", "budget-too-small", "lease-ended"]

native, missing = load_native("penstock.ledger", "_till", FilePath(__file__).parent)
"""Buckets whose figures native code counts (_till.pyx). ``missing``: why there are none; "" where there are."""
_NATIVE_MOST_NUSD = 2**60
"""A thousand times what a configuration may say (config.rates): beyond that Python counts."""
RETRY_HELD_S = 1.0
"""When running calls hold what is left, some of it comes back as they end: ask again soon, not tomorrow."""


class Budget(Struct, frozen=True):
    """One limit as it is configured. ``overdraft_percent`` counts for soft ones alone."""

    name: str
    limit_nusd: int
    period: Period = "month"
    timezone: str = "UTC"
    mode: Mode = "hard"
    overdraft_percent: int = 0


class Node(Struct, frozen=True):
    """An organisation, a team, a virtual key or a user, with its parent (None: a root)."""

    id: str
    parent: str | None = None
    budgets: tuple[Budget, ...] = ()


class Refused(Struct, frozen=True):
    """No: which budget, what is left in it, and when to ask again (None: never with this amount)."""

    code: Code
    node: str
    budget: str
    asked_nusd: int
    left_nusd: int
    window_ends_s: float
    retry_after_s: float | None

    @property
    def reason(self) -> str:
        """A sentence for the caller."""
        if self.code == "lease-ended":
            return "This call's reservation has ended; what it held is counted as spent."
        held = " that running calls do not hold" if self.code == "budget-held" else ""
        return (
            f"Budget {self.budget} of {self.node} has ${usd_text(self.left_nusd)} left{held}; "
            f"this call needs ${usd_text(self.asked_nusd)}."
        )


class Bucket:
    """One budget in one window. ``moved``: whoever watches has yet to be told of it."""

    __slots__ = ("account", "ceiling", "committed", "end_s", "limit", "moved", "spent", "start_s")

    def __init__(self, account: "Account", start_s: float, end_s: float) -> None:
        self.account = account
        self.start_s = start_s
        self.end_s = end_s
        self.spent = 0
        self.committed = 0
        self.limit = 0
        self.ceiling = 0
        self.moved = False

    @property
    def reserved(self) -> int:
        """What running calls hold."""
        return self.committed - self.spent


class Account:
    """One budget of one node: its window of now, and earlier ones that are still being settled."""

    __slots__ = ("_fed", "_zone", "current", "earlier", "node", "spec")

    def __init__(self, node: str, spec: Budget, *, fed: bool) -> None:
        if spec.limit_nusd < 0 or spec.overdraft_percent < 0:
            raise ValueError(f"Budget {spec.name} of {node}: limit and overdraft are not negative.")
        self.node = node
        self.spec = spec
        self.current: Bucket | None = None
        self.earlier: list[Bucket] = []
        self._zone = ZoneInfo(spec.timezone)
        self._fed = fed

    def at(self, now_s: float) -> Bucket:
        """The bucket of now. A clock that goes back finds the newest window, not an older one."""
        current = self.current
        if current is not None and now_s < current.end_s:
            return current
        window = window_at(self.spec.period, self._zone, now_s)
        made = Bucket
        if native is not None and self.spec.limit_nusd <= _NATIVE_MOST_NUSD:
            made = cast("type[Bucket]", native.Bucket)
        bucket = made(self, window.start_s, window.end_s)
        if not self._fed:
            self.allow(bucket)
        if current is not None:
            self.earlier = [one for one in self.earlier if one.reserved]
            self.earlier.append(current)  # the newest closed window stays, to be read
        self.current = bucket
        return bucket

    def allow(self, bucket: Bucket) -> None:
        """Give ``bucket`` the whole limit, and for a running call's extension the overdraft."""
        spec = self.spec
        percent = spec.overdraft_percent if spec.mode == "soft" else 0
        bucket.limit = spec.limit_nusd
        bucket.ceiling = spec.limit_nusd + spec.limit_nusd * percent // 100

    def change(self, spec: Budget) -> None:
        """A new limit or mode for the same period and zone, from now on."""
        if (spec.period, spec.timezone) != (self.spec.period, self.spec.timezone):
            raise ValueError("Another period or zone is another budget: remove this one and add that.")
        self.spec = spec
        if self.current is not None and not self._fed:
            self.allow(self.current)


class Path:
    """All budgets from one node to its root. Buckets are looked up once a window."""

    __slots__ = ("_buckets", "_until_s", "accounts")

    def __init__(self, accounts: tuple[Account, ...]) -> None:
        self.accounts = accounts
        self._buckets: tuple[Bucket, ...] = ()
        self._until_s = float("-inf")

    def at(self, now_s: float) -> tuple[Bucket, ...]:
        """The buckets of now, nearest first."""
        if now_s >= self._until_s:
            self._buckets = tuple([account.at(now_s) for account in self.accounts])
            self._until_s = min((bucket.end_s for bucket in self._buckets), default=float("inf"))
        return self._buckets


class Reservation:
    """What one call holds. ``state`` is live, settled or swept; ``spent`` is set with the last two."""

    __slots__ = ("buckets", "expires_s", "held", "id", "spent", "state")

    def __init__(self, rid: str, held: int, buckets: tuple[Bucket, ...], expires_s: float) -> None:
        self.id = rid
        self.held = held
        self.buckets = buckets
        self.expires_s = expires_s
        self.state: Literal["live", "settled", "swept"] = "live"
        self.spent = 0


class Settled(Struct, frozen=True, gc=False):
    """``spent_nusd`` stands in the budgets. ``again``: it did already. ``over_nusd``: that much above its hold."""

    spent_nusd: int
    over_nusd: int = 0
    late: bool = False
    again: bool = False


class Budgets:
    """The tree and its live reservations. Not thread-safe: one event loop owns it.

    ``fed``: limits come as slices from a shared store (``leases``) and not from the budgets' own figures.
    ``remember``: at least so many ended reservations are known, for repeated and late settlements.
    """

    __slots__ = (
        "_ended",
        "_ended_before",
        "_fed",
        "_lease_s",
        "_live",
        "_nodes",
        "_paths",
        "_remember",
        "accounts",
    )

    def __init__(
        self, nodes: Iterable[Node], *, lease_s: float = 600.0, remember: int = 16_384, fed: bool = False
    ) -> None:
        self._nodes: dict[str, tuple[str | None, tuple[Account, ...]]] = {}
        self._paths: dict[str, Path] = {}
        self._live: dict[str, Reservation] = {}
        self._ended: dict[str, Reservation] = {}
        self._ended_before: dict[str, Reservation] = {}
        self._lease_s = lease_s
        self._remember = remember
        self._fed = fed
        self.accounts: dict[tuple[str, str], Account] = {}
        for node in nodes:
            self.add(node)

    def add(self, node: Node) -> None:
        """A node under one that is there already."""
        if node.id in self._nodes or (node.parent is not None and node.parent not in self._nodes):
            raise ValueError(f"Node {node.id} is there already, or its parent {node.parent} is not.")
        if len({one.name for one in node.budgets}) < len(node.budgets):
            raise ValueError(f"Node {node.id} has two budgets of one name.")
        accounts = tuple([Account(node.id, one, fed=self._fed) for one in node.budgets])
        self._nodes[node.id] = (node.parent, accounts)
        for account in accounts:
            self.accounts[node.id, account.spec.name] = account

    def put(self, node: Node) -> None:
        """A node that is new, or was changed: a budget of the same name, period and zone keeps what was spent in it."""
        if node.id not in self._nodes:
            self.add(node)
            return
        accounts: list[Account] = []
        for spec in node.budgets:
            account = self.accounts.get((node.id, spec.name))
            if account is None or (account.spec.period, account.spec.timezone) != (
                spec.period,
                spec.timezone,
            ):
                account = self.accounts[node.id, spec.name] = Account(node.id, spec, fed=self._fed)
            else:
                account.change(spec)
            accounts.append(account)
        self._nodes[node.id] = (node.parent, tuple(accounts))
        self._paths = {}

    def path(self, node: str) -> Path:
        """All budgets that a call of ``node`` must fit; kept, so that a call pays one look-up."""
        path = self._paths.get(node)
        if path is None:
            found: list[Account] = []
            at: str | None = node
            while at is not None:
                at, accounts = self._nodes[at]
                found += accounts
            path = self._paths[node] = Path(tuple(found))
        return path

    def reserve(self, path: Path, rid: str, amount_nusd: int, now_s: float) -> Reservation | Refused:
        """Hold ``amount_nusd`` in every budget of ``path``, or in none. A live ``rid`` is answered with what it holds."""
        if amount_nusd < 0:
            raise ValueError("A reservation is not negative.")
        if rid in self._live:
            return self._live[rid]
        if rid in self._ended or rid in self._ended_before:
            return Refused("lease-ended", "", "", amount_nusd, 0, now_s, None)
        buckets = path.at(now_s)
        for bucket in buckets:
            if bucket.committed + amount_nusd > bucket.limit:
                return refusal(buckets, amount_nusd, now_s)
        for bucket in buckets:
            bucket.committed += amount_nusd
        held = self._live[rid] = Reservation(rid, amount_nusd, buckets, now_s + self._lease_s)
        return held

    def adopt(self, rid: str, held_nusd: int, buckets: tuple[Bucket, ...], now_s: float) -> Reservation:
        """A reservation for what is held already (_till.pyx): it was one call's among many, and now stands alone."""
        held = self._live[rid] = Reservation(rid, held_nusd, buckets, now_s + self._lease_s)
        return held

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """Hold more for a running call, in the windows in which it began, and renew its lease. 0 only renews."""
        if more_nusd < 0:
            raise ValueError("An extension is not negative.")
        held = self._live.get(rid)
        if held is None:
            return Refused("lease-ended", "", "", more_nusd, 0, now_s, None)
        for bucket in held.buckets:
            if more_nusd and bucket.committed + more_nusd > bucket.ceiling:
                return refusal(held.buckets, more_nusd, now_s, running=True)
        for bucket in held.buckets:
            bucket.committed += more_nusd
        held.held += more_nusd
        held.expires_s = now_s + self._lease_s
        return held

    def settle(self, rid: str, spent_nusd: int) -> Settled | None:
        """What it really cost, instead of what it held. None: no such reservation is known (any more)."""
        if spent_nusd < 0:
            raise ValueError("A cost is not negative.")
        held = self._live.pop(rid, None)
        if held is not None:
            back = spent_nusd - held.held
            for bucket in held.buckets:
                bucket.committed += back
                bucket.spent += spent_nusd
            held.state = "settled"
            held.spent = spent_nusd
            self._end(held)
            return Settled(spent_nusd, max(0, back))
        held = self._known(rid)
        if held is None:
            return None
        if held.state == "settled":
            return Settled(held.spent, max(0, held.spent - held.held), again=True)
        for bucket in held.buckets:
            bucket.committed += spent_nusd - held.spent
            bucket.spent += spent_nusd - held.spent
        held.state = "settled"
        held.spent = spent_nusd
        return Settled(spent_nusd, max(0, spent_nusd - held.held), late=True)

    def release(self, rid: str) -> Settled | None:
        """Nothing was consumed: known to have cost nothing."""
        return self.settle(rid, 0)

    def sweep(self, now_s: float) -> list[Reservation]:
        """End what outlived its lease, as spent at what it held."""
        dead = [held for held in self._live.values() if held.expires_s <= now_s]
        for held in dead:
            del self._live[held.id]
            for bucket in held.buckets:
                bucket.spent += held.held
            held.state = "swept"
            held.spent = held.held
            self._end(held)
        return dead

    def restore(self, node: str, budget: str, spent_nusd: int, now_s: float) -> None:
        """At start: what the ledger says was spent in the window of now, unsettled intents at their reserve."""
        bucket = self.accounts[node, budget].at(now_s)
        bucket.committed += spent_nusd - bucket.spent
        bucket.spent = spent_nusd

    def held(self, rid: str) -> tuple[Bucket, ...]:
        """Where a running call holds money; nowhere if it does not run."""
        held = self._live.get(rid)
        return () if held is None else held.buckets

    def live_of(self, rid: str) -> Reservation | None:
        """A running call's reservation."""
        return self._live.get(rid)

    def live(self) -> int:
        """How many reservations run."""
        return len(self._live)

    def _end(self, held: Reservation) -> None:
        # Two generations: dropping the oldest of one dict, one by one, would walk over those dropped before.
        self._ended[held.id] = held
        if len(self._ended) >= self._remember:
            self._ended_before, self._ended = self._ended, {}

    def _known(self, rid: str) -> Reservation | None:
        return self._ended.get(rid) or self._ended_before.get(rid)


def refusal(buckets: tuple[Bucket, ...], amount_nusd: int, now_s: float, *, running: bool = False) -> Refused:
    """The refusal of the budget that stands longest in the way."""
    worst: Refused | None = None
    for bucket in buckets:
        limit = bucket.ceiling if running else bucket.limit
        if bucket.committed + amount_nusd <= limit:
            continue
        wait_s: float | None = max(0.0, bucket.end_s - now_s)
        code: Code = "budget-exhausted"
        if amount_nusd > limit:
            code, wait_s = "budget-too-small", None
        elif bucket.spent + amount_nusd <= limit:
            code, wait_s = "budget-held", min(wait_s or 0.0, RETRY_HELD_S)
        left = max(0, limit - bucket.committed)
        account = bucket.account
        one = Refused(code, account.node, account.spec.name, amount_nusd, left, bucket.end_s, wait_s)
        if worst is None or _wait(one) > _wait(worst):
            worst = one
    assert worst is not None, "asked for a refusal where every budget fits"
    return worst


def _wait(refused: Refused) -> float:
    return float("inf") if refused.retry_after_s is None else refused.retry_after_s
