"""Bodies that are made while they are sent: base64 decoded piece by piece out of a large JSON body, and a form around it.

Theory: a file of 30 MB stands in a body of 40 MB as base64. Decoded at once it would be a third body in memory, and hold up
everybody for 100 ms. So its letters are counted once, which tells how long it is, and decoded as the socket takes them.

Rules
- Either alphabet, broken into lines or not, padded or not, and with JSON's escapes: .NET writes ``+`` as ``\\u002B``, PHP ``/``
  as ``\\/``. Anything else is no base64, which is found before a byte is sent.
"""

import re
from binascii import a2b_base64
from collections.abc import Iterator

import msgspec

_CHUNK_BYTES = 128 * 1024
_STANDARD = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \r\n\t"
_PADDING = b"="
_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")


class Decoded:
    """What base64 stands for. ``pieces``: the inside of its string in JSON. Raises ValueError where it is no base64."""

    def __init__(self, pieces: tuple[memoryview, ...]) -> None:
        self._pieces = pieces
        letters = sum(map(len, _letters(pieces)))
        if letters % 4 == 1:
            raise ValueError("it is cut")
        self.size = letters * 6 // 8

    def __iter__(self) -> Iterator[memoryview]:
        """Its bytes."""
        rest = b""
        for letters in _letters(self._pieces):
            some = rest + letters
            whole = len(some) // 4 * 4
            rest = some[whole:]
            if whole:
                yield memoryview(a2b_base64(some[:whole]))
        if rest:
            yield memoryview(a2b_base64(rest + _PADDING * (4 - len(rest))))


class Around:
    """A body with something before and behind it."""

    def __init__(self, before: bytes, inside: Decoded, behind: bytes) -> None:
        self._before = before
        self._inside = inside
        self._behind = behind
        self.size = len(before) + inside.size + len(behind)

    def __iter__(self) -> Iterator[memoryview]:
        """Its bytes."""
        yield memoryview(self._before)
        yield from self._inside
        yield memoryview(self._behind)


def _letters(pieces: tuple[memoryview, ...]) -> Iterator[bytes]:
    """The letters of the standard alphabet, without blanks and padding."""
    rest = b""
    ended = False
    for piece in pieces:
        for at in range(0, len(piece), _CHUNK_BYTES):
            chunk = rest + bytes(piece[at : at + _CHUNK_BYTES])
            chunk, rest = _unescaped(chunk) if chunk.find(b"\\") >= 0 else (chunk, b"")
            text = chunk.translate(_TO_STANDARD, _BLANKS)
            letters = text.rstrip(_PADDING)
            if letters.translate(None, _STANDARD):
                raise ValueError("it holds what is no base64")
            if letters:
                if ended:
                    raise ValueError("it goes on behind its padding")
                yield letters
            ended = ended or len(letters) < len(text)
    if rest:
        raise ValueError("it ends in an escape")


def _unescaped(chunk: bytes) -> tuple[bytes, bytes]:
    """Without JSON's escapes; and what may be the beginning of one."""
    cut = _CUT_ESCAPE.search(chunk)
    whole, rest = (chunk, b"") if cut is None else (chunk[: cut.start()], chunk[cut.start() :])
    try:
        return msgspec.json.decode(b'"' + whole + b'"', type=str).encode(), rest
    except (msgspec.DecodeError, UnicodeEncodeError):
        raise ValueError("it holds an escape that is none") from None
