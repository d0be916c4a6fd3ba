"""The audits' file for the event loop: what is written waits in a short queue, and is written by a thread of its own.

Rules
- Nothing that is written here may fail a call or hold it up: a queue that is full drops, a file that does not answer loses,
  and both are counted.
- What a verdict forbids (``forbids``, ``quarantined``) is asked on the way of every look-up: it is kept in memory.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from penstock.base.errors import OurFault
from penstock.cache.audit_file import MEMORY, AuditFile
from penstock.cache.audits import DAY_MS, Audit, Counted, Hit, Looked, News, State, Verdict, no_audit
from penstock.cache.ports import Label

MAX_WAITING = 10_000
BATCH = 500
TRIES = 3
LOOKS_S = 2.0
"""Counts of look-ups are written no oftener."""
T = TypeVar("T")


class _Queue:
    """What waits to be written, and the thread that writes it."""

    def __init__(
        self,
        path: str = MEMORY,
        *,
        run: str = "",
        keep_prompts: bool = True,
        log_once: Callable[[str, str], object] = lambda _key, _sentence: None,
    ) -> None:
        self.path = path
        self.keep_prompts = keep_prompts
        self.dropped = 0
        """Rows for which there was no room."""
        self.lost = 0
        """Rows that could not be written."""
        self._file = AuditFile(path, run)
        self._log_once = log_once
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="penstock-audits")
        self._rows: list[Hit | Audit | Label] = []
        self._looks: dict[tuple[int, str], list[int]] = {}
        self._writing: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self._closed = False
        self._pairs: set[bytes] = set()
        self._quarantined: dict[str, str] = {}

    async def open(self) -> None:
        """Before all else. Raises ConfigFault."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._file.open)
        self._pairs, self._quarantined = await self._do(self._file.standing)

    async def aclose(self) -> None:
        """Write what is here, and let go."""
        if self._due is not None:
            self._due.cancel()
        await self.flush()
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        await asyncio.to_thread(self._thread.shutdown, wait=True)

    async def flush(self) -> None:
        """All that was added is written when this returns, or lost."""
        while self._rows or self._looks or self._writing is not None:
            self._kick()
            if self._writing is not None:
                await asyncio.shield(self._writing)

    def _add(self, row: Hit | Audit | Label) -> None:
        if self._closed or len(self._rows) >= MAX_WAITING:
            self.dropped += 1
            return
        self._rows.append(row)
        self._kick()

    def _kick(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._rows or self._looks:
                await self._write_some()
        finally:
            self._writing = None  # here and not when it is told to be done: who waits for it looks at once

    async def _write_some(self) -> None:
        rows, self._rows = self._rows[:BATCH], self._rows[BATCH:]
        looks = [Looked(day, klass, *sums) for (day, klass), sums in self._looks.items()]
        self._looks = {}
        loop = asyncio.get_running_loop()
        for attempt in range(TRIES):
            try:
                await loop.run_in_executor(self._thread, self._file.write, rows, looks)
                return
            except (sqlite3.Error, OurFault) as error:
                if attempt == TRIES - 1:
                    self.lost += len(rows) + len(looks)
                    self._log_once("cache audits", f"Audits of the cache could not be written: {error}.")

    async def _asked(self, question: Callable[[], T]) -> T:
        await self.flush()
        return await self._do(question)

    async def _do(self, question: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question)
        except sqlite3.Error as error:
            raise OurFault(
                f"The file of the cache's audits does not answer: {error}.",
                code="audits_fault",
                status=503,
                retry_after_s=1,
            ) from error


class _Questions(_Queue):
    """What is asked of the file."""

    async def labels(self) -> list[Label]:
        """All of them."""
        return await self._asked(self._file.labels)

    async def audits(
        self,
        *,
        state: State | None = None,
        klass: str | None = None,
        before: int | None = None,
        limit: int = 50,
    ) -> list[tuple[int, Audit]]:
        """Newest first, each with its number (``before``: of the last one seen)."""
        return await self._asked(
            lambda: self._file.audits(state=state, klass=klass, before=before, limit=limit)
        )

    async def audit_of(self, name: str) -> Audit:
        """One of them. Raises NotFound."""
        audit = await self._asked(lambda: self._file.audit(name))
        if audit is None:
            raise no_audit(name)
        return audit

    async def hits(self, entry_id: str, limit: int = 100) -> list[Hit]:
        """To whom an entry was served, newest first."""
        return await self._asked(lambda: self._file.hits(entry_id=entry_id, limit=limit))

    async def audited(self) -> dict[str, int]:
        """How many served hits of each class have been audited."""
        return await self._asked(self._file.audited)

    async def looked_at(self, since_day: int) -> list[Looked]:
        """Look-ups and hits by class since a day."""
        return await self._asked(lambda: self._file.looked(since_day))

    async def counted(self, since_ms: int) -> list[Counted]:
        """Audits by class and state since a time."""
        return await self._asked(lambda: self._file.counted(since_ms))

    async def reserve(self, day: int, nusd: int, limit_nusd: int | None) -> bool:
        """Take so much of the day's money; False: there is not so much left."""
        return await self._do(lambda: self._file.reserve(day, nusd, limit_nusd))

    async def settle(self, day: int, reserved_nusd: int, spent_nusd: int) -> None:
        """What was reserved cost so much."""
        await self._do(lambda: self._file.settle(day, reserved_nusd, spent_nusd))

    async def spent(self, day: int) -> int:
        """Of the day's money."""
        return await self._do(lambda: self._file.spent(day))

    async def sweep(self, now_ms: int) -> None:
        """Drop the words of what is long past."""
        await self._do(lambda: self._file.sweep(now_ms))


class AuditBook(_Questions):
    """Belongs to one event loop. ``run`` names this run of this process."""

    def forbids(self, partition: bytes, asked: str, cached: str) -> bool:
        """Somebody has said that these two do not mean the same."""
        return bool(self._pairs) and self._file.pair(partition, asked, cached) in self._pairs

    def quarantined(self, entry_id: str) -> str | None:
        """Why this entry may not be served; None: it may."""
        return self._quarantined.get(entry_id)

    @property
    def quarantines(self) -> dict[str, str]:
        """All entries that may not be served, and why."""
        return dict(self._quarantined)

    def hit(self, hit: Hit) -> None:
        """An answer was served."""
        self._add(msgspec.structs.replace(hit, asked=self._kept(hit.asked), cached=self._kept(hit.cached)))

    def looked(self, klass: str, at_ms: int, *, hit: bool, saved_nusd: int | None = None) -> None:
        """The semantic tier was asked."""
        if self._closed:
            return
        sums = self._looks.setdefault((at_ms // DAY_MS, klass), [0, 0, 0])
        sums[0] += 1
        sums[1] += hit
        sums[2] += saved_nusd or 0
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(LOOKS_S, self._kick)

    def audit(self, audit: Audit) -> Audit:
        """An answer was compared, with whatever verdict; as it is kept."""
        kept = msgspec.structs.replace(
            audit,
            asked=self._kept(audit.asked),
            cached=self._kept(audit.cached),
            pair=self._file.pair(audit.partition, audit.asked, audit.cached),
        )
        if kept.state == "wrong":
            self._forbid(kept)
        elif kept.state == "right":
            self._pairs.discard(kept.pair)
        self._add(kept)
        return kept

    def learned(self, label: Label) -> None:
        """A label without an audit: an uploaded pair."""
        self._add(label)

    async def judge(self, name: str, verdict: Verdict, who: str, now_ms: int) -> Audit:
        """A person's word. Raises NotFound, OurFault."""
        await self.flush()
        audit = await self._do(lambda: self._file.judge(name, verdict, who, now_ms))
        if audit is None:
            raise no_audit(name)
        if verdict == "wrong":
            self._forbid(audit)
        else:
            self._pairs.discard(audit.pair)
        return audit

    async def news(self) -> News:
        """What other processes have added since; quarantined are those that were not known here."""
        if self.path == MEMORY:
            return News()
        news = await self._do(self._file.news)
        fresh = tuple(one for one in news.quarantined if one[0] not in self._quarantined)
        self._quarantined.update(news.quarantined)
        self._pairs.update(news.pairs)
        if news.released:
            self._pairs = await self._do(self._file.forbidden)
        return msgspec.structs.replace(news, quarantined=fresh)

    def _kept(self, text: str) -> str:
        return text if self.keep_prompts else self._file.hashed(text)

    def _forbid(self, audit: Audit) -> None:
        self._pairs.add(audit.pair)
        if audit.served:
            self._quarantined.setdefault(audit.entry_id, f"audit {audit.id}: {audit.by}")
