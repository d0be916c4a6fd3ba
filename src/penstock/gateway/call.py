"""One chat call, station by station: admit, read, plan, limit, try, deliver, settle.

This file sequences, and does not compute. A station that grows moves to its room (at most 250 lines, house rule)."""

import asyncio
import time
from functools import partial
from math import inf

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest, CallerGone, OurFault, PenstockError, UpstreamError
from penstock.gateway.attempt import begin_either, enter, schedule_of
from penstock.gateway.books import ledger_full
from penstock.gateway.caching.entering import check_uncached
from penstock.gateway.cutting import Watch, cut_short
from penstock.gateway.heads import reply_head, told_by_caller, told_user, wants_story
from penstock.gateway.house import House, Provider
from penstock.gateway.identity import identity_of
from penstock.gateway.large import envelope
from penstock.gateway.own_files import inline_files
from penstock.gateway.parameters import losses_of
from penstock.gateway.pictures import finishing
from penstock.gateway.planning import Planned, plan_call
from penstock.gateway.ports import Inbound, Reply, end_failed
from penstock.gateway.preparing import Preparing
from penstock.gateway.principal import user_of
from penstock.gateway.reasoning import remembering
from penstock.gateway.remote import (
    MAX_REPLY_BYTES,
    Attempted,
    Remote,
    Sent,
    Translator,
    access_token,
    attempt_failed,
)
from penstock.gateway.settle import CallFacts, Outcome, end_attempt, settle
from penstock.gateway.stream import Delivery
from penstock.gateway.waiting import place_now, wait_for_place
from penstock.net.exchange import NeverSent
from penstock.routing.plan import Step
from penstock.routing.schedule import Schedule, Stop, Try, Wait
from penstock.wire.ports import Identity


class ChatCall:
    """The life of one request. ``run`` once; a PenstockError leaves it only while nothing was sent yet."""

    __slots__ = ("facts", "house", "inbound", "preparing", "remote", "reply", "translator")

    def __init__(self, house: House, inbound: Inbound, reply: Reply, facts: CallFacts) -> None:
        self.house = house
        self.inbound = inbound
        self.reply = reply
        self.facts = facts

    async def run(self, made: Attempted | None = None) -> None:
        """Serve the call. Every way out settles it exactly once. ``made``: its first attempt, made elsewhere (gateway.lane)."""
        try:
            if made is None:
                await inline_files(self.house, self.inbound, self.facts)
                planned, tokens = self._plan()
                if self.house.caching is None:
                    await self.fetch(planned, tokens)
                else:
                    await self.house.caching.serve(self, planned, tokens)
            else:
                await self._serve(made.planned, made.outcome.start_s, made)
        except asyncio.CancelledError:
            if not self.facts.orphan:
                settle(self.house, self.facts, CallerGone("The caller hung up."))
            raise
        except PenstockError as error:
            settle(self.house, self.facts, error)
            if not self.reply.started:
                raise
            end_failed(self.reply, self.inbound.caller.write_stream_error(error, self.facts.request_id))
        except Exception:
            # A bug: what was consumed until then is still owed, and probes and limits are given back.
            settle(self.house, self.facts, OurFault("The gateway failed to serve this request."))
            raise

    async def fetch(self, planned: Planned, tokens: int) -> None:
        """Have it answered by a provider, at the caller's charge."""
        await enter(self.facts, tokens)
        await self._serve(planned, time.monotonic(), None)

    def _plan(self) -> tuple[Planned, int]:
        house, inbound, facts = self.house, self.inbound, self.facts
        facts.principal = house.doors.admit(inbound.told, inbound.known, facts.at_ms / 1000)
        if house.books.full:  # before all else: a refusal that were recorded would need room, too
            raise ledger_full()
        facts.ask = ask = inbound.ask or envelope(inbound)
        if facts.principal.users is not None:
            facts.principal = user_of(facts.principal, told_user(inbound.told, ask))
        told_by_caller(facts, inbound.told, ask)
        check_uncached(house.caching, inbound.told, ask)
        wishes = ask.provider
        losses = losses_of(house, inbound.caller, ask) if wishes and wishes.require_parameters else None
        return plan_call(house, ask, facts, inbound.caller.family, time.monotonic(), losses=losses)

    async def _serve(self, planned: Planned, now_s: float, made: Attempted | None) -> None:
        house, inbound, facts, ask = self.house, self.inbound, self.facts, self.facts.ask
        assert ask is not None
        self.translator = getattr(self, "translator", None) or Translator(inbound.caller, ask)
        self.preparing = Preparing(house, facts, self.translator)
        identity = Identity(facts.request_id, facts.at_ms // 1000, ask.model)
        self.remote = Remote(
            inbound.caller,
            ask,
            identity,
            self.translator,
            partial(finishing, house, facts),
            lambda target: identity_of(house, facts, identity, target, story=wants_story(inbound.told)),
            remembering(house, facts.principal.name),
            beside=self.preparing,
        )
        deadline_s = now_s + house.config.server.total_timeout_ms / 1000
        schedule = schedule_of(house, planned, deadline_s)
        if made is not None:
            schedule.next(now_s)
            provider = house.providers[made.outcome.target.provider]
            error = await made.failure(provider)
            attempt_failed(house, facts, provider, made.outcome, error, made.secret, deadline_s)
            schedule.failed(made.outcome.key, error, time.monotonic())
        await self._attempts(schedule, deadline_s)

    async def _attempts(self, schedule: Schedule, deadline_s: float) -> None:
        facts = self.facts
        while True:
            now_s = time.monotonic()
            match schedule.next(now_s):
                case Try() as attempt:
                    provider = self.house.providers[attempt.step.target.provider]
                    await self.preparing.prepare(attempt.step, provider)
                    now_s = time.monotonic()
                    place = place_now(facts, provider, now_s) or await wait_for_place(
                        self.house, facts, attempt, self.translator, now_s, deadline_s
                    )
                    if isinstance(place, Rejected):
                        schedule.unavailable(place, time.monotonic())
                        continue
                    with place:
                        made = await self._once(attempt, provider, place.at_s, deadline_s)
                        if isinstance(made, Rejected):
                            schedule.unavailable(made, place.at_s)
                            continue
                        outcome, error = made
                    if error is None:
                        return
                    schedule.failed(outcome.key, error, time.monotonic())
                case Wait(wait_s=wait_s, reason=reason):
                    facts.note("wait", reason=f"{reason}: {wait_s * 1000:.0f} ms")
                    facts.waited_s += wait_s
                    # libuv's timers count whole milliseconds and may fire early; one more spares a second, empty wait.
                    await asyncio.sleep(wait_s + 0.001)
                case Stop(error=error, reason=reason):
                    facts.note("stop", reason=reason, code=error.code)
                    raise error

    async def _once(
        self, attempt: Try, provider: Provider, now_s: float, deadline_s: float
    ) -> tuple[Outcome, UpstreamError | None] | Rejected:
        """One attempt and its error, or why there was none. An answer that can be repaired makes two of it."""
        ready = await begin_either(self.house, self.facts, self.translator, attempt, provider, now_s)
        if isinstance(ready, Rejected):
            return ready
        step, outcome, secret = ready
        error = await self._try(step, provider, outcome, secret, deadline_s)
        again = None if error is None else self.preparing.repair(attempt, provider, error)
        if again is None:
            return outcome, error
        made = await self._once(again, provider, time.monotonic(), deadline_s)
        return (outcome, error) if isinstance(made, Rejected) else made

    async def _try(
        self, step: Step, provider: Provider, outcome: Outcome, credential: str, deadline_s: float
    ) -> UpstreamError | None:
        """One attempt: None when the caller has the answer, else what failed (raised if 200 is already out)."""
        facts = self.facts
        sent: Sent | None = None
        try:
            left_s = deadline_s - outcome.start_s
            if provider.tokens is not None:
                credential = await access_token(provider.tokens, left_s)
                left_s = deadline_s - time.monotonic()
            if self.inbound.before_send is not None:
                await self.inbound.before_send()
            outcome.sent = True
            sent = await self.remote.send(provider, step, credential, left_s)
            outcome.relay, outcome.status = sent.relay, sent.exchange.status
            facts.adjusted = facts.inlined + facts.unheeded + sent.adjusted + outcome.adjusted
            facts.waited_s += sent.head_s - outcome.start_s
            await self._deliver(sent, outcome, provider)
        except (NeverSent, BadRequest):  # what a dialogue finds in a mask, it finds before it sends
            outcome.sent = False
            raise
        except UpstreamError as error:
            attempt_failed(self.house, facts, provider, outcome, error, credential, deadline_s)
            if self.reply.started and not self.preparing.repairable(error):
                raise
            return error
        finally:
            if not outcome.content_s and facts.own_s < 0:
                facts.waited_s += time.monotonic() - (outcome.start_s if sent is None else sent.head_s)
            if sent is not None:
                sent.exchange.abort()
        return None

    async def _deliver(self, sent: Sent, outcome: Outcome, provider: Provider) -> None:
        """The answer to the caller, settled before its last byte leaves."""
        facts = self.facts
        if facts.ask is not None and facts.ask.stream:
            hold, caller = outcome.hold, self.inbound.caller
            watch = None if hold is None or not hold.guarded else Watch(self.house, hold)
            delivery = Delivery(
                self.reply,
                sent.exchange,
                sent.relay,
                outcome,
                head=lambda: self._stream_head(sent, outcome),
                finish=lambda: self._delivered(outcome, provider),
                hold_back_s=self.house.config.server.hold_back_ms / 1000,
                idle_s=inf if facts.ask.operation == "images" else provider.stream.idle_s,
                heartbeat=caller.heartbeat,
                watch=watch,
                cut=partial(cut_short, self.house, facts, provider, outcome, caller, watch),
            )
            await delivery.run()
            return
        body = await sent.exchange.read(MAX_REPLY_BYTES)
        outcome.content_s = time.monotonic()
        facts.waited_s += outcome.content_s - sent.head_s
        sent.relay.feed(body)
        out = sent.relay.close()
        self._delivered(outcome, provider)
        self.reply.send(200, reply_head(facts, outcome, stream=False), out)

    def _stream_head(self, sent: Sent, outcome: Outcome) -> bytes:
        """The head as it leaves: from here on a stream goes at the provider's pace, and our share is known."""
        facts, now_s = self.facts, time.monotonic()
        facts.waited_s += (outcome.content_s or now_s) - sent.head_s
        facts.own_s = now_s - facts.received_s - facts.waited_s
        return reply_head(facts, outcome, stream=True)

    def _delivered(self, outcome: Outcome, provider: Provider) -> None:
        outcome.delivered, outcome.status = True, outcome.status or 200  # a dialogue has had several
        end_attempt(self.house, provider, outcome, self.facts.ask)
        self.facts.note("delivered", outcome)
        settle(self.house, self.facts, None)
