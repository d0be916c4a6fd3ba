"""The port: objects by kind, name and owner, kept whole, one owner's apart from every other's.

Theory
------
An object is a small ``meta`` (JSON) and a body of any size. The body is written in pieces of at most ``PIECE_BYTES``, each in
a transaction of its own: a file of 200 MB that is being stored keeps the ledger's writer waiting for one piece, never for the
file. The last transaction makes the object visible, so that a reader sees all of it or nothing.

Work is an object that is due. Who claims it has it for a lease; who stops renewing, because it was killed, loses it
to the next. ``claim`` counts as a change, so that the compare-and-swap of one who has lost its lease fails.

Items are what comes out of long work one by one (the results of a batch): the first that is told stays.

Rules
- Owner is the name of a virtual key, and a hard partition: nothing is found without it.
- What has expired is not found, swept or not.
"""

import re
from typing import Any, Final, Literal, Protocol

from msgspec import Struct

PIECE_BYTES: Final = 1 << 20
KEEP: Final = "as it is"
Due = int | None | Literal["as it is"]
"""When work is due (unix ms); None: never, it is no work, or done. Either ends a lease."""


class Stored(Struct, frozen=True, kw_only=True):
    """An object without its body."""

    kind: str
    id: str
    owner: str
    created_ms: int
    expires_ms: int | None
    due_ms: int | None
    version: int
    meta: dict[str, Any]
    size: int


class Item(Struct, frozen=True):
    """The n-th result of long work."""

    n: int
    state: str
    body: bytes


class WorkStore(Protocol):
    """Long work: who has it, and what came out of it."""

    def claim(self, kind: str, *, worker: str, lease_ms: int, now_ms: int) -> Stored | None:
        """Work that is due and leased by nobody, the longest due first; it is ``worker``'s for ``lease_ms``."""
        ...

    def renew(
        self, kind: str, name: str, owner: str, *, worker: str, lease_ms: int, now_ms: int
    ) -> Stored | None:
        """Hold it for longer, and see how it stands. None: it is another's by now, done or gone."""
        ...

    def release(self, kind: str, name: str, owner: str, *, worker: str, due_ms: int) -> bool:
        """Give it back, to be claimed from ``due_ms`` on."""
        ...

    def tell(self, kind: str, name: str, owner: str, items: list[Item]) -> int:
        """Keep results; one whose number is there already is passed over. How many were new."""
        ...

    def told(self, kind: str, name: str, owner: str, *, start: int = 0, limit: int = 100) -> list[Item]:
        """Results from number ``start`` on, in order."""
        ...

    def counts(self, kind: str, name: str, owner: str) -> dict[str, int]:
        """How many results of each state."""
        ...

    def numbers(self, kind: str, name: str, owner: str) -> list[int]:
        """Of which numbers there is a result."""
        ...


class ObjectStore(WorkStore, Protocol):
    """All of it blocks. Raises OurFault (503) where the database does not answer."""

    def put(
        self,
        kind: str,
        name: str,
        owner: str,
        *,
        meta: dict[str, Any],
        body: bytes = b"",
        draft: str | None = None,
        expires_ms: int | None = None,
        due_ms: int | None = None,
    ) -> None:
        """Keep it, whole or not at all; what was there under this name is replaced. ``draft``: the body is there already."""
        ...

    def draft(self) -> str:
        """Begin a body that comes piece by piece. One that no ``put`` takes within a day is dropped."""
        ...

    def add(self, draft: str, n: int, piece: bytes) -> None:
        """The n-th piece of a body, at most ``PIECE_BYTES``."""
        ...

    def get(self, kind: str, name: str, owner: str) -> Stored | None:
        """None: there is none, it has expired, or it is another's."""
        ...

    def body(self, kind: str, name: str, owner: str) -> bytes | None:
        """All of its body."""
        ...

    def piece(self, kind: str, name: str, owner: str, n: int) -> bytes | None:
        """The n-th piece of its body; None beyond the last."""
        ...

    def change(
        self,
        kind: str,
        name: str,
        owner: str,
        meta: dict[str, Any],
        *,
        version: int,
        due_ms: Due = KEEP,
        expires_ms: Due = KEEP,
        body: bytes | None = None,
    ) -> bool:
        """Replace its meta (and body, unless None). False: it is no longer of this version, or gone."""
        ...

    def delete(self, kind: str, name: str, owner: str) -> bool:
        """False: there was none."""
        ...

    def listed(self, kind: str, owner: str, *, after: str = "", limit: int = 100) -> list[Stored]:
        """Newest first; from behind the one whose id is ``after`` (none, where that is not known)."""
        ...

    def many(self, kind: str, owner: str) -> int:
        """How many there are."""
        ...

    def used(self, kind: str, owner: str) -> int:
        """Bytes of all bodies."""
        ...

    def sweep(self, now_ms: int) -> int:
        """Drop what has expired, and what was left behind. How many objects."""
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...


_SURROGATES = re.compile("[\ud800-\udfff]")


def lawful(*names: str) -> bool:
    """Whether both databases can keep these names: no NUL, no half of a surrogate pair."""
    return all("\x00" not in name and _SURROGATES.search(name) is None for name in names)
