"""Pass-through of a reply: whole events go on as they came; beside them we read what settling needs.

Rules
- A role or an empty delta is not content (behaviour 1); a comment goes on at once and is not content (behaviour 4).
- A stream is over at ``[DONE]``, or at EOF if every choice had a finish reason (behaviour 6); else it was cut
  (behaviour 5), and so is one that ends inside an event. Nothing is invented.
- The usage-only chunk that we asked for is taken out again (behaviour 8); usage beside a choice stays.
- An error inside a 200 is an error (behaviour 9). What came before it in the same bytes goes on first if it was
  content; the error is then raised by the next call.
"""

from msgspec import Struct, field

from penstock.base.errors import UpstreamError, UpstreamMalformed, UpstreamTruncated
from penstock.base.usage import Usage, UsageSource
from penstock.dialects.openai_chat.details import Formats, read_details
from penstock.dialects.openai_chat.ends import (
    Page,
    check_choice,
    is_done,
    is_page,
    is_piece_of_done,
    read_whole,
)
from penstock.dialects.openai_chat.errors import read_error_in_200
from penstock.dialects.openai_chat.repeats import Repeats
from penstock.dialects.openai_chat.shapes import (
    Choice,
    Chunk,
    Piece,
    cites_pages,
    is_error,
    present,
    read_chunk,
    stop_reason,
)
from penstock.dialects.openai_chat.usage import UsageField, read_usage
from penstock.wire.sse import Mould, SseEvent, SseReader, completed


class _Reading(Struct, eq=False):
    """What both relays learn of a reply: the attributes of wire.ports.Relay. A Struct: made without a Python frame."""

    content_seen: bool = False
    _said_bytes: int = 0
    usage: Usage | None = None
    stopped: str | None = None
    native_stop: str = ""
    model: str = ""
    upstream_id: str = ""
    finished: bool = False
    content_type: bytes = b""
    _served: str | None = None
    _cites: bool = False
    _billed: tuple[UsageField, UsageSource] | None = None

    def __repr__(self) -> str:
        """Without what it holds of the reply: people's words."""
        return f"<{type(self).__name__} {self.upstream_id}>"

    @property
    def content_bytes(self) -> int:
        """Of all that was read."""
        return self._said_bytes

    def _read_piece(self, piece: Piece) -> None:
        """Content beyond plain text: refusals, tools, media, opaque reasoning."""
        if piece.refusal:
            self._say(piece.refusal)
        for tool in piece.tool_calls or ():
            self.content_seen = True
            if tool.function is not None:
                self._say((tool.function.name or "") + (tool.function.arguments or ""))
        if piece.function_call is not None:
            self._say((piece.function_call.name or "") + (piece.function_call.arguments or ""))
        if piece.audio is not None and (piece.audio.data or piece.audio.transcript):
            self._say(piece.audio.transcript or "")
        if present(piece.images):
            self.content_seen = True
        if present(piece.reasoning_details) and not (piece.reasoning or piece.reasoning_content):
            for thought in read_details(piece.reasoning_details, Formats()):
                if thought.text or thought.redacted:
                    self._say(thought.text)

    def _say(self, text: str) -> None:
        self.content_seen = True
        self._said_bytes += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

    def _bill(self, seen: UsageField, source: UsageSource) -> None:
        self._billed = (seen, source)
        self.usage = read_usage(seen, source, self._served, cites=self._cites)

    def _cite(self) -> None:
        """The answer cites pages of the web. Usage may stand before the citations."""
        self._cites = True
        if self._billed is not None:
            self._bill(*self._billed)

    def _stop(self, choice: Choice) -> None:
        """The first choice's reason is the reply's. Raises for OpenRouter's finish_reason "error"."""
        native = choice.finish_reason or ""
        if choice.error or native == "error":
            check_choice(choice)
        if native and (self.stopped is None or choice.index == 0):
            self.stopped = stop_reason(native)
            self.native_stop = choice.native_finish_reason or native


class StreamRelay(_Reading):
    """A stream, event by event."""

    keep_usage: bool = True
    _sse: SseReader = field(default_factory=SseReader)
    _repeats: Repeats = field(default_factory=Repeats)
    _open: dict[int, bool] = {}
    _begun: bool = False
    _page: Page | None = None
    _failed: UpstreamError | None = None

    @property
    def content_bytes(self) -> int:
        """Of all that was read, and of all that passed."""
        return self._said_bytes + self._repeats.passed_bytes

    @property
    def mould(self) -> Mould | None:
        """What a whole event may be like that comes next."""
        return None if self._sse.pending or self.finished or self._failed else self._repeats.mould

    def feed(self, data: bytes) -> bytes:
        """Whole events for the caller, as they came."""
        if not self._begun:
            self._begin(data)
        if self._page is not None:
            self._page.keep(data)
            return b""
        if self._failed is not None:
            raise self._failed
        events = self._sse.feed(data)
        if len(events) == 1:
            event = events[0]
            try:
                out = event.raw if self._see(event) else b""
            except UpstreamError as error:
                self._failed = error
                raise
        else:
            out = self._see_all(events) if events else b""
        return out

    def close(self) -> bytes:
        """EOF: the last event even without its blank line (behaviour 3), or UpstreamTruncated."""
        if self._failed is not None:
            raise self._failed
        if self._page is not None:
            raise self._page.error()
        out = b"".join(completed(event.raw) for event in self._sse.close() if self._see_last(event))
        if not self.finished:
            if not self._open or any(self._open.values()):
                raise UpstreamTruncated("The upstream closed its stream before the reply was complete.")
            self.finished = True
        return out

    def _begin(self, data: bytes) -> None:
        """A page or a JSON body where a stream was promised is kept for its error, not forwarded."""
        start = data.lstrip()
        self._begun = bool(start)
        if is_page(start):
            self._page = Page()

    def _see_all(self, events: list[SseEvent]) -> bytes:
        out: list[bytes] = []
        for event in events:
            try:
                if self._see(event):
                    out.append(event.raw)
            except UpstreamError as error:
                self._failed = error
                if not out or not self.content_seen:
                    raise
                break
        return b"".join(out)

    def _see(self, event: SseEvent) -> bool:
        """Read one event; False if it is not for the caller."""
        data = event.data
        if data is None or self.finished:
            return True
        if data[:1] != b"{":
            return self._see_odd(event, data)
        chunk = read_chunk(data)
        choices, before = chunk.choices, self._said_bytes
        keep = True
        if not choices or chunk.usage is not None or chunk.error:
            keep = self._see_rare(event, data, chunk)
        if not self.upstream_id:
            self.model, self.upstream_id = chunk.model or "", chunk.id or ""
            self._served = chunk.service_tier
        for choice in choices or ():
            piece = choice.delta
            if piece is not None:
                if piece.content:
                    self._say(piece.content)
                thought = piece.reasoning or piece.reasoning_content
                if thought:
                    self._say(thought)
                if (  # written out twice: a call per event costs more than all of it
                    piece.tool_calls
                    or piece.refusal
                    or piece.reasoning_details
                    or piece.images
                    or piece.audio
                    or piece.function_call
                ):
                    self._read_piece(piece)
                if piece.annotations and cites_pages(piece.annotations):
                    self._cite()
            if choice.finish_reason or (choice.error and present(choice.error)):
                self._stop(choice)
                self._open[choice.index] = False
            elif choice.index not in self._open:
                self._open[choice.index] = True
        if self._said_bytes != before and self.upstream_id:
            self._repeats.see(event, chunk)
        return keep

    def _see_rare(self, event: SseEvent, data: bytes, chunk: Chunk) -> bool:
        """A chunk with an error, with usage or without choices."""
        if present(chunk.error) or (chunk.choices is None and is_error(data, event.name)):
            raise read_error_in_200(data)
        if chunk.service_tier:
            self._served = chunk.service_tier
        if chunk.usage is None:
            return True
        self._bill(chunk.usage, "stream")
        return bool(chunk.choices) or self.keep_usage

    def _see_odd(self, event: SseEvent, data: bytes) -> bool:
        """Data that does not begin as an object."""
        text = data.strip()
        if text[:1] == b"{":
            return self._see(SseEvent(event.name, text, event.raw))
        if is_done(event.name, text):
            if not self._open:
                raise UpstreamMalformed("The upstream's stream ended without any choice.")
            self.finished = True
        return True

    def _see_last(self, event: SseEvent) -> bool:
        """What EOF left without a blank line: a whole event, a piece of the end marker, or a cut."""
        if is_piece_of_done(event):
            return False
        try:
            return self._see(event)
        except UpstreamMalformed:
            raise UpstreamTruncated("The upstream closed its stream inside an event.") from None


class WholeRelay(_Reading):
    """A reply that is not streamed: forwarded as it came, once it is known to be one."""

    mould: Mould | None = None
    _pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Nothing yet: a reply that turns out to be an error must not have been sent."""
        self._pieces.append(data)
        return b""

    def close(self) -> bytes:
        """The provider's bytes."""
        pieces = self._pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        chunk = read_whole(body)
        self.model, self.upstream_id = chunk.model or "", chunk.id or ""
        self._served = chunk.service_tier
        if chunk.usage is not None:
            self._bill(chunk.usage, "provider")
        for choice in chunk.choices or ():
            piece = choice.message
            if piece is not None:
                if piece.content:
                    self._say(piece.content)
                thought = piece.reasoning or piece.reasoning_content
                if thought:
                    self._say(thought)
                if (
                    piece.tool_calls
                    or piece.refusal
                    or piece.reasoning_details
                    or piece.images
                    or piece.audio
                    or piece.function_call
                ):
                    self._read_piece(piece)
                if piece.annotations and cites_pages(piece.annotations):
                    self._cite()
            self._stop(choice)
        self.finished = True
        return body
