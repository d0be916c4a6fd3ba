"""How many tokens is this prompt? The provider's own count where it has one, else our estimate; and which of them it is.

Rules
- Asked is the target that the call itself would try first, with one of its keys; there is no second try and no charge. A key's rates and places hold.
- A provider that refuses the request itself says why, and so do we. One that cannot be asked just now (busy, away, no key)
  is replaced by the estimate: a count is there to decide something by.
"""

import time
from typing import cast

from msgspec import Struct

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import UpstreamBadRequest, UpstreamError, UpstreamTooLarge
from penstock.base.models import Target
from penstock.gateway.attempt import enter
from penstock.gateway.house import House, Provider
from penstock.gateway.planning import plan_call
from penstock.gateway.remote import Translator, access_token, hide_secrets, refusal
from penstock.gateway.settle import CallFacts
from penstock.routing.plan import Step
from penstock.wire.http import WireRequest
from penstock.wire.ports import CallerDialect, CountingDialect, PassThroughDialect

MAX_REPLY_BYTES = 64 * 1024
TOTAL_S = 30.0
_OK = 200
_REDIRECT = 300


class Counted(Struct, frozen=True):
    """``by`` is "provider" or "estimate"."""

    tokens: int
    by: str
    target: Target


async def count_tokens(house: House, caller: CallerDialect, ask: Ask, facts: CallFacts) -> Counted:
    """The count, for a caller that was let in (``facts.principal``). Raises what planning raises, or the provider's refusal."""
    facts.ask = ask
    planned, estimate = plan_call(house, ask, facts, caller.family, time.monotonic())
    step = planned.steps[0]
    provider = house.providers[step.target.provider]
    if not hasattr(provider.dialect, "count_request"):
        return Counted(estimate, "estimate", step.target)
    await enter(facts, 0)
    try:
        tokens = await _ask_provider(house, provider, step, Translator(caller, ask), ask, facts)
    finally:
        allowance = facts.principal.allowance
        if facts.entered and allowance is not None:
            allowance.leave(facts.request_id, 0, 0, time.monotonic())
    if tokens is not None:
        return Counted(tokens, "provider", step.target)
    return Counted(estimate, "estimate", step.target)


async def _ask_provider(
    house: House, provider: Provider, step: Step, translator: Translator, ask: Ask, facts: CallFacts
) -> int | None:
    """The provider's count, or None where it cannot be asked now."""
    target, keys = step.target, facts.principal.keys_of(step.target.provider)
    refused = None if step.pass_through else translator.refuse(provider, target)
    if refused is not None:
        raise UpstreamBadRequest(refused.reason, code=refused.code, param=refused.param)
    choice = provider.keys.choose(target.model, time.monotonic(), house.rng, allowed=keys)
    if isinstance(choice, Rejected):
        return None
    credential = choice.key.secret
    try:
        if provider.tokens is not None:
            credential = await access_token(provider.tokens, TOTAL_S)
        request = _written(provider, step, translator, ask, credential)
        return await _exchanged(provider, request)
    except UpstreamError as error:
        if isinstance(error, UpstreamBadRequest | UpstreamTooLarge):
            hide_secrets(error, provider, credential)
            raise
        return None


def _written(
    provider: Provider, step: Step, translator: Translator, ask: Ask, credential: str
) -> WireRequest:
    if step.pass_through:
        passing = cast("PassThroughDialect", provider.dialect)
        return passing.splice_request(ask, step.target, credential)
    counting = cast("CountingDialect", provider.dialect)
    return counting.count_request(
        cast("ChatRequest", translator.request(provider, step.target)), step.target, credential
    )


async def _exchanged(provider: Provider, request: WireRequest) -> int:
    exchange = await provider.transport.send(request, provider.deadlines(TOTAL_S, stream=False))
    try:
        if not _OK <= exchange.status < _REDIRECT:
            raise await refusal(provider, exchange)
        return cast("CountingDialect", provider.dialect).read_count(await exchange.read(MAX_REPLY_BYTES))
    finally:
        exchange.abort()
