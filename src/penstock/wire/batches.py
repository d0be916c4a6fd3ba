"""The port of a provider's own batch service: what ``server.batch_native`` asks, in no vendor's words. Sans-IO.

Theory
------
A batch is many whole requests, each under a name, that are left with the provider in one piece and answered within a day
at a lower price. Each request is written by the dialect of its operation as for a single call; this port knows only what
is around them. Paths are below the provider's base URL.

Rules
- No provider takes a key that makes a repeated creation harmless (API references of OpenAI, Anthropic and Google, read 2026-11;
  their Python clients send none): who does not know whether a creation arrived must ``search`` first.
"""

from typing import Final, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from penstock.base.errors import UpstreamMalformed
from penstock.wire.http import Headers, WireRequest

IDENTITY: Final = (b"accept-encoding", b"identity")
"""Results are read line by line as they come."""
_Kept = TypeVar("_Kept")
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
    files: tuple[str, ...] = ()
    """What it leaves there once it has ended, as ``remove`` takes it."""


class Sought(Struct, frozen=True):
    """What is known of a batch whose creation may have arrived."""

    name: str
    file: str
    total: int
    since_s: int
    """It was made then or later."""


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
    """``found`` knows a batch by our name for it; else by its time and size alone, and only its results tell whose it is."""
    gone: frozenset[int]
    """Answers to ``remove`` that say that there is nothing (any more)."""

    def refuse(self, items: list[BatchItem]) -> str | None:
        """Why it cannot take these; None: it can."""
        ...

    def upload(self, name: str, items: list[BatchItem]) -> WireRequest | None:
        """Brings the items there, where that comes first."""
        ...

    def read_upload(self, body: bytes) -> str:
        """The file's name there."""
        ...

    def create(self, name: str, items: list[BatchItem], file: str) -> WireRequest:
        """Makes the batch."""
        ...

    def search(self, after: str = "") -> WireRequest:
        """Asks for a page of batches, newest first where the provider has an order."""
        ...

    def found(self, body: bytes, sought: Sought) -> list[BatchState]:
        """Those of a page that may be the one that is sought."""
        ...

    def more(self, body: bytes, since_s: int) -> str:
        """What asks for the page behind this one; "": there is none that holds batches made then or later."""
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

    def remove(self, name: str) -> WireRequest:
        """Removes an uploaded file, or one of ``BatchState.files``."""
        ...


def get(path: bytes, *headers: tuple[bytes, bytes]) -> WireRequest:
    """Asks for what is there."""
    said: Headers = [*headers, IDENTITY]
    return WireRequest(b"GET", path, said, b"")


def one_line(body: bytes) -> bytes:
    """A request as a line of a file of requests."""
    return body if b"\n" not in body else msgspec.json.format(body, indent=-1)


def decoded(body: bytes, kind: type[_Kept], vendor: str) -> _Kept:
    """What a service has answered. Raises UpstreamMalformed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise UpstreamMalformed(
            f"This is no {kind.__name__.strip('_').lower()} of {vendor}'s: {error}."
        ) from error
