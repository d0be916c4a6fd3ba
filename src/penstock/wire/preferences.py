"""What a caller of any dialect may ask of a gateway in the body: ``models`` and ``fallbacks``, names of ours; and ``provider{}``,
as OpenRouter writes it, into ProviderPreferences.

Sources: OpenRouter's openapi.yaml (ProviderPreferences) and provider-selection.mdx, 2026-11 (wire.md 1.3). Prices may be
strings or numbers; bounds may be numbers (of the median) or objects of percentiles; ``sort`` a word or an object.

Rule: what is read here decides where a prompt goes. So a value that cannot be read is refused, with its field; and so is a
name that is surely a misspelt one of ours, as nobody would keep the wish. Other names are told as dropped.
"""

import difflib
from collections.abc import Iterable, Mapping
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Annotated, Any, Literal, cast, get_args

import msgspec
from msgspec import Meta, Raw, Struct

from penstock.base.chat import Ask, ProviderPreferences, Sort
from penstock.base.errors import BadRequest
from penstock.wire.unreadable import unreadable

UNDERSTOOD = frozenset(
    {
        "order",
        "only",
        "ignore",
        "allow_fallbacks",
        "require_parameters",
        "data_collection",
        "zdr",
        "enforce_distillable_text",
        "quantizations",
        "sort",
        "max_price",
        "preferred_min_throughput",
        "preferred_max_latency",
    }
)
"""All that chat routing reads. Anything else in ``provider{}`` is told as dropped."""
QUANTIZATIONS = frozenset(
    {
        "int4",
        "int8",
        "fp4",
        "mxfp4",
        "nvfp4",
        "fp6",
        "fp8",
        "mxfp8",
        "fp16",
        "bf16",
        "fp32",
        "unknown",
    }
)
_SORTS: tuple[Sort, ...] = get_args(Sort)
_PER_MILLION = frozenset({"prompt", "completion", "audio"})
_WHOLE = frozenset({"request", "image"})
_PERCENTS = {"p50": 50, "p75": 75, "p90": 90, "p99": 99}
_CLOSE = 0.8
"""From here on a name is a misspelt one: ``zdrr`` and ``data_colection`` are, OpenRouter's own ``options`` is not."""
_MOST_USD = Decimal(10**9)


_NOTHING = Raw(b"")


class ProviderField(Struct, gc=False):
    """The field as it comes. What may have several shapes is read below."""

    order: tuple[str, ...] | None = None
    only: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None
    allow_fallbacks: bool | None = None
    require_parameters: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zdr: bool | None = None
    enforce_distillable_text: bool | None = None
    quantizations: tuple[str, ...] | None = None
    sort: Any = None
    max_price: dict[str, Any] | None = None
    preferred_min_throughput: Any = None
    preferred_max_latency: Any = None


class _Wishes(Struct, gc=False):
    provider: dict[str, Raw] | None = None


_wishes = msgspec.json.Decoder(_Wishes).decode
_Name = Annotated[str, Meta(min_length=1)]


class _Fallback(Struct, gc=False, forbid_unknown_fields=True):
    model: _Name


class _Chain(Struct, gc=False):
    models: tuple[_Name, ...] | None = None
    fallbacks: tuple[_Name | _Fallback, ...] | None = None
    provider: ProviderField | None = None


_chain = msgspec.json.Decoder(_Chain).decode
CHAIN = _Chain.__struct_fields__
_REMEDIES = {
    "models": "Send a list of model names.",
    "fallbacks": 'Send a list of model names, or of objects {"model": "..."}.',
    "provider": 'Send an object such as {"order": ["openai"], "allow_fallbacks": true}.',
}


def read_chain(ask: Ask, fields: Mapping[str, Raw]) -> None:
    """Those of a body's fields that say where it may go, into its ask. Raises BadRequest with the field's path."""
    body = msgspec.json.encode({name: fields[name] for name in CHAIN if name in fields})
    try:
        chain = _chain(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise unreadable(error, body, _REMEDIES) from None
    ask.models = chain.models or ()
    ask.fallbacks = tuple(one if isinstance(one, str) else one.model for one in chain.fallbacks or ())
    if chain.provider is not None:
        ask.provider = read_preferences(chain.provider, body)


class ChainFields(Struct, gc=False):
    """What a body may say of where it may go, as it comes: for the bodies of operations to inherit."""

    models: Raw = _NOTHING
    fallbacks: Raw = _NOTHING
    provider: Raw = _NOTHING
    penstock: Raw = _NOTHING

    def read_into(self, ask: Ask) -> None:
        """As ``read_chain``; most bodies say nothing of it."""
        said = {name: raw for name in CHAIN if len(raw := getattr(self, name))}
        if said:
            read_chain(ask, said)
        if len(self.penstock):
            ask.gateway_fields = ("penstock",)


def provider_losses(value: bytes) -> list[str]:
    """Wishes in ``provider{}`` that no routing of ours reads (options ...), to be said."""
    if value == b"null":
        return []
    names = msgspec.json.decode(value, type=dict[str, Raw])
    return [f"provider.{name}-dropped" for name in names if name not in UNDERSTOOD]


def refuse_misspelt(names: Iterable[str]) -> None:
    """Raises BadRequest for the first name in ``provider{}`` that is close to one of ours."""
    for name in names:
        if name in UNDERSTOOD:
            continue
        plain = name.lower().replace("-", "_")
        spelt = {known.replace("_", ""): known for known in sorted(UNDERSTOOD)}
        near = difflib.get_close_matches(plain[:40].replace("_", ""), spelt, n=1, cutoff=_CLOSE)
        if near:
            raise _wrong(name[:40], "There is no such field.", f"Did you mean {spelt[near[0]]!r}?")


def read_preferences(wish: ProviderField, body: bytes) -> ProviderPreferences:
    """``wish`` as it stands in ``body``, whose ``provider`` is looked through for misspelt names. Raises BadRequest with the field's path."""
    if body:
        refuse_misspelt(_wishes(body).provider or ())
    sort, partition = _sort(wish.sort)
    formats = wish.quantizations or ()
    for name in formats:
        if name not in QUANTIZATIONS:
            raise _wrong(
                "quantizations",
                f"{name[:40]!r} is no number format.",
                f"Known: {', '.join(sorted(QUANTIZATIONS))}.",
            )
    return ProviderPreferences(
        order=wish.order or (),
        only=wish.only or (),
        ignore=wish.ignore or (),
        allow_fallbacks=wish.allow_fallbacks is not False,
        require_parameters=wish.require_parameters is True,
        data_collection=wish.data_collection or "allow",
        zdr=wish.zdr is True,
        enforce_distillable_text=wish.enforce_distillable_text is True,
        quantizations=formats,
        sort=sort,
        partition=partition,
        max_price=_prices(wish.max_price or {}),
        min_throughput=_bounds("preferred_min_throughput", wish.preferred_min_throughput),
        max_latency=_bounds("preferred_max_latency", wish.preferred_max_latency),
    )


def _sort(found: Any) -> tuple[Sort | None, Literal["model", "none"]]:
    shape = _object(found)
    by: Any = found if shape is None else shape.get("by")
    partition: Any = "model" if shape is None else shape.get("partition") or "model"
    if by is not None and by not in _SORTS:
        raise _wrong(
            "sort", f"Nothing is sorted by {str(by)[:40]!r}.", f"Send {', '.join(_SORTS)}, or leave it out."
        )
    if partition not in ("model", "none"):
        raise _wrong(
            "sort.partition", f"There is no partition {str(partition)[:40]!r}.", 'Send "model" or "none".'
        )
    return by, "none" if partition == "none" else "model"


def _object(found: Any) -> dict[str, Any] | None:
    """An object that came as JSON; None for anything else."""
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _prices(found: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    """Dollars per million tokens, per request or per image -> pico-dollars for one of them."""
    limits: list[tuple[str, int]] = []
    for word, value in found.items():
        if word not in _PER_MILLION | _WHOLE:
            raise _wrong(
                f"max_price.{word[:40]}",
                f"There is no price of {word[:40]!r}.",
                "Known: prompt, completion, request, image, audio.",
            )
        if value is None:
            continue
        usd = _decimal(value)
        if usd is None:
            raise _wrong(
                f"max_price.{word}", "This is no price.", 'Send dollars, as "1.50" or 1.5, of at least 0.'
            )
        pico = usd * (10**6 if word in _PER_MILLION else 10**12)
        limits.append((word, int(pico.to_integral_value(ROUND_FLOOR))))
    return tuple(limits)


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        usd = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return usd if usd.is_finite() and 0 <= usd <= _MOST_USD else None


def _bounds(name: str, found: Any) -> tuple[tuple[int, float], ...]:
    """A number is a bound of the median; an object has one for each percentile."""
    if found is None:
        return ()
    given = _object(found) or {"p50": found}
    bounds: list[tuple[int, float]] = []
    for word, value in given.items():
        if word not in _PERCENTS:
            raise _wrong(f"{name}.{word[:40]}", "This is no percentile.", "Known: p50, p75, p90, p99.")
        if value is None:
            continue
        number = _decimal(value)
        if number is None:
            raise _wrong(
                name, "This is no bound.", "Send a number of at least 0, or an object of percentiles."
            )
        bounds.append((_PERCENTS[word], float(number)))
    return tuple(bounds)


def _wrong(path: str, message: str, hint: str) -> BadRequest:
    return BadRequest(f"provider.{path}: {message}", param=f"provider.{path}", hint=hint)
