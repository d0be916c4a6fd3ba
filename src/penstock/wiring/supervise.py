"""``penstock serve --workers N``: a supervisor without traffic, and N gateways on one port.

Theory
------
Each worker has a listening socket of its own on the port (``SO_REUSEPORT``: the kernel spreads connections over them),
made by the supervisor and inherited. So the port is bound once, and what waits in a dead worker's queue waits for its
successor instead of being reset. What the workers share is in the supervisor (``state.workers.Hub``).

Rules
- The first worker starts alone: it may have to migrate the ledger. If it finds faults, that is the end.
- A worker that dies is started again, at once after a good while of service, else later and later.
- SIGTERM and SIGINT stop all (a second one cuts their calls), SIGHUP reloads all.
- A worker has a session of its own: Ctrl-C in a terminal reaches the supervisor alone, which passes it on once.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from penstock.base.errors import ConfigFault
from penstock.config.catalogue import Catalogue
from penstock.config.load import Loaded, load
from penstock.config.schema import Config
from penstock.ledger.leases import SliceStore
from penstock.ledger.opening import is_postgres
from penstock.observe.log import OperatorLog
from penstock.state.embedded import EmbeddedStore
from penstock.state.workers import Hub
from penstock.wiring.build import ledger_place
from penstock.wiring.serve import BACKLOG, ServeOptions, cannot_listen, settle_memory, url_of

START_S = 60.0
STEADY_S = 5.0
_BACK_OFF_S = (0.1, 0.5, 1.0, 2.0, 5.0)


def workers_of(options: ServeOptions, environ: Mapping[str, str]) -> int:
    """How many are wanted: 1 where the configuration does not say, also because it has faults."""
    if options.workers is not None:
        return options.workers
    try:
        # A start is not to read everything twice, only to learn that there is one.
        if "workers" not in options.config.read_text(encoding="utf-8", errors="replace"):
            return 1
    except OSError:
        return 1
    config = _load(options, environ).config
    return 1 if config is None else config.server.workers


def _load(options: ServeOptions, environ: Mapping[str, str]) -> Loaded:
    return load(options.config, environ, Catalogue.load(), datetime.now(UTC).date().isoformat())


def state_place(options: ServeOptions, loaded: Loaded, config: Config) -> str:
    """Where this machine keeps what must outlive its processes: beside the ledger's file, or where that would be."""
    place = options.db or ledger_place(loaded)
    return f"{config.ledger.path if is_postgres(place) else place}.state"


class Doors:
    """The listening sockets: ``count`` of each address that the host has."""

    def __init__(self, host: str, port: int, count: int) -> None:
        self.of: list[list[socket.socket]] = [[] for _ in range(count)]
        for family, kind, proto, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        ):
            with socket.socket(family, kind, proto) as probe:
                # SO_REUSEPORT alone would share the port with another gateway of this user, and nobody would notice.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((address[0], port, *address[2:]))
                probe.listen()
                if port == 0:
                    port = int(probe.getsockname()[1])
            for doors in self.of:
                door = socket.socket(family, kind, proto)
                doors.append(door)
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                door.bind((address[0], port, *address[2:]))
                door.listen(BACKLOG)

    def close(self) -> None:
        """Nobody listens here any more, but for workers that still do."""
        for doors in self.of:
            for door in doors:
                door.close()


class Supervisor:
    """N workers, and what they share."""

    def __init__(self, words: list[str], doors: Doors, hub: Hub, log: OperatorLog) -> None:
        self._words = words
        self._doors = doors
        self._hub = hub
        self._log = log
        self._processes: dict[int, asyncio.subprocess.Process] = {}
        self._readiness: dict[int, asyncio.Event] = {index: asyncio.Event() for index in range(len(doors.of))}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False
        self.cut = False
        hub.on_ready = lambda index: self._readiness[index].set()

    async def start(self) -> bool:
        """The first one alone, then the others; False: one of them could not serve, and has said why."""
        first = list(self._readiness)[:1]
        for some in (first, list(self._readiness)[1:]):
            await asyncio.gather(*(self._spawn(index) for index in some))
            if not all(await asyncio.gather(*(self._serves(index) for index in some))):
                return False
        self._keepers = [asyncio.ensure_future(self._keep(index)) for index in self._readiness]
        return True

    async def reload(self) -> None:
        """Each worker says on the log what became of it."""
        await self._hub.reload("SIGHUP")

    def signal(self, number: int) -> None:
        """Pass it on."""
        for process in self._processes.values():
            if process.returncode is None:
                process.send_signal(number)

    async def stop(self) -> None:
        """Stop all, and wait for them."""
        self._stopping = True
        self._doors.close()
        self.signal(signal.SIGTERM)
        for process in self._processes.values():
            await process.wait()
        for keeper in self._keepers:
            keeper.cancel()
        self.cut = any(process.returncode != 0 for process in self._processes.values())
        await self._hub.aclose()

    async def _spawn(self, index: int) -> None:
        ours, theirs = socket.socketpair()
        self._readiness[index].clear()
        await self._hub.join(index, ours)
        doors = [door.fileno() for door in self._doors.of[index]]
        seat = f"{index}:{theirs.fileno()}:{','.join(map(str, doors))}"
        try:
            self._processes[index] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "penstock", *self._words, "--seat", seat,
                pass_fds=[theirs.fileno(), *doors], start_new_session=True, stdin=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
        finally:
            theirs.close()

    async def _serves(self, index: int) -> bool:
        """It does, or it has ended, or takes too long for anybody to wait."""
        ended = asyncio.ensure_future(self._processes[index].wait())
        ready = asyncio.ensure_future(self._readiness[index].wait())
        await asyncio.wait((ended, ready), timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        ready.cancel()
        return self._readiness[index].is_set()

    async def _keep(self, index: int) -> None:
        """Whenever it dies, another one."""
        deaths = 0
        while True:
            began_s = time.monotonic()
            status = await self._processes[index].wait()
            if self._stopping:
                return
            deaths = 0 if time.monotonic() - began_s >= STEADY_S else deaths + 1
            self._log.fault("worker.died", worker=index, status=status)
            if deaths:
                await asyncio.sleep(_BACK_OFF_S[min(deaths - 1, len(_BACK_OFF_S) - 1)])
            if not self._stopping:
                await self._spawn(index)


async def supervise(
    options: ServeOptions, words: list[str], count: int, environ: Mapping[str, str], log: OperatorLog
) -> int:
    """Run until SIGTERM or SIGINT. 0 after a clean end, 1 for faults, said on the log."""
    settle_memory()
    loaded = _load(options, environ)
    config = loaded.config
    if config is None:
        for fault in loaded.faults:
            log.fault("config.fault", fault=str(fault))
        return 1
    host = options.host or config.server.host
    port = config.server.port if options.port is None else options.port
    store: SliceStore | None = None
    try:
        if config.state.url is None:
            store = EmbeddedStore(state_place(options, loaded, config))
        doors = Doors(host, port, count)
    except ConfigFault as error:
        log.fault("config.fault", fault=f"{error.path}: {error.public()}")
        return 1
    except OSError as error:
        log.fault("config.fault", fault=cannot_listen(host, port, error))
        return 1
    supervisor = Supervisor(words, doors, Hub(store, count), log)
    stop = asyncio.Event()
    reloads: set[asyncio.Task[None]] = set()

    def on_stop() -> None:
        if stop.is_set():
            supervisor.signal(signal.SIGTERM)
        stop.set()

    def on_hup() -> None:
        task = asyncio.ensure_future(supervisor.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(signal.SIGHUP, on_hup)
    if not await supervisor.start():
        await supervisor.stop()
        return 1
    where = url_of(doors.of[0][0])
    log.event("listening", url=where, config=str(options.config), workers=count, pid=os.getpid())
    await stop.wait()
    log.event("draining", workers=count)
    await supervisor.stop()
    log.event("stopped", cut_calls=supervisor.cut)
    return 0
