"""The classes whose thresholds are decided apart: how they are named, and how many a tenant has.

Theory
------
A class is a tenant, a namespace, a model as it was asked for, and an embedder. Callers name namespaces, so they make classes: each
is a threshold to be learned, audits of its first hits, a row of counts a day. So a tenant has at most ``MOST_CLASSES`` of its own.
One more takes the place of the one that was idle longest, if that was for ``IDLE_S``; else it falls into the one class that the
tenant's further namespaces share, whose threshold is learned from all of them.

Rules
- No tenant's classes make room for another's, and no tenant's are shared with another's.
- What a folded class had learned stays in the audits' file; in memory it is forgotten, and the class begins anew.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

MOST_CLASSES = 100
"""Of one tenant."""
IDLE_S = 3600.0
SHARED = "*"
"""The namespace, and model, of a tenant's further classes."""
T = TypeVar("T")


def class_name(tenant: str, namespace: str, route: str, build: str) -> str:
    """What is learned of one class is another's by no choice of a namespace."""
    return "|".join(map(escaped, (tenant, namespace, route, build)))


def shared_name(tenant: str, build: str) -> str:
    """Of the class that a tenant's further ones share."""
    return "|".join((escaped(tenant), SHARED, SHARED, escaped(build)))


def tenant_of_class(klass: str) -> str:
    """As it is written in the name."""
    return klass.partition("|")[0]


def escaped(name: str) -> str:
    """So that it can stand in a class's name."""
    if name == SHARED:
        return "%2A"
    return name.replace("%", "%25").replace("|", "%7C")


class Classes:
    """Which classes are alive. Belongs to one thread."""

    def __init__(self, *, most: int = MOST_CLASSES, idle_s: float = IDLE_S) -> None:
        self.folded = 0
        """Classes that gave way to another one of their tenant's."""
        self.shared = 0
        """Look-ups that fell into a shared class."""
        self.gone: Callable[[str], object] = _nobody
        """Told of each class that was folded."""
        self._most = most
        self._idle_ms = idle_s * 1000
        self._alive: dict[str, OrderedDict[str, int]] = {}
        """By tenant: its classes and when they were asked for last, the one that is idle longest first."""

    def name(self, tenant: str, namespace: str, route: str, build: str, now_ms: int) -> str:
        """The class of a look-up."""
        alive = self._alive.setdefault(tenant, OrderedDict())
        name = class_name(tenant, namespace, route, build)
        if name in alive:
            alive.move_to_end(name)
        elif len(alive) >= self._most:
            oldest, last_ms = next(iter(alive.items()))
            if now_ms - last_ms < self._idle_ms:
                self.shared += 1
                return shared_name(tenant, build)
            del alive[oldest]
            self.folded += 1
            self.gone(oldest)
        alive[name] = now_ms
        return name


class ByClass(Generic[T]):
    """Something of each class, of so many of each tenant: of more the one that was written longest ago is forgotten.

    One thread writes, any may read: what is written anew is never missing in between.
    """

    def __init__(self, most: int = 2 * MOST_CLASSES) -> None:
        self._most = most
        self._known: dict[str, T] = {}
        self._order: dict[str, dict[str, None]] = {}
        """By tenant: its classes, the one that was written longest ago first."""

    def get(self, klass: str) -> T | None:
        """None: nothing is known."""
        return self._known.get(klass)

    def put(self, klass: str, value: T) -> None:
        """It is the newest of its tenant's now."""
        order = self._order.setdefault(tenant_of_class(klass), {})
        order.pop(klass, None)
        order[klass] = None
        self._known[klass] = value
        if len(order) > self._most:
            self.pop(next(iter(order)))

    def pop(self, klass: str) -> None:
        """Forget it."""
        self._known.pop(klass, None)
        self._order.get(tenant_of_class(klass), {}).pop(klass, None)

    def items(self) -> list[tuple[str, T]]:
        """All of them, by name."""
        return sorted(self._known.items(), key=_first)

    def __len__(self) -> int:
        return len(self._known)


def _first(pair: tuple[str, object]) -> str:
    return pair[0]


def _nobody(_klass: str) -> None:
    """Nobody wants to know."""
