"""The gateway as a process: build, listen, reload, drain, stop."""

import asyncio
import errno
import gc
import signal
import socket
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from penstock.base.errors import ConfigFault, PenstockError
from penstock.config.cache_meaning import wants_cache
from penstock.config.catalogue import Catalogue
from penstock.config.hooks import signing_key
from penstock.config.load import Loaded, load
from penstock.config.schema import Config
from penstock.gateway.house import House
from penstock.gateway.structured import load_judge
from penstock.ledger.opening import is_postgres, open_journal
from penstock.observe.log import OperatorLog
from penstock.observe.names import RELOADS
from penstock.registry.opening import open_store
from penstock.server.app import App
from penstock.server.left import LaterDesk
from penstock.server.pages import build_pages
from penstock.state.embedded import EmbeddedStore
from penstock.state.line import LineGone
from penstock.wiring.administration import Administration, Joined
from penstock.wiring.build import Shared, build, govern, ledger_place, read_ahead, retire
from penstock.wiring.money import Figures, Withheld, figures, recall
from penstock.wiring.objects import opened_at
from penstock.wiring.sharing import Sharing

if TYPE_CHECKING:
    from penstock.wiring.caching import CacheDesk

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
BACKLOG = 4096
BEHIND_S = 0.05
"""After it listens: whoever waits for /ready comes first."""
CUT = 3
"""A worker's exit status after a stop that cut calls."""


class SeatOptions(Struct, frozen=True):
    """What a supervisor gives its worker: a number, the line to it, and sockets that listen already."""

    index: int
    line_fd: int
    listen_fds: tuple[int, ...]


class ServeOptions(Struct, frozen=True):
    """What the command line may say; None leaves it to the configuration."""

    config: Path
    host: str | None = None
    port: int | None = None
    db: str | None = None
    open: bool = False
    seed: int | None = None
    workers: int | None = None
    seat: "SeatOptions | None" = None


class Running:
    """A gateway that listens. ``url`` is where; ``stop`` drains it."""

    def __init__(self, options: ServeOptions, environ: Mapping[str, str], log: OperatorLog) -> None:
        self._options = options
        self._environ = environ
        self._log = log
        self._catalogue = Catalogue.load()
        self._reloading = asyncio.Lock()
        self._tasks: set[asyncio.Task[object]] = set()
        self._servers: list[asyncio.Server] = []
        self.sharing = Sharing()
        self.app: App | None = None
        self.shared: Shared | None = None
        self.administration: Administration | None = None
        self._host = ""
        self._place = ""
        """Of the journal that was opened at the start, whatever a reload says since. Not to be shown."""
        self._withheld: Withheld | None = None
        self._desk: LaterDesk | None = None
        self._cache: CacheDesk | None = None
        self._beside = ""
        """Where the ledger's file is, or would be."""
        self.url = ""

    async def start(self) -> list[str]:
        """Load, build, listen, warm. Returns the configuration's faults, one line each; [] means it runs."""
        loaded = self._load()
        if loaded.config is None:
            return [str(fault) for fault in loaded.faults]
        self._host = host = self._options.host or loaded.config.server.host
        port = loaded.config.server.port if self._options.port is None else self._options.port
        place = self._options.db or ledger_place(loaded)
        try:
            administration = Administration(open_store(place), self._catalogue, self._log)
            joined = administration.join(loaded)
        except ConfigFault as error:
            return [f"{error.path}: {error.public()}"]
        except PenstockError as error:
            return [error.public()]
        loaded = joined.loaded
        exposed = self._exposed(loaded)
        if exposed is not None:
            return [exposed]
        try:
            self._place = place
            settings = joined.merged.config.ledger
            journal = open_journal(place, flush_ms=settings.flush_ms, max_queue=settings.max_queue)
        except ConfigFault as error:
            return [f"{error.path}: {error.public()}"]
        self.shared = Shared(journal, self._log, self._options.seed)
        try:
            self.shared.keeper = await opened_at(place)
            self.shared.open_store = partial(EmbeddedStore, _state_file(place, settings.path))
            self.administration = administration
            seat = self._options.seat and (self._options.seat.index, self._options.seat.line_fd)
            await self.sharing.join(self, self.shared, joined.merged.config, loaded, seat)
            self._beside = settings.path
            self.app = App(await self._house(loaded), self._log)
            await self._recall(joined.merged.config)
            if self._cache is not None:
                self._cache.introduce(self.app)
            self.app.others = self.sharing.seat
            self.sharing.introduce(self.app.house, self.shared)
            self._desk = LaterDesk(self.app, self.shared.keeper, self.shared.run)
            self._mount(self.app, loaded)
            await self._listen(self.app, host, port)
        except ConfigFault as error:
            await self._let_go(self.shared, administration)
            return [f"{error.path}: {error.public()}"]
        except OSError as error:
            await self._let_go(self.shared, administration)
            return [cannot_listen(host, port, error)]
        self.url = url_of(self._servers[0].sockets[0])
        self.app.sweep()
        self._desk.start()
        administration.begin(joined, self._govern, self._figures, self._reloading)
        await administration.taken(joined, self.app.house.version, "start")
        loop = asyncio.get_running_loop()
        loop.call_later(BEHIND_S, loop.run_in_executor, None, self._read_behind)
        self._warn(loaded)
        self._warm()
        return []

    async def _house(self, loaded: Loaded, previous: House | None = None) -> House:
        """Built, with its cache. Raises ConfigFault."""
        assert self.shared is not None
        house = build(loaded, self._catalogue, self.shared, previous)
        if self._cache is None and wants_cache(house.config):
            from penstock.wiring.caching import CacheDesk  # noqa: PLC0415 - see tests/house/test_floors.py

            self._cache = CacheDesk(self._place, self._beside, self._environ)
        if self._cache is not None:
            await self._cache.join(house, loaded, self.shared)
        return house

    async def _let_go(self, shared: Shared, administration: Administration) -> None:
        """Of what a start has opened that came to nothing."""
        if self._cache is not None:
            await self._cache.aclose()
        await shared.keeper.aclose()
        shared.journal.close()
        if shared.kept.treasury is not None:
            await shared.kept.treasury.aclose()
        await self.sharing.aclose()
        await administration.stop()

    async def _listen(self, app: App, host: str, port: int) -> None:
        loop, place = asyncio.get_running_loop(), self._options.seat
        if place is None:
            self._servers = [await loop.create_server(app.connection, host, port, backlog=BACKLOG)]
            return
        for number in place.listen_fds:
            door = socket.socket(fileno=number)
            self._servers.append(await loop.create_server(app.connection, sock=door, backlog=BACKLOG))

    async def reload_all(self, who: str) -> list[str]:
        """Reload, as a worker all of them: whoever is asked, all shall have one configuration."""
        seat = self.sharing.seat
        if seat is None:
            return await self.reload(who)
        try:
            return await seat.reload(who)
        except LineGone as error:
            return [f"the supervisor does not reload: {error}"]

    async def reload(self, who: str = "SIGHUP") -> list[str]:
        """Build the new configuration beside the old one and swap; faults leave the old one running. One after another.

        Reading and checking takes a tenth of a second, which running streams must not wait for: another thread does it.
        """
        async with self._reloading:
            app, shared, administration = self.app, self.shared, self.administration
            if app is None or shared is None or administration is None:
                return ["the gateway does not run"]
            loaded = await asyncio.to_thread(self._load)
            if app.draining:
                return self._refused(["the gateway is stopping"])
            if loaded.config is None:
                return self._refused([str(fault) for fault in loaded.faults])
            try:
                joined = await asyncio.to_thread(administration.join, loaded)
                exposed = self._exposed(joined.loaded)
                if exposed is not None:
                    return self._refused([exposed])
                house = await self._house(joined.loaded, app.house)
                await self._recall(joined.merged.config)
            except ConfigFault as error:
                return self._refused([f"{error.path}: {error.public()}"])
            except PenstockError as error:
                return self._refused([error.public()])
            self._say_what_waits(app.house.config, house.config)
            old, app.house = app.house, house
            if self._cache is not None:
                self._cache.introduce(app)
            self.sharing.introduce(house, shared)
            self._mount(app, joined.loaded)
            for transport in retire(old, house, shared):
                await transport.aclose()
            await administration.taken(joined, house.version, who)
            shared.metrics.add(RELOADS, 1, "applied")
            self._log.event("reload.done", config=house.version)
            self._warn(joined.loaded)
            self._warm()
            return []

    async def _govern(self, joined: Joined) -> None:
        """Keys, teams and budgets were changed at run time: no file is read, nothing else is built."""
        app, shared = self.app, self.shared
        if app is None or shared is None:
            return
        house = govern(app.house, joined.loaded, shared)
        await self._recall(joined.merged.config)
        app.house = house
        self._warn(joined.loaded)

    async def _recall(self, config: Config) -> None:
        """What was spent before, in budgets that are new to this process."""
        treasury = None if self.shared is None else self.shared.kept.treasury
        if treasury is not None:
            await recall(treasury, config, self._place)

    async def _figures(self) -> dict[tuple[str, str], Figures]:
        treasury = None if self.shared is None else self.shared.kept.treasury
        if treasury is None or self.app is None:
            return {}
        if self._withheld is None:
            self._withheld = Withheld(self._place)
        alone = self.app.house.config.state.url is None or is_postgres(self._place)
        return await figures(treasury, self._withheld if alone else None)

    async def stop(self) -> bool:
        """Drain: no new calls, running ones end, the ledger is flushed. True when nothing was cut."""
        app, shared = self.app, self.shared
        for server in self._servers:
            server.close()
        ended = True
        if self._desk is not None:
            self._desk.stop_claiming()
        if self._cache is not None:
            await self._cache.hush()
        if app is not None:
            ended = await app.drain(app.house.config.server.drain_timeout_ms / 1000)
        if self._desk is not None:
            await self._desk.aclose()
        for task in list(self._tasks):
            task.cancel()
        if self.administration is not None:
            await self.administration.stop()
        if shared is not None:
            try:
                if shared.watcher is not None:
                    await shared.watcher.aclose()
                for transport in shared.transports.values():
                    await transport.aclose()
                if self._cache is not None:
                    await self._cache.aclose()
                await shared.keeper.aclose()
            finally:
                shared.books.flush()
                try:
                    shared.journal.close()
                finally:
                    await self.sharing.give_back()
                    if shared.kept.treasury is not None:
                        await shared.kept.treasury.aclose()
        await self.sharing.aclose()
        return ended

    def _exposed(self, loaded: Loaded) -> str | None:
        """Why this configuration may not stand behind the address that is, or will be, listened on; also at a reload."""
        keyed = loaded.closed or (loaded.config is not None and loaded.config.virtual_keys)
        if self._host in LOOPBACK or keyed or self._options.open:
            return None
        fault = f"$.server.host: {self._host} is open to others and no virtual_keys are configured."
        return f"{fault} Add virtual_keys, make one with `penstock keys new`, or start with --open."

    def _read_behind(self) -> None:
        """In a thread, while calls are served already, what the first of some calls shall not wait for.

        The indexes of bare and near names take a tenth of a second to build, what judges answers in a schema half of that to
        load.
        """
        self._catalogue.warm()
        load_judge()

    def _refused(self, faults: list[str]) -> list[str]:
        if self.shared is not None:
            self.shared.metrics.add(RELOADS, 1, "refused")
        self._log.fault("reload.refused", faults=len(faults), first=faults[0])
        for fault in faults:
            self._log.fault("config.fault", fault=fault)
        return faults

    def _load(self) -> Loaded:
        today = datetime.now(UTC).date().isoformat()
        loaded = load(self._options.config, self._environ, self._catalogue, today)
        read_ahead(loaded)
        return loaded

    def _mount(self, app: App, loaded: Loaded) -> None:
        config: Config = app.house.config
        key = config.server.admin_key
        admin_key = None if key is None else loaded.secrets[key].reveal()
        if self.administration is not None:
            app.pages = build_pages(
                app, self.reload_all, admin_key, self._place, self.administration, self._desk
            )
        secret = config.jobs.webhook_secret
        if self._desk is not None and secret is not None:
            self._desk.sign_with(signing_key(loaded.secrets[secret].reveal()))

    def _say_what_waits(self, old: Config, new: Config) -> None:
        """What a reload changes in the file and not in the process."""
        for path, before, after in (
            ("$.server.host", old.server.host, new.server.host),
            ("$.server.port", old.server.port, new.server.port),
            ("$.server.workers", old.server.workers, new.server.workers),
            ("$.ledger", old.ledger, new.ledger),
        ):
            if before != after:
                self._log.fault("reload.needs_restart", path=path)

    def _warn(self, loaded: Loaded) -> None:
        for warning in loaded.warnings:
            self._log.once(str(warning), str(warning))

    def _warm(self) -> None:
        """Open a connection to each provider, TLS and all, before the first call needs it."""
        if self.app is None:
            return
        for provider in self.app.house.providers.values():
            task: asyncio.Task[object] = asyncio.ensure_future(self._warm_one(provider.name))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _warm_one(self, name: str) -> None:
        if self.app is None:
            return
        provider = self.app.house.providers.get(name)
        if provider is None:
            return
        said = await provider.transport.warm(1)
        if said is not None:
            self._log.once(f"warm {name}", f"{name} could not be reached yet: {said}")
        if provider.tokens is not None:
            try:
                await provider.tokens.token()
            except PenstockError as error:
                self._log.once(f"token {name}", f"{name}: {error.public()}")


def _state_file(place: str, path: str) -> str:
    """Beside the ledger; where that is in PostgreSQL, beside where its file would be."""
    return f"{path if is_postgres(place) else place}.state"


def url_of(listening: socket.socket) -> str:
    """Where it is reached."""
    bound = listening.getsockname()
    shown = f"[{bound[0]}]" if listening.family == socket.AF_INET6 else bound[0]
    return f"http://{shown}:{bound[1]}"


def cannot_listen(host: str, port: int, error: OSError) -> str:
    """Whether the address or the port is at fault, and what to write instead."""
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"$.server.host: {host} is no address of this machine. Choose another --host, 127.0.0.1 or 0.0.0.0."
    if error.errno == errno.EADDRINUSE:
        why = "it is in use"
    elif error.errno == errno.EACCES:
        why = "this user may not take it"
    else:
        why = error.strerror or str(error)
    return f"$.server.port: cannot listen on {host}, port {port}: {why}. Choose another --port."


def settle_memory() -> None:
    """What was built at start stays: keep the collector from walking it again and again.

    A full collection over modules, catalogue and configuration takes tens of milliseconds, which a call would have to wait
    for. None is made here either: what a start leaves behind in cycles is a few thousand small objects.
    """
    gc.freeze()
    gc.set_threshold(2_000, 20, 50)
    gc.enable()


async def serve(options: ServeOptions, environ: Mapping[str, str], log: OperatorLog) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reloads. 0 after a clean end, 1 for faults, said on the log."""
    running = Running(options, environ, log)
    faults = await running.start()
    if faults:
        for fault in faults:
            log.fault("config.fault", fault=fault)
        return 1
    settle_memory()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[list[str]]] = set()

    def reloaded(task: asyncio.Task[list[str]]) -> None:
        reloads.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.failure("reload.failed", error)

    def on_hup() -> None:
        task = asyncio.ensure_future(running.reload())
        reloads.add(task)
        task.add_done_callback(reloaded)

    def on_stop() -> None:
        if stop.is_set() and running.app is not None:
            running.app.impatient = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_hup)
    # Not before: who reads it may send a signal at once, which without its handler would end the process.
    log.event(f"{_whose(options)}listening", url=running.url, config=str(options.config))
    orphaned = asyncio.ensure_future(running.sharing.orphaned.wait())
    orphaned.add_done_callback(lambda _task: stop.set())
    if running.sharing.seat is not None:
        await running.sharing.seat.ready()
    await stop.wait()
    calls = running.app.inflight if running.app is not None else 0
    hint = {"again": "a second signal (Ctrl-C) cuts them"} if calls else {}
    log.event(f"{_whose(options)}draining", calls=calls, **hint)
    ended = await running.stop()
    orphaned.cancel()
    log.event(f"{_whose(options)}stopped", cut_calls=not ended)
    return 0 if ended or options.seat is None else CUT


def _whose(options: ServeOptions) -> str:
    """A worker's events are its own: the supervisor says when all of it listens, and has stopped."""
    return "" if options.seat is None else "worker."
