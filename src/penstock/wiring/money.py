"""Where a gateway's budgets are kept, and what they begin with.

Rules
- What a pool knows of a window counts. Of one that it has never heard of (the budget is new, or its state is gone) the
  ledger's sum counts, before the first call is let in.
- A window that begins later begins at nothing.
"""

import asyncio

from msgspec import Struct

from penstock.config.governing import ALL_USERS
from penstock.config.schema import Config
from penstock.gateway.treasury import Treasury
from penstock.ledger.budgets import Account
from penstock.ledger.leases import Pot
from penstock.ledger.opening import open_ledger
from penstock.ledger.spent import Holder, Spent, spent_by_all
from penstock.ledger.tree import budget_of, key_id, organisation_id, team_id, user_id


class Figures(Struct, frozen=True):
    """One budget's window of now. ``spent_nusd``: by all processes, as far as is known. ``in_ledger_nusd``: what entries
    say that its calls have cost."""

    spent_nusd: int
    limit_nusd: int
    start_s: float
    end_s: float
    in_ledger_nusd: int = 0

    @property
    def withheld_nusd(self) -> int:
        """Spent as far as is known, and in no entry: killed runs had leased it, or an entry is on its way."""
        return max(0, self.spent_nusd - self.in_ledger_nusd)


async def figures(treasury: Treasury, place: str) -> dict[tuple[str, str], Figures]:
    """Of every budget that has been put, by its node and name. ``place``: of the ledger."""
    now_s = treasury.unix_s()
    buckets = [account.at(now_s) for account in treasury.budgets.accounts.values()]
    pots = [_pot(bucket.account, now_s) for bucket in buckets]
    standing = await treasury.store.standing(pots) if pots else []
    found: dict[tuple[str, str], Figures] = {}
    sums = await asyncio.to_thread(_sums, place, {bucket.start_s for bucket in buckets}) if buckets else {}
    for bucket, (spent_nusd, _) in zip(buckets, standing, strict=True):
        # The pool hears of what is spent here a little later, and this process of what is spent elsewhere.
        most = max(spent_nusd, treasury.total_nusd(bucket))
        account = bucket.account
        found[account.node, account.spec.name] = Figures(
            most,
            account.spec.limit_nusd,
            bucket.start_s,
            bucket.end_s,
            sums[bucket.start_s].get(account.node, 0),
        )
    return found


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
    try:
        return {start_s: _by_node(spent_by_all(reading, int(start_s * 1000))) for start_s in starts}
    finally:
        reading.close()


def _by_node(spent: dict[Holder, Spent]) -> dict[str, int]:
    sums: dict[str, int] = {}
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
    return sums
