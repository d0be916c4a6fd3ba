"""What a vendor answers, before it goes on the wire: a whole body, or a stream of frames; or a refusal.

Rules: nothing here knows sockets. A dialect file gives a ``Reply``; ``failing`` bends it; ``http1`` performs it.
"""

from collections.abc import Callable, Iterator
from enum import IntEnum
from random import Random
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from penstock.simulate.scenario import Profile, ProviderSettings
from penstock.wire.http import Headers, header


class Kind(IntEnum):
    """What a frame is, so that a fault can find its place. CUT, RESET, HANG and PAUSE are orders, not frames."""

    OPEN = 0
    CONTENT = 1
    FINISH = 2
    USAGE = 3
    DONE = 4
    CUT = 5
    RESET = 6
    HANG = 7
    PAUSE = 8


class Frame(NamedTuple):
    """A piece of a streamed body. ``tokens`` sets its time on the wire; ``wait_s`` is added before it."""

    kind: Kind
    data: bytes
    tokens: int = 0
    wait_s: float = 0.0


Frames = Iterator[Frame]


class Reply(Struct):
    """An answer. ``frames`` is set for a stream, else ``body`` is all of it. Headers hold the content type."""

    status: int
    headers: Headers
    body: bytes = b""
    frames: Frames | None = None
    tokens: int = 0


class Refused(Exception):
    """The vendor says no. ``kind`` is its error type or status word; each dialect knows the default of a status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "",
        code: str = "",
        param: str | None = None,
        details: list[Any] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.code = code
        self.param = param
        self.details = details
        self.retry_after_s = retry_after_s


class Quirks(Struct, frozen=True):
    """Faults that only the dialect can render. ``terminal``: "split" or "joined", "" is the vendor's own way."""

    usage: str = ""
    model: str = ""
    terminal: str = ""
    role_only: int = 0
    huge_bytes: int = 0


NO_QUIRKS = Quirks()


class Call(Struct):
    """One request as a dialect sees it. ``path`` is below ``/p/NAME``, without its query."""

    method: str
    path: str
    query: dict[str, str]
    headers: Headers
    body: bytes
    dialect: str
    provider: str
    json: Any
    model: str
    key: str
    stream: bool
    serial: int
    unix_s: int
    settings: ProviderSettings
    profile: Profile
    quirks: Quirks
    prompts_seen: "dict[bytes, None]"
    """Cache marks seen so far: the second time a marked prompt comes, it is read from the cache."""
    known_token: Callable[[str], bool]
    target: str = ""
    """The whole path as it was sent, with its query: what a signature covers."""
    accepted: tuple[str, ...] | None = None
    """The provider's keys; None: any."""

    @property
    def root(self) -> str:
        """Where the caller reaches the provider: this host, with ``/p/NAME`` where it was asked there."""
        host = (header(self.headers, b"host") or b"").decode("latin-1")
        return f"http://{host}{self.target.partition('?')[0].removesuffix(self.path)}"

    @property
    def shown_model(self) -> str:
        """The model that the reply names."""
        return self.quirks.model or self.model


class Speaker(Protocol):
    """A dialect: its answers, and its own way to say no."""

    def answer(self, call: Call) -> Reply:
        """The reply, or Refused."""
        ...

    def refuse(self, refused: Refused, call: Call) -> Reply:
        """The vendor's error reply."""
        ...

    def error_frame(self, refused: Refused, call: Call, *, first: bool) -> bytes:
        """The vendor's error in a stream; ``first``: nothing came before it."""
        ...


class Pace(NamedTuple):
    """Times of one reply: until the head, and per token."""

    ttft_s: float
    per_token_s: float


def make_pace(profile: Profile, rng: Random) -> Pace:
    """Draw the times of one reply."""
    from_ms, rate = profile.ttft_ms, profile.tokens_per_s
    if not from_ms and not rate:
        return INSTANT
    ttft_ms = from_ms if isinstance(from_ms, int | float) else from_ms.draw(rng)
    per_s = rate if isinstance(rate, int | float) else rate.draw(rng)
    return Pace(ttft_ms / 1000, 1 / per_s if per_s > 0 else 0.0)


INSTANT = Pace(0.0, 0.0)
