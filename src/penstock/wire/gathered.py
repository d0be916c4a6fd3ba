"""A reply that is not streamed: its bytes are gathered, and read when the wire has ended."""

from penstock.base.errors import UpstreamMalformed, UpstreamTruncated
from penstock.base.events import Event


class Gathered:
    """A ``ReplyReader`` to inherit from; ``read`` is the dialect's."""

    most_bytes: int | None = None
    """A larger reply is malformed; None: the transport's own bound does."""
    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def read(self, body: bytes) -> list[Event]:
        """All events of the whole reply. Raises UpstreamError for what it amounts to."""
        raise NotImplementedError

    def feed(self, data: bytes) -> list[Event]:
        """Nothing until the whole is there. Raises UpstreamMalformed beyond ``most_bytes``."""
        self._size += len(data)
        if self.most_bytes is not None and self._size > self.most_bytes:
            raise UpstreamMalformed(f"The provider's reply is over {self.most_bytes} bytes.")
        self._pieces.append(data)
        return []

    def close(self) -> list[Event]:
        """All events."""
        return self.read(b"".join(self._pieces))


class Promised(Gathered):
    """A message, or a stream's beginning that was none: what came instead of what was promised is told."""

    __slots__ = ("_promised",)

    def __init__(self, promised: str = "message") -> None:
        super().__init__()
        self._promised = promised

    def close(self) -> list[Event]:
        """All events. Raises UpstreamTruncated where nothing came."""
        body = b"".join(self._pieces)
        if not body.strip():
            raise UpstreamTruncated("The provider closed the connection without a reply.")
        return self.read(body)

    def not_json(self, body: bytes) -> UpstreamMalformed:
        """What to say of such a body."""
        what = "an HTML page" if body.lstrip()[:1] == b"<" else "something else, or a cut one"
        return UpstreamMalformed(f"The provider promised a {self._promised} and sent {what}.")

    def other_json(self) -> UpstreamMalformed:
        """What to say of JSON that means nothing here."""
        return UpstreamMalformed(f"The provider promised a {self._promised} and sent other JSON.")
