"""Whether a batch can go to a provider's own batch service, and with what: planned, priced, held money for, written.

Rule: a batch goes whole or not at all; why it does not is a sentence for its owner.
"""

import asyncio
import time
from typing import Any, Literal, cast

from msgspec import Struct

from penstock.base.decisions import Rejected
from penstock.base.errors import OurFault, PenstockError
from penstock.gateway.house import House
from penstock.gateway.native_desk import NativeDesk, service_of
from penstock.gateway.native_lines import Known, Lines, Planned, line_id
from penstock.gateway.purse import Hold
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_lines import Line
from penstock.server.inner import holder
from penstock.server.later import Held
from penstock.server.routes import route
from penstock.wire.batches import BatchItem, NativeBatches

_ENDPOINTS_OF_OURS = frozenset({"/v1/responses", "/v1/images/generations", "/v1/images/edits"})


class Way(Struct):
    """What is kept of it, in the batch's meta."""

    provider: str
    key: str
    known: dict[str, Known]
    at_ms: int
    phase: Literal["uploading", "creating", "running"] = "uploading"
    """creating: a creation may have been sent."""
    unsure_ms: int = 0
    """Since when it is looked for."""
    maybe: tuple[str, ...] = ()
    """Batches there that may be this one."""
    cleared: tuple[str, ...] = ()
    """Batches there that are not, or no longer matter."""
    again: int = 0
    """How often it was sent once more, after none was found."""
    file: str = ""
    batch: str = ""
    good: int = 0
    bad: int = 0
    cancel_sent: bool = False
    trouble: str = ""


class Ready(Struct):
    """A batch that can go."""

    way: Way
    items: list[BatchItem]
    planned: list[Planned]


def way_of(meta: dict[str, Any]) -> dict[str, Any]:
    return cast("dict[str, Any]", meta.get("native") or {})


def seen_counts(meta: dict[str, Any]) -> dict[str, int]:
    """What the provider says of its progress."""
    way = way_of(meta)
    counts = {"ok": int(way.get("good", 0)), "error": int(way.get("bad", 0))}
    return {name: count for name, count in counts.items() if count}


def road_view(meta: dict[str, Any]) -> dict[str, Any]:
    """How the batch is run, for whoever looks at it."""
    way = way_of(meta)
    return {
        "penstock_road": meta.get("road"),
        "penstock_provider": way.get("provider"),
        "penstock_reason": way.get("trouble") or meta.get("road_reason"),
    }


def desk_of(house: House, name: str, key: str) -> NativeDesk:
    """The way to a provider's service, with the key that a batch was made with. Raises OurFault where either is gone."""
    if name not in house.providers:
        raise OurFault(f"The provider {name!r} is gone from the configuration.", code="batch_no_provider")
    service = service_of(house, name)
    if isinstance(service, Rejected):
        raise OurFault(service.reason, code=service.code)
    return NativeDesk(house.providers[name], service, key)


class Choice:
    """Of one batch. ``holds``: the money of its lines, by their number."""

    def __init__(self, app: App, held: Held, lines: list[Line]) -> None:
        self._app = app
        self._held = held
        self._lines = lines
        self.holds: dict[int, Hold] = {}
        one = held.stored
        self._told = {
            **{name.encode("latin-1"): value.encode("latin-1") for name, value in one.meta["told"].items()},
            b"x-penstock-priority": b"batch",
            b"x-penstock-trace": one.id.encode("latin-1"),
        }

    async def chosen(self) -> Ready | str:
        """What goes, or why nothing does."""
        config, meta = self._app.house.config.batches, self._held.meta
        wish = meta.get("wish")
        if wish == "own" or config.native == "never":
            return "x-penstock-batch: own was asked for" if wish == "own" else "batches.native is never"
        if meta["endpoint"] in _ENDPOINTS_OF_OURS:
            return f"lines of {meta['endpoint']} are kept or drawn by the gateway itself"
        if meta["told"].get("x-penstock-cache", "default") not in ("off", "default"):
            return "its lines are to be looked for in the cache (x-penstock-cache)"
        if meta.get("completion_window", "24h") != "24h":
            return "providers know no other completion_window than 24h"
        try:
            return await self.ready(priced=wish != "native")
        except PenstockError as error:
            return error.public()

    async def ready(self, *, priced: bool) -> Ready | str:
        """The same, whatever was wished. ``priced``: only where its price is known."""
        lines, house = self.reader(), self._app.house
        planned: list[Planned] = []
        for n, line in enumerate(self._lines):
            try:
                planned.append(lines.plan(line_id(self._held.stored.id, n), line.body))
            except PenstockError as error:
                return f"line {n + 1}: {error.public()}"
            if n % 50 == 49:
                await asyncio.sleep(0)
        known = {
            one.facts.ask.model: Known(one.step.target.provider, one.step.target.model, one.step.pass_through)
            for one in planned
            if one.facts.ask is not None
        }
        providers = {one.provider for one in known.values()}
        if len(providers) > 1:
            return f"its lines go to several providers: {', '.join(sorted(providers))}"
        name = providers.pop()
        service = service_of(house, name)
        if isinstance(service, Rejected):
            return service.reason
        no = _against(service, planned, priced=priced)
        if no is not None:
            return no
        key = self._key(name, planned)
        if isinstance(key, Rejected):
            return key.reason
        no = await self._fund(lines, planned)
        if no is not None:
            return no
        items = await self._items(lines, planned, name)
        if isinstance(items, str):
            return items
        no = service.refuse(items)
        if no is not None:
            return no
        return self._sized(service, Ready(Way(name, key, known, unix_ms()), items, planned))

    async def again(self, provider: str) -> Ready | str:
        """The same lines for the same provider: another process had begun."""
        ready = await self.ready(priced=False)
        if isinstance(ready, str):
            return ready
        return ready if ready.way.provider == provider else f"its lines no longer go to {provider}"

    async def hold_again(self) -> None:
        """Another process has held the money: this one holds it now. What a budget refuses is spent all the same."""
        done = set(await self._held.keeper.numbers(self._held.stored))
        lines = self.reader()
        for n, line in enumerate(self._lines):
            if n in done:
                continue
            try:
                held = await lines.hold(lines.plan(line_id(self._held.stored.id, n), line.body))
            except (
                PenstockError
            ):  # a model or a key that is gone since: the line was sent, and is read all the same
                continue
            if isinstance(held, Hold):
                self.holds[n] = held

    def _sized(self, service: NativeBatches, ready: Ready) -> Ready | str:
        if len(ready.items) > service.max_items:
            return f"it has more than {service.max_items} lines"
        if sum(len(item.request.body) + 200 for item in ready.items) > service.max_bytes:
            return f"it is larger than {service.max_bytes} bytes"
        if len({item.request.path for item in ready.items}) > 1:
            return "its lines go to several paths"
        said = {
            tuple(pair for pair in item.request.headers if pair[0].startswith(b"anthropic-"))
            for item in ready.items
        }
        return ready if len(said) == 1 else "its lines need different versions of the provider's API"

    def _key(self, name: str, planned: list[Planned]) -> str | Rejected:
        house, first = self._app.house, planned[0]
        choice = house.providers[name].keys.choose(
            first.step.target.model,
            time.monotonic(),
            house.rng,
            avoid=frozenset(),
            allowed=first.facts.principal.keys_of(name),
        )
        return choice if isinstance(choice, Rejected) else choice.key.name

    async def _fund(self, lines: Lines, planned: list[Planned]) -> str | None:
        """Hold the most that each line may cost, or say why that cannot be."""
        for n, one in enumerate(planned):
            held = await lines.hold(one)
            if isinstance(held, Rejected):
                return f"the most that all lines may cost cannot be held at once: {held.reason}"
            if held is not None:
                self.holds[n] = held
        return None

    async def _items(self, lines: Lines, planned: list[Planned], name: str) -> list[BatchItem] | str:
        provider = self._app.house.providers[name]
        items: list[BatchItem] = []
        for n, one in enumerate(planned):
            written = lines.write(provider, one)
            if isinstance(written, Rejected):
                return f"line {n + 1}: {written.reason}"
            items.append(BatchItem(line_id(self._held.stored.id, n), written))
            if n % 50 == 49:
                await asyncio.sleep(0)
        return items

    def reader(self) -> Lines:
        """Reads and writes the lines, for their key. Raises Forbidden where that is gone."""
        caller = route(str(self._held.meta["endpoint"]).encode(), b"", self._told)
        assert caller is not None, "the endpoint was checked"
        return Lines(self._app.house, holder(self._app, self._held.stored.owner), caller, self._told)


def _against(service: NativeBatches, planned: list[Planned], *, priced: bool) -> str | None:
    """What in the lines' targets stands against it."""
    targets = {one.step.target.name: one.step.target for one in planned}
    if service.one_model and len(targets) > 1:
        return f"a batch of this provider has one model, not {len(targets)}"
    for target in targets.values():
        row = target.facts.price
        if priced and row is not None and "batch" not in row.service:
            return f"no batch price of {target.name} is known"
    return None
