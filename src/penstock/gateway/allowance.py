"""All that limits one principal: rates and places along its path, and its purse.

Rules
- A call takes its rates and its place once, and gives back the place, and what it did not use of its tokens, when it ends.
- All or nothing: who is refused at one level has taken nothing at another.
- Money is held for every attempt anew: another target costs otherwise.
"""

from datetime import UTC, datetime

from penstock.base.decisions import Rejected
from penstock.base.errors import BudgetRefused, PenstockError, RateLimited
from penstock.gateway.advances import Advance
from penstock.gateway.purse import Purse
from penstock.ledger.budgets import Refused
from penstock.routing.concurrency import TakesPlaces
from penstock.routing.limits import Limits


class Allowance:
    """What one virtual key, or one of its users, may take: its own, and what stands above it."""

    __slots__ = ("advance", "limits", "places", "purse")

    def __init__(
        self,
        limits: Limits | None,
        places: tuple[tuple[str, TakesPlaces], ...],
        purse: Purse | None,
        advance: Advance | None = None,
    ) -> None:
        self.limits = limits
        self.places = places
        """Who holds them, and the places."""
        self.purse = purse
        self.advance = advance
        """Where rates and places are fetched that other processes share; None: they are all here."""

    def enter(self, rid: str, tokens: int, now_s: float) -> Rejected | None:
        """Take a place and the rates, or nothing."""
        for at, (holder, places) in enumerate(self.places):
            refused = places.take(rid, now_s)
            if refused is not None:
                self._leave(rid, at)
                return Rejected(
                    refused.code, f"{holder}: {refused.reason}", retry_after_s=refused.retry_after_s
                )
        if self.limits is not None:
            refused = self.limits.admit(tokens, now_s)
            if refused is not None:
                self._leave(rid, len(self.places))
                return refused
        return None

    def leave(self, rid: str, estimated: int, used: int, now_s: float) -> None:
        """The call is over, and has used so many tokens."""
        self._leave(rid, len(self.places))
        if self.limits is not None:
            self.limits.settle(estimated, used, now_s)

    def undo(self, rid: str, tokens: int, now_s: float) -> None:
        """Nothing was taken: the call enters anew, in another way."""
        self.leave(rid, tokens, 0, now_s)
        if self.limits is not None:
            self.limits.give_back(now_s)

    def _leave(self, rid: str, levels: int) -> None:
        for _, places in self.places[:levels]:
            places.give(rid)


def no_entry(refused: Rejected) -> PenstockError:
    """The error of a call that a rate, or the number of places, refuses."""
    return RateLimited(refused.reason, retry_after_s=refused.retry_after_s)


def no_money(refused: Refused, fault: str | None) -> PenstockError:
    """The error of a call that a budget refuses: 429 where some of what is held may come back soon, else 402.

    ``fault``: of the store that has the rest. Its words are the operator's (a path, an address), and are in the log.
    """
    if refused.code == "budget-held" and fault is not None:
        return BudgetRefused(
            f"Budget {refused.budget} of {refused.node} is used up here, and the shared state that has the rest of it does "
            "not answer.",
            code="budget-held",
            status=503,
            retry_after_s=refused.retry_after_s,
        )
    if refused.code == "budget-held":
        return BudgetRefused(
            refused.reason, code="budget-held", status=429, retry_after_s=refused.retry_after_s
        )
    if refused.code == "budget-too-small":
        return BudgetRefused(
            f"{refused.reason} It would not fit in a new window either.",
            code="budget-too-small",
            hint="A smaller max_tokens, or a shorter prompt, lowers what a call must hold.",
        )
    if refused.code == "lease-ended":
        return BudgetRefused(refused.reason, code="lease-ended")
    ends = datetime.fromtimestamp(refused.window_ends_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return BudgetRefused(
        f"{refused.reason} Its window ends at {ends}.",
        code="budget-exhausted",
        hint="Until then a smaller max_tokens lowers what a call must hold.",
        retry_after_s=refused.retry_after_s,
    )
