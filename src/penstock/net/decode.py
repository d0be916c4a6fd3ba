"""Content encodings undone piece by piece: gzip, deflate, br; also where the header lies (behaviour 12).

Theory. We ask for ``accept-encoding: identity``, yet proxies compress what they like and label it as they like. Three
cases: the header names an encoding and is right; it names one and the body is plain or of another encoding; it names
none and the body is compressed all the same. The first bytes decide, and they decide once.

Rules: a decoder gives pieces of at most ``PIECE`` bytes (brotli: about), so that who reads may stop at its limit
before a bomb has grown; a compressed stream that stops short is UpstreamTruncated, a broken one UpstreamMalformed.
Several members of gzip one after another are one body; what follows the last is ignored, as everyone does.
"""

import zlib
from collections.abc import Iterator
from typing import Final, Protocol, cast

import brotli

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated

PIECE: Final = 256 * 1024

SUSPECT: Final = frozenset(b"\x1f\x78")
"""First bytes that call for a closer look when no encoding was declared: gzip's, and zlib's usual one."""

_GZIP_MAGIC: Final = b"\x1f\x8b\x08"
# 78 5e (zlib's levels 2-5) is left out: it is also the text "x^".
_ZLIB_MAGICS: Final = (b"\x78\x01", b"\x78\x9c", b"\x78\xda")
# How the bodies we expect begin when they are not compressed. No brotli or raw deflate stream of a text begins with
# "{" (its bits mean an empty last block, or a first literal above 0x8f); the others are long enough not to happen.
_PLAIN: Final = (b"{", b"data:", b"event:", b"retry:", b": ", b"<!DOC", b"<!doc", b"<html", b"<HTML")
_PROBE: Final = 6
_UNDO: Final = frozenset({b"gzip", b"x-gzip", b"deflate", b"br"})
_BrotliError = cast("type[Exception]", brotli.error)  # pyright: ignore[reportUnknownMemberType]
_FOREIGN: Final = frozenset({b"zstd", b"compress", b"x-compress", b"dcb", b"dcz"})


class Decoder(Protocol):
    """Undoes one encoding."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Decoded pieces; none is empty. The iterator must be exhausted before the next call."""
        ...

    def finish(self) -> Iterator[bytes]:
        """The body has ended: what was held back; raises UpstreamTruncated when the stream has not ended."""
        ...


def declared(value: bytes, where: str) -> Decoder | None:
    """A decoder for a content-encoding header, or None for identity and for words which are not encodings.

    Raises UpstreamMalformed for an encoding that exists, was not asked for and is not undone here.
    """
    word = value.strip().lower()
    if word in _UNDO:
        return _Probe(word, where)
    if word in _FOREIGN or b"," in word:
        raise UpstreamMalformed(f"{where} sent a content-encoding that was not asked for.")
    return None


def suspected(where: str) -> Decoder:
    """A decoder for a body that declared no encoding and whose first byte is in SUSPECT."""
    return _Probe(b"identity", where)


def looks_like_text(content_type: bytes | None) -> bool:
    """Whether a compressed body under this content-type can only be an undeclared encoding.

    A file of type application/gzip begins with gzip's magic and must stay as it is.
    """
    if content_type is None:
        return True
    kind = content_type.partition(b";")[0].strip().lower()
    return kind.startswith(b"text/") or kind.endswith((b"json", b"xml", b"javascript"))


class _Identity:
    def feed(self, data: bytes) -> Iterator[bytes]:
        if data:
            yield data

    def finish(self) -> Iterator[bytes]:
        return iter(())


class _Probe:
    """Holds the first bytes back until they tell what the body is."""

    def __init__(self, word: bytes, where: str) -> None:
        self._word = word
        self._where = where
        self._held = b""
        self._real: Decoder | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        real = self._real
        if real is None:
            self._held = data = self._held + data
            if len(data) < _PROBE:
                return
            real = self._real = self._decide(data)
        yield from real.feed(data)

    def finish(self) -> Iterator[bytes]:
        real = self._real
        if real is None:
            if not self._held:
                return
            real = self._real = self._decide(self._held)
            yield from real.feed(self._held)
        yield from real.finish()

    def _decide(self, head: bytes) -> Decoder:
        if head.startswith(_GZIP_MAGIC):
            return _Inflate(31, self._where)
        if head.startswith(_ZLIB_MAGICS) or (self._word == b"deflate" and _is_zlib(head)):
            return _Inflate(15, self._where)
        if self._word in {b"gzip", b"x-gzip", b"identity"} or head.startswith(_PLAIN):
            return _Identity()
        return _Inflate(-15, self._where) if self._word == b"deflate" else _Brotli(self._where)


def _is_zlib(head: bytes) -> bool:
    """RFC 1950: method 8, window at most 32 KB, and the check bits. Else `deflate` means raw deflate, as IIS sends it."""
    return len(head) > 1 and head[0] & 0x0F == 8 and head[0] >> 4 <= 7 and (head[0] * 256 + head[1]) % 31 == 0


class _Inflate:
    def __init__(self, window_bits: int, where: str) -> None:
        self._bits = window_bits
        self._where = where
        self._stream = zlib.decompressobj(window_bits)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._stream.eof:
                if self._bits != 31 or not data.startswith(b"\x1f"):
                    return
                self._stream = zlib.decompressobj(self._bits)
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error:
                raise UpstreamMalformed(f"{self._where} sent a broken compressed body.") from None
            if piece:
                yield piece
            if self._stream.eof:
                data = self._stream.unused_data
            else:
                data = self._stream.unconsumed_tail
                # A full piece may have left decoded bytes inside zlib although all input is consumed.
                if not data and len(piece) < PIECE:
                    return

    def finish(self) -> Iterator[bytes]:
        if not self._stream.eof:
            raise UpstreamTruncated(f"{self._where} ended its compressed body too early.")
        return iter(())


class _BrotliStream(Protocol):
    """brotli.Decompressor, which has no types of its own."""

    def process(self, data: bytes, *, output_buffer_limit: int) -> bytes: ...
    def can_accept_more_data(self) -> bool: ...
    def is_finished(self) -> bool: ...


class _Brotli:
    def __init__(self, where: str) -> None:
        self._where = where
        self._stream = cast("_BrotliStream", brotli.Decompressor())  # pyright: ignore[reportUnknownMemberType]

    def feed(self, data: bytes) -> Iterator[bytes]:
        stream = self._stream
        while not stream.is_finished():
            try:
                piece = stream.process(data, output_buffer_limit=PIECE)
            except _BrotliError:
                raise UpstreamMalformed(f"{self._where} sent a broken compressed body.") from None
            if piece:
                yield piece
            # It says that it can take more while it still holds output back: only a short piece is the last.
            if len(piece) < PIECE and stream.can_accept_more_data():
                return
            data = b""

    def finish(self) -> Iterator[bytes]:
        if not self._stream.is_finished():
            raise UpstreamTruncated(f"{self._where} ended its compressed body too early.")
        return iter(())
