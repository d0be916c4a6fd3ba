"""Where a gateway's budgets are kept, and what they begin with.

Rules
- What a pool knows of a window counts. Of one that it has never heard of (the budget is new, or its state is gone) the
  ledger's sum counts, before the first call is let in.
- A window that begins later begins at nothing.
"""

import asyncio
import sqlite3
import time

from msgspec import Struct

from penstock.base.errors import PenstockError
from penstock.config.governing import ALL_USERS
from penstock.config.schema import Config
from penstock.gateway.treasury import Treasury
from penstock.ledger.budgets import Account
from penstock.ledger.leases import Pot
from penstock.ledger.opening import open_ledger
from penstock.ledger.spent import Holder, Spent, spent_by_all
from penstock.ledger.tree import budget_of, key_id, organisation_id, team_id, user_id


class Figures(Struct, frozen=True):
    """One budget's window of now. ``spent_nusd``: by all processes, as far as is known. ``withheld_nusd``: of that, what no
    entry accounts for: killed runs had leased it, calls of unknown cost have held it; None: not known."""

    spent_nusd: int
    limit_nusd: int
    start_s: float
    end_s: float
    withheld_nusd: int | None = None


_FRESH_S = 60.0
_WAIT_S = 5.0


class Withheld:
    """What counts as spent and stands in no entry, by node and budget. The ledger is read in another thread, at most once a
    minute, and waited for a few seconds: a window of many million entries takes longer, and the next to ask finds it."""

    def __init__(self, place: str) -> None:
        self._place = place
        self._reading: asyncio.Future[dict[float, dict[str, int]]] | None = None
        self._asked: dict[tuple[str, str], tuple[float, int]] = {}
        """When the window began, and what had been spent when the reading began."""
        self._found: dict[tuple[str, str], tuple[float, int]] = {}
        self._read_s = float("-inf")

    async def of(self, spent: dict[tuple[str, str], tuple[float, int]]) -> dict[tuple[str, str], int]:
        """``spent``: when the window of each began, and what was spent in it. Those of which it is not known are left out."""
        now_s = time.monotonic()
        known = {
            name for name, (start_s, _) in self._found.items() if spent.get(name, (0.0, 0))[0] == start_s
        }
        if self._reading is None and (now_s - self._read_s > _FRESH_S or not spent.keys() <= known):
            self._read_s, self._asked = now_s, dict(spent)
            starts = {start_s for start_s, _ in spent.values()}
            self._reading = asyncio.get_running_loop().run_in_executor(None, _sums, self._place, starts)
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_WAIT_S)
            self._take()
        return {
            name: nusd
            for name, (start_s, nusd) in self._found.items()
            if spent.get(name, (None, 0))[0] == start_s
        }

    def _take(self) -> None:
        reading = self._reading
        if reading is None or not reading.done():
            return
        self._reading = None
        try:
            sums = reading.result()
        except (PenstockError, sqlite3.Error, OSError):
            self._found = {}  # the ledger cannot be read: what was spent is told without it
            return
        self._found = {
            name: (start_s, max(0, nusd - sums[start_s].get(name[0], 0)))
            for name, (start_s, nusd) in self._asked.items()
        }


async def figures(treasury: Treasury, withheld: Withheld | None) -> dict[tuple[str, str], Figures]:
    """Of every budget that has been put, by its node and name. ``withheld`` None: others write ledgers of their own."""
    now_s = treasury.unix_s()
    accounts = treasury.budgets.accounts.values()
    buckets = [account.at(now_s) for account in accounts]
    pots = [_pot(account, now_s) for account in accounts]
    standing = await treasury.store.standing(pots) if pots else []
    if len(standing) != len(buckets):
        standing = [(0, 0)] * len(buckets)  # the store does not answer: what this process knows is told
    spent: dict[tuple[str, str], tuple[float, int]] = {}
    for bucket, (spent_nusd, _) in zip(buckets, standing, strict=True):
        # The pool hears of what is spent here a little later, and this process of what is spent elsewhere.
        most = max(spent_nusd, treasury.total_nusd(bucket))
        spent[bucket.account.node, bucket.account.spec.name] = (bucket.start_s, most)
    lost = {} if withheld is None or not spent else await withheld.of(spent)
    return {
        name: Figures(
            spent[name][1], bucket.account.spec.limit_nusd, bucket.start_s, bucket.end_s, lost.get(name)
        )
        for bucket in buckets
        for name in [(bucket.account.node, bucket.account.spec.name)]
    }


async def recall(treasury: Treasury, config: Config, place: str) -> None:
    """What was spent before, in budgets that this process has not heard of. ``place``: of the ledger."""
    now_s, accounts = treasury.unix_s(), treasury.budgets.accounts
    others = _others(config, now_s)
    new, fresh = treasury.unheard(accounts), treasury.unheard(others)
    try:
        await _recalled(treasury, place, [_pot(accounts[name], now_s) for name in sorted(new)], others, fresh)
    except BaseException:
        treasury.not_heard(new | fresh)
        raise


async def _recalled(
    treasury: Treasury,
    place: str,
    pots: list[Pot],
    others: dict[tuple[str, str], float],
    fresh: set[tuple[str, str]],
) -> None:
    standing = await treasury.store.standing(pots) if pots else []
    unknown = [pot for pot, (spent, leased) in zip(pots, standing, strict=False) if not spent and not leased]
    starts = {pot[2] for pot in unknown} | {others[name] for name in fresh}
    if not starts:
        return
    sums = await asyncio.to_thread(_sums, place, starts)
    known = treasury.slices.known
    for node, budget, start_s in unknown:
        known[node, budget, start_s] = sums[start_s].get(node, 0)
    for everybody, budget in fresh:
        start_s = others[everybody, budget]
        of_key = everybody.removeprefix(user_id("", ALL_USERS))
        for node, nusd in sums[start_s].items():
            if node.startswith("user ") and node.endswith(f" of key {of_key}"):
                known.setdefault((node, budget, start_s), nusd)


def _pot(account: Account, now_s: float) -> Pot:
    return account.node, account.spec.name, account.at(now_s).start_s


def _others(config: Config, now_s: float) -> dict[tuple[str, str], float]:
    """Budgets of everybody else, by the node of ``*`` and their name, and when their windows of now began."""
    return {
        (user_id(key.name, ALL_USERS), account.spec.name): account.at(now_s).start_s
        for key in config.virtual_keys
        for user in key.users
        if user.name == ALL_USERS
        for account in [Account("", budget_of(one), fed=True) for one in user.budgets]
    }


def _sums(place: str, starts: set[float]) -> dict[float, dict[str, int]]:
    """In another thread: since each of these moments, what every node's calls have cost."""
    reading = open_ledger(place)
    newest_first = sorted(starts, reverse=True)
    found: dict[float, dict[str, int]] = {}
    sums: dict[str, int] = {}
    until_ms: int | None = None
    try:
        for (
            start_s
        ) in newest_first:  # each stretch is read once, and counts for all windows that began before it
            since_ms = int(start_s * 1000)
            _add(sums, spent_by_all(reading, since_ms, until_ms))
            found[start_s] = dict(sums)
            until_ms = since_ms
    finally:
        reading.close()
    return found


def _add(sums: dict[str, int], spent: dict[Holder, Spent]) -> None:
    for holder, one in spent.items():
        nodes = [key_id(holder.virtual_key)]
        if holder.organisation:
            nodes.append(organisation_id(holder.organisation))
        if holder.team:
            nodes.append(team_id(holder.team))
        if holder.user:
            nodes.append(user_id(holder.virtual_key, holder.user))
        for node in nodes:
            sums[node] = sums.get(node, 0) + one.calls_nusd
