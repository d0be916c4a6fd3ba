"""A place at a provider for one attempt, waited for where it must be (gateway.queue).

Rules
- Waiting comes before all that an attempt takes. No key, no probe and no money is held meanwhile, and what is decided then
  is decided by what is known then.
- A call never waits longer than it may last, and not at all for a target that would refuse it now.
"""

import time
from typing import Self

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.gateway.house import House, Provider
from penstock.gateway.queue import ProviderQueue
from penstock.gateway.remote import Translator
from penstock.gateway.settle import CallFacts
from penstock.routing.schedule import Try


class Place(Struct, frozen=True):
    """A place at a provider until the block ends, had since ``at_s``; of one without a queue, nothing."""

    at_s: float
    queue: ProviderQueue | None = None
    facts: CallFacts | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.queue is not None and self.facts is not None:
            outcomes = self.facts.outcomes
            self.queue.leave(self.facts.principal.name, outcomes[-1].usage if outcomes else None)


def place_now(facts: CallFacts, provider: Provider, now_s: float) -> Place | None:
    """A place that is free, or none that is needed; None: it must be waited for."""
    queue = provider.queue
    if queue is None:
        return Place(now_s)
    return Place(now_s, queue, facts) if queue.enter_now() else None


async def wait_for_place(
    house: House, facts: CallFacts, attempt: Try, translator: Translator, now_s: float, deadline_s: float
) -> Place | Rejected:
    """A place at a provider that is busy; refused where there is none to be had."""
    target = attempt.step.target
    provider = house.providers[target.provider]
    queue, ask = provider.queue, facts.ask
    assert queue is not None
    assert ask is not None
    if not attempt.step.pass_through and translator.refuse(provider, target) is not None:
        return Place(now_s)  # what refuses it without a queue shall do so now, too: it never gets further
    refused = None if attempt.last_resort else house.health.check(target.name, now_s)
    refused = refused or provider.keys.check(
        target.model, now_s, allowed=facts.principal.keys_of(target.provider)
    )
    if refused is not None:
        facts.note("refused", target=target.name, reason=refused.reason, code=refused.code)
        return refused
    key = facts.principal.name
    tokens = house.estimator.tokens(target.model, ask.input_bytes) + queue.reply_tokens(key, ask.max_tokens)
    facts.note(
        "queued",
        target=target.name,
        reason=f"{queue.running} calls run at {queue.name} and {queue.waiting} wait; {facts.priority}",
    )
    try:
        refused = await queue.enter(key, tokens, facts.priority, deadline_s - now_s)
    finally:
        at_s = time.monotonic()
        facts.waited_s += at_s - now_s
    if refused is not None:
        facts.note("refused", target=target.name, reason=refused.reason, code=refused.code)
        return refused
    facts.note("turn", target=target.name, reason=f"waited {(at_s - now_s) * 1000:.0f} ms in the queue")
    return Place(at_s, queue, facts)
