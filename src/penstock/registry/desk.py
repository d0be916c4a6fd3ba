"""Reads, decides and stores, without a gateway: what ``penstock keys`` does where it is given no ``--url``.

A gateway that runs on the same store takes a change up by itself (``wiring.administration``), so that both may be used
side by side. ``answer`` and the views are the admin API's: one command prints the same, whichever way it went.
"""

import time
from collections.abc import Callable
from typing import Any

from penstock.base.errors import NotFound, OurFault
from penstock.config.fault import shown
from penstock.config.schema import Config
from penstock.registry.changes import Ask, Change, applied, decide, settled
from penstock.registry.objects import SORTS, Check, Kind, Merged, Registry, merge
from penstock.registry.secret import fresh_key
from penstock.registry.store import Stale, Store
from penstock.registry.views import budget_views, entry_of, entry_view, object_views

TRIES = 20
"""How often a change is decided anew because another came first."""
DEFAULT_AUDIT = 100
MAX_AUDIT = 1000


class Desk:
    """One operator at one store."""

    def __init__(
        self,
        store: Store,
        config: Config,
        check: Check,
        who: str,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._config = config
        self._check = check
        self._who = who
        self._unix_s = unix_s

    def ask(self, ask: Ask) -> dict[str, Any]:
        """Make a change. Raises what ``decide`` and ``settled`` raise, and OurFault where it cannot be stored."""
        for _ in range(TRIES):
            registry, now_s = self._store.read(), self._unix_s()
            change = decide(ask, registry, self._config, now_s, fresh_key)
            merged = settled(ask, change, registry, self._config, self._check)
            try:
                self._store.commit(
                    registry.version, change.object.place, change.after, entry_of(change, self._who, now_s)
                )
            except Stale:
                continue
            return answer(change, self._config, applied(registry, change), merged, now_s)
        raise crowded()

    def objects(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind."""
        registry = self._store.read()
        return object_views(
            kind, self._config, registry, merge(self._config, registry, self._check), self._unix_s()
        )

    def object(self, kind: Kind, name: str) -> dict[str, Any]:
        """One of them. Raises NotFound."""
        return the_one(kind, name, self.objects(kind))

    def budgets(self) -> list[dict[str, Any]]:
        """All budgets in force. What was spent is known to gateways that run."""
        registry = self._store.read()
        return budget_views(self._config, merge(self._config, registry, self._check))

    def audit(
        self, *, limit: int, before: int | None, kind: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """The record, newest first."""
        entries = self._store.audit(limit=limit, before=before, kind=kind, name=name)
        return [entry_view(entry) for entry in entries]


def the_one(kind: Kind, name: str, views: list[dict[str, Any]]) -> dict[str, Any]:
    """The view of this name; of two the one made at run time, which can be changed. Raises NotFound."""
    found = [view for view in views if view["name"] == name]
    if not found:
        raise NotFound(
            f"There is no {SORTS[kind].word} {shown(name)}.",
            code="no_such_object",
            hint=f"See them with: penstock {SORTS[kind].command} list.",
        )
    return found[-1]


def answer(
    change: Change, config: Config, registry: Registry, merged: Merged, now_s: float
) -> dict[str, Any]:
    """What is said of a change: the object as it is now, and a fresh key this once."""
    kind, name = change.object.place
    if change.after is None:
        return {"name": name, "removed": True}
    view = the_one(kind, name, object_views(kind, config, registry, merged, now_s))
    return view if change.secret is None else {**view, "key": change.secret.reveal()}


def crowded() -> OurFault:
    """Others change so much that this never came to its turn."""
    return OurFault(
        "Others change keys and teams at this moment.",
        code="admin_store_busy",
        hint="Nothing was changed. Ask again.",
        status=503,
        retry_after_s=1,
    )
