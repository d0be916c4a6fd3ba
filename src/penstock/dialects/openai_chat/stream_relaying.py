"""Passing on any stream of OpenAI's: errors, pages and cuts are judged here, events by the dialect.

As stream_reading, for relays: whole events go on as they came. An error behind content in the same bytes is raised by the
next call: the content is not lost. (openai_chat.relay does the same for chat, written out for its speed.)
"""

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.dialects.openai_chat.ends import Page, is_page
from penstock.wire.sse import SseEvent, SseReader, completed


class StreamRelaying:
    """To inherit from beside a Struct that has these fields; ``see`` and ``whole`` are the dialect's."""

    __slots__ = ()

    content_seen: bool
    finished: bool
    sse: SseReader
    begun: bool
    page: Page | None
    failed: UpstreamError | None

    def see(self, event: SseEvent) -> bool:
        """Read one event; False if it is not for the caller. Raises UpstreamError."""
        raise NotImplementedError

    def lost(self, event: SseEvent) -> bool:
        """Whether the wire's last, cut event may be passed over."""
        return False

    def whole(self) -> bool:
        """Whether the reply is complete though the wire has not said so."""
        return False

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller, as they came."""
        if self.failed is not None:
            raise self.failed
        if not self.begun:
            start = data.lstrip()
            self.begun = bool(start)
            if is_page(start):
                self.page = Page()
        if self.page is not None:
            self.page.keep(data)
            return b""
        out: list[bytes] = []
        for event in self.sse.feed(data):
            try:
                if self.see(event):
                    out.append(event.raw)
            except UpstreamError as error:
                self.failed = error
                if not out or not self.content_seen:
                    raise
                break
        return b"".join(out)

    def close(self) -> bytes:
        """EOF: the last event even without its blank line, or UpstreamTruncated."""
        if self.failed is not None:
            raise self.failed
        if self.page is not None:
            raise self.page.error()
        out: list[bytes] = []
        for event in self.sse.close():
            if self.lost(event):
                continue
            try:
                if self.see(event):
                    out.append(completed(event.raw))
            except UpstreamMalformed:
                raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
        if not self.finished and not self.whole():
            raise UpstreamTruncated("The upstream closed its stream before the reply was complete.")
        self.finished = True
        return b"".join(out)
