"""Keys, teams and budgets of a running gateway, changed without a restart.

A change: decided, then stored, then put in force. What could not be stored is not in force; what is stored and could not
be put in force (its budget's past cannot be read) is said, and tried again. Changes made elsewhere (another worker, another node, ``penstock keys`` at the store itself) are found by their version,
twice a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import msgspec
from msgspec import Struct

from penstock.base.errors import ConfigFault, OurFault, PenstockError
from penstock.base.money import usd_text
from penstock.config.catalogue import Catalogue
from penstock.config.fault import Fault
from penstock.config.governing import ALL_USERS
from penstock.config.load import Loaded
from penstock.config.meaning import meaning_faults
from penstock.config.schema import Config
from penstock.ledger.tree import key_id, organisation_id, team_id, user_id
from penstock.observe.log import OperatorLog
from penstock.registry.changes import Ask, Change, applied, decide, settled
from penstock.registry.desk import TRIES, answer, crowded
from penstock.registry.objects import Check, Kind, Merged, Registry, merge
from penstock.registry.secret import fresh_key
from penstock.registry.store import Stale, Store
from penstock.registry.views import budget_views, entry_of, entry_view, iso_ms, object_views, taken_entry
from penstock.wiring.money import Figures

FOLLOW_S = 0.5
"""How often the store's version is asked: one small read in another thread."""
_MOST_USERS = 100


_NODES: dict[str, Callable[[str], str]] = {
    "organisation": organisation_id,
    "team": team_id,
    "key": key_id,
}


class Joined(Struct, frozen=True, kw_only=True):
    """What the file says, what was made at run time, and the one configuration of both (``loaded``)."""

    file: Loaded
    registry: Registry
    merged: Merged
    loaded: Loaded


Spending = Callable[[], Awaitable[dict[tuple[str, str], Figures]]]
"""What was spent in each budget's window of now, by its node and name."""
Put = Callable[[Joined], Awaitable[None]]
"""Puts keys, teams and budgets in force; nothing else of the house changes."""


class Administration:
    """The office of one process. All but ``join`` belongs to the event loop."""

    def __init__(self, store: Store, catalogue: Catalogue, log: OperatorLog) -> None:
        self._store = store
        self._catalogue = catalogue
        self._log = log
        self._put: Put | None = None
        self._spending: Spending | None = None
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.in_force: Joined | None = None

    def join(self, file: Loaded) -> Joined:
        """What a file says with what was made at run time. Blocks; raises OurFault where the store does not answer."""
        return self._joined(file, self._store.read())

    def begin(self, joined: Joined, put: Put, spending: Spending, lock: asyncio.Lock) -> None:
        """``joined`` is in force; from now on changes are. ``lock``: one swap at a time, reloads included."""
        self.in_force, self._put, self._lock = joined, put, lock
        self._spending = spending
        self._keep(self._follow())

    async def taken(self, joined: Joined, version: str, who: str) -> None:
        """A start or a reload has put a file in force: for the record, if it is another one than the last."""
        before = None if self.in_force is None or self.in_force is joined else self.in_force.file.config
        self.in_force = joined
        entry = taken_entry(_config(joined.file), version, before, who, time.time())
        try:
            await asyncio.to_thread(self._store.note, entry)
        except PenstockError as error:
            self._log.once("admin note", error.public())

    async def stop(self) -> None:
        """No more changes."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self._store.close)

    async def ask(self, ask: Ask, who: str) -> dict[str, Any]:
        """Make a change. Whoever asked may hang up in the middle of it: it is then made all the same, and whole."""
        return await asyncio.shield(self._keep(self._ask(ask, who)))

    async def objects(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind, as the store has it now."""
        joined = await self._now()
        return object_views(kind, _config(joined.file), joined.registry, joined.merged, time.time())

    async def budgets(self) -> list[dict[str, Any]]:
        """Every budget, as the store has it now, and what was spent in its window."""
        joined = await self._now()
        views = budget_views(_config(joined.file), joined.merged)
        figures = {} if self._spending is None else await self._spending()
        return [{**view, **_spent(view, figures)} for view in _with_users(views, figures)]

    async def audit(
        self, *, limit: int, before: int | None, kind: str | None, name: str | None
    ) -> list[dict[str, Any]]:
        """The record, newest first."""
        entries = await asyncio.to_thread(self._store.audit, limit=limit, before=before, kind=kind, name=name)
        return [entry_view(entry) for entry in entries]

    async def _ask(self, ask: Ask, who: str) -> dict[str, Any]:
        async with self._lock:
            for _ in range(TRIES):
                file = self._in_force().file
                registry, now_s = await asyncio.to_thread(self._store.read), time.time()
                config, check = _config(file), self._check(file)
                change = decide(ask, registry, config, now_s, fresh_key)
                merged = await asyncio.to_thread(settled, ask, change, registry, config, check)
                after = applied(registry, change)
                entry, place = entry_of(change, who, now_s), change.object.place
                try:
                    await asyncio.to_thread(self._store.commit, registry.version, place, change.after, entry)
                except Stale:
                    continue
                self._log.event("admin.changed", action=change.action, name=place[1], who=who)
                try:
                    await self._take(_with(file, after, merged))
                except PenstockError as error:
                    raise _not_yet(error, change) from error
                return answer(change, config, after, merged, now_s)
        raise crowded()

    async def _take(self, joined: Joined) -> None:
        if self._put is not None:
            await self._put(joined)
            self.in_force = joined

    async def _now(self) -> Joined:
        joined = self._in_force()
        registry = await asyncio.to_thread(self._store.read)
        if registry.version == joined.registry.version:
            return joined
        return await asyncio.to_thread(self._joined, joined.file, registry)

    async def _follow(self) -> None:
        """Changes made elsewhere come into force here."""
        while True:
            await asyncio.sleep(FOLLOW_S)
            try:
                if await asyncio.to_thread(self._store.version) != self._in_force().registry.version:
                    async with self._lock:
                        joined = await asyncio.to_thread(self.join, self._in_force().file)
                        await self._take(joined)
                    self._log.event("admin.followed", version=joined.registry.version)
            except PenstockError as error:
                self._log.once("admin store", f"{error.public()} What was in force stays.")

    def _joined(self, file: Loaded, registry: Registry) -> Joined:
        return _with(file, registry, merge(_config(file), registry, self._check(file)))

    def _check(self, file: Loaded) -> Check:
        catalogue = self._catalogue

        def check(config: Config) -> list[Fault]:
            return meaning_faults(config, catalogue, file.base)

        return check

    def _in_force(self) -> Joined:
        if self.in_force is None:
            raise OurFault("The gateway has not started yet.", status=503, retry_after_s=1)
        return self.in_force

    def _keep(self, work: Any) -> "asyncio.Task[Any]":
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            error = task.exception()
            if error is not None and not isinstance(error, PenstockError):
                self._log.failure("admin.failed", error)


def _with_users(
    views: list[dict[str, Any]], figures: dict[tuple[str, str], Figures]
) -> Iterator[dict[str, Any]]:
    """``*`` is followed by the users who have that budget and have called, the dearest first."""
    named = {(view["of"], view["user"]) for view in views}
    for view in views:
        yield view
        if view["user"] != ALL_USERS:
            continue
        before, _, after = user_id(view["of"], ALL_USERS).partition(ALL_USERS)
        users = [
            (-figure.spent_nusd, node.removeprefix(before).removesuffix(after))
            for (node, budget), figure in figures.items()
            if budget == view["name"] and node.startswith(before) and node.endswith(after)
        ]
        others = [user for _, user in sorted(users) if (view["of"], user) not in named]
        yield from ({**view, "user": user} for user in others[:_MOST_USERS])


def _spent(view: dict[str, Any], figures: dict[tuple[str, str], Figures]) -> dict[str, Any]:
    """Nothing where it is not known: of ``*``, whose users have a budget each, and of what no call was held to yet."""
    name: str = view["of"]
    node = _NODES[view["kind"]](name) if view["user"] is None else user_id(name, view["user"])
    found = figures.get((node, view["name"]))
    if found is None:
        return {}
    return {
        "spent_usd": usd_text(found.spent_nusd),
        "left_usd": usd_text(max(0, found.limit_nusd - found.spent_nusd)),
        **_in_ledger(found),
        "window_from": iso_ms(round(found.start_s * 1000)),
        "window_until": iso_ms(round(found.end_s * 1000)),
    }


def _in_ledger(found: Figures) -> dict[str, Any]:
    if found.withheld_nusd is None:
        return {"in_ledger_usd": None, "withheld_usd": None}
    return {
        "in_ledger_usd": usd_text(found.spent_nusd - found.withheld_nusd),
        "withheld_usd": usd_text(found.withheld_nusd),
    }


def _not_yet(error: PenstockError, change: Change) -> OurFault:
    """The one answer that is neither yes nor no. A fresh key is lost with it, and a rotation makes another."""
    lost = " The key that was made is not shown: rotate it." if change.secret is not None else ""
    return OurFault(
        f"It is stored, and not yet in force: {error.public()}{lost}",
        code="admin_not_in_force",
        hint="The gateway tries again twice a second, and says why not in its log.",
        status=503,
    )


def _config(file: Loaded) -> Config:
    if file.config is None:
        raise ConfigFault("The configuration has faults.", path="$")
    return file.config


def _with(file: Loaded, registry: Registry, merged: Merged) -> Joined:
    loaded = msgspec.structs.replace(
        file,
        config=merged.config,
        warnings=[*file.warnings, *merged.warnings()],
        closed=registry.closed,
        made={
            one.place: f"{one.created_ms:x}" for one in registry.objects if one.place not in merged.left_out
        },
    )
    return Joined(file=file, registry=registry, merged=merged, loaded=loaded)
