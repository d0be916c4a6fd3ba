"""Model ids by other spellings, and names like a name: the string half of the catalogue.

Pure functions and one index over a fixed set of names. Nothing here knows prices or rows.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from heapq import nsmallest

_DATED = re.compile(r"[-@](?:20\d\d-\d\d-\d\d|20\d\d[01]\d[0-3]\d|latest|default|00\d)$")
_REGION = re.compile(
    r"^(?:us|eu|apac|global|jp|au|ca|in|us-gov|global-standard)[./]|^[a-z]{2}-(?:gov-)?[a-z]+-\d/"
)
_PREFIX = re.compile(r"^(?:models/|publishers/[^/]+/models/|projects/.+/models/)")
_TUNED = re.compile(r"^(ft:[^:]+):")
_REGIONAL = frozenset({"azure", "bedrock", "bedrock_mantle"})
_LONGEST_ASKED = 200


def undated(model: str) -> str:
    """The id without its date, version or ``-latest``: gpt-4o-mini-2024-07-18 -> gpt-4o-mini."""
    return _DATED.sub("", model)


def spellings(provider: str, model: str) -> Iterator[tuple[str, bool]]:
    """Other ids that name the same model at ``provider``, likeliest first, and whether the price is the same.

    A suffix after a colon (``:nitro``) and a region may change the price; a date, a resource prefix and the
    owner of a fine-tuned model do not.
    """
    if len(model) > _LONGEST_ASKED:
        return
    name = _PREFIX.sub("", model.removeprefix(f"{provider}/"))
    tuned = _TUNED.match(name)
    if tuned:
        name = tuned[1]
    yield name, True
    if undated(name) != name:
        yield undated(name), True
    plain = name.partition(":")[0] if not tuned else name
    if plain != name:
        yield plain, False
    if provider in _REGIONAL and _REGION.search(name):
        inner = _REGION.sub("", name)
        yield inner, False
        yield undated(inner), False


def _trigrams(name: str) -> set[str]:
    padded = f"  {name.lower()} "
    return {padded[at : at + 3] for at in range(len(padded) - 2)}


class NameIndex:
    """Look-ups over a fixed set of names: whatever the case, the newest of a dated family, the nearest."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(dict.fromkeys(names))
        self._lower = {name.lower(): name for name in reversed(self._names)}
        self._newest: dict[str, str] = {}
        for name in sorted(self._names):
            base = undated(name.lower())
            if base != name.lower():
                self._newest[base] = name
        self._grams: dict[str, list[int]] | None = None

    def exact(self, name: str) -> str | None:
        """The name, whatever its case."""
        return self._lower.get(name.lower())

    def newest(self, base: str) -> str | None:
        """The newest dated id of a family: claude-haiku-4-5 -> claude-haiku-4-5-20251001."""
        return self._newest.get(base.lower())

    def nearest(self, name: str, count: int, *, slash: bool) -> list[str]:
        """Up to ``count`` names that share the most trigrams; only names with or without a slash, as asked."""
        grams = self._grams
        if grams is None:
            grams = dict[str, list[int]]()
            for number, known in enumerate(self._names):
                for gram in _trigrams(known):
                    grams.setdefault(gram, []).append(number)
            self._grams = grams  # only when whole: another thread may be asking
        wanted = _trigrams(name[:_LONGEST_ASKED])
        shared = Counter[int]()
        for gram in wanted:
            shared.update(grams.get(gram, ()))
        scored = [
            (-2 * common / (len(wanted) + len(self._names[number]) + 1), number)
            for number, common in shared.items()
            if ("/" in self._names[number]) == slash
        ]
        return [self._names[number] for score, number in nsmallest(count, scored) if score <= -0.5]
