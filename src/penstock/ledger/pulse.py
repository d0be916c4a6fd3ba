"""A running gateway's figures at a glance, read from the ledger alone: for the demo and for anyone who watches."""

from statistics import median
from typing import Any

import msgspec
from msgspec import Struct

from penstock.ledger.sql import Reading, Sql, sql_of

HEALTH_CODES = frozenset({"open", "dropped", "keys-cooling", "keys-exhausted"})
"""Refusals for a provider's or its keys' state: another time the target would have been asked (routing)."""
FIRST_REASON = "first in the chain"
"""Why the first step of a plan stands there, where nothing before it was passed over (routing.plan)."""


class Pulse(Struct, frozen=True):
    """Figures of all calls since a moment. ``unknown_prices`` counts entries without a known price.

    ``fell_back``: answered, but not by the first attempt, or by a target whose place in the chain was further back while
    an earlier one was out. ``added_p50_us`` and ``added_p99_us`` are the gateway's own share of a call, in microseconds.
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


class _Told(Struct):
    """What a call's explain says of targets that were passed over. Other fields are left alone."""

    steps: list[list[Any]] = []
    refused: list[list[Any]] = []
    happenings: list["_Happening"] = []


class _Happening(Struct):
    what: str = ""
    target: str = ""
    code: str = ""


_TOLD = msgspec.json.Decoder(_Told)
_QUOTED = [f'"{code}"' for code in sorted(HEALTH_CODES)]


def _calls(sql: Sql) -> str:
    # The explain is only read where it may matter: after one attempt, with a refusal in it.
    return (
        "SELECT status, attempts, gateway_us, CASE WHEN status < 400 AND attempts = 1 "  # noqa: S608 - our own words
        f"AND ({' OR '.join(sql.explain_has for _ in _QUOTED)}) THEN explain END FROM calls WHERE at_ms >= ?"
    )


def pulse(connection: Reading, since_ms: int = 0) -> Pulse:
    """Read the figures. One pass over the calls and one over the entries."""
    calls = connection.execute(_calls(sql_of(connection)), (*_QUOTED, since_ms)).fetchall()
    own = sorted(row[2] for row in calls if row[2] is not None)
    entries = connection.execute(
        "SELECT provider, class, cost_nusd, ttft_ms FROM entries WHERE at_ms >= ?", (since_ms,)
    ).fetchall()
    names = sorted({row[0] for row in entries})
    return Pulse(
        requests=len(calls),
        failed=sum(row[0] >= 400 for row in calls),
        fell_back=sum(row[0] < 400 and (row[1] > 1 or passed_over(row[3])) for row in calls),
        cost_nusd=sum(row[2] or 0 for row in entries),
        unknown_prices=sum(row[2] is None for row in entries),
        not_delivered_nusd=sum(row[2] or 0 for row in entries if row[1] == "billed_not_delivered"),
        added_p50_us=own[len(own) // 2] if own else None,
        added_p99_us=own[min(len(own) - 1, len(own) * 99 // 100)] if own else None,
        providers=tuple(_provider(name, [row for row in entries if row[0] == name]) for name in names),
    )


def passed_over(explain: str | None) -> bool:
    """Did an earlier target of the chain stand aside for its health, so that another one was asked first?"""
    if explain is None:
        return False
    try:
        told = _TOLD.decode(explain)
    except msgspec.DecodeError:  # written by another version, in a shape of its own
        return False
    # The plan's first step says whether anything healthy would have stood before it.
    later = bool(told.steps) and told.steps[0][1:2] != [FIRST_REASON]
    if later and any(refusal[1] in HEALTH_CODES for refusal in told.refused if len(refusal) > 1):
        return True
    tried = next((told.target for told in told.happenings if told.what == "try"), "")
    return any(
        one.what == "refused" and one.code in HEALTH_CODES and one.target != tried for one in told.happenings
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
