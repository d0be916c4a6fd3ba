"""What is known of a model at a provider, and where a call goes: facts, prices, targets."""

from typing import Any, Literal

from msgspec import Struct

from penstock.base.money import Price

ReasoningStyle = Literal["none", "effort", "budget", "level", "adaptive", "always"]
CapName = Literal["max_tokens", "max_completion_tokens"]
UNKNOWN_VERSION = "unknown"


class BudgetRange(Struct, frozen=True):
    """Which thinking budgets a model takes. ``off``: 0 allowed. ``dynamic``: -1 allowed."""

    minimum: int
    maximum: int
    off: bool = True
    dynamic: bool = True


class PriceTier(Struct, frozen=True):
    """Prices that hold for the whole request once its prompt is longer than ``above_tokens``."""

    above_tokens: int
    prices: dict[str, Price]


class PriceRow(Struct, frozen=True):
    """Prices of one model at one provider. ``units`` maps a unit name to its Price.

    Units: base.usage.TOKEN_UNITS, and "request", "image", "second", ... A missing unit is unknown, never 0; a
    missing ``reasoning`` is billed at ``output``, missing ``input_audio``/``input_image`` at ``input``. A unit that
    ends in "_prompt" ("web_search_prompt") is charged once a call, however often it was done.
    ``version`` changes with every change of a figure. ``service`` holds batch, flex, priority and
    off_peak figures by name; where such a class has tiers, also ``"batch>200000"`` (the class, above that prompt).
    More units than the token vector's may stand here (config.catalogue.UNITS, OTHER_UNITS).
    ``from_ms`` is when it came or comes into force (unix milliseconds, 0: always was), ``later`` what follows it, the
    earliest first; each is whole, and takes nothing over from the row before it (ledger.prices.row_at).
    ``hours`` are the spans, in minutes of a week that begins on Monday at 0:00 UTC, in which ``by_hours`` holds in place
    of it: what a seller charges by the clock. ``passing``: something holds after it, or beside it; nobody may keep it.
    """

    version: str
    units: dict[str, Price]
    tiers: tuple[PriceTier, ...] = ()
    service: dict[str, dict[str, Price]] = {}
    source: str = ""
    date: str = ""
    from_ms: int = 0
    later: "tuple[PriceRow, ...]" = ()
    hours: tuple[tuple[int, int], ...] = ()
    by_hours: "PriceRow | None" = None
    passing: bool = False


class ModelFacts(Struct, frozen=True):
    """What is known of a model at a provider. None or "" = not known; never guessed.

    ``provider`` is the catalogue's provider name; a configured provider of another name but a known dialect or
    base_url may still borrow its rows. ``modalities_in`` holds text, image, audio, video, document.
    ``capabilities``: tools, json_schema, parallel_tools, sampling, prefill, streaming; None: nothing is known of what
    the model can do, ``modalities_in`` included, so nothing may be filtered by them. ``budget`` may be known beside
    any ``reasoning`` style: which thinking budgets pass. ``cap_name`` None: either name, leave it. ``retires`` and
    ``deprecated`` are ISO dates: they warn, they never refuse a call.
    """

    provider: str
    model: str
    mode: str = "chat"
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    modalities_in: frozenset[str] = frozenset({"text"})
    modalities_out: frozenset[str] = frozenset({"text"})
    capabilities: frozenset[str] | None = None
    reasoning: ReasoningStyle | None = None
    budget: BudgetRange | None = None
    cap_name: CapName | None = None
    deprecated: str = ""
    retires: str = ""
    price: PriceRow | None = None
    source: str = ""
    date: str = ""

    @property
    def known(self) -> bool:
        """False for a model that the catalogue has no row for."""
        return bool(self.source)


class Offer(Struct, frozen=True):
    """What is known of how a provider serves a model, beside the model itself. None or "" = not known; never guessed.

    ``slugs`` are names that callers may use for the provider, in lower case. ``trains``: it may train on what it is sent.
    ``zdr``: it keeps nothing of it. ``distillable``: its answers may train other models. ``obeys``: a router that keeps
    such wishes itself where it is told them with the call. ``quantization`` is the number format of the weights.
    """

    slugs: frozenset[str] = frozenset()
    trains: bool | None = None
    zdr: bool | None = None
    distillable: bool | None = None
    obeys: bool = False
    quantization: str = ""
    source: str = ""
    date: str = ""


UNKNOWN_OFFER = Offer()


class Target(Struct, frozen=True):
    """Where an attempt may go: a configured provider and the model's name there.

    ``provider`` is the name in the config. ``overrides`` are parameters that replace the caller's for this target
    (OpenAI's names). ``options`` are the provider's own settings: Vertex ``project`` and ``location``.
    ``position`` is the place in the chain, from 0.
    """

    provider: str
    model: str
    dialect: str
    facts: ModelFacts
    overrides: dict[str, Any] = {}
    options: dict[str, str] = {}
    position: int = 0
    offer: Offer = UNKNOWN_OFFER

    @property
    def name(self) -> str:
        """``provider/model``, as it is written in configs, headers and the ledger."""
        return f"{self.provider}/{self.model}"
