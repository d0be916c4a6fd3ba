"""The pool that slices of budgets are leased from: the deciding half of ``ledger.leases``, which has the theory and the rules."""

from collections.abc import Callable

from msgspec import Struct

from penstock.ledger.budgets import Budget
from penstock.ledger.leases import LEASE_S, Claim, Grant, Pot, ceiling_nusd

_PERMILLE, _LEAST_PERMILLE = 20, 1
_NEAR_PERCENT = 10
"""Below this part of the limit slices shrink, in proportion, from 2 % of what is left to 0.1 %."""


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
    past: int = 0
    """Taken by holders that are not known any more; part of ``taken``."""
    short_until_s: float = 0.0
    short: str = ""


class Pool:
    """The decision of the shared store. ``spec`` gives the budget of a node and a name (KeyError: there is none).

    Without it limits are what the claims say: then a pool needs no configuration.
    """

    __slots__ = ("_lease_s", "_pots", "_spec")

    def __init__(self, spec: Callable[[str, str], Budget] | None = None, lease_s: float = LEASE_S) -> None:
        self._pots: dict[Pot, _Shared] = {}
        self._lease_s = lease_s
        self._spec = spec

    def exchange(self, claim: Claim, now_s: float) -> Grant:
        """Take a holder's report, and grant what it wants if that is left."""
        pot = self._pot(claim.pot)
        if self._spec is None and claim.seq:
            pot.limit, pot.ceiling = claim.limit, claim.ceiling
        mine = pot.holdings.get(claim.holder)
        if mine is None:
            mine = pot.holdings[claim.holder] = _Holding()
            self._meet(pot, mine, claim)
        if claim.seq > mine.seq:
            mine.seq = claim.seq
            mine.until_s = now_s + self._lease_s
            self._report(pot, mine, claim)
            if claim.want and not claim.final:
                self._grant(pot, mine, claim, now_s)
        left = max(0, pot.limit - pot.taken)
        loose = pot.taken - pot.past - sum(one.spent for one in pot.holdings.values())
        pressed = now_s < pot.short_until_s and pot.short != claim.holder
        return Grant(claim.pot, claim.seq, mine.granted, left, loose, mine.until_s, pressed, pot.taken)

    def expire(self, now_s: float) -> list[tuple[Pot, str]]:
        """Holders whose lease has ended: what they hold is counted as spent until they say otherwise."""
        silent: list[tuple[Pot, str]] = []
        for key, pot in self._pots.items():
            for holder, one in pot.holdings.items():
                if one.state == "live" and one.until_s <= now_s:
                    one.state = "expired"
                    one.spent = one.taken
                    silent.append((key, holder))
        return silent

    def status(self, pot: Pot) -> tuple[int, int]:
        """Spent as far as is known, and leased beyond that."""
        shared = self._pots.get(pot)
        if shared is None:
            return 0, 0
        spent = shared.past + sum(one.spent for one in shared.holdings.values())
        return spent, shared.taken - spent

    def figures(self, pot: Pot, holder: str) -> tuple[int, int]:
        """What must outlive a crash: taken by this holder, and by those that are not known any more."""
        shared = self._pots[pot]
        return shared.holdings[holder].taken, shared.past

    def restore(self, pot: Pot, past: int) -> None:
        """At start: what holders of earlier runs had taken in a pot is counted as spent."""
        self._pots[pot] = _Shared(0, 0, {}, taken=past, past=past)

    def forget(self, before_s: float) -> None:
        """Drop pots whose window began before; their figures are in the ledger."""
        self._pots = {key: pot for key, pot in self._pots.items() if key[2] >= before_s}

    def _pot(self, key: Pot) -> _Shared:
        pot = self._pots.get(key)
        spec = None if self._spec is None else self._spec(key[0], key[1])
        if pot is None:
            pot = self._pots[key] = _Shared(0, 0, {})
        if spec is not None:
            pot.limit, pot.ceiling = spec.limit_nusd, ceiling_nusd(spec)
        return pot

    def _meet(self, pot: _Shared, mine: _Holding, claim: Claim) -> None:
        """A holder that is new, or that this pool has forgotten: then what it has is in ``past``, or nowhere."""
        mine.granted, mine.returned = claim.granted, claim.returned
        back = min(pot.past, mine.taken)
        pot.past -= back
        pot.taken += mine.taken - back
        if claim.floor > pot.taken:
            pot.past += claim.floor - pot.taken
            pot.taken = claim.floor

    def _report(self, pot: _Shared, mine: _Holding, claim: Claim) -> None:
        before = mine.taken
        mine.granted = max(mine.granted, claim.granted)  # a pool that has forgotten only this grant
        mine.spent = claim.spent
        mine.state = "final" if claim.final else "live"
        mine.returned = mine.granted - claim.spent if claim.final else max(mine.returned, claim.returned)
        if mine.taken < claim.spent:  # a call cost more than it held: that money is gone, whoever granted it
            mine.granted += claim.spent - mine.taken
        pot.taken += mine.taken - before

    def _grant(self, pot: _Shared, mine: _Holding, claim: Claim, now_s: float) -> None:
        left = (pot.ceiling if claim.running else pot.limit) - pot.taken
        if left < max(1, claim.need):
            if claim.need and (pot.short == claim.holder or now_s >= pot.short_until_s):
                # One at a time: if each took the other's place, none would be told to return what lies idle.
                pot.short, pot.short_until_s = claim.holder, now_s + self._lease_s
            return
        pressed = now_s < pot.short_until_s and pot.short != claim.holder
        if pressed and not claim.need:
            return
        size = claim.need if pressed else min(left, max(slice_nusd(left, pot.limit), claim.need))
        mine.granted += size
        pot.taken += size
        if claim.need and pot.short == claim.holder:
            pot.short_until_s = 0.0


def slice_nusd(left: int, limit: int) -> int:
    """2 % of what is left; from a tenth of the limit on less, down to 0.1 %; at least 1."""
    permille = _PERMILLE
    if left * 100 < limit * _NEAR_PERCENT:
        permille = max(_LEAST_PERMILLE, _PERMILLE * left * 100 // (limit * _NEAR_PERCENT))
    return max(1, left * permille // 1000)
