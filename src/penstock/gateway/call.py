"""One chat call, station by station: admit, read, plan, limit, try, deliver, settle.

This file sequences; it does not compute. A station that grows moves to its room (at most 250 lines, house rule).
"""

import asyncio
import time

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import (
    CallerGone,
    NotFound,
    OurFault,
    PenstockError,
    RateLimited,
    UpstreamError,
    UpstreamNotFound,
)
from penstock.base.money import usd_text
from penstock.gateway.heads import reply_headers, server_timing, trace_facts
from penstock.gateway.house import House, Provider
from penstock.gateway.ports import Inbound, Reply
from penstock.gateway.principal import ANYONE, Principal
from penstock.gateway.record import Explain, Happening, tell
from penstock.gateway.remote import MAX_REPLY_BYTES, Remote, Sent, Translator
from penstock.gateway.settle import CallFacts, Outcome, entry, price
from penstock.gateway.stream import Delivery
from penstock.ledger.entry import Call, Record
from penstock.routing.keys import KeyChoice
from penstock.routing.plan import no_steps, plan
from penstock.routing.schedule import Schedule, Stop, Try, Wait
from penstock.wire.http import Headers
from penstock.wire.ports import Identity

_JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")


class ChatCall:
    """The life of one request. ``run`` once; a PenstockError leaves it only while nothing was sent yet."""

    def __init__(self, house: House, inbound: Inbound, reply: Reply, request_id: str) -> None:
        self.house = house
        self.inbound = inbound
        self.reply = reply
        self.principal: Principal = ANYONE
        self.ask: Ask | None = None
        self.explain = Explain(happenings=[])
        self.outcomes: list[Outcome] = []
        self.estimated_tokens = 0
        self.waited_s = 0.0
        self.adjusted: tuple[str, ...] = ()
        now_unix_s = house.clock.unix_s()
        self.wall_offset_s = now_unix_s - time.monotonic()
        self.facts = CallFacts(request_id, int(now_unix_s * 1000))
        self.settled = False
        self.limit_headers: Headers = []

    async def run(self) -> None:
        """Serve the call. Every way out settles it exactly once."""
        try:
            await self._run()
        except asyncio.CancelledError:
            self._settle(CallerGone("The caller hung up."))
            raise
        except PenstockError as error:
            self._settle(error)
            if not self.reply.started:
                raise
            self.reply.end(self.inbound.caller.write_stream_error(error, self.facts.request_id))

    async def _run(self) -> None:
        house, inbound, facts = self.house, self.inbound, self.facts
        self.principal = principal = house.doors.admit(inbound.headers, house.clock.unix_s())
        self.ask = ask = inbound.caller.read_request(inbound.body)
        trace_facts(facts, inbound.headers, ask, principal)
        chain = house.names.chain(ask.model, models=ask.models, fallbacks=ask.fallbacks)
        if isinstance(chain, Rejected):
            raise NotFound(chain.reason, code="model_not_found", param="model")
        now_s = time.monotonic()
        tokens = house.estimator.tokens(chain.targets[0].model, ask.input_bytes)
        planned = plan(
            chain,
            needs=ask.needs,
            input_tokens=tokens,
            max_tokens=ask.max_tokens,
            caller_family=getattr(inbound.caller, "family", inbound.caller.name),
            patterns=principal.patterns,
            preferences=ask.provider,
            refuse=None,
            health=house.health,
            now_s=now_s,
            may_pass_through=house.may_pass_through(inbound.caller),
        )
        tell(self.explain, chain, planned)
        if not planned.steps:
            raise no_steps(planned)
        self._limit(tokens, now_s)
        if house.journal.full:
            raise OurFault(
                "The ledger cannot keep up; calls are refused rather than lost.",
                code="ledger_full",
                status=503,
                retry_after_s=1,
            )
        schedule = Schedule(
            planned.steps,
            retries=house.retries,
            key_count=house.key_count,
            max_attempts=chain.max_attempts or house.config.server.max_attempts,
            deadline_s=now_s + house.config.server.total_timeout_ms / 1000,
            rng=house.rng,
        )
        await self._attempts(schedule, ask, now_s + house.config.server.total_timeout_ms / 1000)

    def _limit(self, tokens: int, now_s: float) -> None:
        limits = self.principal.limits
        if limits is None:
            return
        refused = limits.admit(tokens, now_s)
        self.limit_headers = limits.headers(now_s)
        if refused is not None:
            raise RateLimited(refused.reason, retry_after_s=refused.retry_after_s, code=refused.code)
        self.estimated_tokens = tokens

    async def _attempts(self, schedule: Schedule, ask: Ask, deadline_s: float) -> None:
        translator = Translator(self.inbound.caller, ask)
        identity = Identity(self.facts.request_id, self.facts.at_ms // 1000, ask.model)
        remote = Remote(self.inbound.caller, ask, identity, translator)
        while True:
            now_s = time.monotonic()
            match schedule.next(now_s):
                case Try() as attempt:
                    provider = self.house.providers[attempt.step.target.provider]
                    choice = self._start(attempt, provider, translator, now_s)
                    if isinstance(choice, Rejected):
                        schedule.unavailable(choice, now_s)
                    elif await self._try(attempt, provider, choice, remote, schedule, deadline_s):
                        return
                case Wait(wait_s=wait_s, reason=reason):
                    self._note("wait", reason=reason)
                    self.waited_s += wait_s
                    await asyncio.sleep(wait_s)
                case Stop(error=error, reason=reason):
                    self._note("stop", reason=reason, code=error.code)
                    raise error

    def _start(
        self, attempt: Try, provider: Provider, translator: Translator, now_s: float
    ) -> KeyChoice | Rejected:
        """Everything that can still say no before the attempt costs anything."""
        step, house = attempt.step, self.house
        target = step.target
        rejected = None if step.pass_through else translator.refuse(provider, target)
        if rejected is None:
            choice = provider.keys.choose(
                target.model,
                now_s,
                house.rng,
                avoid=attempt.avoid_keys,
                allowed=self.principal.keys_of(target.provider),
            )
            if not isinstance(choice, Rejected):
                rejected = house.health.admit(target.name, now_s, last=attempt.last)
                if rejected is None:
                    return choice
            else:
                rejected = choice
        self._note("refused", target=target.name, reason=rejected.reason, code=rejected.code)
        return rejected

    async def _try(
        self,
        attempt: Try,
        provider: Provider,
        choice: KeyChoice,
        remote: Remote,
        schedule: Schedule,
        deadline_s: float,
    ) -> bool:
        """One attempt. True when the caller has the answer (or its honest end); False to go on."""
        start_s = time.monotonic()
        target, key = attempt.step.target, choice.key
        self._note("try", target=target.name, reason=attempt.reason, choice=choice, attempt=attempt.attempt)
        outcome = Outcome(target, key.name, attempt.attempt, start_s)
        self.outcomes.append(outcome)
        sent: Sent | None = None
        try:
            credential = key.secret if provider.tokens is None else await provider.tokens.token()
            outcome.sent = True
            sent = await remote.send(provider, attempt.step, credential, deadline_s - start_s)
            outcome.relay, outcome.status = sent.relay, sent.exchange.status
            self.adjusted = sent.adjusted
            self.waited_s += sent.head_s - start_s
            await self._deliver(sent, outcome, provider)
        except UpstreamError as error:
            self._failed(outcome, provider, error)
            if self.reply.started:
                raise
            schedule.failed(key.name, error, time.monotonic())
            return False
        except asyncio.CancelledError:
            self.house.health.neutral(target.name)
            raise
        finally:
            if sent is not None:
                sent.exchange.abort()
        return True

    async def _deliver(self, sent: Sent, outcome: Outcome, provider: Provider) -> None:
        """The answer to the caller, settled before its last byte leaves."""
        reply, relay = self.reply, sent.relay
        if self.ask is not None and self.ask.stream:
            delivery = Delivery(
                reply,
                sent.exchange,
                relay,
                head=lambda: self._headers(outcome, (b"content-type", b"text/event-stream; charset=utf-8")),
                finish=lambda: self._delivered(outcome, delivery.content_s, provider),
                hold_back_s=self.house.config.server.hold_back_ms / 1000,
                idle_s=provider.stream.idle_s,
            )
            try:
                await delivery.run()
            finally:
                outcome.content_s = delivery.content_s
            return
        body = await sent.exchange.read(MAX_REPLY_BYTES)
        now_s = time.monotonic()
        self.waited_s += now_s - sent.head_s
        relay.feed(body)
        out = relay.close()
        self._delivered(outcome, now_s, provider)
        headers = self._headers(outcome, _JSON)
        if outcome.cost_nusd is not None and outcome.usage is not None:
            headers.append((b"x-penstock-cost-usd", usd_text(outcome.cost_nusd).encode()))
        reply.send(200, headers, out)
