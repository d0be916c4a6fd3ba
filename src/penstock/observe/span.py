"""One seam for seeing: ``span(name, **facts)`` has three beats, started, completed and failed.

Theory: whoever wants to see (a log line, OpenTelemetry, the dashboard's waterfall) listens; whoever does the work
does not know who. With no listener a span is one shared object that does nothing.

Rules: names are dotted and stable ("upstream.try"); facts are plain values, never bodies or credentials; a listener
must not raise: it is called in the middle of the work it watches.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, Self

from msgspec import Struct

Beat = Literal["started", "completed", "failed"]


class Seen(Struct, frozen=True):
    """One beat. ``id`` joins the beats of a span; ``duration_ms`` is None at the start; ``error`` names its class."""

    id: int
    name: str
    beat: Beat
    facts: dict[str, Any]
    duration_ms: float | None = None
    error: str | None = None


Listener = Callable[[Seen], None]


class _Silent:
    """The span that nobody watches."""

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def note(self, **facts: Any) -> None:
        """Facts learnt on the way."""


class _Watched:
    __slots__ = ("_facts", "_id", "_name", "_started_s")

    def __init__(self, number: int, name: str, facts: dict[str, Any]) -> None:
        self._id = number
        self._name = name
        self._facts = facts
        self._started_s = 0.0

    def __enter__(self) -> Self:
        self._started_s = time.perf_counter()
        _tell(Seen(self._id, self._name, "started", dict(self._facts)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        duration_ms = (time.perf_counter() - self._started_s) * 1000
        beat: Beat = "completed" if kind is None else "failed"
        name = None if kind is None else kind.__name__
        _tell(Seen(self._id, self._name, beat, dict(self._facts), duration_ms, name))

    def note(self, **facts: Any) -> None:
        """Facts learnt on the way; they are on the last beat."""
        self._facts.update(facts)


_SILENT = _Silent()
_listeners: list[Listener] = []
_count = 0


def span(name: str, **facts: Any) -> _Silent | _Watched:
    """A context manager around a piece of work."""
    if not _listeners:
        return _SILENT
    global _count  # noqa: PLW0603 - a process-wide number, as the listeners are
    _count += 1
    return _Watched(_count, name, facts)


def listen(listener: Listener) -> Callable[[], None]:
    """Hear every beat from now on; call what is returned to stop."""
    _listeners.append(listener)

    def stop() -> None:
        if listener in _listeners:
            _listeners.remove(listener)

    return stop


def _tell(seen: Seen) -> None:
    for listener in tuple(_listeners):
        listener(seen)
