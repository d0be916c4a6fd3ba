"""What stands after the colon of an OpenRouter model, as a wish: ``:nitro``, ``:floor``, ``:free`` and their like.

Sources: OpenRouter's pages on model variants and provider selection, 2026-11 (wire.md 1.3).
"""

from collections.abc import Sequence

from msgspec import Struct, structs

from penstock.base.chat import ProviderPreferences, Sort
from penstock.base.decisions import Rejected
from penstock.config.slugs import canonical, split_suffix

_SORTS: dict[str, Sort] = {"nitro": "throughput", "floor": "price", "exacto": "exacto"}
_FREE = (("prompt", 0), ("completion", 0))


class Wished(Struct, frozen=True):
    """The caller's preferences, and what his models' suffixes add to them."""

    preferences: ProviderPreferences | None


def with_suffixes(names: Sequence[str], preferences: ProviderPreferences | None) -> Wished | Rejected:
    """``names`` are the models asked for, in order. What ``provider{}`` says itself counts before a suffix."""
    want = preferences
    sort: Sort | None = None
    for name in names:
        model, suffix = split_suffix(name)
        if suffix == "online":
            return _no(
                "online-unsupported", f"{name}: this gateway searches no web; name {model} without :online."
            )
        if suffix == "thinking" and canonical(model).startswith("claude"):
            return _no(
                "thinking-suffix",
                f"{name}: there is no :thinking of this model; ask for reasoning{{}} with {model}.",
            )
        if suffix == "free":
            want = want or ProviderPreferences()
            limits = dict(want.max_price) | dict(_FREE)
            want = structs.replace(want, max_price=tuple(limits.items()))
        elif suffix in _SORTS:
            if sort not in (None, _SORTS[suffix]):
                return _no(
                    "two-sorts", "The models' suffixes ask for two sorts; a request is sorted one way."
                )
            sort = _SORTS[suffix]
    if sort is not None and (want is None or want.sort is None):
        want = structs.replace(want or ProviderPreferences(), sort=sort)
    return Wished(want)


def _no(code: str, reason: str) -> Rejected:
    return Rejected(code, reason, param="model", caller_fault=True)
