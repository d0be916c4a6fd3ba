"""Large bodies: the long strings found, the body gathered, without standing in anybody's way (base.bulk has the theory).

Native code (_large.pyx) does it without the GIL; where it was not built, Python does, in steps that let others have their
turns. The native one also takes apart strings with escapes in them, Python leaves these where they are.
"""

import hashlib
import re
from codecs import getincrementaldecoder
from pathlib import Path
from typing import TYPE_CHECKING, Final

from penstock.base.bulk import Bulk, Kind, has_token, token
from penstock.base.native import load_native

if TYPE_CHECKING:
    from penstock.wire._large import Gather

native, missing = load_native("penstock.wire", "_large", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""

LARGE_BYTES: Final = 1024 * 1024
"""Larger bodies are taken apart."""
GATHERED_BYTES: Final = 256 * 1024
"""Larger bodies are gathered in one piece of memory as they come."""
LEAST_BYTES: Final = 16 * 1024
"""Shorter strings stay."""
KEPT_BYTES: Final = 2048
"""Of a string's beginning, and of its end: more than any reader looks at to tell what it is."""
_SLACK_BYTES: Final = 1024
_LONGEST_ESCAPE: Final = 12
"""Both halves of a surrogate pair, six bytes each."""
_MOST: Final = 4096
_PIECE_BYTES: Final = 64 * 1024
_SHARE: Final = 4
"""Where less than one part in so many could be set apart, all stays as it is."""
_KINDS: dict[int, Kind] = {1: "base64", 2: "text", 3: "escaped"}
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_PLAIN = bytes(byte for byte in range(32, 256) if byte not in b'"\\')
_MARKS = re.compile(rb'[\[\]{}"]')
_utf8 = getincrementaldecoder("utf-8")
_BACKSLASH = ord("\\")
_SECOND_HALF = re.compile(rb"\\u[dD][c-fC-F]")
_COLON = re.compile(rb"[ \t\n\r]*:")


def gather(size: int) -> "Gather | None":
    """Where a body of this length is put piece by piece; None: the pieces are kept, and joined at the end."""
    return None if native is None else native.Gather(size)


def take_apart(body: bytes, field: bytes) -> Bulk | None:
    """The long strings below the top-level ``field``, apart from the rest. Blocks: for a thread.

    None: there are none, or too little would be gained. Whether ``body`` is JSON is not asked here: who reads the slim
    body finds the same fault in it, only at another place.
    """
    find, tell = (native.strings, native.kind) if native is not None else (strings, kind)
    places: dict[bytes, tuple[int, int]] = {}
    pieces: list[memoryview | bytes] = []
    view, at, hidden_bytes = memoryview(body), 0, 0
    for first, last in find(body, field, LEAST_BYTES, _MOST):
        start, end = _cut(body, first + KEPT_BYTES), _cut(body, last - KEPT_BYTES - _SLACK_BYTES)
        if start < 0 or end < 0:
            continue
        end -= (end - start) % 4  # base64 keeps its length in fours; of words this may be within a character
        end = _cut(body, end)
        found = _KINDS.get(tell(body, start, end)) if end > 0 else None
        if found is None:
            continue
        digest = hashlib.sha256(view[start:end]).hexdigest()
        made = token(found, len(places), end - start, digest)
        places[made] = (start, end)
        pieces += (view[at:start], made)
        at = end
        hidden_bytes += end - start - len(made)
    if not places or hidden_bytes * _SHARE < len(body):
        return None
    pieces.append(view[at:])
    if any(has_token(bytes(piece)) for piece in pieces if isinstance(piece, memoryview)):
        return None  # somebody writes what we write: nothing may be taken for another thing
    return Bulk(body, b"".join(pieces), places, hidden_bytes)


def _cut(body: bytes, at: int) -> int:
    """The first place from ``at`` on that is neither within an escape nor within a character; -1: none is near.

    The first of several backslashes always begins an escape, which may be the second half of a pair.
    """
    for place in range(at, at + _SLACK_BYTES):
        byte = body[place]
        if byte == _BACKSLASH:
            if body[place - 1] != _BACKSLASH and _SECOND_HALF.match(body, place) is None:
                return place
        elif byte & 0xC0 != 0x80 and body.find(b"\\", place - _LONGEST_ESCAPE, place) < 0:
            return place
    return -1


def strings(body: bytes, name: bytes, least: int, most: int) -> list[tuple[int, int]]:
    """What native code does: start and end of the long strings' contents below the top-level field ``name``."""
    found: list[tuple[int, int]] = []
    at = depth = 0
    wanted = False
    while len(found) < most and (mark := _MARKS.search(body, at)) is not None:
        at = mark.end()
        if mark[0] != b'"':
            depth += 1 if mark[0] in b"[{" else -1
            continue
        start, end = at, _end(body, at)
        if end < 0:
            break
        at = end + 1
        key = _COLON.match(body, at) is not None
        if depth == 1 and key:
            wanted = body[start:end] == name
        elif wanted and not key and end - start >= least:
            found.append((start, end))
    return found


def _end(body: bytes, start: int) -> int:
    """Where the quote stands that ends the string; -1: nowhere."""
    at = start
    while (at := body.find(b'"', at)) >= 0:
        before = at
        while before > start and body[before - 1] == _BACKSLASH:
            before -= 1
        if (at - before) % 2 == 0:
            return at
        at += 1
    return -1


def kind(body: bytes, start: int, end: int) -> int:
    """What native code says of a part of a string, but for escapes: with one, it is left where it is (0)."""
    base64, decoder = True, _utf8()
    for at in range(start, end, _PIECE_BYTES):
        piece = body[at : min(at + _PIECE_BYTES, end)]
        if base64 and not piece.translate(None, _BASE64):
            continue  # ASCII, and plain
        base64 = False
        if piece.translate(None, _PLAIN):
            return 0
        try:
            decoder.decode(piece)
        except UnicodeDecodeError:
            return 0
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return 0
    return 1 if base64 else 2
