"""What an attempt cost and what a call was, as ledger records.

Rules
- The provider's own usage wins; where it never came (hang-up, truncation), what was seen is counted by bytes per
  token and marked ``estimated``; an attempt that the provider refused (non-2xx) is known to cost nothing.
- ``delivered`` is what reached the caller whole; ``billed_not_delivered`` is what was consumed and did not.
"""

from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.models import Target
from penstock.base.usage import Usage
from penstock.ledger.entry import Entry, Line
from penstock.ledger.prices import price_lines
from penstock.routing.estimate import TokenEstimator
from penstock.wire.ports import Relay


class Outcome:
    """One attempt, as it ended. Times are monotonic seconds; 0 = did not happen."""

    __slots__ = (
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

    def __init__(self, target: Target, key: str, attempt: int, start_s: float) -> None:
        self.target = target
        self.key = key
        self.attempt = attempt
        self.start_s = start_s
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
        """The provider answered with an error status, or was never reached: nothing was consumed."""
        return not self.sent or (isinstance(self.error, UpstreamError) and bool(self.error.upstream_status))


def price(outcome: Outcome, input_bytes: int, estimator: TokenEstimator) -> None:
    """Fill ``usage``, ``lines`` and ``cost_nusd``; teach the estimator what bytes were in tokens."""
    relay = outcome.relay
    usage = relay.usage if relay is not None else None
    model = outcome.target.model
    if usage is not None:
        if input_bytes and usage.prompt_tokens:
            estimator.learn(model, input_bytes, usage.prompt_tokens)
    elif not outcome.refused:
        usage = Usage(
            input=estimator.tokens(model, input_bytes),
            output=estimator.tokens(model, relay.content_bytes) if relay is not None else 0,
            source="estimated",
        )
    outcome.usage = usage
    if usage is not None:
        outcome.lines, outcome.cost_nusd = price_lines(usage, outcome.target.facts.price)


def klass(outcome: Outcome) -> str:
    """delivered, billed_not_delivered or failed."""
    if outcome.delivered:
        return "delivered"
    return "failed" if outcome.refused or outcome.usage is None else "billed_not_delivered"


class CallFacts:
    """What all entries of one call share."""

    __slots__ = (
        "at_ms",
        "client_request_id",
        "dialect",
        "meta",
        "request_id",
        "route",
        "stage",
        "stream",
        "trace_id",
        "virtual_key",
    )

    def __init__(self, request_id: str, at_ms: int) -> None:
        self.request_id = request_id
        self.at_ms = at_ms
        self.trace_id = request_id
        self.stage = ""
        self.virtual_key = ""
        self.route = ""
        self.dialect = ""
        self.client_request_id = ""
        self.stream = False
        self.meta: dict[str, str] | None = None


_NO_USAGE = Usage()


def entry(outcome: Outcome, facts: CallFacts, wall_offset_s: float) -> Entry:
    """The ledger's row of one attempt. ``wall_offset_s`` turns monotonic seconds into unix seconds."""
    relay, error, target = outcome.relay, outcome.error, outcome.target
    usage = outcome.usage
    tokens = usage or _NO_USAGE
    latency_s = outcome.end_s - outcome.start_s
    writing_s = outcome.end_s - outcome.content_s if outcome.content_s else 0.0
    made = tokens.completion_tokens
    return Entry(
        id=f"{facts.request_id}/{outcome.attempt}",
        request_id=facts.request_id,
        trace_id=facts.trace_id,
        stage=facts.stage,
        attempt=outcome.attempt,
        at_ms=int((outcome.start_s + wall_offset_s) * 1000),
        klass=klass(outcome),
        provider=target.provider,
        model=target.model,
        model_served=relay.model if relay is not None else "",
        provider_key=outcome.key,
        virtual_key=facts.virtual_key,
        route=facts.route,
        dialect=target.dialect,
        stream=facts.stream,
        status=outcome.status,
        error_code=None if error is None else error.code,
        error=None if error is None else error.message,
        finish_reason=relay.stopped if relay is not None else None,
        native_finish_reason=relay.native_stop if relay is not None else "",
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
        latency_ms=round(latency_s * 1000, 3),
        ttft_ms=round((outcome.content_s - outcome.start_s) * 1000, 3) if outcome.content_s else None,
        tokens_per_s=round(made / writing_s, 1) if facts.stream and made and writing_s > 0 else None,
        meta=facts.meta,
    )
