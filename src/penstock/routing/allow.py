"""Allow-lists of model names: nothing is allowed that no pattern allows, and a denial wins (behaviour 33)."""

from fnmatch import fnmatchcase
from functools import lru_cache

from msgspec import Struct

ALL = ("*",)


class Lists(Struct, frozen=True):
    """Several levels' lists of models (names or routes), and of providers: every one of them must allow."""

    models: tuple[tuple[str, ...], ...]
    providers: tuple[tuple[str, ...], ...]


Patterns = tuple[str, ...] | Lists
"""One list of models, as most have, or the lists of a tree."""


def joined(levels: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> Patterns:
    """The lists of models and of providers of each level as one; what allows everything is left out."""
    models = tuple(dict.fromkeys(names for names, _ in levels if names != ALL))
    providers = tuple(dict.fromkeys(names for _, names in levels if names != ALL))
    if providers or len(models) > 1:
        return Lists(models, providers)
    return models[0] if models else ALL


def allowed(name: str, patterns: Patterns) -> bool:
    """True if a pattern matches ``name`` and no ``!pattern`` does. Case counts; an empty list allows nothing."""
    if isinstance(patterns, Lists):
        return _provided(name, patterns) and all(allowed(name, one) for one in patterns.models)
    return patterns == ALL or verdict(name, patterns) == "allowed"


def may_use(name: str, route: str, patterns: Patterns) -> bool:
    """Whether a key may use a target: by the target's own name, or by the route that the operator put it into; a denial of either wins."""
    if isinstance(patterns, Lists):
        return _provided(name, patterns) and all(may_use(name, route, one) for one in patterns.models)
    by_name = verdict(name, patterns)
    if by_name == "denied" or not route:
        return by_name == "allowed"
    by_route = verdict(route, patterns)
    return by_route != "denied" and "allowed" in (by_name, by_route)


def _provided(name: str, lists: Lists) -> bool:
    """A name without a provider (a route's) is asked for what stands behind it."""
    provider, slash, _ = name.partition("/")
    return not slash or all(verdict(provider, one) == "allowed" for one in lists.providers)


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
