"""An answer that nobody has asked for yet is kept as if its call had been made (``penstock cache warm``)."""

import time

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest
from penstock.base.events import Event, Started, UsageSeen
from penstock.cache.eligible import last_user_text
from penstock.gateway.caching.keeping import Delivered, keepable
from penstock.gateway.caching.means import Means
from penstock.gateway.caching.wanting import wanted_of
from penstock.gateway.house import House
from penstock.gateway.planning import plan_call
from penstock.gateway.ports import Inbound
from penstock.gateway.principal import Principal
from penstock.gateway.remote import Translator
from penstock.gateway.settle import CallFacts, Outcome, begin_facts
from penstock.ledger.prices import price_lines, row_at

__all__ = ["fill"]


class _Filled:
    """What ``wanted_of`` asks of a call."""

    __slots__ = ("facts", "house", "inbound", "reply", "translator")

    def __init__(self, house: House, inbound: Inbound, facts: CallFacts, translator: Translator) -> None:
        self.house = house
        self.inbound = inbound
        self.facts = facts
        self.translator = translator
        self.reply = None


async def fill(
    house: House,
    means: Means,
    inbound: Inbound,
    principal: Principal,
    events: tuple[Event, ...],
    namespace: str | None,
) -> str:
    """The entry's id. Raises BadRequest for what may not be kept, and what planning raises."""
    if namespace:
        inbound.told[b"x-penstock-cache-namespace"] = namespace.encode()
    facts = begin_facts("gen-warmed", time.monotonic(), house.clock.unix_s())
    facts.principal = principal
    facts.ask = ask = inbound.ask = inbound.caller.read_request(inbound.body)
    planned, _ = plan_call(house, ask, facts, inbound.caller.family, time.monotonic())
    call = _Filled(house, inbound, facts, Translator(inbound.caller, ask))
    wanted = await wanted_of(means, call, planned)  # type: ignore[arg-type] - it has no reply, and needs none
    if isinstance(wanted, Rejected):
        raise _unkept(wanted)
    meaning = means.meaning
    if meaning is not None and wanted.semantic:
        looked = await meaning.look(wanted, virtual_key=principal.name, route=ask.model)
        if isinstance(looked, Rejected):
            wanted.semantic_no = looked
        elif await meaning.complete(looked):
            wanted.vectored = looked
    target = planned.steps[0].target
    usage = next((event.usage for event in events if isinstance(event, UsageSeen)), None)
    cost_nusd = None
    if usage is not None:
        _, cost_nusd = price_lines(usage, row_at(target.facts.price, facts.at_ms))
    outcome = Outcome(target, "", 1, False, False, time.monotonic(), cost_nusd=cost_nusd)
    # As the provider would name it: a hit that passes for its reply says that name.
    events = tuple(
        Started(target.model) if isinstance(event, Started) and not event.model else event for event in events
    )
    prompt = last_user_text(wanted.neutral) or ""  # type: ignore[arg-type] - None of what is no chat
    found = keepable(
        Delivered(facts, outcome, planned, wanted, events, (), prompt),
        settings=means.settings,
        semantic=means.semantic_settings,
        now_ms=means.now_ms(),
    )
    if isinstance(found, Rejected):
        raise _unkept(found)
    if not means.blobs.put(found.blob, wanted.since):
        raise _unkept(Rejected("purged-meanwhile", "It was purged while it was filled in."))
    if meaning is not None and wanted.vectored is not None and found.about is not None:
        meaning.keep(wanted.vectored, found.answer.id, wanted.place, wanted.key, found.about.until_ms)
    return found.answer.id


def _unkept(no: Rejected) -> BadRequest:
    return BadRequest(f"This answer may not be kept: {no.reason}", code=no.code)
