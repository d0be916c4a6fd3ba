"""Faults as data: what goes wrong, and when.

Theory
------
A fault is one flat struct, the same in Python, in a scenario file and at ``POST /_sim/faults``. For each request the
book walks its faults in order and collects those that match; a fault that decides the whole answer (``EXCLUSIVE``)
ends the walk, the others shape the stream and compose ("crlf" with "split" with "stall").

``when`` first selects by provider, dialect, model and key; the requests so selected are counted, and ``first``,
``after`` and ``every`` speak of that count. ``from_s`` and ``to_s`` are seconds since the faults were set (for a
scenario file: since the start).
"""

from fnmatch import fnmatchcase
from random import Random
from typing import Literal

from msgspec import Struct

FaultKind = Literal[
    "status",
    "html",
    "plain_text",
    "hang",
    "hang_after_head",
    "slow_head",
    "early_close",
    "close_mid_stream",
    "close_before_terminal",
    "no_done",
    "stall",
    "malformed",
    "error_first_frame",
    "error_mid_stream",
    "error_in_200",
    "split",
    "heartbeats",
    "role_only",
    "no_blank_line_at_end",
    "terminal_split",
    "gzip",
    "deflate",
    "br",
    "wrong_encoding_header",
    "reset",
    "huge_event",
    "crlf",
    "bad_usage",
    "model_drift",
]
RetryForm = Literal["seconds", "ms", "date", "retry_info", "reset"]

EXCLUSIVE = frozenset({"status", "html", "plain_text", "hang", "early_close", "error_in_200"})


class When(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which requests a fault hits; all that is given must hold. Empty lists match everything.

    ``probability`` is drawn from the simulator's seeded generator. ``models`` are globs.
    """

    probability: float = 1.0
    first: int | None = None
    after: int = 0
    every: int = 1
    from_s: float = 0.0
    to_s: float | None = None
    keys: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    streams: bool | None = None


class Fault(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One way to fail. Which fields a kind reads is in docs/how-to/simulate-providers.md.

    ``after`` counts content events of the stream, ``ms`` is a time, ``bytes`` a size, ``times`` a repetition.
    ``forever``: never go on. ``clean``: whether the HTTP body is ended properly where a stream is cut.
    ``count``: how often the fault fires at most.
    """

    kind: FaultKind
    when: When = When()
    count: int | None = None
    status: int = 0
    headers: dict[str, str] = {}
    body: str | None = None
    message: str = ""
    code: str = ""
    retry_after_s: float | None = None
    retry_after_as: RetryForm = "seconds"
    after: int = 0
    ms: float = 0.0
    bytes: int = 0
    times: int = 0
    forever: bool = False
    clean: bool | None = None
    mode: str = ""
    name: str = ""


class Facts(Struct, frozen=True, gc=False):
    """What a fault may ask about a request."""

    provider: str
    dialect: str
    model: str
    key: str
    stream: bool


class _Entry(Struct):
    fault: Fault
    seen: int = 0
    fired: int = 0


class FaultBook:
    """The faults in force and their counts. ``now_s`` is monotonic; ``rng`` is the simulator's."""

    def __init__(self, faults: list[Fault], now_s: float) -> None:
        self._entries = [_Entry(fault) for fault in faults]
        self._since_s = now_s

    @property
    def faults(self) -> list[Fault]:
        """The faults in force, in order."""
        return [entry.fault for entry in self._entries]

    @property
    def faults_in_force(self) -> bool:
        """True if there is any."""
        return bool(self._entries)

    def add(self, faults: list[Fault]) -> None:
        """Append; the time windows of all run from when the book was made."""
        self._entries = self._entries + [_Entry(fault) for fault in faults]

    def pick(self, facts: Facts, now_s: float, rng: Random) -> tuple[Fault, ...]:
        """The faults that hit this request, in order; counts move on."""
        if not self._entries:
            return ()
        chosen: list[Fault] = []
        for entry in self._entries:
            if not _selects(entry.fault.when, facts):
                continue
            entry.seen += 1
            if not _due(entry, now_s - self._since_s, rng):
                continue
            entry.fired += 1
            chosen.append(entry.fault)
            if entry.fault.kind in EXCLUSIVE or (entry.fault.kind == "reset" and not entry.fault.after):
                break
        return tuple(chosen)


def _selects(when: When, facts: Facts) -> bool:
    if when.providers and facts.provider not in when.providers:
        return False
    if when.dialects and facts.dialect not in when.dialects:
        return False
    if when.keys and facts.key not in when.keys:
        return False
    if when.streams is not None and facts.stream is not when.streams:
        return False
    return not when.models or any(fnmatchcase(facts.model, glob) for glob in when.models)


def _due(entry: _Entry, elapsed_s: float, rng: Random) -> bool:
    fault, when = entry.fault, entry.fault.when
    if fault.count is not None and entry.fired >= fault.count:
        return False
    if elapsed_s < when.from_s or (when.to_s is not None and elapsed_s >= when.to_s):
        return False
    if when.first is not None and entry.seen > when.first:
        return False
    if entry.seen <= when.after or (entry.seen - when.after - 1) % max(1, when.every):
        return False
    return when.probability >= 1.0 or rng.random() < when.probability
