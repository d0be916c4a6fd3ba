"""What is kept of audits: served hits, kept answers beside fresh ones, verdicts, and what they say of a class.

Rule: an audit that nobody has judged yet has a label all the same, and it says wrong: what is not known to be right must not
certify. Leaving it out would count only what is plain to see, and what is plain to see is right.
"""

from typing import Literal

from msgspec import Struct

from penstock.base.errors import NotFound
from penstock.cache.ports import Label, Source

DAY_MS = 86_400_000
MAX_ANSWER_CHARS = 32_768
"""Of an answer that is kept for a person to compare."""

State = Literal["open", "right", "wrong"]
Verdict = Literal["right", "wrong"]


class Likened(Struct, frozen=True, kw_only=True):
    """A call's text beside the text of a kept answer: when, in which class and partition, and how alike."""

    request_id: str
    at_ms: int
    klass: str
    entry_id: str
    partition: bytes
    asked: str
    cached: str
    score: float


class Hit(Likened, frozen=True, kw_only=True):
    """One answer that was served by similarity. ``saved_nusd`` None: what it would have cost is not known."""

    threshold: float | None = None
    version: str = ""
    flags: tuple[str, ...] = ()
    saved_nusd: int | None = None


class Audit(Likened, frozen=True, kw_only=True):
    """A kept answer beside a fresh one. ``served``: the kept one had gone to the caller; else it would have, at a looser
    threshold. ``by``: who says so (equal, meaning, judge, or a person's name); "" is nobody yet. ``reason``: in words.
    """

    id: str
    version: str = ""
    flags: tuple[str, ...] = ()
    served: bool = True
    weight: float = 1.0
    cached_answer: str = ""
    fresh_answer: str = ""
    state: State = "open"
    by: str = ""
    reason: str = ""
    judged_ms: int | None = None
    cost_nusd: int | None = None
    pair: bytes = b""
    """The keyed hash of its two texts; set by the book."""


class Looked(Struct, frozen=True):
    """Look-ups of one class in one day, and how many of them were served."""

    day: int
    klass: str
    looks: int
    hits: int
    saved_nusd: int


class Counted(Struct, frozen=True):
    """What became of a class's audits of served hits: their number, weights and squared weights, by state."""

    klass: str
    state: State
    audits: int
    weights: float
    squares: float
    cost_nusd: int


class News(Struct, frozen=True):
    """What other processes have added. ``amended``: a label was replaced, so that all must be read anew."""

    labels: tuple[Label, ...] = ()
    amended: bool = False
    quarantined: tuple[tuple[str, str], ...] = ()
    released: bool = False
    """A pair may be served again."""
    pairs: tuple[bytes, ...] = ()


NOTHING_NEW = News()


def label_of(audit: Audit) -> Label:
    """What an audit says of its class at its score: wrong, until somebody says that it is right.

    Its source is what it was sampled by, whoever judged it: a served hit is for the watch over a certificate, any other for
    the certificate itself.
    """
    source: Source = "audit" if audit.served else "shadow"
    return Label(
        klass=audit.klass,
        score=audit.score,
        wrong=audit.state != "right",
        source=source,
        at_ms=audit.at_ms,
        weight=audit.weight,
        served=audit.served,
    )


def no_audit(name: str) -> NotFound:
    """404."""
    return NotFound(f"There is no audit {name!r}.", code="no_such_audit", param="id")
