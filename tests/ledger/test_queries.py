"""The ledger answers who spent what, and what is not known is always beside the sum."""

import pytest

from penstock.base.errors import BadRequest
from penstock.base.usage import Usage
from penstock.ledger.journal import Journal
from penstock.ledger.pulse import pulse
from penstock.ledger.queries import DIMENSIONS, cost, explain
from penstock.ledger.reading import open_reader
from penstock.ledger.rows import read_record
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
                organisation="acme",
                team="vision",
                user="anna",
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
        ("organisation", {"acme": (1, 1, THIRD, 0), "": (2, 3, 270_000, 1)}),
        ("team", {"vision": (1, 1, THIRD, 0), "": (2, 3, 270_000, 1)}),
        ("user", {"production/anna": (1, 1, THIRD, 0), "": (2, 3, 270_000, 1)}),
        ("tag:sku", {"12": (1, 1, 270_000, 0), "13": (1, 1, 0, 1), None: (2, 2, THIRD, 0)}),
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


def test_a_trace_is_every_attempt_that_names_it(tmp_path):
    """A call that is its own trace, calls grouped under a word, and calls grouped under another call's id."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    for name, trace_id in (
        ("r1", "r1"),
        ("r10", "r10"),
        ("r2", "render"),
        ("r3", "render"),
        ("r4", "r1"),
        ("r5", ""),
    ):
        journal.add(record(name, *(entry(name, attempt, trace_id=trace_id) for attempt in (1, 2))))
    journal.close()
    reader = open_reader(path)
    try:
        found = {
            trace: [row.key for row in cost(reader, by="trace", where={"trace": trace})]
            + [
                sum(
                    row.entries
                    for row in cost(reader, by="class", where={"trace": trace, "provider": "openai"})
                )
            ]
            for trace in ("r1", "r10", "render", "", "r2", "r1/", "nobody")
        }
    finally:
        reader.close()
    assert found == {
        "r1": ["r1", 4],
        "r10": ["r10", 2],
        "render": ["render", 4],
        "": ["", 2],
        "r2": [0],
        "r1/": [0],
        "nobody": [0],
    }


def test_a_body_id_is_found_whoever_else_has_it(tmp_path):
    """Body ids are the providers': two may be one, and one may be another call's request id. No body id finds nothing."""
    path = str(tmp_path / "penstock.db")
    journal = Journal(path)
    journal.add(record("r1", body_id="same", at_ms=1, virtual_key="mine"))
    journal.add(record("r2", body_id="same", at_ms=2, virtual_key="theirs"))
    journal.add(record("r3", body_id="r1", virtual_key="theirs"))
    journal.add(record("r4", body_id=""))
    journal.close()
    reader = open_reader(path)
    try:
        found = {
            (any_id, key): getattr(
                getattr(read_record(reader, any_id, virtual_key=key), "call", None), "request_id", None
            )
            for any_id in ("same", "r1", "")
            for key in (None, "mine", "theirs", "nobody")
        }
    finally:
        reader.close()
    assert found == {
        ("same", None): "r2", ("same", "mine"): "r1", ("same", "theirs"): "r2", ("same", "nobody"): None,
        ("r1", None): "r1", ("r1", "mine"): "r1", ("r1", "theirs"): "r3", ("r1", "nobody"): None,
        ("", None): None, ("", "mine"): None, ("", "theirs"): None, ("", "nobody"): None,
    }  # fmt: skip


def plans(connection, ask):
    """What SQLite does for each statement of a question: its own words, one list per statement."""
    said = []
    connection.set_trace_callback(said.append)
    ask(connection)
    connection.set_trace_callback(None)
    return [[row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in said]


BY_ID = {"SEARCH calls USING INDEX sqlite_autoindex_calls_1 (request_id=?)"}
ATTEMPTS = {"SEARCH entries USING INDEX sqlite_autoindex_entries_1 (id>? AND id<?)"}
BY_BODY = {"SEARCH calls USING INDEX calls_body (body_id=?)"}


@pytest.mark.parametrize(
    ("ask", "searches"),
    [
        (lambda c: read_record(c, "r1"), [BY_ID, ATTEMPTS]),
        (lambda c: read_record(c, "chatcmpl-r1"), [BY_ID, BY_BODY, ATTEMPTS]),
        (lambda c: read_record(c, "chatcmpl-r1", virtual_key="research"), [BY_ID, BY_BODY, ATTEMPTS]),
        (lambda c: read_record(c, "nobody", virtual_key="research"), [BY_ID, BY_BODY]),
        (lambda c: explain(c, "chatcmpl-r1"), [BY_ID, BY_BODY, ATTEMPTS]),
        (
            lambda c: cost(c, by="stage", where={"trace": "r1"}),
            [
                {
                    "SEARCH entries USING INTEGER PRIMARY KEY (rowid=?)",
                    "SEARCH entries USING INDEX entries_trace (trace_id=?)",
                    "SEARCH entries USING INDEX sqlite_autoindex_entries_1 (id>? AND id<?)",
                }
            ],
        ),
        (
            lambda c: cost(c, by="stage", since_ms=AT_MS, until_ms=AT_MS + 1),
            [{"SEARCH entries USING INDEX entries_spent (at_ms>? AND at_ms<?)"}],
        ),
        (
            lambda c: pulse(c, AT_MS),
            [
                {"SEARCH calls USING INDEX calls_at (at_ms>?)"},
                {"SEARCH entries USING INDEX entries_spent (at_ms>?)"},
            ],
        ),
    ],
    ids=["request", "body", "own-body", "nobody", "explain", "trace", "since", "pulse"],
)
def test_what_is_asked_for_by_name_or_time_is_searched_not_scanned(connection, ask, searches):
    """Each of these reads an index, whatever the size of the ledger."""
    found = plans(connection, ask)
    assert [{word for word in plan if word.startswith(("SEARCH", "SCAN"))} for plan in found] == searches
