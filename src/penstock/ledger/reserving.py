"""How much a call must hold: what it is expected to cost if it can be cut, its maximum if it cannot.

A streamed call holds its input and the expected output, and a ``Guard`` watches what it produces: at 80 % of the hold
it asks for more; when that is refused it may use up what it holds, less what may be on the way (``slack_nusd``), and
must then stop. A call that cannot be cut holds its maximum; where that does not fit, ``fit_max_tokens`` says the
``max_tokens`` that still does.
"""

from typing import Protocol

from msgspec import Struct

from penstock.base.money import Price
from penstock.ledger.budgets import Bucket, Path, Refused, Reservation, refusal

_ASK_AT_PERCENT = 80


class Offer(Struct, frozen=True):
    """What a call may do: produce ``max_tokens`` at most, holding ``amount_nusd``. ``lowered``: less than asked."""

    max_tokens: int
    amount_nusd: int
    lowered: bool = False


def most_nusd(tokens: int, price: Price) -> int:
    """The cost of ``tokens`` rounded up: a hold must not be half a nano-dollar short."""
    return -(-tokens * price.pico_usd // (price.per * 1000))


def room_nusd(buckets: tuple[Bucket, ...]) -> int | None:
    """What every budget still takes; None: there is no budget."""
    return min((bucket.limit - bucket.committed for bucket in buckets), default=None)


def fit_max_tokens(
    path: Path, input_nusd: int, max_tokens: int, output: Price, now_s: float, *, least: int = 1
) -> Offer | Refused:
    """For a call that cannot be cut: its maximum if that fits, else the largest ``max_tokens`` that does.

    Refused if fewer than ``least`` tokens fit. Reserve the offer's ``amount_nusd`` in the same step.
    """
    buckets = path.at(now_s)
    room = room_nusd(buckets)
    whole = input_nusd + most_nusd(max_tokens, output)
    if room is None or whole <= room:
        return Offer(max_tokens, whole)
    fits = (room - input_nusd) * output.per * 1000 // output.pico_usd if output.pico_usd else 0
    least = min(max(1, least), max_tokens)
    if fits < least:
        return refusal(buckets, input_nusd + most_nusd(least, output), now_s)
    return Offer(fits, input_nusd + most_nusd(fits, output), lowered=True)


class Extends(Protocol):
    """``Budgets``, or ``Slices`` of shared ones."""

    def extend(self, rid: str, more_nusd: int, now_s: float) -> Reservation | Refused:
        """Hold more for a running call."""
        ...


class Guard:
    """Watches one streamed call. ``chunk_nusd`` is what an extension asks for; half and so on if it is refused.
    ``input_nusd``: of what is held, so much is for the prompt, and does not count for the 80 %."""

    __slots__ = ("_budgets", "_chunk", "_held", "_input", "_slack", "lacked", "refused")

    def __init__(
        self,
        budgets: Extends,
        held: Reservation,
        chunk_nusd: int,
        slack_nusd: int = 0,
        input_nusd: int = 0,
    ) -> None:
        self._input = input_nusd
        self._budgets = budgets
        self._held = held
        self._chunk = max(1, chunk_nusd)
        self._slack = slack_nusd
        self.refused: Refused | None = None
        self.lacked: tuple[int, int] = (0, 0)
        """When it was refused: what it asked for first, and the least with which the call goes on."""

    def produced(self, cost_nusd: int, now_s: float) -> bool:
        """The call has cost ``cost_nusd`` so far. False: stop it now (``refused`` says why)."""
        held = self._held
        if (
            held.state == "live"
            and (cost_nusd - self._input) * 100 < (held.held - self._input) * _ASK_AT_PERCENT
            and held.held - cost_nusd > self._slack
        ):
            return True
        least = max(1, cost_nusd + self._slack - held.held)
        more = max(self._chunk, least)
        self.lacked = (more, least + 1)
        while True:
            answer = self._budgets.extend(held.id, more, now_s)
            if isinstance(answer, Reservation):
                self.refused = None
                return True
            self.refused = answer
            if answer.code == "lease-ended":
                return False
            if more <= least or more < self._chunk // 8:
                return cost_nusd + self._slack < held.held
            more = max(least, more // 2)
