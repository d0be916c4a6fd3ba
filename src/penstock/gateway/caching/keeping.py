"""An answer that was just delivered, as it is kept: storable or not, for how long, and under what.

Deciding only: the events come from a recording, the moment from the caller, the result is a blob or why there is none.
"""

import secrets

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.events import Event, TextDelta, ThinkingDelta, fold
from penstock.blobs.blob import Blob
from penstock.cache import answer as kept
from penstock.cache.answer import About, Answer
from penstock.cache.eligible import shareable
from penstock.cache.storable import semantic_storable, storable
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.gateway.caching.lookup import Wanted, is_fallback
from penstock.gateway.planning import Planned
from penstock.gateway.settle import CallFacts, Outcome

OWN = ("key:",)
"""Tenants that are one principal."""


class Keepable(Struct, frozen=True):
    """An answer that shall be kept, the blob that holds it, and what the semantic tier knows of it (None: it is not there)."""

    answer: Answer
    blob: Blob
    about: About | None


def merged(
    events: tuple[Event, ...], gaps_ms: tuple[float, ...]
) -> tuple[tuple[Event, ...], tuple[float, ...]]:
    """Neighbouring pieces of text as one, for a cache that replays at once: a tenth of the size, and of the work."""
    found: list[Event] = []
    for event in events:
        last = found[-1] if found else None
        if isinstance(event, TextDelta) and isinstance(last, TextDelta):
            found[-1] = TextDelta(last.text + event.text)
        elif (
            isinstance(event, ThinkingDelta)
            and isinstance(last, ThinkingDelta)
            and not (last.signature or last.redacted or event.redacted or event.tool_id or last.tool_id)
            and last.format == event.format
        ):
            found[-1] = ThinkingDelta(last.text + event.text, event.signature, event.format)
        else:
            found.append(event)
    return tuple(found), ()


def keepable(
    facts: CallFacts,
    outcome: Outcome,
    planned: Planned,
    wanted: Wanted,
    events: tuple[Event, ...],
    gaps_ms: tuple[float, ...],
    *,
    settings: CacheConfig,
    semantic: SemanticCacheConfig | None,
    now_ms: int,
    prompt: str,
) -> Keepable | Rejected:
    """What is kept of the call, or why nothing is."""
    ask = facts.ask
    assert ask is not None
    controls = wanted.controls
    spread = ask.dialect == "openrouter" or ask.provider is not None
    folded = fold(list(events))
    no = storable(
        folded,
        answered_by_fallback=is_fallback(planned, outcome.target, spread=spread),
        adjusted=facts.adjusted,
        controls=controls,
        cost_nusd=outcome.cost_nusd,
        max_bytes=settings.max_entry_bytes,
    )
    if no is None and not wanted.place.tenant.startswith(OWN):
        # Where several principals share entries, one of them could leave words for the others.
        no = shareable(folded.text) or shareable(prompt)
    if no is not None:
        return no
    if settings.replay == "instant":
        events, gaps_ms = merged(events, gaps_ms)
    own_ttl_s = controls.ttl_s
    exact_s = settings.exact.ttl_seconds if wanted.exact else 0
    vectored = wanted.vectored if wanted.semantic else None
    if semantic is None or semantic_storable(folded, semantic) is not None:
        vectored = None
    semantic_s = 0 if vectored is None or semantic is None else semantic.ttl_seconds
    if own_ttl_s is not None:
        exact_s, semantic_s = min(exact_s, own_ttl_s), min(semantic_s, own_ttl_s)
    if not exact_s and not semantic_s:
        return Rejected("no-tier", "No tier keeps answers of such calls.")
    answer = Answer(
        f"ce-{secrets.token_hex(12)}",
        facts.request_id,
        facts.principal.name,
        ask.operation,
        ask.model,
        outcome.target.provider,
        outcome.target.model,
        now_ms,
        outcome.cost_nusd,
        prompt,
        events,
        gaps_ms,
        now_ms + exact_s * 1000 if exact_s else 0,
        now_ms + semantic_s * 1000 if semantic_s else 0,
    )
    value = kept.encode(answer)
    if len(value) > settings.max_entry_bytes:
        return Rejected(
            "too-large",
            f"The answer takes {len(value)} bytes; cache.max_entry_bytes is {settings.max_entry_bytes}.",
        )
    about = None
    if vectored is not None and answer.semantic_until_ms:
        about = About(
            answer.id,
            vectored.partition,
            vectored.klass,
            vectored.text,
            vectored.vector,
            vectored.embedder,
            answer.semantic_until_ms,
        )
    blob = Blob(
        wanted.place,
        wanted.key,
        value,
        now_ms,
        max(answer.exact_until_ms, answer.semantic_until_ms),
        outcome.cost_nusd or 0,
        controls.tags,
        b"" if about is None else kept.encode(about),
    )
    return Keepable(answer, blob, about)
