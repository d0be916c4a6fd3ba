"""The usual events of a stream, from socket to socket in one step: whole chunks, each like the last but for its text.

Theory
------
A stream's events repeat each other: the same bytes around a few words. The relay learns those bytes (its ``mould``)
and with them that such an event says its text and nothing else. Then a few comparisons tell as much of the next one as
decoding would, and its chunk leaves as it came, framing and all. Little code runs for it, and that is the point: between
two events other processes have had the processor and its caches.

Rules
- Whatever is not surely that is left to the parser and the relay: a size written otherwise than in its fewest digits,
  an extension, half a chunk; an escape, a quote or an odd character in the text.
- The text must be UTF-8 without anything that ends or escapes a JSON string: then it cannot say more than its words.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from penstock.base.native import load_native
from penstock.wire.sse import Mould

native, missing = load_native("penstock.gateway", "_shortcut", Path(__file__).parent)
"""``missing``: why there is none; "" where there is."""

MAX_CHUNK_BYTES: Final = 8 * 1024
_HEADS: Final[tuple[dict[int, bytes], dict[int, bytes]]] = ({}, {})
"""Size of a whole chunk -> its first line; with digits in lower and in upper case. Filled as sizes are seen."""
_LINE_ENDS_BYTES: Final = 4
_NEVER: Final = -1


def shortcut_of(mould: Mould, forward: Callable[[bytes], None]) -> Callable[[bytes], bool]:
    """What an exchange tries first: in native code where that was built."""
    slow = Shortcut(mould, forward).take
    return slow if native is None else native.Shortcut(mould, forward, slow).take


class Shortcut:
    """For one stream and one mould. ``take`` is what an exchange tries first (net.exchange.Exchange.shortcut)."""

    __slots__ = ("_alone", "_around", "_closing", "_filler", "_forward", "_heads", "_mould", "_opening")

    def __init__(self, mould: Mould, forward: Callable[[bytes], None]) -> None:
        self._mould = mould
        self._forward = forward
        self._heads = _HEADS[0]
        self._opening = mould.opening
        self._filler = mould.filler
        self._closing = mould.closing + b"\r\n"
        self._around = len(mould.opening) + len(self._closing)
        # A filler must be told from the text, which is done where several are told apart.
        self._alone = _NEVER if mould.filler else self._around

    def take(self, data: bytes) -> bool:
        """Pass on bytes that begin where a chunk begins, if they are whole chunks with usual events."""
        size = len(data)
        try:
            head = self._heads[size]
        except KeyError:
            head = self._head(size)
        text = data.removeprefix(head).removeprefix(self._opening).removesuffix(self._closing)
        said_bytes = len(text)
        if said_bytes != size - len(head) - self._alone:  # one of the three was missing
            texts = self._texts(data)
            if not texts:
                return False
            text = b" ".join(texts)  # halves of characters must not meet
            said_bytes = len(text) - len(texts) + 1
        try:
            words = text.decode()
        except UnicodeDecodeError:
            return False
        if not words.isprintable() or '"' in words or "\\" in words:
            return False
        self._mould.passed_bytes += said_bytes
        forward = self._forward  # a call through a slot is looked up as a method first
        forward(data)
        return True

    def _texts(self, data: bytes) -> list[bytes]:
        """The texts of several chunks, or of events with a filler; none if anything is unusual."""
        chunks = data.split(self._closing)
        if chunks.pop():
            return []
        texts: list[bytes] = []
        for chunk in chunks:
            size = len(chunk) + len(self._closing)
            head = self._heads.get(size) or self._head(size)
            text = chunk.removeprefix(head).removeprefix(self._opening)
            if len(text) != size - len(head) - self._around:
                self._learn_case(chunk, size, head)
                return []
            if self._filler:
                text, found, filler = text.partition(self._filler)
                if not found or not filler.isalnum():
                    return []
            texts.append(text)
        return texts

    def _learn_case(self, chunk: bytes, size: int, head: bytes) -> None:
        """Some write hexadecimal digits in upper case; nobody changes from chunk to chunk."""
        other = _HEADS[self._heads is _HEADS[0]]
        line = other.get(size, head)
        if line != head and chunk.startswith(line):
            self._heads = other

    def _head(self, size: int) -> bytes:
        """The first line of a whole chunk of ``size`` bytes; where none makes that size, what no chunk begins with."""
        head = b"\n" * (size + 1)
        if size > MAX_CHUNK_BYTES:
            return head
        for digits in range(1, 5):
            line = b"%x\r\n" % max(0, size - _LINE_ENDS_BYTES - digits)
            if len(line) == digits + 2:
                head = line
        lower, upper = _HEADS
        lower[size], upper[size] = head, head.upper()
        return self._heads[size]
