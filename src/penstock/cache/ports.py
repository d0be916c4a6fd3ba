"""The ports between the cache's parts: embedder, prefilter, decider, and the values that pass between them."""

from typing import Literal, Protocol

from msgspec import Struct

from penstock.base.decisions import Rejected

Source = Literal["audit", "shadow", "upload", "person"]


class Embedder(Protocol):
    """Text to a unit vector on this machine. Blocking; always one text at a time: an int8 model's vector of a text depends on
    what stands beside it in a batch (measured: cosine 0.987 to 0.993 alone against in a batch)."""

    build_id: str
    """Changes with weights, graph and tokenizer: part of the partition, so that no two builds' vectors are compared."""
    dimensions: int
    english_only: bool
    """Other languages stay exact-only until calibrated with an embedder of their own."""

    def tokens(self, text: str) -> int:
        """How many it would read, without a limit."""
        ...

    def embed(self, text: str) -> bytes:
        """float32 little-endian, ``dimensions`` of them, unit length."""
        ...


class Prefilter(Protocol):
    """A coarse, cheap vector: it may spare an embedding, never decide a hit."""

    build_id: str
    least: float
    """Below this best score, MiniLM would hardly find a neighbour."""

    def embed(self, text: str) -> bytes:
        """float32 little-endian, unit length."""
        ...


class Label(Struct, frozen=True):
    """One judged pair of a class: at ``score`` the cached answer was ``wrong`` or not. ``weight``: 1 / the rate it was sampled at."""

    klass: str
    score: float
    wrong: bool
    source: Source
    at_ms: int
    weight: float = 1.0
    served: bool = False
    """The answer had gone to a caller (an audit), or would have (a shadow comparison)."""


class Threshold(Struct, frozen=True):
    """From which score a class may serve; ``value`` None: not at all, and ``reason`` says why.

    ``certified``: by labels, at ``max_error_rate``; else it is the configured one. ``version`` changes with the decision.
    """

    value: float | None
    version: str
    reason: str
    certified: bool = False
    labels: int = 0
    error_bound: float | None = None


class Decider(Protocol):
    """Which threshold holds for a class. Pure but for what it has learned; microseconds."""

    def threshold(self, klass: str) -> Threshold:
        """As it stands."""
        ...

    def learn(self, label: Label) -> None:
        """One more label. May certify, loosen, or switch the class off."""
        ...


PARTIAL = "partial-search"
"""A flag: the partition's graph was still being built, and only its newest entries were compared."""


class Found(Struct, frozen=True):
    """What a look-up in the semantic tier came to. ``refused`` None: ``entry_key`` may be served.

    A candidate that was refused is named all the same (``entry_id``, ``score``): explain, shadow comparisons and audits want it.
    ``flags`` are the guards' words.
    """

    refused: Rejected | None
    entry_id: str = ""
    entry_key: bytes = b""
    namespace: str = ""
    score: float = 0.0
    threshold: Threshold | None = None
    text: str = ""
    """The candidate's own embedded text."""
    flags: tuple[str, ...] = ()
