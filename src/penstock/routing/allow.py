"""Allow-lists of model names: nothing is allowed that no pattern allows, and a denial wins (behaviour 33)."""

from fnmatch import fnmatchcase
from functools import lru_cache

_ALL = ("*",)


def allowed(name: str, patterns: tuple[str, ...]) -> bool:
    """True if a pattern matches ``name`` and no ``!pattern`` does. Case counts; an empty list allows nothing."""
    return patterns == _ALL or verdict(name, patterns) == "allowed"


@lru_cache(maxsize=8192)
def verdict(name: str, patterns: tuple[str, ...]) -> str:
    """``denied`` (a ``!pattern`` matches, whatever else does), ``allowed``, or ``unmatched``."""
    found = "unmatched"
    for pattern in patterns:
        if pattern.startswith("!"):
            if _matches(name, pattern[1:]):
                return "denied"
        elif _matches(name, pattern):
            found = "allowed"
    return found


def _matches(name: str, pattern: str) -> bool:
    return name == pattern or fnmatchcase(name, pattern)
