"""One raw call: a provider's own path and bytes, with our key, inside the caller's limits and budgets, in the ledger.

Theory
------
What is asked for is the provider's business, so the bytes go through as they are, both ways. What it cost is known where the
reply is of a kind that one of our dialects reads (its usage is read beside it); else the entry says that it is not known.

Rules
- A provider is reached raw only where its entry says so (``raw: true``): its key may do more than call models.
- A key that may not use every model says which it uses: what names no model is asked for as ``provider/raw``.
- A key with a budget pays what can be bounded before: a chat call with its maximum. What looks, lists or removes is free; anything
  else is refused, for nobody could say what it costs.
- Nothing is retried, and no other target answers: what is sent may change something.
"""

import asyncio
import time

import msgspec

from penstock.base.chat import Ask
from penstock.base.decisions import Rejected
from penstock.base.errors import (
    BadRequest,
    BudgetRefused,
    CallerGone,
    Forbidden,
    NotFound,
    OurFault,
    PenstockError,
    UpstreamError,
)
from penstock.base.events import Event, Started, UsageSeen
from penstock.base.models import ModelFacts, Target
from penstock.base.usage import Usage
from penstock.dialects import CALLERS
from penstock.gateway.allowance import no_money
from penstock.gateway.attempt import enter
from penstock.gateway.books import ledger_full
from penstock.gateway.heads import told_by_caller, told_user
from penstock.gateway.house import House, Provider
from penstock.gateway.ports import Known, Reply
from penstock.gateway.principal import user_of
from penstock.gateway.purse import Hold
from penstock.gateway.raw_rules import (
    FREE_METHODS,
    Masking,
    RawAsked,
    credential,
    forwarded,
    masked,
    raw_asked,
    raw_path,
    returned,
)
from penstock.gateway.remote import access_token, hide_secrets, secrets_of
from penstock.gateway.settle import CallFacts, Outcome, begin_facts, settle
from penstock.gateway.waiting import Place, place_now
from penstock.ledger.budgets import Refused
from penstock.ledger.prices import price_lines, row_at
from penstock.net.exchange import Exchange
from penstock.routing.allow import allowed
from penstock.wire.http import Headers, WireRequest, header, header_block
from penstock.wire.ports import ReplyReader
from penstock.wire.sse import Mould

MAX_READ_BYTES = 64 * 1024 * 1024
"""Of a reply that is read for its usage; a longer one goes through, and its cost is not known."""
_FAILED = 400
_BODYLESS = frozenset({204, 304})


class RawRelay:
    """What settle reads of a raw reply (wire.ports.Relay): the usage that was seen beside it."""

    def __init__(self, reader: ReplyReader | None, *, stream: bool) -> None:
        self._reader = reader
        self._stream = stream
        self._held = bytearray()
        self.content_seen = False
        self.content_bytes = 0
        self.content_type = b""
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        self.mould: Mould | None = None

    def feed(self, data: bytes) -> bytes:
        """Look at it; it goes on as it is."""
        if self._reader is not None:
            if self._stream:
                self._look(data)
            elif len(self._held) + len(data) <= MAX_READ_BYTES:
                self._held += data
            else:
                self._reader = None
        return data

    def close(self) -> bytes:
        """The reply is whole."""
        if self._reader is not None and not self._stream:
            self._look(bytes(self._held))
        reader = self._reader
        if reader is not None:
            try:
                self._seen(reader.close())
            except UpstreamError:
                self._reader = None
        self._held.clear()
        return b""

    def _look(self, data: bytes) -> None:
        assert self._reader is not None
        try:
            self._seen(self._reader.feed(data))
        except UpstreamError:  # not of the kind that its path promised: it is the caller's all the same
            self._reader = None

    def _seen(self, events: list[Event]) -> None:
        for event in events:
            match event:
                case UsageSeen(usage=usage):
                    self.usage = usage
                case Started():
                    self.model, self.upstream_id = event.model, event.id
                case _:
                    pass


class RawCall:
    """The life of one raw call. ``run`` once; a PenstockError leaves it only while nothing was sent yet."""

    def __init__(self, house: House, told: dict[bytes, bytes], reply: Reply, facts: CallFacts) -> None:
        self._house = house
        self._told = told
        self._reply = reply
        self.facts = facts

    async def run(self, method: bytes, url: bytes, headers: Headers, body: bytes) -> None:
        """Serve it. Every way out settles it exactly once."""
        facts, house = self.facts, self._house
        try:
            await self._run(method, url, headers, body)
        except asyncio.CancelledError:
            self._end(CallerGone("The caller hung up."))
            raise
        except PenstockError as error:
            self._end(error)
            if not self._reply.started:
                raise
            self._reply.end()
        except Exception:
            settle(house, facts, OurFault("The gateway failed to serve this request."))
            raise

    async def _run(self, method: bytes, url: bytes, headers: Headers, body: bytes) -> None:
        house, facts = self._house, self.facts
        facts.principal = house.doors.admit(self._told, Known(), facts.at_ms / 1000)
        if house.books.full:
            raise ledger_full()
        found = raw_path(url)
        if isinstance(found, Rejected):
            raise (BadRequest if found.param else NotFound)(found.reason, code=found.code, param=found.param)
        name, path, query = found
        provider = self._provider(name)
        asked = raw_asked(name, path, header(headers, b"content-type") or b"", body)
        facts.ask = ask = _ask(asked, body)
        if facts.principal.users is not None:
            facts.principal = user_of(facts.principal, told_user(self._told, ask))
        told_by_caller(facts, self._told, ask)
        self._check_allowed(asked)
        facts.note(
            "raw", target=ask.model, reason=f"{method.decode('latin-1')} {path.decode('latin-1')[:256]}"
        )
        target = _target(house, provider, asked)
        await enter(facts, house.estimator.tokens(target.model, len(body)))
        with await self._place(provider, ask):
            hold = await self._hold(method, asked, target, body)
            try:
                request = WireRequest(
                    method, path + (b"?" + query if query else b""), forwarded(headers), body
                )
                await self._exchange(provider, target, asked, request, hold)
            finally:
                if hold is not None and (not facts.outcomes or facts.outcomes[-1].hold is None):
                    hold.settle(0)

    def _provider(self, name: str) -> Provider:
        provider = self._house.providers.get(name)
        if provider is None:
            raise NotFound(f"There is no provider {name!r}.", param="provider")
        if not self._house.config.providers[name].raw:
            raise Forbidden(
                f"The provider {name!r} is not reached raw.",
                code="raw_off",
                hint=f"The operator allows it with providers.{name}.raw: true.",
            )
        return provider

    def _check_allowed(self, asked: RawAsked) -> None:
        """The allow-list holds for what is named; what names nothing is ``provider/raw``."""
        for name in {f"{asked.provider}/raw", f"{asked.provider}/{asked.model or 'raw'}"}:
            if not allowed(name, self.facts.principal.patterns):
                raise Forbidden(f"This key may not use {name}.", code="model_not_allowed", param="model")

    async def _place(self, provider: Provider, ask: Ask) -> Place:
        facts, now_s = self.facts, time.monotonic()
        place = place_now(facts, provider, now_s)
        if place is not None:
            return place
        queue = provider.queue
        assert queue is not None, "only a queue makes calls wait"
        tokens = self._house.estimator.tokens(ask.model, ask.input_bytes)
        refused = await queue.enter(
            facts.principal.name, tokens, facts.priority, self._house.config.server.total_timeout_ms / 1000
        )
        if refused is not None:
            raise OurFault(refused.reason, code=refused.code, status=503, retry_after_s=refused.retry_after_s)
        facts.waited_s += time.monotonic() - now_s
        return Place(time.monotonic(), queue, facts)

    async def _hold(self, method: bytes, asked: RawAsked, target: Target, body: bytes) -> Hold | None:
        """The most that it may cost, where the key has budgets. Raises Forbidden where nobody knows."""
        allowance, facts = self.facts.principal.allowance, self.facts
        purse = None if allowance is None else allowance.purse
        if purse is None or method in FREE_METHODS:
            return None
        caller = CALLERS.get(target.dialect)
        if asked.operation != "chat" or caller is None or caller.operation != "chat":
            raise _unbounded(asked)
        ask = msgspec.structs.replace(caller.read_request(body), stream=False)
        quote = purse.quote(ask, target, self._house.clock.unix_s())
        if isinstance(quote, Rejected):
            raise Forbidden(quote.reason, code=quote.code)
        if quote.unsent or quote.most_tokens is None:
            raise _unbounded(asked)
        held = await purse.obtain(f"{facts.request_id}/1", quote)
        if isinstance(held, Refused):
            raise no_money(held, purse.treasury.store.fault)
        if held.quote.unsent:
            held.settle(0)
            raise BudgetRefused(
                "The budget has too little left for the most that this call may cost.",
                code="budget-too-small",
                hint="A smaller max_tokens lowers what a call must hold.",
            )
        return held

    async def _exchange(
        self, provider: Provider, target: Target, asked: RawAsked, request: WireRequest, hold: Hold | None
    ) -> None:
        house, facts = self._house, self.facts
        now_s = time.monotonic()
        allowed_keys = facts.principal.keys_of(provider.name)
        choice = provider.keys.choose(target.model, now_s, house.rng, avoid=frozenset(), allowed=allowed_keys)
        if isinstance(choice, Rejected):
            raise OurFault(choice.reason, code=choice.code, status=503, retry_after_s=choice.retry_after_s)
        outcome = Outcome(target, choice.key.name, 1, True, True, now_s)
        outcome.hold = hold
        facts.outcomes.append(outcome)
        secret = choice.key.secret
        try:
            if provider.tokens is not None:
                secret = await access_token(provider.tokens, provider.whole.total_s)
            ours = credential(provider.dialect.name, secret)
            if isinstance(ours, Rejected):
                raise BadRequest(ours.reason, code=ours.code)
            request.headers.extend(ours)
            outcome.sent = True
            exchange = await provider.transport.send(request, provider.whole)
            outcome.status, outcome.content_s = exchange.status, time.monotonic()
            facts.waited_s += outcome.content_s - now_s
            try:
                bare = request.method == b"HEAD"
                await self._deliver(provider, exchange, outcome, asked, secret, bodyless=bare)
            finally:
                exchange.abort()
        except UpstreamError as error:
            hide_secrets(error, provider, secret)
            raise

    async def _deliver(
        self,
        provider: Provider,
        exchange: Exchange,
        outcome: Outcome,
        asked: RawAsked,
        secret: str,
        *,
        bodyless: bool,
    ) -> None:
        facts, reply = self.facts, self._reply
        kind = header(exchange.headers, b"content-type") or b""
        stream = kind.startswith(b"text/event-stream")
        dialect = None if asked.operation is None else provider.spoken.get(asked.operation)
        good = exchange.status < _FAILED
        readable = dialect is not None and good and (stream or b"json" in kind)
        reader = dialect.reader(outcome.target, stream=stream) if dialect is not None and readable else None
        relay = RawRelay(reader, stream=stream)
        outcome.relay = relay
        secrets = secrets_of(provider, secret)
        head = header_block(
            [
                *((name, masked(value, secrets)) for name, value in returned(exchange.headers)),
                (b"x-request-id", facts.request_id.encode()),
                (b"x-penstock-provider", provider.name.encode("latin-1", "replace")),
            ]
        )
        if bodyless or exchange.status in _BODYLESS:
            outcome.delivered = good
            await exchange.read(0)
            self._end(None if good else provider.dialect.read_error(exchange.status, exchange.headers, b""))
            reply.send(exchange.status, head, b"")
            return
        reply.on_pause, reply.on_resume = exchange.pause, exchange.resume
        masking = Masking(secrets, hold=not good)

        def piece(data: bytes) -> None:
            if data:
                reply.write(data)

        try:
            reply.start(exchange.status, head, b"")
            try:
                await exchange.pump(lambda data: piece(masking.feed(relay.feed(data))))
            finally:
                if not reply.ended:
                    piece(masking.close())
            relay.close()
        finally:
            reply.on_pause = reply.on_resume = None
        outcome.delivered = good
        error: PenstockError | None = None
        if not good:
            error = provider.dialect.read_error(exchange.status, exchange.headers, bytes(masking.refusal))
            hide_secrets(error, provider, secret)
        self._end(error)
        reply.end()

    def _end(self, error: PenstockError | None) -> None:
        """Price what is known, pay, and write it down. Once."""
        facts, house = self.facts, self._house
        outcome = facts.outcomes[-1] if facts.outcomes else None
        if outcome is not None and not outcome.end_s:
            outcome.end_s, outcome.error = time.monotonic(), error
            outcome.price = row_at(outcome.target.facts.price, facts.at_ms)
            usage = None if outcome.relay is None else outcome.relay.usage
            outcome.usage = usage
            if usage is not None:
                outcome.lines, outcome.cost_nusd = price_lines(usage, outcome.price)
            elif not outcome.refused and not self._free():
                outcome.cost_nusd = None
            if outcome.hold is not None:
                outcome.hold.settle(outcome.cost_nusd)
            self._tell_keys(outcome, error)
            if outcome.cost_nusd is None:
                facts.note("unpriced", outcome, reason="a raw reply whose usage is not read, or not priced")
        settle(house, facts, error)

    def _free(self) -> bool:
        return any(
            what == "raw" and reason.partition(" ")[0].encode() in FREE_METHODS
            for _, what, _, _, reason, _ in self.facts.notes
        )

    def _tell_keys(self, outcome: Outcome, error: PenstockError | None) -> None:
        keys = self._house.providers[outcome.target.provider].keys
        if error is None:
            keys.succeeded(outcome.key)
        elif isinstance(error, UpstreamError):
            keys.failed(outcome.key, error, outcome.end_s)
        else:
            keys.release(outcome.key, outcome.end_s)


def begin_raw(
    house: House, told: dict[bytes, bytes], reply: Reply, request_id: str, received_s: float
) -> RawCall:
    """A raw call that has not run yet."""
    return RawCall(house, told, reply, begin_facts(request_id, received_s, house.clock.unix_s()))


def _ask(asked: RawAsked, body: bytes) -> Ask:
    model = f"{asked.provider}/{asked.model or 'raw'}"
    return Ask(
        dialect="raw",
        body=body,
        model=model,
        stream=asked.stream,
        input_bytes=len(body),
        operation=asked.operation or "chat",
    )


def _target(house: House, provider: Provider, asked: RawAsked) -> Target:
    if asked.model:
        chain = house.names.chain(f"{provider.name}/{asked.model}")
        if not isinstance(chain, Rejected) and chain.targets[0].provider == provider.name:
            return chain.targets[0]
    model = asked.model or "raw"
    return Target(provider.name, model, provider.dialect.name, ModelFacts(provider.name, model))


def _unbounded(asked: RawAsked) -> Forbidden:
    return Forbidden(
        f"What {asked.path.decode('latin-1')[:100]} costs cannot be known before, and this key has a budget.",
        code="raw_unbounded",
        hint="Chat calls that name their maximum can be made raw; or use a key without a budget.",
    )
