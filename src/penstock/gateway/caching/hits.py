"""A kept answer goes to its caller: in his dialect, streamed or whole, with an identity of its own, at no cost.

Rules
- A hit is a call like any other in the ledger: one entry of class ``cache_hit``, that cost 0 and saved what the answer had
  cost.
- The reply's usage is what the answer took when it was made: its length is the same. What it cost now is in
  ``x-penstock-cost-usd``.
- It names the model as a fetched reply to the same call does (``model_named``). It is no attempt: ``x-penstock-attempts`` is 0.
- Streams leave at once, or with the provider's own pauses, each cut to ``MOST_GAP_MS``.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from penstock.base.events import Event, Started
from penstock.base.models import Target
from penstock.cache.answer import Answer
from penstock.cache.ports import Found
from penstock.gateway.heads import reply_head
from penstock.gateway.house import House
from penstock.gateway.identity import asked_name
from penstock.gateway.planning import Planned
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.settle import CallFacts, Outcome, settle
from penstock.wire.ports import Charge, Identity, ReplyWriter

MOST_GAP_MS = 10.0
_FREE = Charge(0, 0, 0)


def identity_of_hit(facts: CallFacts, provider: str, model: str) -> Identity:
    """What a reply from the cache says it is: this call's own id and time. ``model``: see ``model_named``."""
    return Identity(facts.request_id, facts.at_ms // 1000, model, provider, lambda usage, served: _FREE)


def model_named(
    house: House, facts: CallFacts, planned: Planned, served: tuple[str, str], events: Iterable[Event]
) -> str:
    """The model as this caller would read it if the answer were fetched. ``served``: who answered, provider and model.

    Where the caller's dialect is the provider's, a fetched reply passes through, and its model is the provider's own word; else
    it is written here, and its model is the caller's word.
    """
    name = "/".join(served)
    step = next((one for one in planned.steps if one.target.name == name), planned.steps[0])
    if step.pass_through:
        said = next((event.model for event in events if isinstance(event, Started)), "")
        if said:
            return said
    asked = asked_name(
        house, facts, msgspec.structs.replace(step.target, provider=served[0], model=served[1])
    )
    return asked or ("" if facts.ask is None else facts.ask.model) or name


def outcome_of(
    facts: CallFacts, target: Target, provider: str, model: str, saved_nusd: int | None
) -> Outcome:
    """The entry of a hit, beside which there is no attempt."""
    now_s = time.monotonic()
    served = msgspec.structs.replace(target, provider=provider, model=model)
    outcome = Outcome(served, "", 0, False, False, now_s, status=200, hit=True, saved_nusd=saved_nusd or 0)
    facts.outcomes.append(outcome)
    return outcome


def deliver(house: House, facts: CallFacts, outcome: Outcome, why: str) -> None:
    """Settle it as delivered."""
    outcome.delivered = True
    outcome.end_s = time.monotonic()
    facts.note("delivered", outcome, reason=why)
    settle(house, facts, None)


def cache_lines(
    how: str, *, now_ms: int = 0, answer: Answer | None = None, found: Found | None = None
) -> bytes:
    """What a reply says of the cache."""
    lines = b"x-penstock-cache: %b\r\n" % how.encode()
    if answer is not None:
        age_s = max(0, now_ms - answer.created_ms) // 1000
        lines += b"x-penstock-cache-entry: %b\r\nx-penstock-cache-age: %d\r\n" % (answer.id.encode(), age_s)
    if found is not None and found.refused is None:
        lines += b"x-penstock-cache-score: %.4f\r\n" % found.score
        if found.threshold is not None and found.threshold.value is not None:
            lines += b"x-penstock-cache-threshold: %.4f\r\n" % found.threshold.value
    return lines


def stream_head(facts: CallFacts, outcome: Outcome) -> bytes:
    """Of a stream out of the cache."""
    return reply_head(facts, outcome, stream=True)


async def replay(
    house: House,
    inbound: Inbound,
    reply: Reply,
    facts: CallFacts,
    outcome: Outcome,
    answer: Answer,
    *,
    model: str,
    paced: bool,
) -> None:
    """Write the answer, settled before its last byte leaves."""
    ask = facts.ask
    assert ask is not None
    writer = inbound.caller.writer(ask, identity_of_hit(facts, answer.provider, model))
    why = f"kept answer {answer.id}"
    events = list(answer.events)
    if not ask.stream:
        body = writer.whole(events)
        deliver(house, facts, outcome, why)
        reply.send(200, reply_head(facts, outcome, stream=False), body)
        return
    if paced and any(answer.gaps_ms):
        await _paced(
            reply, writer, facts, outcome, events, answer.gaps_ms, lambda: deliver(house, facts, outcome, why)
        )
        return
    first = writer.write(events)
    deliver(house, facts, outcome, why)
    reply.start(200, stream_head(facts, outcome), first)
    reply.end()


async def _paced(
    reply: Reply,
    writer: ReplyWriter,
    facts: CallFacts,
    outcome: Outcome,
    events: list[Event],
    gaps_ms: Sequence[float],
    settled: Callable[[], None],
) -> None:
    groups = grouped(events, gaps_ms)
    for at, (gap_ms, group) in enumerate(groups):
        if gap_ms:
            await asyncio.sleep(gap_ms / 1000)
        out = writer.write(group)
        if at == len(groups) - 1:
            settled()
        if at == 0:
            outcome.content_s = time.monotonic()
            facts.own_s = outcome.content_s - facts.received_s - facts.waited_s
            reply.start(200, stream_head(facts, outcome), out)
        else:
            reply.write(out)
    reply.end()


def grouped(events: list[Event], gaps_ms: Sequence[float]) -> list[tuple[float, list[Event]]]:
    """Events that came together, each group with the pause before it, cut to ``MOST_GAP_MS``."""
    groups: list[tuple[float, list[Event]]] = []
    for at, event in enumerate(events):
        gap_ms = gaps_ms[at] if at < len(gaps_ms) else 0.0
        if groups and gap_ms < 1:
            groups[-1][1].append(event)
        else:
            groups.append((min(gap_ms, MOST_GAP_MS), [event]))
    return groups
