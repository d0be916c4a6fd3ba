"""What ``provider{}`` says against a target: hard filters, each with its reason.

Rules
- What is not known does not comply: a policy that nobody has stated, a price that nobody has, a number format.
- A router that keeps such wishes itself (``Offer.obeys``) passes where it is told them: it gets ``provider`` with the call.
- A name of a provider that is neither configured nor known: in ``only`` and ``order`` it is refused where it is surely a
  misspelt one, elsewhere it is told. OpenRouter has more providers than any list of ours.
- ``max_price`` looks at the price of the prompt's length (tiers); a unit that a known price has not is not charged.
"""

import difflib
import re

from penstock.base.chat import ProviderPreferences
from penstock.base.decisions import Rejected
from penstock.base.models import Offer, PriceRow, Target
from penstock.base.money import Price

PRICED: dict[str, tuple[str, ...]] = {
    "prompt": ("input",),
    "completion": ("output",),
    "request": ("request",),
    "image": ("image_input", "image"),
    "audio": ("input_audio",),
}
"""OpenRouter's words for what has a price -> our units; the first that a row has."""
_CLOSE = 0.8
_SHOWN = re.compile(r"[a-z0-9][a-z0-9._/ -]{0,59}")
_MUST = frozenset({"prompt", "completion"})
"""Without these two a price is not known."""


def against(target: Target, wishes: ProviderPreferences, input_tokens: int) -> Rejected | None:
    """Why this target may not be used, or None."""
    offer, name = target.offer, target.name
    told = offer.obeys and "provider" in target.options.get("passthrough_fields", "").split(",")
    if not told:
        no = _data(offer, wishes, name)
        if no is not None:
            return no
    if wishes.quantizations and not told and (offer.quantization or "unknown") not in wishes.quantizations:
        return _no(
            "quantization",
            f"{name} serves {offer.quantization or 'an unknown number format'}, not "
            f"{' or '.join(wishes.quantizations)} (provider.quantizations).",
        )
    return _too_dear(target, wishes, input_tokens) if wishes.max_price else None


def strangers(wishes: ProviderPreferences, known: frozenset[str]) -> tuple[str, ...] | Rejected:
    """Names that mean no provider, as words to be told; Rejected for a misspelt one. ``known``: names in lower case."""
    words: list[str] = []
    for field in ("only", "order", "ignore"):
        for name in getattr(wishes, field):
            word = name.lower()
            head = word.partition("/")[0]
            if head in known or word in known:
                continue
            near = difflib.get_close_matches(head[:60], sorted(known), n=1, cutoff=_CLOSE)
            if near and field != "ignore":
                return Rejected(
                    "unknown-provider",
                    f"provider.{field}: There is no provider {name[:60]!r}. Did you mean {near[0]!r}?",
                    param=f"provider.{field}",
                    caller_fault=True,
                )
            shown = f".{word}" if _SHOWN.fullmatch(word) else ""
            words.append(f"provider.{field}{shown}-unknown")
    return tuple(words)


def _data(offer: Offer, wishes: ProviderPreferences, name: str) -> Rejected | None:
    known = f" ({offer.source}, {offer.date})" if offer.source else ""
    if wishes.data_collection == "deny" and offer.trains is not False:
        what = (
            "may train on what it is sent" if offer.trains else "is not known not to train on what it is sent"
        )
        return _no("data-collection", f"{name} {what}{known}; provider.data_collection is deny.")
    if wishes.zdr and offer.zdr is not True:
        what = "keeps what it is sent" if offer.zdr is False else "is not known to keep nothing of it"
        return _no("zdr", f"{name} {what}{known}; provider.zdr asks for zero data retention.")
    if wishes.enforce_distillable_text and offer.distillable is not True:
        what = "do not allow" if offer.distillable is False else "are not known to allow"
        return _no(
            "not-distillable",
            f"The terms of {name} {what} training on its answers{known}; the request asks for it.",
        )
    return None


def _too_dear(target: Target, wishes: ProviderPreferences, input_tokens: int) -> Rejected | None:
    row = target.facts.price
    for word, limit_pico in wishes.max_price:
        price = None if row is None else _price(row, word, input_tokens)
        if price is None:
            if row is None or word in _MUST:
                return _no(
                    "price-unknown",
                    f"The {word} price of {target.name} is not known; provider.max_price limits it.",
                )
            continue
        if price.pico_usd > limit_pico * price.per:
            return _no(
                "too-dear",
                f"{target.name} takes {shown(word, price.pico_usd, price.per)}; "
                f"provider.max_price.{word} is {shown(word, limit_pico, 1)}.",
            )
    return None


def _price(row: PriceRow, word: str, input_tokens: int) -> Price | None:
    units = row.units
    for tier in row.tiers:
        if input_tokens > tier.above_tokens:
            units = {**units, **tier.prices}
    return next((units[unit] for unit in PRICED[word] if unit in units), None)


def shown(word: str, pico_usd: int, per: int) -> str:
    """A price as callers write it: dollars per million tokens, or per call or picture."""
    token = word in ("prompt", "completion", "audio")
    usd = pico_usd / per / (1_000_000 if token else 10**12)
    return f"${usd:g} per million tokens" if token else f"${usd:g}"


def _no(code: str, reason: str) -> Rejected:
    return Rejected(code, reason, param="provider", caller_fault=True)
