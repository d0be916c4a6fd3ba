"""What a render cost in the last hour, by stage and currency, for the metrics: read from the ledger, off the loop.

Rules
- Read when metrics are asked for, at most once in ``FRESH_S``, in a thread: a database sums without the GIL, and no call waits.
  A database that takes longer than ``WAIT_S`` is told at the next time.
- Where metrics are scraped, what is new is folded into the rollups afterwards, in that thread's time.
- At most ``MAX_STAGES`` series for a currency; stages are named by callers, and the cheapest are "other" together.
- A ledger that cannot be read gives no series: not known is not 0.
"""

import asyncio
import sqlite3
import time
from contextlib import closing

from penstock.base.errors import PenstockError
from penstock.config.schema import Config
from penstock.ledger.currency import DOLLARS, Rate, rates_of
from penstock.ledger.fold import fold
from penstock.ledger.opening import open_ledger
from penstock.ledger.rollup import scanned_facts
from penstock.ledger.stages import StageTable, stage_table
from penstock.observe.metrics import OTHER, Metrics
from penstock.observe.names import COST_PER_RENDER

WINDOW_MS = 3_600_000
FRESH_S = 30.0
WAIT_S = 2.0
FOLD_MOST = 100_000
"""Entries folded after one reading: a second or less, and more than three thousand calls a second leave in ``FRESH_S``."""
MAX_STAGES = 50
NO_STAGE = "none"


class RenderCosts:
    """The gauge's readings. Belongs to the loop's thread."""

    def __init__(self) -> None:
        self._read_s = -FRESH_S
        self._reading = asyncio.Lock()
        self._late: asyncio.Future[dict[tuple[str, ...], str]] | None = None
        self._folding: asyncio.Future[None] | None = None

    async def refresh(self, metrics: Metrics, path: str, config: Config) -> None:
        """Set the gauge, unless that was done a moment ago."""
        async with self._reading:
            now_s, reading = time.monotonic(), self._late
            if reading is None:
                if now_s - self._read_s < FRESH_S:
                    return
                self._read_s = now_s
                now_ms = round(time.time() * 1000)
                loop = asyncio.get_running_loop()
                reading = loop.run_in_executor(None, read, path, now_ms, rates_of(config))
            done, _ = await asyncio.wait({reading}, timeout=WAIT_S)
            self._late = None if done else reading
            if not done:
                return
            metrics.set_texts(COST_PER_RENDER, reading.result())
            if self._folding is None or self._folding.done():
                # So that who asks for a table later finds little left to fold. Nobody waits for it.
                self._folding = asyncio.get_running_loop().run_in_executor(None, _fold_some, path)


def _fold_some(path: str) -> None:
    fold(path, most=FOLD_MOST)


def read(path: str, now_ms: int, rates: tuple[Rate, ...]) -> dict[tuple[str, ...], str]:
    """(currency, stage) -> amount, as exact decimal text. Empty where nothing was delivered, or nothing can be read."""
    try:
        with closing(open_ledger(path)) as connection:
            # The answer may be asked for while the hour's last calls are still being written: they come next time.
            facts = scanned_facts(connection, (now_ms - WINDOW_MS, None), {})
    except (PenstockError, sqlite3.Error):
        return {}
    table = stage_table(facts)
    return {
        (rate.code, stage): rate.text(nusd)
        for rate in (DOLLARS, *rates)
        for stage, nusd in _by_stage(table).items()
    }


def _by_stage(table: StageTable) -> dict[str, int]:
    """Stage -> nano-dollars a delivered render. A stage of which no price is known is left out."""
    found: dict[str, int] = {}
    known = [row for row in table.rows if not row.entries or row.unpriced < row.entries]
    for row in known[:MAX_STAGES]:
        per_render = table.per_render(row.cost_nusd)
        if per_render is not None:
            name = row.stage or NO_STAGE  # which a caller may have used as a name, too
            found[name] = found.get(name, 0) + per_render
    rest = table.per_render(sum(row.cost_nusd for row in known[MAX_STAGES:]))
    if len(known) > MAX_STAGES and rest is not None:
        found[OTHER] = found.get(OTHER, 0) + rest
    return found
