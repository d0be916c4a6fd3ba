"""The short lane: a common call without a task, a future or a schedule, until something goes wrong.

Theory
------
Most calls want a whole reply from a target that is in order, over a connection that is open. For them everything up to the
provider's socket happens in the callback of the caller's socket, and everything after it in the callback of the
provider's (decision 007 has the measurement). ``take`` takes nothing, no limit, no key and no line of the ledger, unless
the call is one of those.

Rules
- What is decided here is decided by the functions of the long way (gateway.call). This file only leaves out what such a
  call does not need.
- What goes wrong after the request left goes on the long way, with the attempt that was made: retries, other keys and
  fallbacks are its business.
- A call ends once: settled, answered, and no longer counted by its host.
"""

import time
from typing import Protocol, cast

from msgspec import Struct

from penstock.base.chat import Ask, ChatRequest
from penstock.base.decisions import Rejected
from penstock.base.errors import CallerGone, UpstreamError
from penstock.base.models import Target
from penstock.gateway.attempt import charged
from penstock.gateway.heads import reply_head, told_by_caller, told_user
from penstock.gateway.house import House, Provider
from penstock.gateway.planning import Planned, remembered
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.principal import user_of
from penstock.gateway.remote import ASIDE_BYTES, MAX_REPLY_BYTES, Attempted, Translator
from penstock.gateway.settle import CallFacts, Outcome, begin_facts, end_attempt, settle
from penstock.gateway.translate import Translation
from penstock.net.connection import Connection
from penstock.net.transport import Exchange
from penstock.routing.plan import Step
from penstock.wire.http import WireRequest
from penstock.wire.ports import (
    CallerDialect,
    Identity,
    NeutralRequest,
    PassThroughDialect,
    Relay,
    UpstreamDialect,
)

_OK = 200
_REDIRECT = 300


class Cancels(Protocol):
    """What a caller that hangs up cancels: a task, or a call of this lane."""

    def cancel(self) -> object:
        """Stop, settle, and free what is held."""
        ...


class Host(Protocol):
    """Who counts the calls and catches what the lane cannot serve (server.app)."""

    inflight: int

    def request_id(self) -> str:
        """A fresh one."""
        ...

    def served(self, call: "LaneCall") -> None:
        """It is over, and went well."""
        ...

    def carry_on(self, call: "LaneCall", made: Attempted) -> Cancels:
        """Serve the rest of the call on the long way, and count it no longer when that is over."""
        ...


class LaneCall(Struct, eq=False):
    """One call on the short lane. ``cancel`` when its caller has gone."""

    host: Host
    house: House
    inbound: Inbound
    reply: Reply
    facts: CallFacts
    planned: Planned
    provider: Provider
    outcome: Outcome
    secret: str
    relay: Relay
    adjusted: tuple[str, ...]
    exchange: Exchange | None = None
    task: Cancels | None = None
    gone: bool = False

    def __repr__(self) -> str:
        """Without the secret."""
        return f"LaneCall({self.facts.request_id})"

    def begin(self, connection: Connection, request: WireRequest) -> None:
        """The request leaves, over an idle connection."""
        self.host.inflight += 1
        provider = self.provider
        deadlines = provider.deadlines(self.house.config.server.total_timeout_ms / 1000, stream=False)
        try:
            self.exchange = provider.transport.begin(
                connection, request, deadlines, self.over, MAX_REPLY_BYTES
            )
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.carry_on(error)

    def cancel(self) -> None:
        """The caller hung up: the provider's connection closes at once, and what was consumed is billed."""
        if self.task is not None:
            self.task.cancel()
            return
        if self.gone:
            return
        self.gone = True
        self.host.inflight -= 1
        exchange, facts = self.exchange, self.facts
        facts.waited_s = time.monotonic() - self.outcome.start_s
        if exchange is not None:
            self._began(exchange.status)
            exchange.abort()
        settle(self.house, facts, CallerGone("The caller hung up."))
        self._leave()

    def over(self) -> None:
        """The provider has answered, or will not."""
        if self.gone:
            return
        exchange, outcome, facts = self.exchange, self.outcome, self.facts
        assert exchange is not None
        try:
            now_s = time.monotonic()
            facts.waited_s = now_s - outcome.start_s
            if not self._began(exchange.status):
                # A status alone is an answer: what became of its body is nothing to the long way.
                self.carry_on(None if exchange.status else exchange.error)
                return
            try:
                body = exchange.whole(MAX_REPLY_BYTES)
                outcome.content_s = now_s
                self.relay.feed(body)
                out = self.relay.close()
            except UpstreamError as error:
                self.carry_on(error)
                return
            outcome.delivered = True
            end_attempt(self.house, self.provider, outcome, facts.ask)
            facts.note("delivered", outcome)
            settle(self.house, facts, None)
            self.reply.send(_OK, reply_head(facts, outcome, stream=False), out)
        except Exception as error:  # noqa: BLE001 - the shield: named in tests/house/test_swallow.py
            self.carry_on(error)
            return
        self.gone = True
        self.host.inflight -= 1
        self._leave()
        self.host.served(self)

    def _leave(self) -> None:
        """The attempt is over: its place at the provider is the next call's."""
        if self.provider.queue is not None:
            self.provider.queue.leave(self.facts.principal.name, self.outcome.usage)

    def _began(self, status: int) -> bool:
        """Whether a reply that can be delivered has begun; its facts are the call's from then on."""
        if not _OK <= status < _REDIRECT:
            return False
        self.outcome.status = status
        self.outcome.relay = self.relay
        self.facts.adjusted = self.adjusted
        return True

    def carry_on(self, error: BaseException | None) -> None:
        """The rest is not for the lane: ``error`` went wrong, or None: the provider's status says what."""
        self.gone = True
        self._leave()
        operation = "chat" if self.facts.ask is None else self.facts.ask.operation
        made = Attempted(self.planned, self.outcome, self.secret, self.exchange, error, operation)
        self.task = self.host.carry_on(self, made)


class Written(Struct):
    """A call that is translated, as far as nothing is needed for it but its own two dialects."""

    neutral: NeutralRequest
    dialect: UpstreamDialect

    @staticmethod
    def of(caller: CallerDialect, ask: Ask, provider: Provider, target: Target) -> "Written | None":
        """None: the long way knows more (dialogues, signatures, replies that are dressed, refusals)."""
        dialect = provider.spoken.get(ask.operation)
        if dialect is None or provider.sign is not None or provider.detokenize is not None:
            return None
        if hasattr(dialect, "converse") or hasattr(caller, "dress"):
            return None
        translator = Translator(caller, ask)
        if translator.refuse(provider, target) is not None:
            return None
        return Written(translator.request(provider, target), dialect)

    def request(self, target: Target, secret: str) -> WireRequest:
        """What leaves."""
        request = self.dialect.write_request(self.neutral, target, secret)
        if isinstance(self.neutral, ChatRequest) and self.neutral.adjusted:
            request.adjusted = tuple(dict.fromkeys(self.neutral.adjusted + request.adjusted))
        return request


def relay_of(caller: CallerDialect, ask: Ask, provider: Provider, step: Step, facts: CallFacts) -> Relay:
    """What reads the answer to a call of the lane, and writes it for its caller."""
    dialect = provider.spoken[ask.operation]
    if step.pass_through:
        return cast("PassThroughDialect", dialect).relay(ask, stream=False)
    identity = Identity(facts.request_id, facts.at_ms // 1000, ask.model)
    return Translation(dialect.reader(step.target, stream=False), caller.writer(ask, identity), stream=False)


def take(host: Host, house: House, inbound: Inbound, reply: Reply) -> LaneCall | None:
    """Begin the call, if it is one for the short lane.

    Else None, or an error that the long way will find again: then nothing has happened but ``inbound.ask``.
    """
    if len(inbound.body) > ASIDE_BYTES:
        return None  # taken apart beside the loop, the long way
    unix_s = house.clock.unix_s()
    principal = house.doors.admit(inbound.told, inbound.known, unix_s)
    ask = inbound.ask = inbound.ask or inbound.caller.read_request(inbound.body)
    if ask.stream or house.books.full or "penstock" in ask.gateway_fields:
        return None
    if principal.users is not None:
        principal = user_of(principal, told_user(inbound.told, ask))
    kept = remembered(house, ask, principal.patterns, inbound.caller.family)
    if kept is None:
        return None
    planned, tokens = kept
    step = planned.steps[0]
    target = step.target
    provider = house.providers[target.provider]
    keys, transport = provider.keys, provider.transport
    if not transport.direct or provider.tokens is not None or keys.troubled:
        return None
    written = None if step.pass_through else Written.of(inbound.caller, ask, provider, target)
    if written is None and not step.pass_through:
        return None
    now_s = time.monotonic()
    choice = keys.choose(target.model, now_s, house.rng, allowed=principal.keys_of(target.provider))
    connection = None if isinstance(choice, Rejected) else transport.borrow(now_s)
    if isinstance(choice, Rejected) or connection is None:
        return None
    secret = choice.key.secret
    try:
        facts = begin_facts(host.request_id(), inbound.received_s, unix_s)
        request = _leaving(ask, provider, target, secret, written)
        relay = relay_of(inbound.caller, ask, provider, step, facts)
        facts.principal, facts.ask, facts.explain = principal, ask, planned.explain
        told_by_caller(facts, inbound.told, ask)
        outcome = Outcome(target, choice.key.name, 1, True, step.pass_through, now_s, True)
        facts.outcomes.append(outcome)
        facts.note("try", outcome, reason=f"first try; key: {choice.reason}")
        if not _enter(provider, facts, outcome, tokens, unix_s):  # last: it is charged from here on
            transport.released(connection, used=False)
            return None
        if house.caching is not None and inbound.uncached is not None:
            house.caching.bypass(facts, inbound.uncached)
        call = LaneCall(
            host, house, inbound, reply, facts, planned, provider, outcome, secret, relay, request.adjusted
        )
    except BaseException:
        transport.released(connection, used=False)
        raise
    call.begin(connection, request)
    return call


def _leaving(
    ask: Ask, provider: Provider, target: Target, secret: str, written: Written | None
) -> WireRequest:
    """What leaves: the caller's own bytes, or what was ``written`` of them."""
    if written is not None:
        return written.request(target, secret)
    return cast("PassThroughDialect", provider.spoken[ask.operation]).splice_request(ask, target, secret)


def _enter(provider: Provider, facts: CallFacts, outcome: Outcome, tokens: int, unix_s: float) -> bool:
    """A place at the provider, and all that the caller's allowance takes. False: nothing was taken."""
    queue, allowance = provider.queue, facts.principal.allowance
    if queue is not None and not queue.enter_now():
        return False
    entered = False
    try:
        entered = allowance is None or charged(allowance, facts, outcome, tokens, outcome.start_s, unix_s)
    finally:
        if queue is not None and not entered:
            queue.leave(facts.principal.name, None)
    return entered
