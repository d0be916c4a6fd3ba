"""Records for the tests: a whole call with its attempts, priced by the real price code."""

from typing import Any

from penstock.base.models import PriceRow
from penstock.base.money import Price
from penstock.base.usage import Usage
from penstock.ledger.entry import Call, Entry, Record, token_counts
from penstock.ledger.prices import price_lines

ROW = PriceRow(
    version="2026-11-01",
    units={"input": Price(150_000), "output": Price(600_000), "cache_read": Price(75_000)},
)
AT_MS = 1_795_000_000_000


def entry(
    request_id: str, attempt: int = 1, *, usage: Usage | None = None, row: Any = ROW, **fields: Any
) -> Entry:
    """One attempt; ``row`` None is a model whose price is not known."""
    usage = Usage(input=1000, output=200) if usage is None else usage
    lines, cost_nusd = price_lines(usage, row)
    made = Entry(
        f"{request_id}/{attempt}",
        request_id,
        request_id,
        "",
        attempt,
        AT_MS,
        "delivered",
        "openai",
        "gpt-4o-mini",
        "gpt-4o-mini-2024-07-18",
        "OPENAI_KEY",
        "research",
        "fast",
        "openai",
        False,
        200,
        None,
        None,
        "stop",
        "stop",
        f"chatcmpl-{request_id}",
        *token_counts(usage),
        usage.source,
        lines,
        cost_nusd,
        row.version if row else None,
        120.5,
        40.25,
        55.5,
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def call(request_id: str, **fields: Any) -> Call:
    """One call."""
    made = Call(
        request_id,
        AT_MS,
        "research",
        "fast",
        200,
        None,
        False,
        1,
        130.5,
        85,
        "",
        f"chatcmpl-{request_id}",
        (),
        None,
        "c1",
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def record(request_id: str, *entries: Entry, **fields: Any) -> Record:
    """One call with its attempts; without any, one that was delivered."""
    entries = entries or (entry(request_id),)
    return Record(call(request_id, attempts=len(entries), **fields), entries)
