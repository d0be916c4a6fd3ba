"""The port of a provider's own batch service: what ``server.batch_native`` asks, in no vendor's words. Sans-IO.

Theory
------
A batch is many whole requests, each under a name, that are left with the provider in one piece and answered within a day
at a lower price. Each request is written by the dialect of its operation as for a single call; this port knows only what
is around them. Paths are below the provider's base URL.

Rules
- No provider takes a key that makes a repeated creation harmless (API references of OpenAI and Anthropic, read 2026-11): who
  does not know whether a creation arrived must ``search`` first.
"""

from typing import Literal, Protocol

from msgspec import Struct

from penstock.wire.http import WireRequest

Missing = Literal["", "expired", "cancelled"]


class BatchItem(Struct, frozen=True):
    """One request of it, under our name for it."""

    name: str
    request: WireRequest


class BatchState(Struct, frozen=True):
    """How it stands. ``failed``: it was refused as a whole, and nothing of it was run; ``why`` says so."""

    id: str
    status: Literal["running", "ended", "failed"]
    good: int = 0
    bad: int = 0
    results: tuple[str, ...] = ()
    """Paths of the results, once it has ended."""
    missing: Missing = ""
    """Why items have no result: "" is no reason that the provider has told."""
    why: str = ""


class ItemResult(Struct, frozen=True):
    """What became of one item. ``status`` and ``body`` are of the answer, where it was answered."""

    name: str
    kind: Literal["answered", "expired", "cancelled"]
    status: int = 0
    body: bytes = b""


class NativeBatches(Protocol):
    """One vendor's service. Readers raise UpstreamMalformed."""

    max_items: int
    max_bytes: int
    one_model: bool
    """All items of a batch ask the same model."""
    named: bool
    """``found`` knows a batch by our name for it; else by its time and size alone."""

    def upload(self, name: str, items: list[BatchItem]) -> WireRequest | None:
        """Brings the items there, where that comes first."""
        ...

    def read_upload(self, body: bytes) -> str:
        """The file's name there."""
        ...

    def create(self, name: str, items: list[BatchItem], file: str) -> WireRequest:
        """Makes the batch."""
        ...

    def search(self) -> WireRequest:
        """Asks for the newest batches."""
        ...

    def found(self, body: bytes, name: str, total: int, since_s: int) -> list[BatchState]:
        """Those that may be the one of this name, made at that time or later."""
        ...

    def ask(self, batch: str) -> WireRequest:
        """How does it stand?"""
        ...

    def read(self, body: bytes) -> BatchState:
        """The answer to ``create``, ``ask`` and ``cancel``."""
        ...

    def cancel(self, batch: str) -> WireRequest:
        """Stop it."""
        ...

    def fetch(self, path: str) -> WireRequest:
        """Asks for results."""
        ...

    def read_line(self, line: bytes) -> ItemResult:
        """One line of them."""
        ...
