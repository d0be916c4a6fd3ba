"""The ledger answers who spent what, and what is not known is always beside the sum."""

import pytest

from penstock.base.errors import BadRequest
from penstock.base.usage import Usage
from penstock.ledger.journal import Journal
from penstock.ledger.queries import DIMENSIONS, cost, explain
from penstock.ledger.schema import open_reader
from tests.ledger.make import AT_MS, entry, record

DAY_MS = 86_400_000


@pytest.fixture
def connection(tmp_path):
    """A small ledger: two providers, a fallback, an unknown price, two days, some metadata."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    journal.add(record("r1", entry("r1", meta={"sku": "12", "campaign": "x"})))
    journal.add(
        record(
            "r2",
            entry("r2", 1, klass="failed", error_code="upstream_fault", usage=Usage(), usage_source=None),
            entry(
                "r2",
                2,
                provider="anthropic",
                model="claude",
                provider_key="ANT",
                row=None,
                meta={"sku": "13"},
            ),
        )
    )
    usage = Usage(input=10, cache_read=90, output=5, reasoning=15)
    journal.add(
        record(
            "r3",
            entry(
                "r3",
                usage=usage,
                virtual_key="production",
                route="best",
                at_ms=AT_MS + DAY_MS,
                provider_key="SPARE",
            ),
        )
    )
    journal.close()
    reader = open_reader(path)
    yield reader
    reader.close()


def told(rows):
    """key -> (calls, entries, known cost, entries with an unknown price)."""
    return {row.key: (row.calls, row.entries, row.cost_nusd, row.unknown_price) for row in rows}


THIRD = 10 * 150 + 90 * 75 + 20 * 600
"""Nano-dollars of r3."""


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("provider", {"openai": (3, 3, 270_000 + THIRD, 0), "anthropic": (1, 1, 0, 1)}),
        ("model", {"openai/gpt-4o-mini": (3, 3, 270_000 + THIRD, 0), "anthropic/claude": (1, 1, 0, 1)}),
        ("virtual_key", {"research": (2, 3, 270_000, 1), "production": (1, 1, THIRD, 0)}),
        (
            "provider_key",
            {
                "openai.OPENAI_KEY": (2, 2, 270_000, 0),
                "openai.SPARE": (1, 1, THIRD, 0),
                "anthropic.ANT": (1, 1, 0, 1),
            },
        ),
        ("route", {"fast": (2, 3, 270_000, 1), "best": (1, 1, THIRD, 0)}),
        ("day", {"2026-11-18": (2, 3, 270_000, 1), "2026-11-19": (1, 1, THIRD, 0)}),
        ("class", {"delivered": (3, 3, 270_000 + THIRD, 1), "failed": (1, 1, 0, 0)}),
        ("meta:sku", {"12": (1, 1, 270_000, 0), "13": (1, 1, 0, 1), None: (2, 2, THIRD, 0)}),
        ("error", {"": (3, 3, 270_000 + THIRD, 1), "upstream_fault": (1, 1, 0, 0)}),
        ("stage", {"": (3, 4, 270_000 + THIRD, 1)}),
        ("trace", {"r1": (1, 1, 270_000, 0), "r2": (1, 2, 0, 1), "r3": (1, 1, THIRD, 0)}),
        ("dialect", {"openai": (3, 4, 270_000 + THIRD, 1)}),
    ],
)
def test_spending_by_every_dimension(connection, by, expected):
    """Each dimension groups all entries, and unknown prices are counted, not added as 0."""
    assert told(cost(connection, by=by)) == expected


def test_every_dimension_can_be_asked_for(connection):
    """No dimension is broken SQL, neither as group nor as filter."""
    for name in DIMENSIONS:
        for row in cost(connection, by=name):
            assert told(cost(connection, by=name, where={name: row.key}))[row.key] == told([row])[row.key]


def test_the_dearest_first_and_days_in_order(connection):
    """Tables start with what matters; days are a calendar."""
    assert [row.key for row in cost(connection, by="provider")] == ["openai", "anthropic"]
    assert [row.key for row in cost(connection, by="day")] == ["2026-11-18", "2026-11-19"]


def test_tokens_stay_disjoint(connection):
    """The sums keep the vector's classes apart."""
    (row,) = cost(connection, by="virtual_key", where={"virtual_key": "production"})
    assert {unit: count for unit, count in row.tokens.items() if count} == {
        "input": 10,
        "cache_read": 90,
        "output": 5,
        "reasoning": 15,
    }
    assert row.cost_usd == "0.00002025"


def test_since_and_until_cut_exactly(connection):
    """since is included, until is not."""
    assert told(cost(connection, by="provider", since_ms=AT_MS + DAY_MS)) == {"openai": (1, 1, THIRD, 0)}
    assert sum(row.entries for row in cost(connection, by="provider", until_ms=AT_MS + DAY_MS)) == 3
    assert cost(connection, by="provider", since_ms=AT_MS + DAY_MS + 1) == []


def test_filters_hold_together(connection):
    """Several conditions are all held; values are data, never SQL."""
    where = {"meta:sku": "12", "provider": "openai"}
    assert told(cost(connection, by="class", where=where)) == {"delivered": (1, 1, 270_000, 0)}
    assert cost(connection, by="class", where={"provider": "' OR 1=1 --"}) == []
    assert cost(connection, by="meta:') OR (1=1", where={"meta:sku": "12"})[0].key is None


def test_an_unknown_dimension_names_those_there_are(connection):
    """A slip is answered with the list."""
    with pytest.raises(BadRequest, match="no dimension 'providr'") as caught:
        cost(connection, by="providr")
    assert "provider" in caught.value.hint
    assert "meta:<key>" in caught.value.hint


def test_explain_gives_the_call_with_what_is_unknown(connection):
    """By request id or body id; the sum is None where an attempt's price is unknown, what is known stands beside."""
    found = explain(connection, "r2")
    assert [made.attempt for made in found.entries] == [1, 2]
    assert (found.cost_nusd, found.known_nusd, found.unknown_price) == (None, 0, 1)
    assert explain(connection, "chatcmpl-r3").call.request_id == "r3"
    assert explain(connection, "chatcmpl-r3").cost_nusd == THIRD
    assert explain(connection, "nobody") is None
