"""The model catalogue: who sells which model, its limits, capabilities, lifecycle and prices. Data, not code.

Theory
- ``data/models.json`` is decoded once, typed; a row keeps its prices as one line of decimal text and becomes a
  ``ModelFacts`` with integer prices when it is first asked for.
- How a row's prices are written: config.price_lines.
- Unknown is None and is said; a 0 is a 0 that the vendor means (see scripts/build_catalogue.py).

Rules
- ``facts()`` never raises and never refuses. It knows ids by other spellings (dates, regions, ``models/`` and
  author prefixes); a row found by a spelling that may cost something else lends its facts but no price.
- ``capabilities`` None: nothing is known of what the model can do, modalities included.
- Lifecycle dates warn; nothing here or above refuses a call because of them.
"""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import msgspec
from msgspec import Struct

from penstock.base.models import (
    UNKNOWN_VERSION,
    BudgetRange,
    CapName,
    ModelFacts,
    PriceRow,
    ReasoningStyle,
)
from penstock.base.money import Price, price_from_usd_text
from penstock.config.model_names import NameIndex, spellings, undated
from penstock.config.price_lines import followed, parse_prices, short_hash, starts_ms
from penstock.config.schema import DialectName, PriceOverride

UNITS: tuple[str, ...] = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "cache_write_12h",
    "input_audio",
    "input_image",
    "input_video",
    "cache_read_audio",
    "cache_read_image",
    "cache_read_explicit",
    "cache_write_audio",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
    "output_video",
    "citation",
    "grounded_input",
)
"""Units of tokens, in the order in which they are shown; base.usage.TOKEN_UNITS is among them."""

OTHER_UNITS: tuple[str, ...] = (
    "request",
    "query",
    "image",
    "image_input",
    "pixel",
    "pixel_input",
    "second",
    "second_input",
    "second_input_video",
    "second_input_audio",
    "character",
    "character_input",
    "page",
    "page_annotated",
    "web_search",
    "web_search_prompt",
    "search_source",
    "maps_grounding",
    "maps_grounding_prompt",
    "code_session",
)
"""Units that are no tokens. A colon adds a kind: ``image:low:1024x1024``, ``web_search:high``, ``second:720p``.
``_prompt``: once a call, however many searches it took (Gemini 2; Gemini 3 charges for each)."""

MAX_OWN_USD_PER_MILLION = 10**9
"""A thousand dollars a unit: what is beyond is a mistake, and could overflow the ledger's integers."""

_DATA = Path(__file__).parent / "data"
_MODALITIES = {"t": "text", "i": "image", "a": "audio", "v": "video", "d": "document"}
_CAPABILITIES = {
    "t": "tools",
    "j": "json_schema",
    "p": "parallel_tools",
    "x": "sampling",
    "f": "prefill",
    "s": "streaming",
}
_CAPS: dict[str, CapName | None] = {"c": "max_completion_tokens", "m": "max_tokens", "-": None}
_KINDS = ("lab", "cloud", "host", "router", "local")
Dialect = DialectName | Literal["other"]


class ProviderFacts(Struct, frozen=True):
    """One provider. ``base_url`` as its SDK takes it; "" where only the user can know it (Azure, Databricks ...).

    ``dialect`` "other" is spoken by none of our dialects. ``env`` is the variable its key usually stands in.
    ``cap_name``: how it wants the output cap to be called, where its model's row says nothing else.
    ``passthrough_fields``: gateway fields that it understands itself. ``sends_done`` False: its streams may end
    without ``[DONE]``. ``makes``: prefixes of models that are its own. ``authors``: its name in ids such as
    ``google/gemini-2.5-flash``.
    """

    name: str
    kind: Literal["lab", "cloud", "host", "router", "local"] = "host"
    dialect: Dialect = "other"
    base_url: str = ""
    env: str = ""
    cap_name: CapName = "max_tokens"
    passthrough_fields: frozenset[str] = frozenset()
    sends_done: bool = True
    otel_name: str = ""
    aliases: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()

    def base_url_at(self, location: str | None) -> str:
        """The base URL for a Vertex location (cloud.google.com, locations); any other provider's own."""
        if self.dialect != "vertex" or location in {None, "", "global"}:
            return self.base_url
        if location in {"us", "eu"}:
            return f"https://aiplatform.{location}.rep.googleapis.com"
        return f"https://{location}-aiplatform.googleapis.com"


class Row(Struct, frozen=True, array_like=True, gc=False):
    """One line of data/models.json; scripts/build_catalogue.py writes it."""

    mode: str
    context: int
    output: int
    modalities_in: str
    modalities_out: str
    capabilities: str
    prices: str
    sources: tuple[int, ...]
    date: str
    retires: str = ""
    deprecated: str = ""
    reasoning: Literal["", "none", "effort", "budget", "level", "adaptive", "always"] = ""
    budget: tuple[int, ...] = ()
    cap: str = ""


class _Tables(Struct, frozen=True):
    sources: tuple[str, ...]
    same: dict[str, dict[str, str]]
    models: dict[str, dict[str, Row]]


@cache
def _tables() -> tuple[_Tables, tuple[ProviderFacts, ...], str]:
    """Both files, decoded once a process, and the hash of what they say."""
    models, providers = (_DATA / "models.json").read_bytes(), (_DATA / "providers.json").read_bytes()
    digest = hashlib.sha256(models + providers).hexdigest()[:8]
    return (
        msgspec.json.decode(models, type=_Tables),
        msgspec.json.decode(providers, type=tuple[ProviderFacts, ...]),
        digest,
    )


class Catalogue:
    """Look-ups over the data files and the user's own prices. Safe to share between threads once built."""

    def __init__(
        self, overrides: tuple[PriceOverride, ...] = (), borrowed: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """``overrides`` are the config's ``prices``; ValueError, with a sentence, for one that is no price. ``borrowed``: other
        names of known providers (config.borrowing).
        """
        self._tables, self._providers, digest = _tables()
        self._by_name = {name: row for row in self._providers for name in (row.name, *row.aliases)}
        self._by_name |= {name: self._by_name[known] for name, known in borrowed.items()}
        self._also: dict[str, list[str]] = {}
        for name, known in borrowed.items():
            self._also.setdefault(known, []).append(name)
        self._makers = {author: row.name for row in self._providers for author in row.authors}
        self._own: dict[str, list[PriceRow]] = {}
        for override in sorted(overrides, key=lambda override: starts_ms(override.starts)):
            self._own.setdefault(override.model, []).append(own_price(override))
        own = "".join(sorted(f"{model} {row.version}" for model, rows in self._own.items() for row in rows))
        self.version = digest if not own else f"{digest}-own-{short_hash(own)}"
        self._ready: dict[tuple[str, str], ModelFacts] = {}
        self._names: dict[str, NameIndex] = {}

    @classmethod
    def load(cls) -> "Catalogue":
        """The catalogue without own prices."""
        return cls()

    def warm(self) -> None:
        """Builds the indexes of bare and near names now (tens of milliseconds) rather than at the first question."""
        self.bare("")
        self.nearest("")

    def provider(self, name: str) -> ProviderFacts | None:
        """The provider of that name or alias."""
        return self._by_name.get(name)

    def provider_by_url(self, base_url: str) -> ProviderFacts | None:
        """The provider that this base URL belongs to: a configured provider of another name may borrow its rows."""
        wanted = base_url.rstrip("/")
        return next((row for row in self._providers if wanted and row.base_url.rstrip("/") == wanted), None)

    def providers(self) -> list[ProviderFacts]:
        """All providers, in the file's order."""
        return list(self._providers)

    # ------------------------------------------------------------------ models

    def facts(self, provider: str, model: str) -> ModelFacts:
        """What is known of ``model`` at ``provider``. Unknown: ``known`` False and no price."""
        known = self._by_name.get(provider)
        name = known.name if known else provider
        own = self._own.get(f"{provider}/{model}")
        row = self._tables.models.get(name, {}).get(model)
        if row is not None:
            facts = self._fact(name, model, row)
        else:
            facts = self._by_spelling(name, model) or ModelFacts(
                name, model, cap_name=known.cap_name if known else None
            )
        return facts if own is None else msgspec.structs.replace(facts, price=_succeeded(facts.price, own))

    def _fact(self, provider: str, model: str, row: Row) -> ModelFacts:
        """The row as ModelFacts, made once."""
        ready = self._ready.get((provider, model))
        if ready is None:
            known = self._by_name.get(provider)
            default = known.cap_name if known else None
            ready = _facts(provider, model, row, self._tables.sources, default)
            self._ready[provider, model] = ready
        return ready

    def _by_spelling(self, provider: str, model: str) -> ModelFacts | None:
        """A row known by another name. The result is not kept: names come from callers, and are many."""
        for name, priced in self._candidates(provider, model):
            row = self._tables.models.get(provider, {}).get(name)
            if row is not None:
                facts = self._fact(provider, name, row)
                note = f"{facts.source} (row {provider}/{name})"
                price = facts.price if priced else None
                return msgspec.structs.replace(facts, model=model, source=note, price=price)
        author, _, bare = model.lower().partition("/")
        maker = self._makers.get(author.lstrip("~"))
        if bare and maker and maker != provider:
            facts = self.facts(maker, bare.partition(":")[0])
            if facts.known:  # the maker's limits hold wherever it is served; price and spelling do not
                known = self._by_name.get(provider)
                return msgspec.structs.replace(
                    facts,
                    provider=provider,
                    model=model,
                    price=None,
                    reasoning=None,
                    cap_name=known.cap_name if known else None,
                    source=f"{facts.source} (facts of {maker}/{facts.model})",
                )
        return None

    def _candidates(self, provider: str, model: str) -> Iterator[tuple[str, bool]]:
        """Names under which the row may stand, and whether its price holds for the name asked for."""
        same = self._tables.same.get(provider, {})
        index = self._names.get(provider)
        if index is None and provider in self._tables.models:
            index = self._names[provider] = NameIndex(self._tables.models[provider])
        for name, priced in spellings(provider, model):
            yield name, priced
            if name in same:
                yield same[name], priced
            if index is not None:
                found = index.exact(name) or index.newest(name)
                if found is not None:
                    yield found, priced

    def bare(self, model: str) -> list[tuple[str, str]]:
        """Who sells a model of that bare name, as (provider, id there): its maker first, routers last."""
        index, wanted = _bare_names(), model.lower()
        found = index.get(wanted) or index.get(undated(wanted), ())
        if not self._also:
            return list(found)
        return [(name, id_) for known, id_ in found for name in (known, *self._also.get(known, ()))]

    def index_bare(self) -> dict[str, list[tuple[str, str]]]:
        """What ``bare`` looks up."""
        ranked: dict[str, list[tuple[tuple[int, int, int, str, str], tuple[str, str]]]] = {}
        for provider, rows in self._tables.models.items():
            for model in rows:
                for bare in {model.lower(), model.lower().rpartition("/")[2].partition(":")[0]}:
                    first, kind = self._rank(provider, model)
                    order = (first, int(model.lower() != bare), kind, provider, model)
                    ranked.setdefault(bare, []).append((order, (provider, model)))
        return {bare: [pair for _, pair in sorted(sellers)] for bare, sellers in ranked.items()}

    def _rank(self, provider: str, model: str) -> tuple[int, int]:
        """First-party first, then by kind of provider."""
        row = self._by_name.get(provider)
        if row is None:
            return (1, len(_KINDS))
        if model.startswith(row.makes):
            return (0, 0)
        return (1, _KINDS.index("host" if row.kind == "lab" else row.kind))

    def find(self, words: str) -> list[ModelFacts]:
        """Rows whose ``provider/model`` has every word of the filter; first-party rows first."""
        wanted = words.lower().split()
        hits = [
            (*self._rank(provider, model), provider, model)
            for provider, rows in self._tables.models.items()
            for model in rows
            if all(word in f"{provider}/{model}".lower() for word in wanted)
        ]
        return [self.facts(provider, model) for _, _, provider, model in sorted(hits)]

    def chat_models(self, provider: str, modes: frozenset[str] = frozenset({"chat"})) -> list[str]:
        """Ids of all chat models that ``provider`` sells, or of those of other modes."""
        known = self._by_name.get(provider)
        rows = self._tables.models.get(known.name if known else provider, {})
        return [model for model, row in rows.items() if row.mode in modes]

    def nearest(self, name: str) -> list[str]:
        """Up to three names like ``name``, for the hint in an error: ``provider/model`` or bare, as asked."""
        return _all_names().nearest(name, 3, slash="/" in name)

    def index_names(self) -> NameIndex:
        """What ``nearest`` looks up: all names, and those of first parties without their provider."""
        full = [f"{provider}/{model}" for provider, rows in self._tables.models.items() for model in rows]
        first_party = [
            model
            for provider, rows in self._tables.models.items()
            for model in rows
            if "/" not in model and self._rank(provider, model)[0] == 0
        ]
        return NameIndex([*full, *first_party])


@cache
def _bare_names() -> dict[str, list[tuple[str, str]]]:
    """One for all catalogues of a process: own prices add no names."""
    return Catalogue().index_bare()


@cache
def _all_names() -> NameIndex:
    return Catalogue().index_names()


# ------------------------------------------------------------------ rows -> facts


def _facts(
    provider: str, model: str, row: Row, sources: tuple[str, ...], cap_name: CapName | None
) -> ModelFacts:
    reasoning: ReasoningStyle | None = row.reasoning or None
    source = "; ".join(sources[index] for index in row.sources)
    return ModelFacts(
        provider=provider,
        model=model,
        mode=row.mode,
        context_tokens=row.context or None,
        max_output_tokens=row.output or None,
        modalities_in=frozenset(_MODALITIES[letter] for letter in row.modalities_in),
        modalities_out=frozenset(_MODALITIES[letter] for letter in row.modalities_out),
        capabilities=None
        if row.capabilities == "?"
        else frozenset(_CAPABILITIES[letter] for letter in row.capabilities),
        reasoning=reasoning,
        budget=BudgetRange(row.budget[0], row.budget[1], bool(row.budget[2]), bool(row.budget[3]))
        if row.budget
        else None,
        cap_name=_CAPS[row.cap] if row.cap else cap_name,
        deprecated=row.deprecated,
        retires=row.retires,
        price=parse_prices(row.prices, source, row.date) if row.prices else None,
        source=source,
        date=row.date,
    )


def _succeeded(row: PriceRow | None, own: list[PriceRow]) -> PriceRow:
    """Own prices over the catalogue's: from the first of them on, none of its figures holds any more."""
    first = own[0]
    if not first.from_ms:
        return followed(first, own[1:])
    row = row or PriceRow(version=UNKNOWN_VERSION, units={})
    before = [successor for successor in row.later if successor.from_ms < first.from_ms]
    return followed(row, [*before, *own])


def own_price(own: PriceOverride) -> PriceRow:
    """A price from the config, in dollars per million. ValueError, with a sentence, for what is no price."""
    if "/" not in own.model:
        raise ValueError(f"{own.model!r} names no provider: write provider/model")
    units: dict[str, Price] = {}
    usd_of: dict[str, Decimal] = {}
    for unit, text in own.usd_per_million.items():
        if unit.partition(":")[0] not in (*UNITS, *OTHER_UNITS):
            raise ValueError(f"{unit!r} is no unit of price; token units are {', '.join(UNITS)}")
        try:
            per_million = Decimal(text.strip())
        except InvalidOperation as error:
            raise ValueError(f"{unit}: {text!r} is no decimal price") from error
        if not per_million.is_finite() or per_million < 0:
            raise ValueError(f"{unit}: {text!r} is no finite, non-negative price")
        if per_million > MAX_OWN_USD_PER_MILLION:
            raise ValueError(f"{unit}: {text!r} is more than {MAX_OWN_USD_PER_MILLION:,} dollars")
        usd_of[unit] = per_million.scaleb(-6)
        # The text stays as it was written, per million.
        units[unit] = msgspec.structs.replace(price_from_usd_text(str(usd_of[unit])), text=text.strip())
    from_ms = starts_ms(own.starts)
    line = " ".join(f"{unit}={usd_of[unit]}" for unit in sorted(units)) + (f" @{from_ms}" if from_ms else "")
    return PriceRow(
        version=f"own-{short_hash(line)}",
        units=units,
        source="own price",
        date=own.starts or "",
        from_ms=from_ms,
    )


def lifecycle_note(facts: ModelFacts, today: date) -> str:
    """A warning for a model that is retired, retires within 90 days or is deprecated; "" otherwise."""
    if facts.retires:
        left = (date.fromisoformat(facts.retires) - today).days
        if left <= 0:
            return f"retired on {facts.retires}"
        if left <= 90:
            return f"retires on {facts.retires}, in {left} day{'s' * (left != 1)}"
    if facts.deprecated and date.fromisoformat(facts.deprecated) <= today:
        until = f", retires on {facts.retires}" if facts.retires else ""
        return f"deprecated since {facts.deprecated}{until}"
    return ""
