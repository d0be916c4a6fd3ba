"""A reply whose caller may go while others wait for the same answer (gateway.ports.Reply)."""

from collections.abc import Callable

from penstock.gateway.ports import Reply


class Detachable:
    """The leader's reply, until ``detach``: from then on what is written goes nowhere, and nothing waits for its reader."""

    __slots__ = ("_ended", "_followed", "_held", "_reply", "_started", "on_pause", "on_resume")

    def __init__(self, reply: Reply, followed: Callable[[], bool] = lambda: False) -> None:
        """``followed``: others wait, too: then a slow reader holds up nobody, and what it has not read lies in its socket's buffer
        (an answer's length at most)."""
        self._followed = followed
        self._held = False
        self._reply: Reply | None = reply
        self._started = False
        self._ended = False
        self.on_pause: Callable[[], None] | None = None
        self.on_resume: Callable[[], None] | None = None
        reply.on_pause, reply.on_resume = self._paused, self._resumed

    def detach(self) -> None:
        """Its caller has gone."""
        reply, self._reply = self._reply, None
        if reply is not None:
            self._started, self._ended = reply.started, reply.ended
            reply.on_pause = reply.on_resume = None
        self._resumed()

    def hurry(self) -> None:
        """Somebody else waits from now on: on, whether it is read or not."""
        if self._held:
            self._resumed()

    def _paused(self) -> None:
        if self.on_pause is not None and not self._followed():
            self._held = True
            self.on_pause()

    def _resumed(self) -> None:
        held, self._held = self._held, False
        if held and self.on_resume is not None:
            self.on_resume()

    @property
    def started(self) -> bool:
        """The status is out."""
        return self._started if self._reply is None else self._reply.started

    @property
    def ended(self) -> bool:
        """Nothing more can be said."""
        return self._ended if self._reply is None else self._reply.ended

    def send(self, status: int, head: bytes, body: bytes) -> None:
        """A whole reply."""
        if self._reply is not None:
            self._reply.send(status, head, body)
        self._started = self._ended = True

    def start(self, status: int, head: bytes, first: bytes) -> None:
        """Begin a stream."""
        if self._reply is not None:
            self._reply.start(status, head, first)
        self._started = True

    def write(self, data: bytes) -> None:
        """One piece."""
        if self._reply is not None:
            self._reply.write(data)

    def forwarder(self) -> Callable[[bytes], None] | None:
        """No piece goes past us."""
        return None

    def end(self, last: bytes = b"") -> None:
        """The stream's end."""
        if self._reply is not None:
            self._reply.end(last)
        self._ended = True

    def abort(self) -> None:
        """Cut the connection."""
        cut: Callable[[], None] | None = getattr(self._reply, "abort", None)
        if cut is not None:
            cut()
        self._ended = True
