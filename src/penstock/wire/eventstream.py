"""``application/vnd.amazon.eventstream``: AWS's binary frames, read as they come and written for the simulator.

Theory
------
A frame is ``total length, length of the headers, CRC of these two; headers; payload; CRC of all before it``, big-endian
(smithy.io, "Amazon Event Stream Specification", read 2026-11). A header is a name, a type and a value. The two CRCs
make a cut or a shifted stream visible at once: a frame is either whole and right, or not given.

Why not botocore's buffer: it comes with an optional extra, and Bedrock's API keys need nothing else of it.

Rules
- Right for any split of the bytes. Damage that comes together with good frames is raised by the next call, so that they are
  not lost. ``close`` says whether the wire ended between two frames.
- A frame of over ``MAX_FRAME_BYTES`` is refused by its prelude, before it is gathered (AWS: payload at most 24 MB).
"""

import struct
from binascii import crc32
from typing import Final

from msgspec import Struct

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated

CONTENT_TYPE: Final = b"application/vnd.amazon.eventstream"
MAX_FRAME_BYTES: Final = 25 * 1024 * 1024
_MAX_HEADERS_BYTES: Final = 128 * 1024
_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LENGTH: Final = struct.Struct(">H")
_OVERHEAD: Final = _PRELUDE.size + _CRC.size
_STRING: Final = 7
# Type -> bytes of its value; bytes and strings (6, 7) carry their own length.
_FIXED: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_SIZED: Final = (6, _STRING)


class EventFrame(Struct, frozen=True, gc=False):
    """One whole frame. Of the headers only the strings are kept: they say what it is."""

    headers: dict[str, str]
    payload: bytes

    @property
    def kind(self) -> str:
        """``event``, ``exception`` or ``error``."""
        return self.headers.get(":message-type", "")

    @property
    def name(self) -> str:
        """Which event or exception."""
        which = {"exception": ":exception-type", "error": ":error-code"}
        return self.headers.get(which.get(self.kind, ":event-type"), "")


class EventStreamReader:
    """Bytes -> frames."""

    __slots__ = ("_buffer", "_failure")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._failure: UpstreamMalformed | None = None

    def feed(self, data: bytes) -> list[EventFrame]:
        """Frames completed by ``data``. Raises UpstreamMalformed for what is none."""
        if self._failure is not None:
            raise self._failure
        self._buffer += data
        frames: list[EventFrame] = []
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except UpstreamMalformed as failure:
            if not frames:
                raise
            self._failure = failure
        return frames

    def close(self) -> None:
        """The wire has ended. Raises UpstreamTruncated inside a frame."""
        if self._failure is not None:
            raise self._failure
        if self._buffer:
            raise UpstreamTruncated("The provider closed the stream in the middle of a frame.")

    def _next(self) -> EventFrame | None:
        """The first frame, taken out of the buffer; None where it is not all there."""
        buffer = self._buffer
        if len(buffer) < _PRELUDE.size:
            return None
        total, headers_bytes, check = _PRELUDE.unpack_from(buffer)
        if crc32(buffer[:8]) != check:
            raise _malformed("the check sum of a frame's prelude is wrong")
        if total > MAX_FRAME_BYTES or headers_bytes > min(_MAX_HEADERS_BYTES, total - _OVERHEAD):
            raise _malformed("a frame's lengths cannot be")
        if len(buffer) < total:
            return None
        whole = bytes(memoryview(buffer)[:total])
        if crc32(whole[: -_CRC.size]) != _CRC.unpack_from(whole, total - _CRC.size)[0]:
            raise _malformed("the check sum of a frame is wrong")
        body = _PRELUDE.size + headers_bytes
        frame = EventFrame(_headers(whole[_PRELUDE.size : body]), whole[body : -_CRC.size])
        del buffer[:total]  # a bytearray moves its start: nothing is copied
        return frame


def _headers(data: bytes) -> dict[str, str]:
    """The string headers. Raises UpstreamMalformed."""
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            name_end = at + 1 + data[at]
            name = data[at + 1 : name_end].decode()
            kind = data[name_end]
            at = name_end + 1
            if kind in _SIZED:
                (size,) = _LENGTH.unpack_from(data, at)
                at += _LENGTH.size
            else:
                size = _FIXED[kind]
            value = data[at : at + size]
            if len(value) < size:
                raise _malformed("a frame's header is cut")
            if kind == _STRING:
                found[name] = value.decode()
            at += size
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise _malformed("a frame's headers cannot be read") from error
    return found


def _malformed(what: str) -> UpstreamMalformed:
    return UpstreamMalformed(f"The provider's event stream is not readable: {what}.")


def event_frame(headers: dict[str, str], payload: bytes) -> bytes:
    """One frame as bytes: string headers in their order, and the payload."""
    block = b"".join(
        bytes((len(name.encode()),))
        + name.encode()
        + b"\x07"
        + _LENGTH.pack(len(value.encode()))
        + value.encode()
        for name, value in headers.items()
    )
    lengths = struct.pack(">II", _OVERHEAD + len(block) + len(payload), len(block))
    head = lengths + _CRC.pack(crc32(lengths)) + block
    return head + payload + _CRC.pack(crc32(payload, crc32(head)))
