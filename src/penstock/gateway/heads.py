"""Header facts: what a caller tells us about its call, and what every reply says about how it was served."""

import time

from penstock.base.chat import Ask
from penstock.base.money import usd_text
from penstock.gateway.settle import CallFacts, Outcome
from penstock.wire.http import Headers, header

MAX_META = 16
MAX_META_CHARS = 256
_STREAM_HEADERS: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
_JSON_HEADERS: Headers = [(b"content-type", b"application/json")]
_WANTED = frozenset(
    {b"x-request-id", b"x-penstock-trace", b"x-penstock-stage", b"x-penstock-meta", b"traceparent"}
)


def told_by_caller(facts: CallFacts, headers: Headers, ask: Ask) -> None:
    """Fill the call's facts from its headers and body: trace, stage, metadata, the caller's own request id."""
    facts.meta = ask.metadata
    for name, value in headers:
        if name in _WANTED:
            text = value.decode("latin-1").strip()
            if name == b"x-penstock-trace":
                facts.trace_id = text[:MAX_META_CHARS]
            elif name == b"traceparent":
                # W3C Trace Context level 1: version-traceid-parentid-flags
                if header(headers, b"x-penstock-trace") is None and text.count("-") >= 3:
                    facts.trace_id = text.split("-")[1][:64]
            elif name == b"x-penstock-stage":
                facts.stage = text[:MAX_META_CHARS]
            elif name == b"x-request-id":
                facts.client_request_id = text[:MAX_META_CHARS]
            else:
                facts.meta = {**(facts.meta or {}), **_meta(text)}


def _meta(text: str) -> dict[str, str]:
    """ "sku=12,campaign=x" -> {"sku": "12", "campaign": "x"}; at most 16 pairs."""
    pairs = (piece.partition("=") for piece in text.split(",")[:MAX_META])
    return {
        key.strip()[:MAX_META_CHARS]: value.strip()[:MAX_META_CHARS] for key, _, value in pairs if key.strip()
    }


def reply_headers(facts: CallFacts, outcome: Outcome, *, stream: bool) -> Headers:
    """The headers of a served reply. ``server-timing`` is the gateway's own share beside what it waited for."""
    target = outcome.target
    headers = [
        *(_STREAM_HEADERS if stream else _JSON_HEADERS),
        (b"x-request-id", facts.request_id.encode()),
        (b"x-penstock-provider", target.provider.encode()),
        (b"x-penstock-model", target.model.encode("latin-1", "replace")),
        (b"x-penstock-attempts", b"%d" % len(facts.outcomes)),
    ]
    if facts.adjusted:
        headers.append((b"x-penstock-adjusted", ",".join(facts.adjusted).encode("latin-1", "replace")))
    if facts.client_request_id:
        headers.append((b"x-client-request-id", facts.client_request_id.encode("latin-1", "replace")))
    if outcome.delivered and outcome.usage is not None and not stream:
        cost_nusd = facts.cost_nusd
        if cost_nusd is not None:
            headers.append((b"x-penstock-cost-usd", usd_text(cost_nusd).encode()))
    headers += facts.limit_headers
    headers.append(_timing(facts))
    return headers


def refusal_headers(facts: CallFacts) -> Headers:
    """What a reply says that is an error: how often it was tried, the key's limits, whose time it took."""
    headers: Headers = [(b"x-penstock-attempts", b"%d" % len(facts.outcomes)), *facts.limit_headers]
    headers.append(_timing(facts))
    return headers


def _timing(facts: CallFacts) -> tuple[bytes, bytes]:
    own_s = time.monotonic() - facts.received_s - facts.waited_s
    return b"server-timing", b"gateway;dur=%.3f, upstream;dur=%.3f" % (own_s * 1000, facts.waited_s * 1000)
