"""What a call consumed: a disjoint token vector, and what is charged beside it.

Rules
- The parts never overlap: ``input`` excludes cached, audio and image tokens; ``output`` excludes reasoning, audio
  and image tokens. The whole is their sum. Each dialect's reader says whether its provider counts inclusively
  (OpenAI, Gemini: cached is a subset of prompt) or additively (Anthropic) and normalises once.
- ``None`` is not 0: a class that the provider did not report is 0 only where its total shows that it was 0.
- ``service_tier`` is the class of service that the provider says it served (flex, priority, ...), which has prices of
  its own; "" is the list price, or a provider that does not say.
- ``fees`` is what is charged beside tokens (searches of the web, ...), as far as the provider says how often: pairs of
  a unit of price (config.catalogue.OTHER_UNITS, or a token class outside the vector) and a quantity above 0.
- ``source`` is where the figures come from: ``provider`` (a whole reply), ``stream`` (a stream's last word),
  ``counted`` (deltas we counted), ``estimated`` (bytes per token).
"""

from typing import Literal

from msgspec import Struct

UsageSource = Literal["provider", "stream", "counted", "estimated"]

TOKEN_UNITS: tuple[str, ...] = (
    "input",
    "cache_read",
    "cache_write_5m",
    "cache_write_1h",
    "input_audio",
    "input_image",
    "output",
    "reasoning",
    "output_audio",
    "output_image",
)
"""Names of the vector's parts; also the unit names of ledger lines and of prices."""

_STANDARD_SERVICE = frozenset(
    {"", "auto", "default", "standard", "on_demand", "unspecified", "traffic_type_unspecified"}
)
"""Vendors' words for the list price."""


def service_tier_of(word: str | None) -> str:
    """A provider's word for what it served, as ``Usage.service_tier``."""
    if not word:
        return ""
    tier = word.lower()
    return "" if tier in _STANDARD_SERVICE else tier


class Usage(Struct, frozen=True, gc=False):
    """Disjoint token counts of one attempt, and its fees."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    input_audio: int = 0
    input_image: int = 0
    output: int = 0
    reasoning: int = 0
    output_audio: int = 0
    output_image: int = 0
    source: UsageSource = "provider"
    service_tier: str = ""
    fees: tuple[tuple[str, int], ...] = ()
    cache_read_audio: int = 0
    """How much of ``cache_read`` is audio, which has a price of its own; 0 also where the provider does not say."""
    note: str = ""
    """A contradiction found in the provider's own figures, said rather than hidden."""

    @property
    def prompt_tokens(self) -> int:
        """All input, as OpenAI counts it (cached included)."""
        return (
            self.input
            + self.cache_read
            + self.cache_write_5m
            + self.cache_write_1h
            + self.input_audio
            + self.input_image
        )

    @property
    def completion_tokens(self) -> int:
        """All output, as OpenAI counts it (reasoning included)."""
        return self.output + self.reasoning + self.output_audio + self.output_image

    @property
    def total_tokens(self) -> int:
        """Everything."""
        return self.prompt_tokens + self.completion_tokens
