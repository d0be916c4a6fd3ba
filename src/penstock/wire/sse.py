"""Server-sent events, incrementally: right for any split of the bytes.

Rules (WHATWG HTML, section 9.2, "Server-sent events", read 2026-11)
- Lines end in LF, CR LF or CR; an event ends at a blank line; ``:`` lines are comments.
- Several ``data:`` lines are joined by LF; one space after the colon is dropped; a leading BOM is ignored.
- Against the letter of the standard, and for real providers' sake: the last event is delivered at EOF even
  without its blank line (behaviour 3).
- Nothing is decoded: data stays bytes, so that a split inside a UTF-8 character cannot hurt.
- A CR that ends the bytes at hand may be half of a CR LF: the event waits for the next byte, or for EOF.
"""

import re
from typing import NamedTuple

from penstock.base.errors import UpstreamMalformed

MAX_EVENT_BYTES = 64 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
_LF = 0x0A

# Two line ends in a row. A lone CR counts only once the byte after it is known not to be LF.
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))")
# The longest beginning of a blank line that can still be incomplete is CR LF CR.
_TAIL = 3


class SseEvent(NamedTuple):
    """One event. ``raw`` is every byte of it as it came, blank line included; comments ride on the next event.

    ``data`` is None for a block that carries comments or an event name alone.
    """

    name: bytes
    data: bytes | None
    raw: bytes


class Mould:
    """The bytes around the text of an event that a stream repeats, blank line included.

    With ``filler`` the text ends where it begins, and letters and digits that mean nothing come between it and
    ``closing``. Who lets such an event pass its reader adds the length of its text to ``passed_bytes``.
    """

    __slots__ = ("closing", "filler", "opening", "passed_bytes")

    def __init__(self, opening: bytes, closing: bytes, filler: bytes = b"") -> None:
        self.opening = opening
        self.closing = closing
        self.filler = filler
        self.passed_bytes = 0

    def surrounds(self, raw: bytes) -> bool:
        """Whether an event begins and ends so, whatever is between."""
        if not (raw.startswith(self.opening) and raw.endswith(self.closing)):
            return False
        return raw.find(self.filler) >= 0


class SseReader:
    """Bytes -> whole events.

    ``find(x) < 0`` stands here for ``x not in``, for which CPython first takes ``x`` for an int and words an error.
    The usual case, a piece that is exactly one event of one ``data:`` line, costs three searches and one slice.
    Pieces of a long event are kept in a list and joined once, so that an event of n bytes costs O(n).
    """

    __slots__ = ("_max", "_pieces", "_size", "_tail")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._tail = b""
        self._max = max_event_bytes

    @property
    def pending(self) -> int:
        """Bytes held back because their event is not complete."""
        return self._size

    def feed(self, data: bytes) -> list[SseEvent]:
        """Events completed by ``data``. Raises UpstreamMalformed for an event over the limit."""
        if not self._size:
            end = len(data) - 2
            if data.find(b"\n") == end and data[-1] == _LF and data.find(b"\r") < 0 and data[:6] == b"data: ":
                return [SseEvent(b"", data[6:end], data)]
            return self._split(data)
        seam = self._tail + data
        if _blank_line(seam, 0) < 0:
            self._keep(data, seam)
            return []
        pieces = self._pieces
        pieces.append(data)
        buffer = b"".join(pieces)
        position = self._size - len(self._tail)
        self._pieces, self._size, self._tail = [], 0, b""
        return self._split(buffer, position)

    def close(self) -> list[SseEvent]:
        """What is left at EOF: an event without its blank line, if there is anything in it."""
        rest = b"".join(self._pieces)
        self._pieces, self._size, self._tail = [], 0, b""
        return [_parse(rest)] if rest.strip() else []

    def _split(self, buffer: bytes, position: int = 0) -> list[SseEvent]:
        """All whole events of ``buffer``; no blank line ends before ``position``. The rest is kept."""
        events: list[SseEvent] = []
        start = 0
        if buffer.find(b"\r") < 0:
            *blocks, rest = buffer.split(b"\n\n")
            for block in blocks:
                if block[:6] == b"data: " and block.find(b"\n") < 0:
                    events.append(SseEvent(b"", block[6:], block + b"\n\n"))
                else:
                    events.append(_parse(block + b"\n\n"))
            if rest:
                self._keep(rest, rest)
            return events
        while (end := _blank_line(buffer, position)) >= 0:
            events.append(_parse(buffer[start:end]))
            start = position = end
        if start < len(buffer):
            rest = buffer[start:] if start else buffer
            self._keep(rest, rest)
        return events

    def _keep(self, data: bytes, seam: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        self._tail = seam[-_TAIL:]
        if self._size > self._max:
            raise UpstreamMalformed(f"An event of the upstream's stream is over {self._max} bytes.")


def _blank_line(buffer: bytes, position: int) -> int:
    """Index just after the first whole blank line at or after ``position``, or -1."""
    lf = buffer.find(b"\n\n", position)
    cr = buffer.find(b"\r", position, lf if lf >= 0 else len(buffer))
    if cr < 0:
        return lf + 2 if lf >= 0 else -1
    # A line end before the CR may be the first half of the blank line.
    match = _BLANK_LINE.search(buffer, max(position, cr - 1))
    return match.end() if match else -1


def _parse(raw: bytes) -> SseEvent:
    if raw.startswith(b"data:"):
        line = raw.find(b"\n")
        end = len(raw) - 2
        if line == end and b"\r" not in raw:
            return SseEvent(b"", raw[6:end] if raw[5:6] == b" " else raw[5:end], raw)
    name = b""
    data: list[bytes] = []
    text = raw.removeprefix(_BOM)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    for line in text.split(b"\n"):
        if not line or line[:1] == b":":
            continue
        key, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if key == b"data":
            data.append(value)
        elif key == b"event":
            name = value
    if not data:
        return SseEvent(name, None, raw)
    return SseEvent(name, data[0] if len(data) == 1 else b"\n".join(data), raw)


def completed(raw: bytes) -> bytes:
    """``raw`` with the blank line that EOF cut off, so that it can be forwarded as a whole event."""
    match = _BLANK_LINE.search(raw + b":")
    if match and match.end() == len(raw):
        return raw
    return raw + (b"\n" if raw.endswith((b"\n", b"\r")) else b"\n\n")


def sse(data: bytes, name: bytes = b"") -> bytes:
    """One event as bytes. ``data`` must hold no line break (JSON does not)."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
