"""Our own batch runner: each line is a call of the batch's key, on the road of every call, with priority batch.

Theory
------
A batch is claimed by one process at a time (server.later). A line whose answer is kept is never run again; a line that was
running when the process died has no answer yet, and is run again. So a batch resumes where it stood, and what was answered
is answered once. The results lie in the database one by one, and become files at the end, in the order of the input.

Rules
- A refusal that says "later" (our limits, budgets that are held, a full provider) is waited for; so is a fault of a provider, a few times.
- At the end of its window, or when it is cancelled, what was not run is said to be not run; what was run stays.
"""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

from penstock.base.errors import (
    BudgetRefused,
    NoTargetLeft,
    OurFault,
    PenstockError,
    RateLimited,
    UpstreamRateLimited,
)
from penstock.objects.keeper import Keeper
from penstock.objects.names import new_id
from penstock.objects.store import PIECE_BYTES, Item
from penstock.objects.times import unix_ms
from penstock.server.app import App
from penstock.server.batch_leftovers import ENDED, due_ms, sweep
from penstock.server.batch_lines import Line, answered, unanswered, unpacked, usage_of
from penstock.server.batch_native import NativeRun, Outcome
from penstock.server.files_pages import KIND as FILE
from penstock.server.inner import Gathered, Inner, serve_inside
from penstock.server.later import Held

KIND = "batch"
KEPT_MS = 30 * 86_400_000
LINE_TRIES = 4
_LATER = frozenset({429, 503, 529})
_READ_AT_ONCE = 20

TOLD_S = 10.0
"""How long a stop waits for an answer to be kept."""


class BatchWorker:
    """Runs batches."""

    kind = KIND

    def __init__(self, app: App) -> None:
        self._app = app
        self._rng = random.Random()
        self._elsewhere = 0
        """Batches that a provider's own service has: they wait, and take no place."""

    @property
    def most(self) -> int:
        """As configured now."""
        return self._app.house.config.batches.max_running + self._elsewhere

    async def work(self, held: Held) -> None:
        """Run what is left of it, and write its files."""
        one = held.stored
        if one.meta["status"] in ENDED:
            await self._swept(held)
            return
        body = await held.keeper.body(one.kind, one.id, one.owner)
        lines = await asyncio.to_thread(unpacked, body or b"")
        await held.change(lambda meta: {"in_progress_at": _now_s(), **meta, "status": _running(meta)})
        if held.meta.get("output_to") is None:
            went = await self._natively(held, lines)
            if went == "stopped":
                await held.release()
                return
            if went == "done":
                await finish(held, len(lines))
                return
            await _Run(self._app, held, lines, self._rng).run()
            if self._app.draining:
                await held.release()
                return
        await finish(held, len(lines))

    async def _swept(self, held: Held) -> None:
        self._elsewhere += 1
        try:
            await sweep(self._app, held)
        finally:
            self._elsewhere -= 1

    async def _natively(self, held: Held, lines: list[Line]) -> Outcome:
        self._elsewhere += 1
        try:
            return await NativeRun(self._app, held, lines).run()
        finally:
            self._elsewhere -= 1


class _Run:
    """One claim of one batch."""

    def __init__(self, app: App, held: Held, lines: list[Line], rng: random.Random) -> None:
        self._app = app
        self._held = held
        self._lines = lines
        self._rng = rng
        one = held.stored
        self._path = str(one.meta["endpoint"]).encode("latin-1")
        self._shape = one.meta.get("shape", "openai")
        self._told = {
            **{name.encode("latin-1"): value.encode("latin-1") for name, value in one.meta["told"].items()},
            b"content-type": b"application/json",
            b"x-penstock-priority": b"batch",
            b"x-penstock-trace": one.id.encode("latin-1"),
        }

    async def run(self) -> None:
        """All lines that have no answer yet; at the end every line has one, unless this process stops."""
        done = set(await self._held.keeper.numbers(self._held.stored))
        left = iter([n for n in range(len(self._lines)) if n not in done])
        count = self._app.house.config.batches.max_concurrent
        tasks = [asyncio.ensure_future(self._some(left)) for _ in range(count)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        why = self._over()
        if why is None:
            return
        held, shape = self._held, self._shape
        done = set(await held.keeper.numbers(held.stored))
        missing = [n for n in range(len(self._lines)) if n not in done]
        for start in range(0, len(missing), 1000):
            await held.tell(
                [
                    Item(n, why, unanswered(shape, new_id("batch_req_"), self._lines[n].custom_id, why))
                    for n in missing[start : start + 1000]
                ],
            )

    def _over(self) -> Any:
        """Why no further line begins."""
        if self._held.cancelled.is_set():
            return "cancelled"
        return "expired" if unix_ms() >= self._held.meta["window_ends_ms"] else None

    async def _some(self, left: Iterator[int]) -> None:
        for n in left:
            if self._app.draining or self._over() is not None:
                return
            got = await self._called(self._lines[n])
            if got is None:
                return
            line = answered(
                self._shape,
                new_id("batch_req_"),
                self._lines[n].custom_id,
                got.status,
                got.request_id,
                got.body,
            )
            state = "ok" if got.status == 200 and got.error is None else "error"
            await self._told_whole(Item(n, state, line))

    async def _told_whole(self, item: Item) -> None:
        """An answer that is there is kept, even if this process stops meanwhile: a drain waits for calls, not for this, and a
        line without its answer would be asked again."""
        telling = asyncio.ensure_future(self._held.tell([item]))
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            await asyncio.wait({telling}, timeout=TOLD_S)
            raise

    async def _called(self, line: Line) -> Gathered | None:
        """The line's answer; None: the batch is over, or this process stops."""
        tries = 0
        while True:
            got = await serve_inside(
                self._app, Inner(self._path, b"", self._told, line.body, self._held.stored.owner)
            )
            wait_s = again_after_s(got.error, tries, self._rng.random())
            if wait_s is None:
                return got
            tries += 1
            for _ in range(max(1, int(wait_s / 0.1))):
                if self._app.draining or self._over() is not None:
                    return None
                await asyncio.sleep(min(0.1, wait_s))


def again_after_s(error: PenstockError | None, tries: int, draw: float) -> float | None:
    """How long to wait before a line is called again; None: its answer stands."""
    if error is None:
        return None
    said_s = error.retry_after_s
    if isinstance(error, RateLimited) or (
        isinstance(error, BudgetRefused | OurFault) and error.status in _LATER
    ):
        return max(said_s or 1.0, 0.1) * (1 + draw / 4)
    if isinstance(error, UpstreamRateLimited) and error.quota_exhausted:
        return None
    again = error.retryable or (isinstance(error, NoTargetLeft) and error.status in _LATER)
    if not again or tries >= LINE_TRIES:
        return None
    return max(said_s or 0.0, 0.5 * 2**tries) * (0.75 + draw / 2)


async def finish(held: Held, total: int) -> None:
    """Results become files, in the order of the input; then the batch has ended. Begun anew, it writes the same files."""
    keeper, one = held.keeper, held.stored
    if one.meta.get("output_to") is None:
        await held.change(
            lambda meta: {
                **meta, "finalizing_at": _now_s(), "output_to": new_id("file-"), "errors_to": new_id("file-"),
                "status": "finalizing" if meta["status"] == "in_progress" else meta["status"],
            }
        )  # fmt: skip
        one = held.stored
    counts = await keeper.counts(one)
    usage = [0, 0, 0]
    if one.meta.get("shape", "openai") == "openai":
        good, bad = _Writer(keeper), _Writer(keeper)
        start = 0
        while items := await keeper.told(one, start=start, limit=_READ_AT_ONCE):
            for item in items:
                await (good if item.state == "ok" else bad).line(item.body)
                usage = [sum(pair) for pair in zip(usage, usage_of(item.body), strict=True)]
            start = items[-1].n + 1
        expires_ms = _files_expire(one.meta)
        for writer, name, word in (
            (good, one.meta["output_to"], "output"),
            (bad, one.meta["errors_to"], "error"),
        ):
            if writer.lines:
                meta = {"filename": f"{one.id}_{word}.jsonl", "purpose": "batch_output"}
                await writer.done(name, one.owner, meta, expires_ms)
    await held.change(
        lambda meta: ended(meta, counts, total, usage),
        due_ms=due_ms(held.stored.meta),
        expires_ms=unix_ms() + KEPT_MS,
    )


def ended(meta: dict[str, Any], counts: dict[str, int], total: int, usage: list[int]) -> dict[str, Any]:
    """What a batch says of itself once it has ended."""
    good = counts.get("ok", 0)
    if counts.get("cancelled") or (meta.get("cancel") and sum(counts.values()) < total):
        status = "cancelled"
    else:
        status = "expired" if counts.get("expired") else "completed"
    read, made, together = usage
    return {
        **meta,
        "status": status,
        f"{status}_at": _now_s(),
        "counts": counts,
        "output_file_id": meta["output_to"] if good else None,
        "error_file_id": meta["errors_to"] if sum(counts.values()) > good else None,
        "usage": {"input_tokens": read, "output_tokens": made, "total_tokens": together},
    }


class _Writer:
    """A file of lines that becomes visible when it is whole."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._draft = ""
        self._n = 0
        self._held = bytearray()
        self.lines = 0

    async def line(self, text: bytes) -> None:
        """One more."""
        self.lines += 1
        self._held += text + b"\n"
        while len(self._held) >= PIECE_BYTES:
            await self._flush()

    async def done(self, name: str, owner: str, meta: dict[str, Any], expires_ms: int | None) -> None:
        """It is whole."""
        while self._held:
            await self._flush()
        await self._keeper.put(FILE, name, owner, meta=meta, draft=self._draft, expires_ms=expires_ms)

    async def _flush(self) -> None:
        if not self._draft:
            self._draft = await self._keeper.draft()
        piece, self._held = bytes(self._held[:PIECE_BYTES]), self._held[PIECE_BYTES:]
        await self._keeper.add(self._draft, self._n, piece)
        self._n += 1


def _files_expire(meta: dict[str, Any]) -> int | None:
    seconds = meta.get("output_expires_s")
    return None if seconds is None else unix_ms() + seconds * 1000


def _running(meta: dict[str, Any]) -> str:
    return "in_progress" if meta["status"] in ("validating", "in_progress") else meta["status"]


def _now_s() -> int:
    return unix_ms() // 1000
