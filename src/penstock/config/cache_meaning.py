"""What the cache's knobs mean together: faults and notices."""

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation

from penstock.config.fault import Fault
from penstock.config.schema import Config
from penstock.config.secrets import is_reference
from penstock.config.state_url import state_faults

BUILTIN = "builtin"


def wants_cache(config: Config) -> bool:
    """Some tier is on."""
    return config.cache.exact.enabled or coalesces(config) or wants_meaning(config)


def coalesces(config: Config) -> bool:
    """Identical calls are joined."""
    block = config.cache.coalesce
    return block if isinstance(block, bool) else block.enabled


def wants_meaning(config: Config) -> bool:
    """The semantic tier is on."""
    return config.semantic_cache is not None and config.semantic_cache.enabled


def cache_faults(config: Config) -> Iterator[Fault]:
    """What cannot be built, or cannot be meant."""
    cache, semantic = config.cache, config.semantic_cache
    if cache.redis is not None and not is_reference(cache.redis):
        yield from state_faults(cache.redis, plain=True, path="$.cache.redis")
    if cache.tenant_max_bytes is not None and cache.tenant_max_bytes > cache.max_bytes:
        yield Fault(
            "$.cache.tenant_max_bytes",
            "One tenant would have more than there is.",
            "Write at most cache.max_bytes.",
        )
    if cache.max_entry_bytes > cache.max_bytes:
        yield Fault(
            "$.cache.max_entry_bytes", "One answer would fill the cache.", "Write at most cache.max_bytes."
        )
    if semantic is None:
        return
    for at, template in enumerate(semantic.templates):
        if template.count("{") != template.count("}") or "{" not in template:
            yield Fault(
                f"$.semantic_cache.templates[{at}]",
                "A template needs its variables in braces.",
                'Write for example "Write a caption for {product}."',
            )
    budget = semantic.audit.budget_usd
    if budget is not None and not _is_usd(budget):
        yield Fault(
            "$.semantic_cache.audit.budget_usd", "This is no amount of dollars.", 'Write for example "1.00".'
        )
    for path, named in (("embedder", semantic.embedder), ("audit.judge", semantic.audit.judge)):
        provider, slash, model = (named or "").partition("/")
        local = path == "embedder" and (named == BUILTIN or (named or "").startswith((".", "/", "~")))
        if named is None or local:
            continue
        if not slash or not model or provider not in config.providers:
            remedy = (
                "Write builtin, a folder (./model), or provider/model."
                if path == "embedder"
                else "Write provider/model."
            )
            yield Fault(
                f"$.semantic_cache.{path}", f"{named!r} names no model of a configured provider.", remedy
            )


def _is_usd(text: str) -> bool:
    try:
        return Decimal(text) >= 0
    except InvalidOperation:
        return False


def cache_notices(config: Config) -> Iterator[Fault]:
    """Knobs without effect."""
    semantic, cache = config.semantic_cache, config.cache
    if (
        semantic is not None
        and semantic.enabled
        and semantic.max_error_rate is not None
        and not semantic.audit.shadow_rate
    ):
        yield Fault(
            "$.semantic_cache.audit.shadow_rate",
            "Without comparisons no threshold is ever certified, unless pairs are uploaded.",
            "Leave it at 1, or upload pairs with penstock cache sweep.",
        )
    if not wants_cache(config) and (cache.path is not None or cache.redis is not None):
        yield Fault("$.cache", "Nothing is cached: no tier is on.", "Add cache: {exact: {enabled: true}}.")
