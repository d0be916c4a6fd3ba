"""Streams of both APIs of OpenAI's, read event by event: what is not a matter of the events themselves."""

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event, is_content
from penstock.dialects.openai_chat.ends import Page, is_page
from penstock.wire.sse import SseEvent, SseReader


class StreamReading:
    """A ``ReplyReader`` to inherit from; ``see`` and ``end`` are the dialect's.

    An error behind content in the same bytes is raised by the next call: the content is not lost.
    """

    __slots__ = ("_begun", "_failed", "_page", "_sse")

    def __init__(self) -> None:
        self._sse = SseReader()
        self._begun = False
        self._page: Page | None = None
        self._failed: UpstreamError | None = None

    def see(self, event: SseEvent) -> list[Event]:
        """What one event says. Raises UpstreamError."""
        raise NotImplementedError

    def lost(self, event: SseEvent) -> bool:
        """Whether the wire's last, cut event may be passed over."""
        return False

    def end(self) -> list[Event] | None:
        """What follows the last event; None: the reply is not complete."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        if self._failed is not None:
            raise self._failed
        if not self._begun:
            start = data.lstrip()
            self._begun = bool(start)
            if is_page(start):
                self._page = Page()
        if self._page is not None:
            self._page.keep(data)
            return []
        events: list[Event] = []
        for event in self._sse.feed(data):
            try:
                events.extend(self.see(event))
            except UpstreamError as error:
                self._failed = error
                if not any(map(is_content, events)):
                    raise
                break
        return events

    def close(self) -> list[Event]:
        """The wire's end: ``Finished``, or UpstreamTruncated."""
        if self._failed is not None:
            raise self._failed
        if self._page is not None:
            raise self._page.error()
        events: list[Event] = []
        for event in self._sse.close():
            if self.lost(event):
                continue
            try:
                events.extend(self.see(event))
            except UpstreamMalformed:
                raise UpstreamTruncated("The upstream closed its stream inside an event.") from None
        rest = self.end()
        if rest is None:
            raise UpstreamTruncated("The upstream closed its stream before the reply was complete.")
        return [*events, *rest]
