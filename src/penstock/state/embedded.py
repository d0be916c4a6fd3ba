"""The pool of slices in a file of its own: what it grants is on the disk before anybody hears of it.

Theory
------
A pool that forgot what it granted would grant it again; so ``granted`` must be durable before the answer (SQLite, WAL,
``synchronous=FULL``). Nothing else must: a report of money spent, or returned, that a crash takes with it leaves the
pool counting more as taken than was, never less. So renewals, which are most messages, cost no write, and grants that
come together share one (a commit waits for the one before it, and takes with it all that has gathered meanwhile).

Rules
- At start whatever earlier runs had taken and not given back is counted as spent. A clean stop gives everything back;
  a crash gives nothing back, because nobody can prove what its calls have cost.
- One process at a time: a second one on the same file would grant the same money again. It is refused at its start.
- A commit that failed (the disk is full) is tried again with the next exchange. Until it succeeds nothing is granted:
  hard budgets refuse, with ``fault`` as the reason.
"""

import asyncio
import fcntl
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.base.errors import ConfigFault
from penstock.ledger.leases import LEASE_S, Claim, Grant, Pot
from penstock.ledger.pool import Pool

APPLICATION_ID = 0x50454E54
""" "PENT" in the file's header."""
KEPT_S = 100 * 86_400.0
"""Windows that began earlier are forgotten: a month is over, and so are the calls that began in it."""
_TIDY_EVERY_S = 1.0
_FORGET_EVERY_S = 3600.0
_BUSY_S = 5.0

_SCHEMA = (
    """
    CREATE TABLE IF NOT EXISTS taken (
        node TEXT NOT NULL,
        budget TEXT NOT NULL,
        start_s REAL NOT NULL,
        holder TEXT NOT NULL,
        nusd INTEGER NOT NULL,
        PRIMARY KEY (node, budget, start_s, holder)
    ) WITHOUT ROWID
    """,
)
_PUT = "INSERT OR REPLACE INTO taken (node, budget, start_s, holder, nusd) VALUES (?, ?, ?, ?, ?)"
_PAST = ""
"""The holder that stands for all earlier runs."""

Row = tuple[str, str, float, str, int]


class EmbeddedStore:
    """``ledger.leases.SliceStore`` on this machine. Belongs to one event loop. Raises ConfigFault where it cannot be opened."""

    def __init__(self, path: str, unix_s: Callable[[], float] = time.time, lease_s: float = LEASE_S) -> None:
        self.fault: str | None = None
        self._path = path
        self._unix_s = unix_s
        self._pool = Pool(lease_s=lease_s)
        self._lock = _lock(path)
        try:
            self._file = _open(path)
        except BaseException:
            os.close(self._lock)
            raise
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="penstock-state")
        self._told: dict[tuple[Pot, str], int] = {}
        """What is on the disk, or on its way there."""
        self._dirty: dict[tuple[Pot, str], int] = {}
        self._waiting: list[asyncio.Future[bool]] = []
        self._writing: asyncio.Task[None] | None = None
        self._tidy_at_s = 0.0
        self._forget_at_s = unix_s() + _FORGET_EVERY_S
        self._gone_s: float | None = None
        self._restore()

    async def exchange(self, claims: list[Claim]) -> list[Grant]:
        """Decide at once, answer once it is on the disk. Nothing is answered that could not be written."""
        now_s = self._unix_s()
        if now_s >= self._tidy_at_s:
            self._tidy_at_s = now_s + _TIDY_EVERY_S
            self._tidy(now_s)
        grants = [self._take(claim, now_s) for claim in claims]
        if (self._dirty or self._writing is not None) and not await self._written():
            return []
        return grants

    async def standing(self, pots: list[Pot]) -> list[tuple[int, int]]:
        """Of each pot what was spent as far as is known, and what is leased beyond that."""
        self._pool.expire(self._unix_s())
        return [self._pool.status(pot) for pot in pots]

    async def aclose(self) -> None:
        """Write what is left, and let go of the file."""
        if self._dirty or self._writing is not None:
            await self._written()
        self._writer.shutdown()
        self._file.close()
        os.close(self._lock)

    def _take(self, claim: Claim, now_s: float) -> Grant:
        before = self._told.get((claim.pot, claim.holder), 0)
        past_before = self._told.get((claim.pot, _PAST), 0)
        grant = self._pool.exchange(claim, now_s)
        taken, past = self._pool.figures(claim.pot, claim.holder)
        if taken != before:
            self._put(claim.pot, claim.holder, taken)
        if past != past_before:
            self._put(claim.pot, _PAST, past)
        return grant

    def _put(self, pot: Pot, holder: str, nusd: int) -> None:
        self._told[pot, holder] = self._dirty[pot, holder] = nusd

    async def _written(self) -> bool:
        """Wait for the commit that holds all that is dirty now: not for one that runs already, but for the next."""
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())
        return await waiter

    async def _write(self) -> None:
        """Commit after commit, as long as somebody waits."""
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            written = await self._write_once()
            for waiter in waiting:
                if not waiter.done():
                    waiter.set_result(written)
        self._writing = None

    async def _write_once(self) -> bool:
        gone_s, self._gone_s = self._gone_s, None
        rows, self._dirty = self._dirty, {}
        values = [(*pot, who, nusd) for (pot, who), nusd in rows.items()]
        try:
            await asyncio.get_running_loop().run_in_executor(self._writer, self._store, values, gone_s)
        except sqlite3.Error as error:
            self._dirty = rows | self._dirty
            self.fault = f"The shared state {self._path!r} cannot be written: {error}."
            return False
        self.fault = None
        return True

    def _tidy(self, now_s: float) -> None:
        """Note who fell silent, and forget windows that are long over."""
        self._pool.expire(now_s)
        if now_s < self._forget_at_s:
            return
        self._forget_at_s = now_s + _FORGET_EVERY_S
        self._gone_s = gone_s = now_s - KEPT_S
        self._pool.forget(gone_s)
        self._told = {key: nusd for key, nusd in self._told.items() if key[0][2] >= gone_s}

    def _store(self, rows: list[Row], gone_s: float | None) -> None:
        """In the writer's thread."""
        with self._file:
            self._file.executemany(_PUT, rows)
            if gone_s is not None:
                self._file.execute("DELETE FROM taken WHERE start_s < ?", (gone_s,))

    def _restore(self) -> None:
        """What earlier runs had taken becomes one row a pot; what is long over goes."""
        oldest_s = self._unix_s() - KEPT_S
        with self._file:
            self._file.execute("DELETE FROM taken WHERE start_s < ?", (oldest_s,))
            found: list[tuple[str, str, float, int]] = self._file.execute(
                "SELECT node, budget, start_s, SUM(nusd) FROM taken GROUP BY node, budget, start_s"
            ).fetchall()
            self._file.execute("DELETE FROM taken")
            self._file.executemany(
                _PUT, [(node, name, at_s, _PAST, nusd) for node, name, at_s, nusd in found]
            )
        for node, name, at_s, nusd in found:
            self._pool.restore((node, name, at_s), nusd)
            self._told[(node, name, at_s), _PAST] = nusd


def _open(path: str) -> sqlite3.Connection:
    """Opened, ours, and with its table."""
    try:
        file = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    except sqlite3.Error as error:
        raise _cannot(path, error) from error
    try:
        (ours,) = file.execute("PRAGMA application_id").fetchone()
        (tables,) = file.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if ours != APPLICATION_ID and (ours or tables):
            raise ConfigFault(f"The file {path!r} is not one of Penstock's.", path="$.ledger.path")
        file.execute("PRAGMA journal_mode = WAL")
        file.execute("PRAGMA synchronous = FULL")
        file.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        for statement in _SCHEMA:
            file.execute(statement)
        file.commit()
    except sqlite3.Error as error:
        file.close()
        raise _cannot(path, error) from error
    except BaseException:
        file.close()
        raise
    return file


def _cannot(path: str, error: Exception) -> ConfigFault:
    return ConfigFault(f"The shared state {path!r} cannot be opened: {error}.", path="$.ledger.path")


def _lock(path: str) -> int:
    """Held as long as the process lives, however it ends. Beside the file: SQLite has locks of its own on that."""
    try:
        held = os.open(Path(f"{path}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot(path, error) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise ConfigFault(
            f"Another gateway holds the budgets' state {path!r}.",
            path="$.ledger.path",
            hint="Stop it, or run one gateway with --workers; several nodes share state.url.",
        ) from error
    return held
