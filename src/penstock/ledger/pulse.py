"""A running gateway's figures at a glance, read from the ledger alone: for the demo and for anyone who watches."""

import sqlite3
from statistics import median

from msgspec import Struct


class Pulse(Struct, frozen=True):
    """Figures of all calls since a moment. ``unknown_prices`` counts entries without a known price.

    ``added_p50_us`` and ``added_p99_us`` are the gateway's own share of a call, in microseconds.
    """

    requests: int
    failed: int
    fell_back: int
    cost_nusd: int
    unknown_prices: int
    not_delivered_nusd: int
    added_p50_us: int | None
    added_p99_us: int | None
    providers: tuple["ProviderPulse", ...]


class ProviderPulse(Struct, frozen=True):
    """One provider's share: attempts, those that failed, cost, median time to first token."""

    provider: str
    attempts: int
    failed: int
    cost_nusd: int
    ttft_p50_ms: float | None


def pulse(connection: sqlite3.Connection, since_ms: int = 0) -> Pulse:
    """Read the figures. One pass over the calls and one over the entries."""
    calls = connection.execute(
        "SELECT status, attempts, gateway_us FROM calls WHERE at_ms >= ?", (since_ms,)
    ).fetchall()
    own = sorted(row[2] for row in calls if row[2] is not None)
    entries = connection.execute(
        "SELECT provider, class, cost_nusd, ttft_ms FROM entries WHERE at_ms >= ?", (since_ms,)
    ).fetchall()
    names = sorted({row[0] for row in entries})
    return Pulse(
        requests=len(calls),
        failed=sum(row[0] >= 400 for row in calls),
        fell_back=sum(row[0] < 400 and row[1] > 1 for row in calls),
        cost_nusd=sum(row[2] or 0 for row in entries),
        unknown_prices=sum(row[2] is None for row in entries),
        not_delivered_nusd=sum(row[2] or 0 for row in entries if row[1] == "billed_not_delivered"),
        added_p50_us=own[len(own) // 2] if own else None,
        added_p99_us=own[min(len(own) - 1, len(own) * 99 // 100)] if own else None,
        providers=tuple(_provider(name, [row for row in entries if row[0] == name]) for name in names),
    )


def _provider(name: str, rows: list[tuple[str, str, int | None, float | None]]) -> ProviderPulse:
    waits = [row[3] for row in rows if row[3] is not None]
    return ProviderPulse(
        provider=name,
        attempts=len(rows),
        failed=sum(row[1] != "delivered" for row in rows),
        cost_nusd=sum(row[2] or 0 for row in rows),
        ttft_p50_ms=round(median(waits), 1) if waits else None,
    )
