"""A relay around another: what settle and hold-back read of it is as the inner one says, until a class says otherwise."""

from penstock.base.usage import Usage
from penstock.wire.ports import Relay


class Onlooker:
    """To inherit from; ``feed`` and ``close`` are the class's own."""

    __slots__ = ("_relay", "mould")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self.mould = None  # every event comes by here

    @property
    def content_seen(self) -> bool:
        """As the relay says."""
        return self._relay.content_seen

    @property
    def finished(self) -> bool:
        """As the relay says."""
        return self._relay.finished

    @property
    def usage(self) -> Usage | None:
        """As the relay says."""
        return self._relay.usage

    @property
    def stopped(self) -> str | None:
        """As the relay says."""
        return self._relay.stopped

    @stopped.setter
    def stopped(self, why: str | None) -> None:
        self._relay.stopped = why

    @property
    def native_stop(self) -> str:
        """As the relay says."""
        return self._relay.native_stop

    @native_stop.setter
    def native_stop(self, why: str) -> None:
        self._relay.native_stop = why

    @property
    def model(self) -> str:
        """As the relay says."""
        return self._relay.model

    @property
    def upstream_id(self) -> str:
        """As the relay says."""
        return self._relay.upstream_id

    @property
    def content_type(self) -> bytes:
        """As the relay says."""
        return self._relay.content_type

    @property
    def content_bytes(self) -> int:
        """As the relay says."""
        return self._relay.content_bytes
