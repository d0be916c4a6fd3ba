"""The models that this gateway offers, one entry for all endpoints of a model: what OpenRouter's callers list.

A name of the operator's own (a route, an alias) is an entry of its own. Made when it is first asked for, in any thread.
"""

from collections.abc import Callable

from msgspec import Struct

from penstock.base.models import Target


class Offered(Struct, frozen=True):
    """A model by the name to ask for it with, and who serves it. ``route``: the id of the route that it is, or ""."""

    slug: str
    targets: tuple[Target, ...]
    route: str = ""


class Listing:
    """All that is offered, by slug."""

    __slots__ = ("_find", "_made", "_make")

    def __init__(
        self,
        make: Callable[[], list[Offered]] = list,
        find: Callable[[str], Offered | None] = lambda _name: None,
    ) -> None:
        """``find``: by any spelling of its name."""
        self._make = make
        self._find = find
        self._made: dict[str, Offered] | None = None

    def all(self) -> list[Offered]:
        """Everything, the operator's own names first."""
        if self._made is None:
            self._made = {one.slug: one for one in self._make()}
        return list(self._made.values())

    def one(self, name: str) -> Offered | None:
        """A model, however it is written."""
        self.all()
        found = None if self._made is None else self._made.get(name)
        return self._find(name) if found is None else found
