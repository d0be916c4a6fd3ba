"""A reply in server-sent events: what is common to dialects whose stream has an event of its end.

Rules
- Right for any split of the bytes.
- An error in the same bytes as good events is raised by the next call, so that they are not lost.
- A reply that is JSON, or a page, where a stream was promised is gathered and read as what it is.
- The wire's end before the stream's own is a truncation, whatever has come (behaviour 5).
"""

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event, Finished
from penstock.wire.gathered import Gathered
from penstock.wire.sse import SseEvent, SseReader


class Streaming:
    """A ``ReplyReader`` to inherit from; ``whole``, ``see`` and ``over`` are the dialect's."""

    last_event = "last event"
    """What has to come before the wire's end."""
    __slots__ = ("_failure", "_sse", "_whole")

    def __init__(self) -> None:
        self._sse = SseReader()
        self._whole: Gathered | bool | None = None  # None: not known yet; False: it is a stream
        self._failure: UpstreamError | None = None

    def whole(self) -> Gathered:
        """Who reads the reply, should it be no stream."""
        raise NotImplementedError

    def see(self, event: SseEvent, events: list[Event]) -> None:
        """One event of the wire: what it says goes to ``events``. Raises UpstreamError."""
        raise NotImplementedError

    def over(self) -> bool:
        """Whether the stream has ended as it should."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[Event]:
        """Events completed by ``data``."""
        if self._failure is not None:
            raise self._failure
        if self._whole is not False and not self._is_stream(data):
            return []
        events: list[Event] = []
        try:
            for event in self._sse.feed(data):
                self.see(event, events)
        except UpstreamError as failure:
            if not events:
                raise
            self._failure = failure
        return events

    def close(self) -> list[Event]:
        """The wire has ended: ``Finished``, or UpstreamTruncated."""
        if self._failure is not None:
            raise self._failure
        if isinstance(self._whole, Gathered):
            return self._whole.close()
        events: list[Event] = []
        for event in self._sse.close():
            try:
                self.see(event, events)
            except UpstreamMalformed as failure:
                raise self._truncated() from failure
        if not self.over():
            raise self._truncated()
        events.append(Finished())
        return events

    def _is_stream(self, data: bytes) -> bool:
        if self._whole is None:
            first = data.lstrip()[:1]
            if not first:
                return False
            self._whole = self.whole() if first in b"{[<" else False
        if self._whole is False:
            return True
        assert isinstance(self._whole, Gathered)
        self._whole.feed(data)
        return False

    def _truncated(self) -> UpstreamTruncated:
        return UpstreamTruncated(f"The provider closed the stream before its {self.last_event}.")
