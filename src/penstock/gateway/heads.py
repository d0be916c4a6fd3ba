"""Header facts: what a caller tells us about its call, and what every reply says about how it was served."""

from penstock.base.chat import Ask
from penstock.gateway.principal import Principal
from penstock.gateway.settle import CallFacts
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


def trace_facts(facts: CallFacts, headers: Headers, ask: Ask, principal: Principal) -> None:
    """Fill the call's facts from its headers and body: trace, stage, metadata, route, holder."""
    facts.virtual_key = principal.name
    facts.route = ask.model
    facts.stream = ask.stream
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


def reply_headers(
    facts: CallFacts, *, provider: str, model: str, attempts: int, adjusted: tuple[str, ...], stream: bool
) -> Headers:
    """The headers of a served reply, but for cost and timing."""
    headers = [
        *(_STREAM_HEADERS if stream else _JSON_HEADERS),
        (b"x-request-id", facts.request_id.encode()),
        (b"x-penstock-provider", provider.encode()),
        (b"x-penstock-model", model.encode("latin-1", "replace")),
        (b"x-penstock-attempts", b"%d" % attempts),
    ]
    if adjusted:
        headers.append((b"x-penstock-adjusted", ",".join(adjusted).encode("latin-1", "replace")))
    if facts.client_request_id:
        headers.append((b"x-client-request-id", facts.client_request_id.encode("latin-1", "replace")))
    return headers


def server_timing(own_s: float, waited_s: float) -> tuple[bytes, bytes]:
    """``server-timing``: the gateway's own share beside what it waited for, in ms."""
    return (b"server-timing", b"gateway;dur=%.3f, upstream;dur=%.3f" % (own_s * 1000, waited_s * 1000))
