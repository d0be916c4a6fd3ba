"""What a call takes before it is served, for calls like one another: they differ in the length of their body alone.

``attempt.charged`` does the same for any call; held to each other by tests/gateway/test_toll.py.
"""

from typing import TYPE_CHECKING, cast

from penstock.gateway.allowance import Allowance
from penstock.gateway.attempt import take
from penstock.gateway.purse import Hold, Purse, Tariff
from penstock.ledger import budgets
from penstock.ledger.reserving import most_nusd
from penstock.routing.concurrency import Places

if TYPE_CHECKING:
    from penstock.ledger._till import Held, Till


_MOST_PLACES = 2**31


class Toll:
    """In Python, for any allowance."""

    __slots__ = ("_allowance", "_tariff")

    def __init__(self, allowance: Allowance, tariff: Tariff | None) -> None:
        """``tariff``: where the allowance has a purse."""
        self._allowance = allowance
        self._tariff = tariff

    def take(self, rid: str, body_bytes: int, tokens: int, now_s: float) -> Hold | bool:
        """Rates, places and money: what is held, or True where there is no purse. False: nothing was taken."""
        allowance, tariff = self._allowance, self._tariff
        purse = allowance.purse
        if purse is None or tariff is None:
            return take(allowance, rid, None, tokens, now_s, 0.0)
        return take(allowance, rid, tariff.of(body_bytes), tokens, now_s, purse.treasury.unix_s())

    def leave(self, rid: str, estimated: int, used: int, now_s: float) -> None:
        """The call is over, and has used so many tokens."""
        self._allowance.leave(rid, estimated, used, now_s)


def toll_of(allowance: Allowance, tariff: Tariff | None, unix_s: float) -> "Toll | Till":
    """The native till, where it was built and can count what there is to count."""
    purse, native = allowance.purse, budgets.native
    if native is None or purse is None or tariff is None or tariff.quote.cuttable:
        return Toll(allowance, tariff)
    if any(isinstance(one, Places) and one.most >= _MOST_PLACES for _, one in allowance.places):
        return Toll(allowance, tariff)
    if not all(isinstance(bucket, native.Bucket) for bucket in purse.path.at(unix_s)):
        return Toll(allowance, tariff)
    quote, read, treasury = tariff.quote, tariff.input, purse.treasury
    others_nusd = tariff.call_nusd + most_nusd(quote.tokens, quote.output)
    places = [
        (one, one.held, one.most, one.lease_s) if isinstance(one, Places) else (one, None, 0, 0.0)
        for _, one in allowance.places
    ]
    limits = getattr(allowance.limits, "native", None) or allowance.limits
    try:
        prices = (tariff.more_tokens, read.pico_usd, read.per, others_nusd)
        return native.Till(treasury, purse.path, prices, places, limits, treasury.moved)
    except OverflowError:
        return Toll(allowance, tariff)


def hold_of(purse: Purse, tariff: Tariff, rid: str, held: "Hold | Held") -> Hold:
    """What a call has taken, as the long way has it: the call goes on there."""
    if isinstance(held, Hold):
        return held
    treasury = purse.treasury
    buckets = cast("tuple[budgets.Bucket, ...]", held.buckets)
    reservation = treasury.budgets.adopt(rid, held.amount, buckets, treasury.unix_s())
    return Hold(treasury, reservation, tariff.of(held.body_bytes))
