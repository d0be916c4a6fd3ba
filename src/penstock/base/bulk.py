"""The long strings of a large body, kept apart from the rest of it.

Theory
------
Nearly all of a large body is one string, or a few: a document's base64, a book. Nobody in the gateway reads them; but to
decode, copy and encode them costs some ms a megabyte each time, in which nothing else is served. So they are found once
(wire.large), and what is read, translated or spliced is the *slim* body: the same JSON, where a *token* stands for the
middle of each long string. What leaves is written piece by piece: what was made of the slim body, and at each token the
bytes that it stands for, out of the caller's own body.

Rules
- The beginning and the end of a string stay (``wire.large.KEPT_BYTES``): types are told and addresses recognised by them.
- A token is of a kind (``PREFIX``) that does not survive what would have changed the bytes it stands for: base64 decoded
  or put into the other alphabet, words split or encoded twice. And what leaves must hold each token once. Where it does
  not (``fill``), the work is done again with the whole body: slower, and right by construction.
- A token tells how many bytes it stands for (``size_of``), and which: a digest of them is in it, so that what is derived
  from slim bodies (keys of a cache, ids) is equal where it would be for whole ones.
"""

import re
from typing import Final, Literal

from msgspec import Struct

Kind = Literal["base64", "text", "escaped"]
PREFIX: Final[dict[Kind, bytes]] = {
    "base64": b"PenstockBulk///////+",
    "text": b"PenstockBulk-_~  ~~~",
    "escaped": b"PenstockBulk-_~\\n ~~~",
}
"""As they stand in JSON. A run of slashes is in base64 what is no UTF-8; what was escaped is escaped again inside of JSON
that is a string in JSON, and is then no token."""
_WORD = b"PenstockBulk"
_DIGITS = rb"[0-9a-f]{32}[0-9]{4}([0-9]{12})"
_TOKEN = re.compile(rb"PenstockBulk(?:/{7}\+|-_~(?: |\\n) ~~~)" + _DIGITS)
_NUMBERED = re.compile(rb"(PenstockBulk(?:/{7}\+|-_~(?: |\\n) ~~~)[0-9a-f]{32})[0-9]{4}([0-9]{12})")
_IN_TEXT = re.compile(r"PenstockBulk(?:/{7}\+|-_~[ \n] ~~~)" + _DIGITS.decode())
_SHORT, _LONG = 2048, 16 * 1024
"""A string with a token in it is between these long."""


class Bulk(Struct, frozen=True, gc=False):
    """A large body and its slim form. ``places``: token -> where in ``body`` stands what it is for."""

    body: bytes
    slim: bytes
    places: dict[bytes, tuple[int, int]]
    hidden_bytes: int
    """By how much the slim body is shorter."""

    def __repr__(self) -> str:
        """Without the body: it holds people's words."""
        return f"Bulk({len(self.body)} bytes, {len(self.places)} apart)"

    def fill(self, out: bytes, gone: frozenset[bytes] = frozenset()) -> tuple[memoryview, ...] | None:
        """``out`` in pieces, the bytes in the places of their tokens. None: a token is not there, or not once.

        ``gone``: tokens of what leaves on another way, and must not be there.
        """
        found = _tokens(out)
        wanted = self.places.keys() - gone
        if {match[0] for match in found} != wanted or len(found) != len(wanted):
            return None
        return tuple(self._pieces(out, found))

    def pieces(self, out: bytes) -> tuple[memoryview, ...]:
        """``out`` in pieces, with the bytes of whichever tokens are in it."""
        return tuple(self._pieces(out, [match for match in _tokens(out) if match[0] in self.places]))

    def tokens(self, out: bytes) -> frozenset[bytes]:
        """Those of its tokens that are in ``out``."""
        return frozenset(match[0] for match in _tokens(out)) & self.places.keys()

    def restore(self, out: bytes) -> bytes:
        """``out`` as one, with the bytes of whichever tokens are in it."""
        found = [match for match in _tokens(out) if match[0] in self.places]
        return b"".join(self._pieces(out, found)) if found else out

    def _pieces(self, out: bytes, found: list[re.Match[bytes]]) -> list[memoryview]:
        rest, body = memoryview(out), memoryview(self.body)
        pieces: list[memoryview] = []
        at = 0
        for match in found:
            start, end = self.places[match[0]]
            pieces += (rest[at : match.start()], body[start:end])
            at = match.end()
        pieces.append(rest[at:])
        return [piece for piece in pieces if piece]


def token(kind: Kind, number: int, size: int, digest: str) -> bytes:
    """Stands for ``size`` bytes with this digest (hexadecimal, at least 32 digits)."""
    return b"%b%b%04d%012d" % (PREFIX[kind], digest[:32].encode(), number, size)


def unnumbered(text: bytes) -> bytes:
    """The same wherever in a body it stands: what its tokens stand for is in it, and not which of them they were."""
    return _NUMBERED.sub(rb"\g<1>0000\g<2>", text)


def has_token(body: bytes) -> bool:
    """Whether something in ``body`` could be taken for one."""
    return bool(_tokens(body))


def is_whole(text: str) -> bool:
    """No part of it is set apart. What looks into texts asks this first, and does without those that are not."""
    return text.find(_WORD.decode()) < 0 or _IN_TEXT.search(text) is None


def _tokens(body: bytes) -> list[re.Match[bytes]]:
    """All of them. A search for the word alone is quicker than one for the pattern."""
    found: list[re.Match[bytes]] = []
    at = 0
    while (at := body.find(_WORD, at)) >= 0:
        match = _TOKEN.match(body, at)
        if match is not None:
            found.append(match)
        at += len(_WORD)
    return found


def size_of(value: str | bytes | memoryview) -> int:
    """The length of a string, or of its JSON, as the caller sent it."""
    size = len(value)
    if not _SHORT < size < _LONG:
        return size
    found = _IN_TEXT.search(value) if isinstance(value, str) else _TOKEN.search(value)
    return size if found is None else size - len(found[0]) + int(found[1])
