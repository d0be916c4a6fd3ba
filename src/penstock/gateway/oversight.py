"""A strict answer that goes through as it came, judged beside it: the provider's bytes are read as events, and nothing is rewritten.

Rules
- Only calls that ask for a schema come here: the plan keeps them off the short lanes in any case (they need "json_schema").
- Of a stream, everything up to the model's end leaves as it comes; the end waits for the verdict, so that no caller takes a
  wrong answer for a whole one. Where an answer may be repaired, all of it waits.
- What the reader cannot read is the relay's to refuse: then nothing is judged.
"""

import re
from itertools import pairwise
from typing import Any

from penstock.base.errors import PenstockError, UpstreamError
from penstock.base.events import Event, Finished, Stopped
from penstock.gateway.onlooker import Onlooker
from penstock.gateway.structured import Judge
from penstock.wire.ports import Relay, ReplyReader

_ENDS = (b"\n\n", b"\r\n\r\n")
_END = re.compile(rb"\n\r?\n")


class Overseen(Onlooker):
    """A pass-through relay (wire.ports.Relay) with somebody who may say no at the end."""

    __slots__ = ("_ending", "_failure", "_held", "_judge", "_over", "_reader", "_stream")

    def __init__(self, relay: Relay, reader: ReplyReader, judge: Judge, *, stream: bool) -> None:
        super().__init__(relay)
        self._reader: ReplyReader | None = reader
        self._judge = judge
        self._stream = stream
        self._held: list[bytes] = []
        self._ending = False
        self._over = False
        self._failure: UpstreamError | None = None

    @property
    def content_seen(self) -> bool:
        """What is held for the verdict has not passed: 200 may not be sent."""
        return self._relay.content_seen and not (self._judge.hold and self._stream and not self._over)

    @property
    def finished(self) -> bool:
        """As the relay says, unless the verdict is no."""
        return self._relay.finished and self._failure is None

    def __getattr__(self, name: str) -> Any:
        """What only some relays have."""
        return getattr(self._relay, name)

    def feed(self, data: bytes) -> bytes:
        """Bytes for the caller; those of the end once it may be sent. Raises the verdict."""
        if self._failure is not None:
            raise self._failure
        if not self._stream:
            out = self._relay.feed(data)
            self._see(data)
            return out
        if data.endswith(_ENDS) and data.count(b"\n\n") + data.count(b"\n\r\n") == 1:  # as it mostly comes
            return self._event(data)
        ends = [0, *(found.end() for found in _END.finditer(data)), len(data)]
        return b"".join(self._event(data[start:end]) for start, end in pairwise(ends) if start < end)

    def close(self) -> bytes:
        """The end. Raises the verdict."""
        if self._failure is not None:
            raise self._failure
        out = self._relay.close()
        if not self._over:
            self._decide(last=True)
        held, self._held = b"".join(self._held), []
        return held + out

    def _event(self, data: bytes) -> bytes:
        if self._failure is not None:
            return b""
        out = self._relay.feed(data)
        self._see(data)
        if self._relay.finished and not self._over:
            self._decide(last=False)
            if self._failure is not None:
                return b""
            out, self._held = b"".join((*self._held, out)), []
            return out
        if self._over or not (self._ending or self._judge.hold):
            return out
        self._held.append(out)
        return b""

    def _see(self, data: bytes) -> None:
        if self._reader is None:
            return
        try:
            self._judged(self._reader.feed(data))
        except PenstockError:
            self._reader = None

    def _judged(self, events: list[Event]) -> None:
        for event in events:
            self._judge.see(event)
            self._ending = self._ending or isinstance(event, Stopped | Finished)

    def _decide(self, *, last: bool) -> None:
        """The verdict. Where words have left, those before the end go out first, and the next call raises."""
        self._over = True
        if self._reader is None:
            return
        if last:
            try:
                self._judged(self._reader.close())
            except PenstockError:
                return
        no = self._judge.verdict()
        if no is None:
            return
        self._failure, self._held = no, []
        if last or self._judge.hold:
            raise no
