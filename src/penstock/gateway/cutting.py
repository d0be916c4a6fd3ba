"""A stream that may come to cost more than is held for it: ask for more in time, else end it well.

Rules
- What passed is counted by its bytes: a token is at least one. So what is held covers what was billed, whatever the model's
  tokens are.
- A stream that is cut ends as if the model had come to its limit (finish reason "length", then the proper end), never
  with an error: what the caller has read is whole. Why is in the call's record.
- What a cut stream cost is estimated from what passed, as for a caller that hangs up.
"""

from collections.abc import Callable
from typing import cast

import msgspec

from penstock.base.events import Event, Finished, Stopped, UsageSeen
from penstock.gateway.caching.recording import Recorded
from penstock.gateway.house import House, Provider
from penstock.gateway.purse import CHUNK_TOKENS, Hold
from penstock.gateway.settle import CallFacts, Outcome, end_attempt, settle
from penstock.ledger.reserving import Guard, most_nusd
from penstock.wire.ports import CallerDialect, Identity, Relay

SLACK_TOKENS = 256
"""What may be on its way when we stop: bytes, some three seconds of a usual stream."""
ENOUGH = 2**62
"""More bytes than any stream has."""
_ASK_AT_PERCENT = 80


class Watch:
    """One stream and its hold. ``next_bytes``: until then nothing must be asked."""

    __slots__ = ("_hold", "_house", "_price", "_slack_nusd", "guard", "next_bytes")

    def __init__(self, house: House, hold: Hold) -> None:
        self._house = house
        self._hold = hold
        self._price = hold.quote.output
        self._slack_nusd = most_nusd(SLACK_TOKENS, self._price)
        self.guard = self._guard(self._slack_nusd)
        self.next_bytes = self._free_bytes()

    def goes_on(self, content_bytes: int) -> bool:
        """More is held where it is time for it. False: the stream must end, unless the store has more (``refill``)."""
        quote = self._hold.quote
        tokens = content_bytes if quote.most_tokens is None else min(content_bytes, quote.most_tokens)
        cost_nusd, slack_nusd = quote.input_nusd + most_nusd(tokens, self._price), self._slack_nusd
        if quote.most_tokens is not None:
            most_left_nusd = quote.input_nusd + most_nusd(quote.most_tokens, self._price) - cost_nusd
            if self._hold.reservation.state == "live" and self._free_bytes() == ENOUGH:
                self.next_bytes = ENOUGH  # all that it may come to cost is held, since it was asked
                return True
            slack_nusd = min(slack_nusd, most_left_nusd)  # no more than that can be on its way
        self.guard = self._guard(slack_nusd)
        if not self.guard.produced(cost_nusd, self._house.clock.unix_s()):
            return False
        if self.guard.refused is not None:
            self._hold.treasury.hurry()
        # While it uses up what it holds, every event is looked at.
        self.next_bytes = max(content_bytes + 1, self._free_bytes())
        return True

    async def refill(self) -> None:
        """Hold more, if it is to be had anywhere."""
        more_nusd, least_nusd = self.guard.lacked
        refused = await self._hold.treasury.refill(self._hold.reservation.id, more_nusd, least_nusd)
        self.guard.refused = refused

    @property
    def reason(self) -> tuple[str, str]:
        """Why it must end, and the code of that."""
        refused = self.guard.refused
        if refused is None:
            return "The budget has no more left.", "budget-exhausted"
        return refused.reason, refused.code

    def _guard(self, slack_nusd: int) -> Guard:
        """Asking for no more than the reply can still come to cost."""
        quote, held = self._hold.quote, self._hold.reservation
        chunk_nusd = most_nusd(CHUNK_TOKENS, self._price)
        if quote.most_tokens is not None:
            most = quote.input_nusd + most_nusd(quote.most_tokens, self._price)
            chunk_nusd = min(chunk_nusd, max(1, most - held.held))
        treasury = self._hold.treasury
        return Guard(treasury, held, chunk_nusd, slack_nusd, quote.input_nusd)

    def _free_bytes(self) -> int:
        quote, held_nusd = self._hold.quote, self._hold.reservation.held
        price = self._price
        room_nusd = held_nusd - quote.input_nusd
        if quote.most_tokens is not None and room_nusd >= most_nusd(quote.most_tokens, price):
            return ENOUGH
        free_nusd = min(room_nusd * _ASK_AT_PERCENT // 100, room_nusd - self._slack_nusd)
        if not price.pico_usd:
            return ENOUGH
        return max(0, free_nusd * price.per * 1000 // price.pico_usd)


def cut_short(
    house: House,
    facts: CallFacts,
    provider: Provider,
    outcome: Outcome,
    caller: CallerDialect,
    watch: Watch | None,
) -> bytes:
    """Settle the call as delivered up to here; the last bytes for its caller."""
    ask, relay = facts.ask, outcome.relay
    assert ask is not None
    assert relay is not None
    assert watch is not None
    if isinstance(relay, Recorded):
        relay = outcome.relay = relay.spoil()
    reason, code = watch.reason
    outcome.cut = True
    end_attempt(house, provider, outcome, ask)
    outcome.delivered = True
    relay.stopped, relay.native_stop = "length", "budget"
    facts.note("cut", outcome, reason=f"the reply was ended at what is held for it: {reason}", code=code)
    events: list[Event] = [Stopped("length", "budget"), Finished()]
    if outcome.usage is not None:
        events.insert(0, UsageSeen(outcome.usage))
    settle(house, facts, None)
    early = cast("Callable[[list[Event]], bytes] | None", getattr(relay, "end_early", None))
    if early is not None:  # it knows what is open in the stream
        return early(events)
    identity = _as_upstream(relay, facts)
    return caller.writer(ask, identity).write(events)


def _as_upstream(relay: Relay, facts: CallFacts) -> Identity:
    """The last event says of itself what the provider's own said."""
    model = relay.model or ("" if facts.ask is None else facts.ask.model)
    identity = Identity(relay.upstream_id or facts.request_id, facts.at_ms // 1000, model)
    told: Identity | None = getattr(relay, "identity", None)
    if told is None:
        return identity
    return msgspec.structs.replace(identity, provider=told.provider, charge=told.charge, story=told.story)
