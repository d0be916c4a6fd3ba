"""Before an attempt costs anything: everything that can still say no, and the money that must be held for it.

Money comes first: a key that was chosen, or a probe that health has let in, is another call's chance while it waits.
"""

import time

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, Forbidden
from penstock.gateway.allowance import Allowance, no_entry, no_money
from penstock.gateway.house import House, Provider
from penstock.gateway.planning import Planned
from penstock.gateway.purse import Hold, Purse, Quote, with_cap
from penstock.gateway.remote import Translator
from penstock.gateway.settle import CallFacts, Outcome
from penstock.ledger.budgets import Refused
from penstock.routing.plan import Step
from penstock.routing.schedule import Schedule, Try


def charged(
    allowance: Allowance, facts: CallFacts, outcome: Outcome, tokens: int, now_s: float, unix_s: float
) -> bool:
    """Take all that the call needs here and now, money for its first attempt included. False: nothing was taken."""
    quote = None
    if allowance.purse is not None:
        ask = facts.ask
        assert ask is not None
        found = allowance.purse.quote(ask, outcome.target, unix_s)
        if isinstance(found, Rejected) or found.unsent:
            return False
        quote = found
    held = take(allowance, facts.request_id, quote, tokens, now_s, unix_s)
    if held is False:
        return False
    outcome.hold = held if isinstance(held, Hold) else None
    facts.entered = True
    facts.estimated_tokens = tokens
    return True


def take(
    allowance: Allowance, request_id: str, quote: Quote | None, tokens: int, now_s: float, unix_s: float
) -> Hold | bool:
    """Money, places and rates: what is held, or True where there is no purse. False: nothing was taken."""
    purse, hold = allowance.purse, True
    if purse is not None and quote is not None:
        hold = purse.hold(f"{request_id}/0", quote, unix_s)
        if not isinstance(hold, Hold):
            return False
    if allowance.enter(request_id, tokens, now_s) is not None:
        if isinstance(hold, Hold):
            hold.settle(0)
        return False
    return hold


Ready = tuple[Step, Outcome, str]
"""What goes out, the attempt, and its secret."""


_ASKS = 3
"""What was fetched for one call another may take before it: then it is asked for again, but not for ever."""


async def enter(facts: CallFacts, tokens: int) -> None:
    """Take the principal's rates and places. Raises RateLimited where there are none left."""
    allowance = facts.principal.allowance
    if allowance is None:
        return
    refused = allowance.enter(facts.request_id, tokens, time.monotonic())
    if refused is not None and allowance.advance is not None:
        for _ in range(_ASKS):
            came = await allowance.advance.fetch(tokens)
            refused = allowance.enter(facts.request_id, tokens, time.monotonic())
            if refused is None or not came:
                break
    if refused is not None:
        raise no_entry(refused)
    facts.entered = True
    facts.estimated_tokens = tokens


def begin(
    house: House, facts: CallFacts, translator: Translator, attempt: Try, provider: Provider, now_s: float
) -> Ready | Rejected:
    """The attempt, or what says no."""
    step = attempt.step
    target = step.target
    rejected = None if step.pass_through else translator.refuse(provider, target)
    if rejected is None:
        choice = provider.keys.choose(
            target.model,
            now_s,
            house.rng,
            avoid=attempt.avoid_keys,
            allowed=facts.principal.keys_of(target.provider),
        )
        if isinstance(choice, Rejected):
            rejected = choice
        else:
            key = choice.key
            rejected = house.health.admit(target.name, now_s)
            if rejected is None or attempt.last_resort:
                outcome = Outcome(
                    target,
                    key.name,
                    attempt.attempt,
                    rejected is None,
                    step.pass_through,
                    now_s,
                )
                facts.outcomes.append(outcome)
                facts.note("try", outcome, reason=f"{attempt.reason}; key: {choice.reason}")
                return step, outcome, key.secret
            provider.keys.release(key.name, now_s)
    facts.note("refused", target=target.name, reason=rejected.reason, code=rejected.code)
    if rejected.caller_fault and attempt.last_resort and not facts.outcomes:
        raise BadRequest(rejected.reason, param=rejected.param, code=rejected.code)
    return rejected


async def begin_either(
    house: House, facts: CallFacts, translator: Translator, attempt: Try, provider: Provider, now_s: float
) -> Ready | Rejected:
    """The attempt, or what says no; for a call with budgets or without."""
    allowance = facts.principal.allowance
    if allowance is None or allowance.purse is None:
        return begin(house, facts, translator, attempt, provider, now_s)
    return await begin_funded(house, facts, allowance.purse, translator, attempt, provider)


async def begin_funded(
    house: House, facts: CallFacts, purse: Purse, translator: Translator, attempt: Try, provider: Provider
) -> Ready | Rejected:
    """The same for a call that has budgets: its money comes first, and goes back where the attempt does not begin."""
    funded = await _fund(house, facts, purse, attempt)
    if isinstance(funded, Rejected):
        return funded
    step, hold = funded
    begun = False
    try:
        attempt = msgspec.structs.replace(attempt, step=step)
        ready = begin(house, facts, translator, attempt, provider, time.monotonic())
        begun = not isinstance(ready, Rejected)
    finally:
        if not begun:
            hold.settle(0)
    if not isinstance(ready, Rejected):
        outcome = ready[1]
        outcome.hold = hold
        if hold.quote.unsent:
            outcome.adjusted = ("max_tokens-lowered",)
            facts.note(
                "lowered",
                outcome,
                reason=f"max_tokens is {_a_choice(facts, hold)}: the budgets cover no more",
            )
    return ready


def _a_choice(facts: CallFacts, hold: Hold) -> int:
    """The maximum of each of the call's choices, so that all together keep what is held."""
    return hold.quote.tokens // (1 if facts.ask is None else facts.ask.n)


async def _fund(house: House, facts: CallFacts, purse: Purse, attempt: Try) -> tuple[Step, Hold] | Rejected:
    """Hold what the attempt may cost. The step is another one where its maximum had to be lowered.

    A call whose first attempt a budget refuses is refused; for a later one it is a target that cannot be tried.
    """
    step, ask = attempt.step, facts.ask
    assert ask is not None
    quote = purse.quote(ask, step.target, house.clock.unix_s())
    if isinstance(quote, Rejected):
        facts.note("refused", target=step.target.name, reason=quote.reason, code=quote.code)
        if attempt.last_resort and not facts.outcomes:
            raise Forbidden(quote.reason, code=quote.code)
        return quote
    facts.funded += 1
    held = await purse.obtain(f"{facts.request_id}/{facts.funded}", quote)
    if isinstance(held, Refused):
        facts.note("refused", target=step.target.name, reason=held.reason, code=held.code)
        if not facts.outcomes:
            fault = purse.treasury.store.fault
            if fault is not None:
                house.log_once(f"state {fault}", fault)
            if house.watcher is not None:
                house.watcher.refused(held)
            raise no_money(held, fault)
        return Rejected(held.code, held.reason, retry_after_s=held.retry_after_s)
    return capped(step, facts, held) if held.quote.unsent else step, held


def capped(step: Step, facts: CallFacts, held: Hold) -> Step:
    """The step with the maximum that is held for it."""
    assert facts.ask is not None
    target = with_cap(step.target, facts.ask, _a_choice(facts, held))
    return msgspec.structs.replace(step, target=target)


def schedule_of(house: House, planned: Planned, deadline_s: float) -> Schedule:
    """What of the plan is tried when, until ``deadline_s``."""
    return Schedule(
        planned.steps,
        retries=house.retries,
        key_count=house.key_count,
        max_attempts=planned.max_attempts or house.config.server.max_attempts,
        deadline_s=deadline_s,
        rng=house.rng,
    )
