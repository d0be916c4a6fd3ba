"""What an attempt cost and what a call was, as ledger records.

Rules
- The provider's own usage wins; where it never came (hang-up, truncation), what was seen is counted by bytes per
  token and marked ``estimated``; an attempt that the provider refused (non-2xx) is known to cost nothing.
- ``delivered`` is what reached the caller whole; ``billed_not_delivered`` is what was consumed and did not.
- A call is written once, before its last byte leaves.
"""

import time

import msgspec

from penstock.base.chat import Ask
from penstock.base.errors import (
    CallerGone,
    PenstockError,
    UpstreamError,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from penstock.base.models import Target
from penstock.base.usage import Usage
from penstock.gateway.house import House, Provider
from penstock.gateway.principal import ANYONE, Principal
from penstock.gateway.record import Explain, Happening
from penstock.ledger.entry import Call, Entry, EntryClass, Line, Record
from penstock.ledger.prices import price_lines
from penstock.routing.estimate import TokenEstimator
from penstock.wire.http import Headers
from penstock.wire.ports import Relay

_NO_USAGE = Usage()


class Outcome:
    """One attempt, as it went. Times are monotonic seconds; 0 = has not happened."""

    __slots__ = (
        "admitted",
        "attempt",
        "content_s",
        "cost_nusd",
        "delivered",
        "end_s",
        "error",
        "key",
        "lines",
        "relay",
        "sent",
        "start_s",
        "status",
        "target",
        "usage",
    )

    def __init__(self, target: Target, key: str, attempt: int, *, admitted: bool) -> None:
        self.target = target
        self.key = key
        self.attempt = attempt
        self.admitted = admitted
        """Health let it in (a last resort goes all the same, and must not free another call's probe)."""
        self.start_s = time.monotonic()
        self.sent = False
        self.status = 0
        self.content_s = 0.0
        self.end_s = 0.0
        self.relay: Relay | None = None
        self.error: PenstockError | None = None
        self.delivered = False
        self.usage: Usage | None = None
        self.lines: tuple[Line, ...] = ()
        self.cost_nusd: int | None = 0

    @property
    def refused(self) -> bool:
        """Nothing was consumed: never asked, never reached, or answered with an error before any content."""
        error = self.error
        if not self.sent or isinstance(error, UpstreamUnreachable):
            return True
        if isinstance(error, UpstreamTimeout):
            return error.phase == "connect"
        if isinstance(error, UpstreamTruncated):
            return False
        return isinstance(error, UpstreamError) and (self.relay is None or not self.relay.content_bytes)

    @property
    def klass(self) -> EntryClass:
        """delivered, billed_not_delivered or failed."""
        if self.delivered:
            return "delivered"
        return "failed" if self.refused or self.usage is None else "billed_not_delivered"


class CallFacts:
    """What is known of one call, as it goes on."""

    __slots__ = (
        "adjusted",
        "ask",
        "at_ms",
        "client_request_id",
        "estimated_tokens",
        "explain",
        "limit_headers",
        "meta",
        "outcomes",
        "principal",
        "received_s",
        "request_id",
        "settled",
        "stage",
        "trace_id",
        "waited_s",
        "wall_offset_s",
    )

    def __init__(self, request_id: str, unix_s: float, received_s: float) -> None:
        self.request_id = request_id
        self.at_ms = int(unix_s * 1000)
        self.received_s = received_s
        self.wall_offset_s = unix_s - time.monotonic()
        self.ask: Ask | None = None
        self.principal: Principal = ANYONE
        self.trace_id = request_id
        self.stage = ""
        self.client_request_id = ""
        self.meta: dict[str, str] | None = None
        self.explain = Explain(happenings=[])
        self.outcomes: list[Outcome] = []
        self.adjusted: tuple[str, ...] = ()
        self.limit_headers: Headers = []
        self.estimated_tokens = 0
        self.waited_s = 0.0
        """Time spent waiting for providers, keys and back-offs: not our own."""
        self.settled = False

    @property
    def cost_nusd(self) -> int | None:
        """All attempts so far; None if any is unknown."""
        total = 0
        for outcome in self.outcomes:
            if outcome.cost_nusd is None:
                return None
            total += outcome.cost_nusd
        return total

    def note(
        self, what: str, outcome: Outcome | None = None, *, target: str = "", reason: str = "", code: str = ""
    ) -> None:
        """Write down what was decided, when it was."""
        at_ms = round((time.monotonic() - self.received_s) * 1000, 3)
        key, attempt = "", 0
        if outcome is not None:
            target, key, attempt = outcome.target.name, outcome.key, outcome.attempt
        self.explain.happenings.append(
            Happening(at_ms, what, target=target, key=key, reason=reason, code=code, attempt=attempt)
        )


def end_attempt(house: House, provider: Provider, outcome: Outcome, ask: Ask | None) -> None:
    """The attempt is over: price it, and let health and keys learn from it. Once per outcome."""
    outcome.end_s = time.monotonic()
    _price(outcome, 0 if ask is None else ask.input_bytes, house.estimator)
    _learn(house, provider, outcome)


def _price(outcome: Outcome, input_bytes: int, estimator: TokenEstimator) -> None:
    relay, model = outcome.relay, outcome.target.model
    usage = relay.usage if relay is not None else None
    if usage is not None and input_bytes and usage.prompt_tokens:
        estimator.learn(model, input_bytes, usage.prompt_tokens)
    if outcome.refused:
        usage = None
    elif usage is None or (relay is not None and relay.stopped is None and not outcome.delivered):
        seen_bytes = relay.content_bytes if relay is not None else 0
        usage = _estimated(usage, estimator, model, input_bytes, seen_bytes)
    outcome.usage = usage
    if usage is not None:
        outcome.lines, outcome.cost_nusd = price_lines(usage, outcome.target.facts.price)


def _estimated(
    usage: Usage | None, estimator: TokenEstimator, model: str, input_bytes: int, seen_bytes: int
) -> Usage:
    """What a cut attempt consumed: the provider's last figures where it gave any, and at least what was seen."""
    seen = estimator.tokens(model, seen_bytes) if seen_bytes else 0
    if usage is None:
        return Usage(input=estimator.tokens(model, input_bytes), output=seen, source="estimated")
    # Anthropic opens with the whole input and one token of output: the rest of the output was never counted.
    missing = max(0, seen - usage.completion_tokens)
    return msgspec.structs.replace(usage, output=usage.output + missing, source="estimated")


def _learn(house: House, provider: Provider, outcome: Outcome) -> None:
    name, error, health = outcome.target.name, outcome.error, house.health
    if error is None:
        health.ok(name)
        provider.keys.succeeded(outcome.key)
    elif isinstance(error, UpstreamNotFound):
        health.drop(name, outcome.end_s)
    elif isinstance(error, UpstreamError) and error.is_fault:
        if health.fault(name, outcome.end_s):
            house.log_once(f"open {name}", f"{name} is open after repeated faults: {error.message}")
    elif outcome.admitted:
        health.neutral(name)
    if isinstance(error, UpstreamError) and error.rotates_key:
        provider.keys.failed(outcome.key, error, outcome.end_s)


def settle(house: House, facts: CallFacts, error: PenstockError | None) -> None:
    """Write the call into the ledger, once; a call that was never understood leaves no half record."""
    ask = facts.ask
    if facts.settled or ask is None:
        return
    facts.settled = True
    for outcome in facts.outcomes:
        if not outcome.end_s:
            outcome.error = error or CallerGone("The caller hung up.")
            end_attempt(house, house.providers[outcome.target.provider], outcome, ask)
            facts.note("cut", outcome, reason=outcome.error.message, code=outcome.error.code)
    limits = facts.principal.limits
    if limits is not None and facts.estimated_tokens:
        used = sum(outcome.usage.total_tokens for outcome in facts.outcomes if outcome.usage is not None)
        limits.settle(facts.estimated_tokens, used, time.monotonic())
    record = _record(facts, ask, error, house.version)
    house.journal.add(record)
    house.metrics.observe(record)


def _record(facts: CallFacts, ask: Ask, error: PenstockError | None, version: str) -> Record:
    outcomes = facts.outcomes
    last = outcomes[-1].relay if outcomes else None
    latency_s = time.monotonic() - facts.received_s
    call = Call(
        request_id=facts.request_id,
        at_ms=facts.at_ms,
        virtual_key=facts.principal.name,
        asked_model=ask.model,
        status=200 if error is None else error.status,
        error_code=None if error is None else error.code,
        stream=ask.stream,
        attempts=len(outcomes),
        latency_ms=round(latency_s * 1000, 3),
        gateway_us=max(0, int((latency_s - facts.waited_s) * 1e6)),
        client_request_id=facts.client_request_id,
        body_id=last.upstream_id if last is not None else "",
        adjusted=facts.adjusted,
        explain=facts.explain,
        config_version=version,
    )
    return Record(call, tuple(_entry(outcome, facts, ask) for outcome in outcomes))


def _entry(outcome: Outcome, facts: CallFacts, ask: Ask) -> Entry:
    relay, error, target, usage = outcome.relay, outcome.error, outcome.target, outcome.usage
    tokens = usage or _NO_USAGE
    writing_s = outcome.end_s - outcome.content_s if outcome.content_s else 0.0
    made = tokens.completion_tokens
    return Entry(
        id=f"{facts.request_id}/{outcome.attempt}",
        request_id=facts.request_id,
        trace_id=facts.trace_id,
        stage=facts.stage,
        attempt=outcome.attempt,
        at_ms=int((outcome.start_s + facts.wall_offset_s) * 1000),
        klass=outcome.klass,
        provider=target.provider,
        model=target.model,
        model_served=relay.model if relay is not None else "",
        provider_key=outcome.key,
        virtual_key=facts.principal.name,
        route=ask.model,
        dialect=target.dialect,
        stream=ask.stream,
        status=outcome.status,
        error_code=None if error is None else error.code,
        error=None if error is None else error.message,
        finish_reason=relay.stopped if relay is not None else None,
        native_finish_reason=relay.native_stop if relay is not None else None,
        upstream_id=relay.upstream_id if relay is not None else "",
        input=tokens.input,
        cache_read=tokens.cache_read,
        cache_write_5m=tokens.cache_write_5m,
        cache_write_1h=tokens.cache_write_1h,
        input_audio=tokens.input_audio,
        input_image=tokens.input_image,
        output=tokens.output,
        reasoning=tokens.reasoning,
        output_audio=tokens.output_audio,
        output_image=tokens.output_image,
        usage_source=None if usage is None else usage.source,
        lines=outcome.lines,
        cost_nusd=outcome.cost_nusd,
        price_version=None if target.facts.price is None else target.facts.price.version,
        latency_ms=round((outcome.end_s - outcome.start_s) * 1000, 3),
        ttft_ms=round((outcome.content_s - outcome.start_s) * 1000, 3) if outcome.content_s else None,
        tokens_per_s=round(made / writing_s, 1) if ask.stream and made and writing_s > 0 else None,
        meta=facts.meta,
    )
