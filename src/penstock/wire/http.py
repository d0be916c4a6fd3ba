"""Requests and headers as plain values.

Rules: header names are lower-case bytes; a Headers list keeps order and repeats.
"""

from collections.abc import Iterator
from typing import Protocol

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]


class Poured(Protocol):
    """A body that is made piece by piece while it is sent, and anew where it is sent once more."""

    size: int
    """In bytes: exactly what all pieces come to."""

    def __iter__(self) -> Iterator[memoryview]:
        """The pieces, none of them large."""
        ...


class WireRequest(Struct, gc=False):
    """One request, ready for a transport. ``path`` is below the endpoint's base path and holds the query.

    ``adjusted`` says what the dialect dropped or approximated, one kebab-case word each ("logit_bias-dropped");
    it reaches the caller as ``x-penstock-adjusted``. ``headers`` hold the credential: never log them.
    """

    method: bytes
    path: bytes
    headers: Headers
    body: bytes
    adjusted: tuple[str, ...] = ()
    pieces: tuple[memoryview, ...] = ()
    """Instead of ``body``, which is empty then: a large one, written piece by piece."""
    poured: Poured | None = None
    """Instead of both."""

    @property
    def size(self) -> int:
        """Of the body, in bytes."""
        return len(self.body) or (sum(map(len, self.pieces)) if self.poured is None else self.poured.size)

    def __repr__(self) -> str:
        """Without headers and body: they hold secrets and people's words."""
        return f"WireRequest({self.method!r}, {self.path!r}, {self.size} bytes)"


def header_block(headers: Headers) -> bytes:
    """Headers as the lines they are on the wire."""
    return b"".join([b"%b: %b\r\n" % pair for pair in headers])


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of ``name`` (lower-case), or None."""
    for key, value in headers:
        if key == name:
            return value
    return None
