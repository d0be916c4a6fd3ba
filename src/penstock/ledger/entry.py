"""The nouns of the ledger: a line, an entry (one attempt), a call, and the record that joins them.

Rules
- The order of Entry's and Call's fields is the order of the tables' columns: a struct becomes a row in C
  (``msgspec.structs.astuple``). New fields go to the end.
- An entry's id is "<request_id>/<attempt>", always: a call's entries, and those of a trace that is one call, are
  found as a range of ids (``rows.entries_of``, ``queries``), without an index of their own.
- ``None`` is "not known". A cost of 0 means that the attempt is known to have cost nothing.
- Nothing here holds a secret or the words of a prompt: keys are named, errors are public sentences.
"""

from typing import Any, Literal

from msgspec import Struct

from penstock.base.usage import Usage

EntryClass = Literal[
    "delivered",
    "billed_not_delivered",
    "failed",
    "cache_hit",
    "audit",
    "shadow",
    "embedding",
    "own_cost",
]
"""Why the money was spent. The first three are written by the chat path, ``own_cost`` is posted; the others come with
their features."""


class Line(Struct, frozen=True, array_like=True, gc=False):
    """``quantity`` x price. ``price_pico_usd`` is per ``per`` units; None (and so ``cost_nusd``) is not known.

    ``source`` is where the quantity comes from: provider, stream, counted or estimated (base.usage).
    """

    unit: str
    quantity: int
    price_pico_usd: int | None
    per: int
    price_version: str
    source: str
    cost_nusd: int | None


class Entry(Struct, array_like=True, gc=False):
    """One attempt at one target. ``id`` is "<request_id>/<attempt>"; attempts count from 1.

    ``service_tier`` is base.usage's word: "" is the list price or a provider that does not say, None not known.

    ``model`` is what was asked of the provider, ``model_served`` what it says it used, ``route`` what the caller
    asked for. ``status`` is the upstream's HTTP status, 0 where none came. The ten token counts are the disjoint
    vector of base.usage; ``usage_source`` None says that nothing is known of them.

    ``organisation``, ``team`` and ``user`` say who stood above and below the virtual key when it was spent; "" is nobody.
    The key's tags are among ``meta``.

    ``saved_nusd`` is what the answer had cost when it was made, where it came from the cache or another caller's call and so
    cost nothing; 0 elsewhere, and where that was not known.

    An own cost (``own_costs``) is an entry without a call: ``provider`` is "own", ``model`` the name of what it was spent on,
    ``latency_ms`` the wall time of its stage, ``joules`` the energy where it was measured.
    """

    id: str
    request_id: str
    trace_id: str
    stage: str
    attempt: int
    at_ms: int
    klass: EntryClass
    provider: str
    model: str
    model_served: str
    provider_key: str
    virtual_key: str
    route: str
    dialect: str
    stream: bool
    status: int
    error_code: str | None
    error: str | None
    finish_reason: str | None
    native_finish_reason: str | None
    upstream_id: str
    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    input_audio: int
    input_image: int
    output: int
    reasoning: int
    output_audio: int
    output_image: int
    usage_source: str | None
    lines: tuple[Line, ...]
    cost_nusd: int | None
    price_version: str | None
    latency_ms: float
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    connect_ms: float | None = None
    meta: dict[str, str] | None = None
    service_tier: str | None = None
    joules: float | None = None
    organisation: str = ""
    team: str = ""
    user: str = ""
    saved_nusd: int = 0

    @property
    def prompt_tokens(self) -> int:
        """All input, as OpenAI counts it."""
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
        """All output, as OpenAI counts it."""
        return self.output + self.reasoning + self.output_audio + self.output_image


class Call(Struct, array_like=True, gc=False):
    """What a caller asked and got. ``explain`` is the decision as it was taken; it is stored as JSON, unchanged.
    It must be made of names and words: a struct that holds a secret would be stored with it.

    ``body_id`` is the ``id`` in the reply's body ("" if none). ``gateway_us`` is our own share of ``latency_ms``.
    """

    request_id: str
    at_ms: int
    virtual_key: str
    asked_model: str
    status: int
    error_code: str | None
    stream: bool
    attempts: int
    latency_ms: float
    gateway_us: int
    client_request_id: str
    body_id: str
    adjusted: tuple[str, ...]
    explain: Any
    config_version: str
    organisation: str = ""
    team: str = ""
    user: str = ""


class Record(Struct, gc=False):
    """One call with its entries: what the journal takes and gives."""

    call: Call
    entries: tuple[Entry, ...]

    @property
    def cost_nusd(self) -> int | None:
        """The sum over the attempts, None if any of them is unknown."""
        total = 0
        for entry in self.entries:
            if entry.cost_nusd is None:
                return None
            total += entry.cost_nusd
        return total


def token_counts(usage: Usage | None) -> tuple[int, int, int, int, int, int, int, int, int, int]:
    """The ten counts in the order of Entry's columns; zeros where usage is not known (say so: usage_source None)."""
    if usage is None:
        return (0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    return (
        usage.input,
        usage.cache_read,
        usage.cache_write_5m,
        usage.cache_write_1h,
        usage.input_audio,
        usage.input_image,
        usage.output,
        usage.reasoning,
        usage.output_audio,
        usage.output_image,
    )
