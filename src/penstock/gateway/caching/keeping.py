"""An answer that was just delivered, as it is kept: storable or not, for how long, and under what.

Deciding only: the events come from a recording, the moment from the caller, the result is a blob or why there is none.
"""

import secrets
from math import inf

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.events import Event, Folded, TextDelta, ThinkingDelta, fold
from penstock.blobs.blob import Blob
from penstock.cache import answer as kept
from penstock.cache.answer import About, Answer
from penstock.cache.eligible import shareable
from penstock.cache.storable import semantic_storable, storable
from penstock.config.schema_cache import CacheConfig, SemanticCacheConfig
from penstock.gateway.caching.lookup import Wanted, is_fallback
from penstock.gateway.planning import Planned
from penstock.gateway.settle import CallFacts, Outcome

ENTRY, MODEL = "\x1fentry:", "\x1fmodel:"
"""Tags of our own, by which one entry, or all of a model's, are dropped wherever they lie. No caller's tag has such a beginning."""
ASKER = "\x1fkey:"
"""The same of what one key has asked for, where others share it."""
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


class Delivered(Struct, frozen=True):
    """A call whose answer has been delivered whole."""

    facts: CallFacts
    outcome: Outcome
    planned: Planned
    wanted: Wanted
    events: tuple[Event, ...]
    gaps_ms: tuple[float, ...]
    prompt: str
    """The last user message, where a person may read it."""


def keepable(
    of: Delivered, *, settings: CacheConfig, semantic: SemanticCacheConfig | None, now_ms: int
) -> Keepable | Rejected:
    """What is kept of the call, or why nothing is."""
    wanted, folded = of.wanted, fold(list(of.events))
    no = _refused(of, folded, settings)
    if no is not None:
        return no
    vectored = wanted.vectored if wanted.semantic else None
    if semantic is None or semantic_storable(folded, semantic) is not None:
        vectored = None
    most_s = wanted.controls.ttl_s or inf
    exact_s = min(settings.exact.ttl_seconds, most_s) if wanted.exact else 0
    semantic_s = 0 if vectored is None or semantic is None else min(semantic.ttl_seconds, most_s)
    if not exact_s and not semantic_s:
        return Rejected("no-tier", "No tier keeps answers of such calls.")
    answer = _answer(of, settings, now_ms, int(exact_s), int(semantic_s))
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
        of.outcome.cost_nusd or 0,
        (
            *wanted.controls.tags,
            *_asker(of),
            ENTRY + answer.id,
            MODEL + answer.route,
            *((MODEL + name,) if (name := f"{answer.provider}/{answer.model}") != answer.route else ()),
        ),
        b"" if about is None else kept.encode(about),
    )
    return Keepable(answer, blob, about)


def _asker(of: Delivered) -> tuple[str, ...]:
    name = of.facts.principal.name
    return (ASKER + name,) if name and not of.wanted.place.tenant.startswith(OWN) else ()


def _refused(of: Delivered, folded: Folded, settings: CacheConfig) -> Rejected | None:
    ask = of.facts.ask
    assert ask is not None
    spread = ask.dialect == "openrouter" or ask.provider is not None
    no = storable(
        folded,
        answered_by_fallback=is_fallback(of.planned, of.outcome.target, spread=spread),
        adjusted=of.facts.adjusted,
        controls=of.wanted.controls,
        cost_nusd=of.outcome.cost_nusd,
        max_bytes=settings.max_entry_bytes,
    )
    if no is None and not of.wanted.place.tenant.startswith(OWN):
        # Where several principals share entries, one of them could leave words for the others.
        return shareable(folded.text) or shareable(of.prompt)
    return no


def _answer(of: Delivered, settings: CacheConfig, now_ms: int, exact_s: int, semantic_s: int) -> Answer:
    facts, target, events, gaps_ms = of.facts, of.outcome.target, of.events, of.gaps_ms
    assert facts.ask is not None
    if settings.replay == "instant":
        events, gaps_ms = merged(events, gaps_ms)
    return Answer(
        f"ce-{secrets.token_hex(12)}",
        facts.request_id,
        facts.principal.name,
        facts.ask.operation,
        facts.ask.model,
        target.provider,
        target.model,
        now_ms,
        of.outcome.cost_nusd,
        of.prompt if settings.keep_prompts else "",
        events,
        gaps_ms,
        now_ms + exact_s * 1000 if exact_s else 0,
        now_ms + semantic_s * 1000 if semantic_s else 0,
    )
