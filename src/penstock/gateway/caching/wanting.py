"""What one call looks for in the cache, and may leave there: deciding only."""

import asyncio

import msgspec

from penstock.base.decisions import Rejected
from penstock.base.errors import BadRequest
from penstock.cache.controls import Controls
from penstock.cache.eligible import exact_refusal, semantic_refusal
from penstock.cache.keys import canonical
from penstock.cache.unread import unread
from penstock.config.schema_cache import SemanticCacheConfig
from penstock.gateway.caching.entering import ASKED_OFF, cache_miss, controls_in
from penstock.gateway.caching.lookup import Wanted, group_of, owner_of, place_of
from penstock.gateway.caching.means import Call, Means
from penstock.gateway.caching.quick import CACHED
from penstock.gateway.planning import Planned
from penstock.gateway.remote import ASIDE_BYTES, Translator
from penstock.wire.ports import NeutralRequest

WARM = 0.3
"""Who asks for a higher temperature wants variety: such calls are not joined."""


async def wanted_of(means: Means, call: Call, planned: Planned) -> Wanted | Rejected:
    """What this call looks for, or why the cache has no part in it. Raises BadRequest of its controls, and
    NotFound where it may not be asked of a model."""
    facts, inbound = call.facts, call.inbound
    ask = facts.ask
    assert ask is not None
    since = means.blobs.dropped.since()
    controls = controls_in(inbound.told, ask)
    if controls.mode == "off":
        return ASKED_OFF
    if ask.operation not in CACHED or facts.purpose is not None:
        no = Rejected("not-cached", f"Answers of {facts.purpose or ask.operation} are not kept.")
        return _past(means, call, controls, no)
    call.translator = translator = Translator(inbound.caller, ask)
    await translator.aside()
    try:
        neutral = translator.neutral()
    except BadRequest as error:
        no = Rejected("untranslatable", f"The request cannot be compared: {error.message}")
        return _past(means, call, controls, no)
    exact_no, semantic_no, joins = tiers_of(means, neutral, controls)
    if exact_no is not None and semantic_no is not None and not joins:
        no = semantic_no if means.semantic_settings is not None else exact_no
        return _past(means, call, controls, no)
    wishes = "" if ask.provider is None else msgspec.json.encode(ask.provider).decode()
    group = group_of(planned, wishes)
    owner = owner_of(facts.principal, means.settings.scope)
    place = place_of(facts.principal, means.settings.scope, controls.namespace)

    def keyed() -> tuple[bytes, bytes]:
        # Of a body that was taken apart a digest is compared, which a small one must not be able to write out.
        beside = unread(ask) + (b"" if ask.bulk is None else b" slim")
        whole = canonical(neutral, group=group, beside=beside)
        return means.keys.exact_key(owner, place.namespace, whole), beside

    key, beside = await asyncio.to_thread(keyed) if len(ask.body) > ASIDE_BYTES else keyed()
    reads = controls.mode != "refresh"
    return Wanted(
        place, key, controls, neutral, group, since, owner, exact_no, semantic_no, joins, reads, beside
    )


def _past(means: Means, call: Call, controls: Controls, no: Rejected) -> Rejected:
    """The cache has no part in it; who asked for a kept answer only must not pay for a fresh one."""
    if controls.mode == "only":
        means.bypass(call.facts, no)
        raise cache_miss(no)
    return no


def tiers_of(
    means: Means, neutral: NeutralRequest, controls: Controls
) -> tuple[Rejected | None, Rejected | None, bool]:
    """Why the exact and the semantic tier have no part in it (None: they have), and whether it may be joined."""
    no = exact_refusal(neutral, controls)
    joins = (
        means.coalesce is not None
        and no is None
        and controls.mode in ("default", "exact")
        and not _warm(neutral, means.semantic_settings)
    )
    exact_no, semantic_no = no, None
    if not means.settings.exact.enabled:
        exact_no = Rejected("exact-off", "The exact tier is off (cache.exact.enabled).")
    elif controls.mode == "semantic":
        exact_no = Rejected("asked-semantic", "The caller asked for the semantic tier alone.")
    if means.semantic_settings is None:
        semantic_no = Rejected("semantic-off", "The semantic tier is off.")
    elif means.meaning is None:
        semantic_no = Rejected(
            "semantic-unavailable",
            "The semantic tier is switched on and could not be opened; the operator's log says why.",
        )
    elif controls.mode == "exact":
        semantic_no = Rejected("asked-exact", "The caller asked for the exact tier alone.")
    else:
        semantic_no = semantic_refusal(neutral, controls, means.semantic_settings)
    return exact_no, semantic_no, joins


def _warm(neutral: NeutralRequest, semantic: SemanticCacheConfig | None) -> bool:
    most = WARM if semantic is None else semantic.max_temperature
    temperature: float | None = getattr(neutral, "temperature", None)
    return temperature is not None and temperature > most
