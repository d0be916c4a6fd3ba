"""The semantic tier: which kept answer, if any, may be served for a text, and why not.

A look-up is: the exact partition, its nearest neighbours, the guards on the first of them, the class's threshold. Pure but for
what was inserted; no clock, no embedder, no stores: vectors and ``now_ms`` come in, a ``Found`` goes out.

Rules
- A partition is one object. It is found by its whole key, and no look-up sees two of them: similarity is never an
  authorisation boundary (vLLM semantic-router #2134 put the tenant before the text: a leak at a score of 0.9085).
- The guards see the first candidate alone. A veto says that the nearest thing asked before was another thing, so this is a
  neighbourhood where small differences count; to try the second would give each look-up eight chances of a mistake, and the
  labels that a threshold is certified by are those of first candidates.
- A veto is told before the threshold: who calibrates must be able to leave out pairs that would not be served at any score.
- Time to live is absolute: a look-up prolongs nothing.
"""

import threading

from msgspec import Struct
from msgspec.structs import replace

from penstock.base.decisions import Rejected
from penstock.cache.answer import About
from penstock.cache.ports import PARTIAL, Decider, Found, Threshold
from penstock.cache.semantic.guards import flags, vetoes
from penstock.cache.semantic.index import EXACT_BELOW, unit
from penstock.cache.semantic.partition import Entry, Partition
from penstock.cache.semantic.reading import read

NEIGHBOURS = 8
GUARDED_FROM = 0.75
"""Below it nobody serves, and what the guards would say of two unlike texts means nothing."""
CLOSE_SECOND = 0.005
EXPIRED_PER_LOOK = 64
BRIEF_BELOW = 2_000
"""Entries: a product over 3 MB, 0.1 ms."""
MOST_QUARANTINED = 100_000
"""Quarantined ids that are remembered, so that a node that reads them again from a store does not serve them."""

NO_NEIGHBOUR = Rejected("no-neighbour", "Nothing that could be compared is cached in this partition.")
BAD_VECTOR = Rejected("bad-vector", "The embedding is no vector of unit length.")
OTHER_LENGTH = Rejected("bad-vector", "The partition's vectors have another number of dimensions.")


class TierStats(Struct, frozen=True):
    """As it stands. ``graphs``: partitions so large that an HNSW graph answers."""

    partitions: int
    entries: int
    quarantined: int
    graphs: int
    index_bytes: int
    looks: int
    found: int


class SemanticTier:
    """All partitions of this process. How much is in it is bounded by who inserts (an entry lives as long as its answer)."""

    def __init__(self, decider: Decider, *, exact_below: int = EXACT_BELOW) -> None:
        self._decider = decider
        self._exact_below = exact_below
        self._partitions: dict[bytes, Partition] = {}
        self._partition_of: dict[str, bytes] = {}
        self._quarantined: dict[str, str] = {}
        self._lock = threading.Lock()
        """Of every change; look-ups take only the lock of the one index."""
        self._looks = 0
        self._found = 0

    def look(
        self, partition: bytes, klass: str, text: str, vector: bytes, now_ms: int, *, min_score: float | None
    ) -> Found:
        """The nearest entry, and whether it may be served. ``min_score`` is the caller's, and only tightens."""
        self._looks += 1
        threshold = self._decider.threshold(klass)
        asked = unit(vector)
        if asked is None:
            return Found(refused=BAD_VECTOR, threshold=threshold)
        here = self._partitions.get(partition)
        if here is None:
            return Found(refused=NO_NEIGHBOUR, threshold=threshold)
        if len(asked) != here.index.dimensions:
            return Found(refused=OTHER_LENGTH, threshold=threshold)
        partial = here.index.partial
        found = self._judged(here.nearest(asked, NEIGHBOURS), text, now_ms, threshold, min_score)
        if partial:
            found = replace(found, flags=(*found.flags, PARTIAL))
        self._expire(partition, here, now_ms)
        self._found += found.refused is None
        return found

    def ahead(self, text: str) -> None:
        """What the guards will want of a text: read while it is embedded."""
        read(text)

    def brief(self, partition: bytes) -> bool:
        """A look there takes at most some tenths of a millisecond."""
        here = self._partitions.get(partition)
        return here is None or len(here) <= BRIEF_BELOW

    def insert(self, about: About, place_namespace: str, key: bytes) -> Rejected | None:
        """Take an entry up. A "no" is a vector that cannot be compared: such an entry is never found."""
        vector = unit(about.vector)
        if vector is None:
            return BAD_VECTOR
        with self._lock:
            here = self._partitions.get(about.partition)
            if here is not None and here.index.dimensions != len(vector):
                return OTHER_LENGTH
            self._remove(about.id)
            if here is None or not len(here):
                here = self._partitions[about.partition] = Partition(
                    len(vector), exact_below=self._exact_below
                )
            for replaced in here.insert(about, vector, place_namespace, key):
                self._partition_of.pop(replaced, None)
            self._partition_of[about.id] = about.partition
            self._mark(about.id)
        return None

    def remove(self, entry_id: str) -> bool:
        """Whether it was there. A quarantine is kept: the id is not to come back."""
        with self._lock:
            return self._remove(entry_id)

    def quarantine(self, entry_id: str, reason: str) -> bool:
        """Serve it no more, now or when it is inserted again. Whether it was there."""
        with self._lock:
            self._quarantined[entry_id] = reason or "quarantined"
            if len(self._quarantined) > MOST_QUARANTINED:
                del self._quarantined[next(iter(self._quarantined))]
            return self._mark(entry_id)

    def stats(self) -> TierStats:
        """As it stands."""
        with self._lock:
            partitions = list(self._partitions.values())
            return TierStats(
                partitions=len(partitions),
                entries=len(self._partition_of),
                quarantined=len(self._quarantined),
                graphs=sum(one.index.approximate for one in partitions),
                index_bytes=sum(one.index.held_bytes for one in partitions),
                looks=self._looks,
                found=self._found,
            )

    def _mark(self, entry_id: str) -> bool:
        """Tell the entry what is known against it. Under the lock."""
        here = self._partitions.get(self._partition_of.get(entry_id, b""))
        entry = here.get(entry_id) if here is not None else None
        if entry is None:
            return False
        entry.quarantined = self._quarantined.get(entry_id, "")
        return True

    def _remove(self, entry_id: str) -> bool:
        """Under the lock. A partition that is empty goes, too."""
        partition = self._partition_of.pop(entry_id, None)
        here = self._partitions.get(partition) if partition is not None else None
        if partition is None or here is None:
            return False
        removed = here.remove(entry_id)
        if not len(here):
            del self._partitions[partition]
        return removed

    def _expire(self, partition: bytes, here: Partition, now_ms: int) -> None:
        if not here.overdue(now_ms):
            return
        with self._lock:
            for entry_id in here.expire(now_ms, EXPIRED_PER_LOOK):
                self._partition_of.pop(entry_id, None)
            if not len(here) and self._partitions.get(partition) is here:
                del self._partitions[partition]

    def _judged(
        self,
        neighbours: list[tuple[Entry, float]],
        text: str,
        now_ms: int,
        threshold: Threshold,
        min_score: float | None,
    ) -> Found:
        usable = [one for one in neighbours if one[0].until_ms > now_ms and not one[0].quarantined]
        if not usable:
            return Found(refused=_why_none(neighbours, now_ms), threshold=threshold)
        entry, score = usable[0][0], _rounded(usable[0][1])
        words: tuple[str, ...] = ()
        refused: Rejected | None = None
        if score >= GUARDED_FROM:
            words = vetoes(entry.text, text)
            if words:
                refused = Rejected(
                    f"guard-{words[0]}", f"The nearest cached text differs in: {', '.join(words)}."
                )
            words += flags(entry.text, text)
            if len(usable) > 1 and score - _rounded(usable[1][1]) < CLOSE_SECOND:
                words += ("close-second",)
        return Found(
            refused=refused or _too_far(score, threshold, min_score),
            entry_id=entry.id,
            entry_key=entry.key,
            namespace=entry.namespace,
            score=score,
            threshold=threshold,
            text=entry.text,
            flags=words,
        )


def _rounded(score: float) -> float:
    """f32 products of one vector with itself come to 0.9999999 or 1.0000001."""
    return min(round(score, 6), 1.0)


def _too_far(score: float, threshold: Threshold, min_score: float | None) -> Rejected | None:
    if threshold.value is None:
        return Rejected("not-certified", threshold.reason)
    if score < threshold.value:
        return Rejected("below-threshold", f"The nearest scores {score:.4f}, below {threshold.value:.4f}.")
    if min_score is not None and score < min_score:
        return Rejected(
            "below-threshold", f"The nearest scores {score:.4f}, below the call's own {min_score:.4f}."
        )
    return None


def _why_none(neighbours: list[tuple[Entry, float]], now_ms: int) -> Rejected:
    """Of the nearest that had to be passed over."""
    if not neighbours:
        return NO_NEIGHBOUR
    entry = neighbours[0][0]
    if entry.quarantined:
        return Rejected("quarantined", f"The nearest entry {entry.id} is quarantined: {entry.quarantined}.")
    return Rejected("expired", f"The nearest entry {entry.id} is over since {now_ms - entry.until_ms} ms.")
