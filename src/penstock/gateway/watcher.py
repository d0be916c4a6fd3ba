"""Who watches the budgets: thresholds and refusals to the log, the metrics and the webhooks; and how long the money will last.

Theory
------
Whoever settles a call says which budgets it touched, and no more (``note``). Some moments later a task of this file asks
the shared store what all processes together have spent, and looks at the thresholds. It looks again for a while, because
what others have spent is heard a little later.

Rules
- A threshold is told once a window, by one of all processes: the right to tell it is claimed from the store, as money is.
  So is that a budget refuses calls: a hard one does so before all of it is spent.
- Nothing here is in a call's way, and nothing of it stops a call. A store that does not answer is asked again.
- Bounded: so many budgets are remembered, those least spent from are forgotten first. What was told is in the store.
"""

import asyncio
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from penstock.base.clock import Clock
from penstock.base.money import usd_text
from penstock.gateway.treasury import Treasury
from penstock.gateway.webhooks import Webhooks
from penstock.ledger.alerts import THRESHOLDS_PERCENT, Alert, Rate, Reading, Told, alerts, read, told_of
from penstock.ledger.budgets import Bucket, Refused
from penstock.ledger.leases import Pot
from penstock.observe.log import OperatorLog
from penstock.observe.metrics import Metrics
from penstock.observe.names import (
    BUDGET_ALERTS,
    BUDGET_FORECAST,
    BUDGET_LIMIT_USD,
    BUDGET_RATIO,
    BUDGET_REFUSALS,
    BUDGET_SPENT_USD,
)

LOOK_S = 0.5
LINGER_S = 6.0
"""How long a budget is looked at after it was touched: until others have said what they spent (ledger.leases)."""
REFRESH_S = 5.0
MAX_BUDGETS = 1000
_ALL = 100
_GAUGES = (BUDGET_RATIO, BUDGET_SPENT_USD, BUDGET_LIMIT_USD, BUDGET_FORECAST)


class _Seen(Struct):
    """What is remembered of one budget."""

    told: Told
    rate: Rate
    reading: Reading
    refusing: Told = Told()
    """Of which window and limit it was told that calls are refused."""


class Watcher:
    """The alerts of one process. Belongs to one event loop."""

    def __init__(
        self, treasury: Treasury, webhooks: Webhooks, metrics: Metrics, log: OperatorLog, clock: Clock
    ) -> None:
        self.percents: tuple[int, ...] = THRESHOLDS_PERCENT
        self.webhooks = webhooks
        self._treasury = treasury
        self._metrics = metrics
        self._log = log
        self._clock = clock
        self._touched: dict[Bucket, float] = {}
        self._refusing: set[Pot] = set()
        """Budgets that have refused a call, where that is not told yet."""
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._due: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None
        self._refreshed_s = float("-inf")
        self._asked = 0
        self._claiming: dict[Pot, str] = {}
        """Claims that are not answered yet, and under which name they are made."""
        metrics.before_render(self._set_gauges)

    def note(self, bucket: Bucket) -> None:
        """Something of this budget was spent."""
        self._touched[bucket] = self._clock.unix_s() + LINGER_S
        if self._due is None and self._task is None:
            self._due = asyncio.get_running_loop().call_later(LOOK_S, self._begin)

    def refused(self, refused: Refused) -> None:
        """A budget has refused a call: counted, and told once a window where it has too little left."""
        self._metrics.add(BUDGET_REFUSALS, 1, refused.node, refused.budget, refused.code)
        account = self._treasury.budgets.accounts.get((refused.node, refused.budget))
        if refused.code != "budget-exhausted" or account is None:
            return
        bucket = account.at(self._clock.unix_s())
        reading = read(bucket)
        seen = self._seen.get((refused.node, refused.budget))
        if seen is None or seen.refusing != told_of(Alert(_ALL, reading)):
            self._refusing.add(reading.pot)
            self.note(bucket)

    def _begin(self) -> None:
        self._due = None
        self._task = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        try:
            await self.check()
        finally:
            self._task = None
            if self._touched:
                self._due = asyncio.get_running_loop().call_later(LOOK_S, self._begin)

    async def check(self) -> None:
        """Look at what was touched; what the store does not answer stays to be looked at."""
        touched = list(self._touched.items())
        readings = await self._readings([bucket for bucket, _ in touched])
        now_s = self._clock.unix_s()
        for (bucket, until_s), reading in zip(touched, readings, strict=False):
            whole = await self._tell(reading, now_s)
            if whole and now_s >= until_s and self._touched.get(bucket) == until_s:
                del self._touched[bucket]

    async def refresh(self) -> None:
        """For a scrape: all budgets as they stand, whoever has spent from them."""
        now_s = self._clock.unix_s()
        if now_s - self._refreshed_s >= REFRESH_S:
            self._refreshed_s = now_s
            accounts = list(self._treasury.budgets.accounts.values())[:MAX_BUDGETS]
            for reading in await self._readings([account.at(now_s) for account in accounts]):
                self._see(reading, now_s)

    async def aclose(self) -> None:
        """At a clean stop: the last look, and a moment for the webhooks."""
        if self._due is not None:
            self._due.cancel()
        if self._task is not None:
            self._task.cancel()
        if self._touched:
            await self.check()
        await self.webhooks.aclose()

    async def _readings(self, buckets: list[Bucket]) -> list[Reading]:
        """As the store knows them; none where it does not answer."""
        if not buckets:
            return []
        standing = await self._treasury.store.standing([read(bucket).pot for bucket in buckets])
        if len(standing) != len(buckets):
            return []
        # The pool may not have heard yet of what was spent before it knew the budget; this process read it in the ledger.
        return [
            read(bucket, max(spent, self._treasury.total_nusd(bucket)))
            for bucket, (spent, _) in zip(buckets, standing, strict=True)
        ]

    def _see(self, reading: Reading, now_s: float) -> _Seen:
        place = (reading.node, reading.spec.name)
        seen = self._seen.pop(place, None) or _Seen(Told(), Rate(), reading)
        self._seen[place] = seen  # behind all others
        if len(self._seen) > MAX_BUDGETS:
            del self._seen[next(iter(self._seen))]
        if reading.start_s >= seen.reading.start_s:
            seen.reading = reading
            seen.rate.read(reading, now_s)
        return seen

    async def _tell(self, reading: Reading, now_s: float) -> bool:
        """Tell what is new of a budget, if no other process did. False: the store did not say who may."""
        seen = self._see(reading, now_s)
        new = alerts(reading, seen.told, self.percents)
        if reading.pot in self._refusing:
            new.append(Alert(_ALL, reading, refusing=True))
        if not new:
            return True
        self._asked += 1
        name = f"{self._treasury.slices.holder} alert {self._asked}"
        claims = [alert.claim(self._claiming.setdefault(alert.pot, name), self._asked) for alert in new]
        answers = {grant.pot: grant for grant in await self._treasury.store.exchange(claims)}
        for alert, claim in zip(new, claims, strict=True):
            grant = answers.get(claim.pot)
            if grant is None or not grant.taken:
                return False
            if alert.refusing:
                seen.refusing = told_of(alert)
                self._refusing.discard(reading.pot)
            else:
                seen.told = told_of(alert)
            self._claiming.pop(claim.pot, None)
            if grant.granted:
                self._say(alert, seen.rate.forecast_s(reading, now_s), now_s)
        return True

    def _say(self, alert: Alert, forecast_s: float | None, now_s: float) -> None:
        reading, percent = alert.reading, alert.percent
        label = "refusing" if alert.refusing else str(percent)
        self._metrics.add(BUDGET_ALERTS, 1, reading.node, reading.spec.name, label)
        told = payload(alert, forecast_s, now_s)
        self._log.warn(
            "budget.exhausted" if alert.refusing else "budget.alert",
            holder=reading.node,
            budget=reading.spec.name,
            percent=percent,
            spent_usd=told["spent_usd"],
            limit_usd=told["limit_usd"],
            window_ends=told["window_end"],
            exhausted_at=told["forecast_exhausted_at"],
        )
        self.webhooks.post(told)

    def _set_gauges(self, metrics: Metrics) -> None:
        """As texts, of which the asked process's own count: the sum of several processes would be none."""
        now_s = self._clock.unix_s()
        series: dict[str, dict[tuple[str, ...], str]] = {metric.name: {} for metric in _GAUGES}
        for seen in self._seen.values():
            reading = seen.reading
            if reading.end_s <= now_s:
                continue
            labels = (reading.node, reading.spec.name)
            limit_nusd = reading.spec.limit_nusd
            ratio = reading.spent_nusd / limit_nusd if limit_nusd else 1.0
            series[BUDGET_RATIO.name][labels] = repr(ratio)
            series[BUDGET_SPENT_USD.name][labels] = usd_text(reading.spent_nusd)
            series[BUDGET_LIMIT_USD.name][labels] = usd_text(limit_nusd)
            forecast_s = seen.rate.forecast_s(reading, now_s)
            if forecast_s is not None:
                series[BUDGET_FORECAST.name][labels] = repr(forecast_s - now_s)
        for metric in _GAUGES:
            metrics.set_texts(metric, series[metric.name])


def payload(alert: Alert, forecast_s: float | None, now_s: float) -> dict[str, Any]:
    """What a webhook is sent. Money is decimal text, times are ISO 8601 in UTC."""
    reading, spec = alert.reading, alert.reading.spec
    return {
        "type": "budget.exhausted" if alert.refusing else "budget.threshold",
        "timestamp": _iso(now_s),
        "holder": reading.node,
        "budget": spec.name,
        "percent": alert.percent,
        "spent_usd": usd_text(reading.spent_nusd),
        "limit_usd": usd_text(spec.limit_nusd),
        "mode": spec.mode,
        "period": spec.period,
        "window_start": _iso(reading.start_s),
        "window_end": _iso(reading.end_s),
        "forecast_exhausted_at": None if forecast_s is None else _iso(forecast_s),
    }


def _iso(unix_s: float) -> str:
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
