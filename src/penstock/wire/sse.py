"""Server-sent events, incrementally: right for any split of the bytes.

Rules (WHATWG HTML, section 9.2, "Server-sent events", read 2026-11)
- Lines end in LF, CR LF or CR; an event ends at a blank line; ``:`` lines are comments.
- Several ``data:`` lines are joined by LF; one space after the colon is dropped.
- Against the letter of the standard, and for real providers' sake: the last event is delivered at EOF even
  without its blank line (behaviour 3).
- Nothing is decoded: data stays bytes, so that a split inside a UTF-8 character cannot hurt.
"""

from typing import NamedTuple

from penstock.base.errors import UpstreamMalformed

MAX_EVENT_BYTES = 64 * 1024 * 1024


class SseEvent(NamedTuple):
    """One event. ``raw`` is every byte of it as it came, blank line included; comments ride on the next event.

    ``data`` is None for a block that carries comments or an event name alone.
    """

    name: bytes
    data: bytes | None
    raw: bytes


class SseReader:
    """Bytes -> whole events.

    The fast case, a block of exactly one ``data:`` line, costs one ``find`` and two slices.
    """

    __slots__ = ("_buffer", "_max", "_scanned")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._buffer = b""
        self._scanned = 0
        self._max = max_event_bytes

    @property
    def pending(self) -> int:
        """Bytes held back because their event is not complete."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[SseEvent]:
        """Events completed by ``data``. Raises UpstreamMalformed for an event over the limit."""
        buffer = self._buffer + data if self._buffer else data
        events: list[SseEvent] = []
        start, position = 0, self._scanned
        while (end := _block_end(buffer, position)) >= 0:
            events.append(_parse(buffer[start:end]))
            start = position = end
        self._buffer = buffer[start:]
        # The last three bytes may be the beginning of a blank line.
        self._scanned = max(0, len(self._buffer) - 3)
        if len(self._buffer) > self._max:
            raise UpstreamMalformed(f"An event of the upstream's stream is over {self._max} bytes.")
        return events

    def close(self) -> list[SseEvent]:
        """What is left at EOF: an event without its blank line, if it has data."""
        rest, self._buffer, self._scanned = self._buffer, b"", 0
        if not rest.strip():
            return []
        return [_parse(rest)]


def _block_end(buffer: bytes, position: int) -> int:
    """Index just after the first blank line at or after ``position``, or -1 if it is not complete."""
    lf = buffer.find(b"\n\n", position)
    cr = buffer.find(b"\r", position, lf if lf >= 0 else len(buffer))
    if cr < 0:
        return lf + 2 if lf >= 0 else -1
    # Carriage returns about: CRLF CRLF, CR CR, or a mixture. Walk the line ends.
    index = position
    length = len(buffer)
    while index < length:
        first = _line_end(buffer, index)
        if first < 0:
            return -1
        width = _eol_width(buffer, first)
        after = first + width
        if after >= length:
            return -1
        if buffer[after] in b"\r\n":
            second = _eol_width(buffer, after)
            if buffer[after] == 0x0D and after + 1 == length:
                return -1  # the LF of a CR LF may still come
            return after + second
        index = after
    return -1


def _line_end(buffer: bytes, index: int) -> int:
    lf = buffer.find(b"\n", index)
    cr = buffer.find(b"\r", index, lf if lf >= 0 else len(buffer))
    return cr if cr >= 0 else lf


def _eol_width(buffer: bytes, at: int) -> int:
    return 2 if buffer[at : at + 2] == b"\r\n" else 1


def _parse(raw: bytes) -> SseEvent:
    if raw.startswith(b"data:") and raw.endswith(b"\n\n") and raw.find(b"\n") == len(raw) - 2:
        body = raw[6:-2] if raw[5:6] == b" " else raw[5:-2]
        if b"\r" not in body:
            return SseEvent(b"", body, raw)
    name = b""
    data: list[bytes] = []
    for line in raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"):
        if not line or line[:1] == b":":
            continue
        key, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if key == b"data":
            data.append(value)
        elif key == b"event":
            name = value
    return SseEvent(name, b"\n".join(data) if data else None, raw)


def sse(data: bytes, name: bytes = b"") -> bytes:
    """One event as bytes. ``data`` must hold no line break (JSON does not)."""
    if name:
        return b"event: " + name + b"\ndata: " + data + b"\n\n"
    return b"data: " + data + b"\n\n"
