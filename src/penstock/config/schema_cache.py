"""Knobs of the cache: exact, coalesced, semantic. Part of ``config.schema``."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Positive = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]


def _doc(text: str) -> Meta:
    return Meta(description=text)


class ExactCacheConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers to requests that are the same in all that can change the answer."""

    enabled: Annotated[bool, _doc("Switch the exact tier on.")] = False
    ttl_seconds: Annotated[Positive, _doc("Absolute life of an entry; hits do not prolong it.")] = 86_400


class CoalesceConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Identical calls in flight join one upstream call."""

    enabled: Annotated[bool, _doc("Switch joining on.")] = False
    max_followers: Annotated[Positive, _doc("Callers that join one call; further ones make their own.")] = 100
    wait_ms: Annotated[
        Positive, _doc("A follower that has had nothing for so long makes a call of its own.")
    ] = 30_000


class CacheConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is kept of answers. All of it is off unless configured."""

    exact: Annotated[ExactCacheConfig, _doc("The exact tier.")] = ExactCacheConfig()
    coalesce: Annotated[
        bool | CoalesceConfig, _doc("Joining of identical calls: true, or a block of its knobs.")
    ] = False
    scope: Annotated[
        Literal["key", "team", "organisation"],
        _doc("Who shares entries. A key without a team or organisation shares with nobody."),
    ] = "key"
    replay: Annotated[
        Literal["instant", "paced"],
        _doc(
            "How a stream is served from the cache: at once, or in the provider's own rhythm (pauses of at most 10 ms)."
        ),
    ] = "instant"
    max_bytes: Annotated[Positive, _doc("Answers kept in this process's memory.")] = 256 * 1024 * 1024
    max_entries: Annotated[Positive, _doc("Answers kept in this process's memory.")] = 100_000
    tenant_max_bytes: Annotated[Positive | None, _doc("Of them those of one tenant; default: a quarter.")] = (
        None
    )
    max_entry_bytes: Annotated[Positive, _doc("A larger answer is not kept.")] = 4 * 1024 * 1024
    path: Annotated[
        str | None,
        _doc("The cache's own SQLite file; default: beside the ledger's file; memory: none."),
    ] = None
    disk_max_bytes: Annotated[Positive, _doc("Size of what lies in the file.")] = 4 * 1024**3
    redis: Annotated[
        str | None,
        _doc(
            "redis:// or rediss:// URL, env.NAME or file:PATH: answers and invalidations shared between nodes."
        ),
    ] = None
    keep_prompts: Annotated[
        bool, _doc("Keep the words of prompts for audits; false: hashes only, and audits show answers alone.")
    ] = True


class AuditConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A sample of semantic hits is asked again of the model, compared, and queued for a person where in doubt."""

    rate: Annotated[Share, _doc("Share of served semantic hits that is audited.")] = 0.02
    first: Annotated[int, Meta(ge=0), _doc("The first so many hits of a class are all audited.")] = 50
    shadow_rate: Annotated[
        Share,
        _doc("Share of misses with a near neighbour whose fresh answer is compared with the neighbour's."),
    ] = 1.0
    budget_usd: Annotated[str | None, _doc("Dollars a day that audits may spend; default: no limit.")] = (
        "1.00"
    )
    judge: Annotated[
        str | None,
        _doc("provider/model that judges answers which are not plainly equal; default: a person does."),
    ] = None


class SemanticCacheConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Answers to requests that mean the same. ``similarity_threshold`` is served as configured; ``max_error_rate`` instead
    serves nothing before a threshold is certified by labels."""

    enabled: Annotated[bool, _doc("Switch the semantic tier on.")] = False
    similarity_threshold: Annotated[
        Share | None,
        _doc(
            "Cosine similarity from which an entry may be served, default 0.94; with max_error_rate the loosest that is "
            "tried, default 0.80."
        ),
    ] = None
    ttl_seconds: Annotated[Positive, _doc("Absolute life of an entry.")] = 604_800
    max_error_rate: Annotated[
        Annotated[float, Meta(gt=0, lt=1)] | None,
        _doc(
            "Promise on wrong answers among served hits: the threshold is then calibrated per class, and certified."
        ),
    ] = None
    confidence: Annotated[float, Meta(gt=0.5, lt=1), _doc("Of that promise.")] = 0.95
    embedder: Annotated[
        str, _doc("builtin (MiniLM on this machine), a folder with a model of that form, or provider/model.")
    ] = "builtin"
    embedder_cache: Annotated[
        str | None,
        _doc(
            "Folder for what is made of the embedder's weights; default: penstock in XDG_CACHE_HOME, or in ~/.cache."
        ),
    ] = None
    max_temperature: Annotated[
        float,
        Meta(ge=0, le=2),
        _doc("A call that asks for more is not served by similarity, unless it says so itself."),
    ] = 0.3
    templates: Annotated[
        tuple[str, ...],
        _doc(
            "Prompt templates with {variables}: only the variables are compared by meaning, the rest exactly."
        ),
    ] = ()
    tools: Annotated[bool, _doc("Also for calls that offer tools.")] = False
    max_queue_ms: Annotated[Positive, _doc("A longer wait for the embedder is a miss.")] = 10
    audit: Annotated[AuditConfig, _doc("Audits of hits.")] = AuditConfig()
