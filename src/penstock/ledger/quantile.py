"""How long will the answer be? The 95th percentile of recent outputs, for each route, model and key.

Exact over the last ``_KEPT`` outputs of a key (nearest rank), in about a kilobyte each; the keys that were taught
longest ago are forgotten first.
"""

from array import array
from bisect import bisect_left, insort

_KEPT = 128
_MAX_KEYS = 4096
_MOST = 2**31 - 1

Who = tuple[str, str, str]
"""Route, model, virtual key."""


class Recent:
    """The last outputs of one key, in order of arrival and in order of size."""

    __slots__ = ("_at", "_ring", "_sizes")

    def __init__(self) -> None:
        self._ring = array("l")
        self._sizes = array("l")
        self._at = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def add(self, tokens: int) -> None:
        """One more output; from ``_KEPT`` on it takes the oldest one's place."""
        tokens = min(max(0, tokens), _MOST)
        if len(self._ring) < _KEPT:
            self._ring.append(tokens)
        else:
            oldest, self._ring[self._at] = self._ring[self._at], tokens
            self._at = (self._at + 1) % _KEPT
            del self._sizes[bisect_left(self._sizes, oldest)]
        insort(self._sizes, tokens)

    def quantile(self, percent: int) -> int:
        """The smallest output that at least ``percent`` of them do not exceed. Needs one sample."""
        return self._sizes[max(0, -(-len(self._sizes) * percent // 100) - 1)]


class OutputSizes:
    """What to expect of the next answer. Below ``least`` samples nothing is known of a key."""

    __slots__ = ("_least", "_percent", "_recent")

    def __init__(self, least: int = 20, percent: int = 95) -> None:
        self._least = least
        self._percent = percent
        self._recent: dict[Who, Recent] = {}

    def learn(self, who: Who, tokens: int) -> None:
        """An answer had ``tokens``. Answers that were cut teach nothing: the caller leaves them out."""
        recent = self._recent.pop(who, None)
        if recent is None:
            if len(self._recent) >= _MAX_KEYS:
                del self._recent[next(iter(self._recent))]
            recent = Recent()
        recent.add(tokens)
        self._recent[who] = recent

    def expect(self, who: Who, max_tokens: int | None, prior: int | None = None) -> int | None:
        """Tokens to reserve: the quantile; before enough samples ``prior``, else ``max_tokens``; None: not known.

        Never above ``max_tokens``, never below 1.
        """
        recent = self._recent.get(who)
        if recent is not None and len(recent) >= self._least:
            tokens: int | None = recent.quantile(self._percent)
        else:
            tokens = prior if prior is not None else max_tokens
        if tokens is None:
            return None
        return max(1, tokens if max_tokens is None else min(tokens, max_tokens))
