"""Pass-through of a reply: pictures go on as they came; beside them we read what settling needs.

Rules
- A stream is over with the last of its completed pictures; one that ends before was cut. It has no ``[DONE]``.
- A stream's events go on whole: one that is an error is raised instead (a 200 with an error inside is an error).
- A preview counts as 400 bytes of content: OpenAI charges a hundred tokens for it, which is what a cut stream is
  estimated by.
"""

import msgspec
from msgspec import Raw, Struct

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated
from penstock.base.models import PriceRow
from penstock.base.usage import Usage
from penstock.dialects.openai_chat.errors import read_error_in_200, read_page_in_200
from penstock.dialects.openai_images.usage import UsageField, by_picture, read_usage
from penstock.wire.sse import Mould, SseEvent, SseReader, completed

PREVIEW_BYTES = 400
_NONE = Raw(b"")


class _Picture(Struct, gc=False):
    pass


class _Reply(Struct, gc=False):
    data: list[_Picture] | None = None
    usage: UsageField | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    error: Raw = _NONE


class _Event(Struct, gc=False):
    type: str = ""
    usage: UsageField | None = None
    size: str | None = None
    quality: str | None = None
    error: Raw = _NONE


_reply = msgspec.json.Decoder(_Reply).decode
_event = msgspec.json.Decoder(_Event).decode


class _Reading:
    """What both relays learn: the attributes of wire.ports.Relay."""

    content_type = b""

    def __init__(self, row: PriceRow | None, pictures: int, size: str | None, quality: str | None) -> None:
        self._row = row
        self._wanted = pictures
        self._size = size
        self._quality = quality
        self.content_seen = False
        self.content_bytes = 0
        self.usage: Usage | None = None
        self.stopped: str | None = None
        self.native_stop = ""
        self.model = ""
        self.upstream_id = ""
        self.finished = False
        self.mould: Mould | None = None

    def _bill(self, usage: Usage) -> None:
        self.usage = usage

    def _stop(self) -> None:
        self.stopped, self.finished = "stop", True


class WholeRelay(_Reading):
    """A reply that is not streamed: forwarded as it came, once it is known to be one."""

    def __init__(self, row: PriceRow | None, pictures: int, size: str | None, quality: str | None) -> None:
        super().__init__(row, pictures, size, quality)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Nothing yet."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        body = b"".join(self._pieces)
        try:
            reply = _reply(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            if body.lstrip()[:1] == b"{" and not body.rstrip().endswith(b"}"):
                raise UpstreamTruncated("The upstream closed before its reply was complete.") from None
            raise read_page_in_200(body) from None
        if reply.error and bytes(reply.error) != b"null":
            raise read_error_in_200(body)
        if not reply.data:
            raise UpstreamMalformed("The upstream answered 200 without a picture.")
        self.content_seen = True
        self.model = reply.model or ""
        size, quality = reply.size or self._size, reply.quality or self._quality
        self._bill(
            by_picture(self._row, len(reply.data), size, quality, "provider")
            if reply.usage is None
            else read_usage(reply.usage, "provider")
        )
        self._stop()
        return body


class StreamRelay(_Reading):
    """A stream, event by event."""

    def __init__(self, row: PriceRow | None, pictures: int, size: str | None, quality: str | None) -> None:
        super().__init__(row, pictures, size, quality)
        self._sse = SseReader()
        self._begun = False
        self._page: list[bytes] | None = None
        self._made = 0

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller, as they came."""
        if not self._begun:
            start = data.lstrip()
            self._begun = bool(start)
            if start[:1] in (b"{", b"[", b"<"):
                self._page = []
        if self._page is not None:
            self._page.append(data)
            return b""
        return b"".join([event.raw for event in self._sse.feed(data) if self._see(event)])

    def close(self) -> bytes:
        """EOF: the last event even without its blank line, or UpstreamTruncated."""
        if self._page is not None:
            raise read_page_in_200(b"".join(self._page))
        try:
            out = b"".join([completed(event.raw) for event in self._sse.close() if self._see(event)])
        except UpstreamMalformed:
            raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
        if not self.finished:
            raise UpstreamTruncated("The upstream closed its stream before the picture was complete.")
        return out

    def _see(self, event: SseEvent) -> bool:
        data = event.data
        if data is None or data.strip() in (b"[DONE]", b""):
            return True
        try:
            said = _event(data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise UpstreamMalformed("The upstream sent an event that is not JSON.") from None
        if (said.error and bytes(said.error) != b"null") or said.type == "error" or event.name == b"error":
            raise read_error_in_200(data)
        if said.type.endswith(".partial_image"):
            self.content_seen = True
            self.content_bytes += PREVIEW_BYTES
        elif said.type.endswith(".completed"):
            self._completed(said)
        return True

    def _completed(self, said: _Event) -> None:
        self.content_seen = True
        self._made += 1
        if said.usage is not None:
            # Of several pictures each event says its own share: the image it made, and the prompt once more.
            seen = read_usage(said.usage, "stream")
            self._bill(seen if self.usage is None else _together(self.usage, seen))
        else:
            size, quality = said.size or self._size, said.quality or self._quality
            self._bill(by_picture(self._row, self._made, size, quality, "stream"))
        if self._made >= self._wanted:
            self._stop()


def _together(one: Usage, other: Usage) -> Usage:
    return msgspec.structs.replace(
        one,
        input=one.input + other.input,
        cache_read=one.cache_read + other.cache_read,
        input_image=one.input_image + other.input_image,
        output=one.output + other.output,
        output_image=one.output_image + other.output_image,
    )
