"""Header facts: what a caller tells us about its call, and what every reply says about how it was served."""

import time
from collections.abc import Mapping
from functools import lru_cache

from penstock.base.chat import Ask
from penstock.base.errors import BadRequest
from penstock.base.models import Target
from penstock.base.money import usd_text
from penstock.gateway.settle import CallFacts, Outcome
from penstock.wire.http import Headers, header_block

MAX_META = 16
MAX_TOLD_CHARS = 256
MAX_META_CHARS = 512
"""OpenAI's own bound for a value of ``metadata``: the caller's bytes go on as they are, the ledger keeps so much."""
_TRACEPARENT_PARTS = 4
_PRINTABLE = bytes(32 if byte < 32 or byte == 127 else byte for byte in range(256))
"""Control characters become spaces: none may end a header line, or do odd things in a terminal."""
_STREAM = (
    b"content-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\n"
)
_WHOLE = b"content-type: application/json\r\n"
_ALSO: dict[str, bytes] = {"anthropic": b"request-id"}
"""Where else a dialect's clients look for the request's id."""
_FACTS = b"%bx-request-id: %b\r\nx-penstock-attempts: %d\r\n%bserver-timing: gateway;dur=%.3f, upstream;dur=%.3f\r\n"


def told_by_caller(facts: CallFacts, told: Mapping[bytes, bytes], ask: Ask) -> None:
    """Fill the call's facts from its headers and body: trace, stage, metadata, the caller's own request id."""
    if ask.metadata is not None:
        facts.meta = {key[:MAX_META_CHARS]: value[:MAX_META_CHARS] for key, value in ask.metadata.items()}
    facts.priority = facts.principal.priority
    for name, value in told.items():
        if name == b"x-penstock-trace":
            facts.trace_id = _text(value)
        elif name == b"traceparent":
            # W3C Trace Context level 1: version-traceid-parentid-flags.
            parts = _text(value).split("-")
            if b"x-penstock-trace" not in told and len(parts) >= _TRACEPARENT_PARTS:
                facts.trace_id = parts[1]
        elif name == b"x-penstock-stage":
            facts.stage = _text(value)
        elif name == b"x-penstock-priority":
            if _priority(value) == "batch":
                facts.priority = "batch"
        elif name == b"x-request-id":
            facts.client_request_id = _text(value)
        elif name == b"x-penstock-meta":
            facts.meta = {**(facts.meta or {}), **_meta(value.decode("latin-1"))}
        elif name == b"x-penstock-user":
            facts.user = _text(value)
    if ask.user and not facts.user:
        facts.user = ask.user[:MAX_TOLD_CHARS]
    tags = facts.principal.tags
    if tags is not None:
        facts.meta = {**(facts.meta or {}), **tags}


def told_user(told: Mapping[bytes, bytes], ask: Ask) -> str:
    """Who asks through the caller, as ``told_by_caller`` will note it."""
    header = told.get(b"x-penstock-user")
    return (_text(header) if header else "") or ask.user[:MAX_TOLD_CHARS]


def wants_story(told: Mapping[bytes, bytes]) -> bool:
    """The caller asks how its call was routed, as OpenRouter's callers do."""
    return told.get(b"x-openrouter-metadata", b"").lower() == b"enabled"


def _priority(value: bytes) -> str:
    said = _text(value).lower()
    if said not in ("interactive", "batch"):
        raise BadRequest(
            "The header x-penstock-priority is neither interactive nor batch.", param="x-penstock-priority"
        )
    return said


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip()[:MAX_TOLD_CHARS]


def _meta(text: str) -> dict[str, str]:
    """ "sku=12,campaign=x" -> {"sku": "12", "campaign": "x"}; at most 16 pairs."""
    pairs = (piece.partition("=") for piece in text.split(",")[:MAX_META])
    return {
        key.strip()[:MAX_TOLD_CHARS]: value.strip()[:MAX_TOLD_CHARS] for key, _, value in pairs if key.strip()
    }


@lru_cache(maxsize=1024)
def _served_by(provider: str, model: str, stream: bool, content_type: bytes = b"") -> bytes:
    """The lines that are the same for every reply of one target."""
    lines = (_line(b"x-penstock-provider", provider), _line(b"x-penstock-model", model))
    first = _STREAM if stream else _WHOLE
    if content_type:
        first = b"content-type: %b\r\n" % content_type.translate(_PRINTABLE)
        if stream:
            first += _STREAM.partition(b"\r\n")[2]
    return first + b"".join(lines)


def _line(name: bytes, value: str) -> bytes:
    """One header line; what could break out of it is replaced."""
    return b"%b: %b\r\n" % (name, value.encode("latin-1", "replace").translate(_PRINTABLE))


def _told_back(facts: CallFacts) -> bytes:
    more = facts.cache
    if facts.adjusted:
        more += _line(b"x-penstock-adjusted", ",".join(facts.adjusted))
    if facts.client_request_id:
        more += _line(b"x-client-request-id", facts.client_request_id)
    return more


def also_named(dialect: str, request_id: str) -> Headers:
    """The request's id by the name that this dialect's clients know, beside ours."""
    name = _ALSO.get(dialect)
    return [] if name is None else [(name, request_id.encode())]


def served_head(facts: CallFacts, target: Target) -> tuple[bytes, bytes]:
    """What is the same in ``reply_head`` for all whole replies to calls like this one: what stands before the request id,
    and what stands between the attempts and the cost."""
    return _served_by(target.provider, target.model, False), _told_back(facts)


def reply_head(facts: CallFacts, outcome: Outcome, *, stream: bool) -> bytes:
    """The header lines of a served reply. ``server-timing`` is the gateway's own share beside what it waited for."""
    target = outcome.target
    more = _told_back(facts)
    if facts.ask is not None and facts.ask.dialect in _ALSO:
        more += header_block(also_named(facts.ask.dialect, facts.request_id))
    if outcome.hit or (not stream and outcome.delivered and outcome.usage is not None):
        cost_nusd = facts.cost_nusd
        if cost_nusd is not None:
            more += b"x-penstock-cost-usd: %b\r\n" % usd_text(cost_nusd).encode()
    now_s = time.monotonic()
    limits = facts.principal.limits
    if limits is not None:
        more += limits.lines(now_s)
    own_s = now_s - facts.received_s - facts.waited_s
    relay = outcome.relay
    content_type = b"" if relay is None else relay.content_type
    return _FACTS % (
        _served_by(target.provider, target.model, stream, content_type),
        facts.request_id.encode(),
        facts.attempts,
        more,
        own_s * 1000,
        facts.waited_s * 1000,
    )


def refusal_lines(facts: CallFacts, now_s: float) -> bytes:
    """What a reply says that is an error: what the cache said, how often it was tried, the key's limits, whose time it took."""
    own_s = now_s - facts.received_s - facts.waited_s
    limits = facts.principal.limits
    return b"%bx-penstock-attempts: %d\r\n%bserver-timing: gateway;dur=%.3f, upstream;dur=%.3f\r\n" % (
        facts.cache,
        facts.attempts,
        b"" if limits is None else limits.lines(now_s),
        own_s * 1000,
        facts.waited_s * 1000,
    )
