"""What a provider says, kept beside the reply: for the cache, and for callers who wait for the same answer.

Theory: the provider's own bytes are kept as they come, each with its time, and read as events once: at the end, beside the
caller's way, or from the first follower on as they come. So a call that nobody joins pays for a list of bytes alone, passed
through or translated alike.
"""

import re
import time
from collections.abc import Callable

from penstock.base.errors import PenstockError
from penstock.base.events import Event, Finished
from penstock.base.models import Target
from penstock.gateway.onlooker import Onlooker
from penstock.wire.ports import Relay, ReplyReader

_MORE = re.compile(
    rb'"(?:annotations|citations|search_results|logprobs)"\s*:\s*\[\s*["{]'
    rb'|"(?:logprobs|logprobsResult|groundingMetadata|citationMetadata|citation|citations|citationsContent)"\s*:\s*\{'
)
"""Sources, as lists of objects or of links, whole or one by one in a stream (Anthropic, Cohere, Perplexity); log probabilities."""
_LONGEST = 64
"""Of what the pattern finds, but for blanks: it may stand across two pieces."""
Tell = Callable[[list[Event]], None]


class Recorded(Onlooker):
    """A relay (wire.ports.Relay) that keeps what passes through it. ``events`` reads it; ``follow`` reads on as it comes."""

    __slots__ = (
        "_follow",
        "_make",
        "_most",
        "_over",
        "_pieces",
        "_reader",
        "_size",
        "broken",
        "closed",
        "sources",
        "target",
    )

    def __init__(
        self, relay: Relay, make: Callable[[], ReplyReader], target: Target, most_bytes: int
    ) -> None:
        """``make``: a fresh reader of the provider's bytes."""
        super().__init__(relay)
        self._make = make
        self._most = most_bytes
        self._pieces: list[tuple[float, bytes]] = []
        self._size = 0
        self._reader: ReplyReader | None = None
        self._follow: Tell | None = None
        self._over = False
        self.target = target
        self.closed = False
        self.broken = False
        """It cannot be read, or is too large to be kept."""
        self.sources = False
        """There is more in it than events can say; looked for from the first follower on."""

    @property
    def size(self) -> int:
        """Bytes that have passed."""
        return self._size

    @property
    def unframed(self) -> bool:
        """As the relay says (gateway.stream)."""
        return bool(getattr(self._relay, "unframed", False))

    def spoil(self) -> Relay:
        """The relay itself: its answer is given another end, and is nobody else's from now on."""
        self.broken = True
        return self._relay

    def feed(self, data: bytes) -> bytes:
        """Kept, and on to the relay."""
        out = self._relay.feed(data)
        self._size += len(data)
        if self._size <= self._most:
            self._pieces.append((time.monotonic(), data))
        elif self._reader is None:
            self.broken = True
        if self._follow is not None and not self.sources:
            before = self._pieces[-2][1][-_LONGEST:] if len(self._pieces) > 1 else b""
            self.sources = _MORE.search(before + data) is not None
        self._read(data)
        if self._relay.finished:
            self._end()
        return out

    def close(self) -> bytes:
        """The relay's end."""
        out = self._relay.close()
        self._end()
        return out

    def follow(self, tell: Tell) -> bool:
        """Tell the events so far, and all that come. False: they are lost."""
        if self._size > self._most or self.broken:
            return False
        self._reader, self._follow = self._make(), tell
        self.sources = self.unwritten()
        for _, data in self._pieces:
            self._read(data)
        if self.closed:
            self.closed = False
            self._end()
        return not self.broken

    def events(self) -> tuple[tuple[Event, ...], tuple[float, ...]] | None:
        """All of it with the pause before each event in ms, for an answer that is whole; None: it cannot be kept."""
        if self._size > self._most or self.broken:
            return None
        reader, found, gaps = self._make(), list[Event](), list[float]()
        before_s = self._pieces[0][0] if self._pieces else 0.0
        try:
            for at_s, data in self._pieces:
                events = reader.feed(data)
                if events:
                    gaps += [round((at_s - before_s) * 1000, 1), *[0.0] * (len(events) - 1)]
                    found += events
                    before_s = at_s
            last = [] if found and isinstance(found[-1], Finished) else reader.close()
        except PenstockError:
            return None
        return (*found, *last), (*gaps, *[0.0] * len(last))

    def unwritten(self) -> bool:
        """There is more in it than events can say: sources, log probabilities. Replayed, it would be less than it was."""
        return _MORE.search(b"".join(data for _, data in self._pieces)) is not None

    def _read(self, data: bytes) -> None:
        if self._reader is None or self._follow is None or self.broken:
            return
        try:
            events = self._reader.feed(data)
        except PenstockError:
            self.broken = True
            return
        if events:
            self._over = isinstance(events[-1], Finished)
            self._follow(events)

    def _end(self) -> None:
        if self.closed:
            return
        self.closed = True
        if self._reader is None or self._follow is None or self.broken or self._over:
            return
        try:
            events = self._reader.close()
        except PenstockError:
            self.broken = True
            return
        if events:
            self._follow(events)
