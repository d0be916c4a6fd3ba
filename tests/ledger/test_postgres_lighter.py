"""What a batch leaves at its columns' defaults is not sent to PostgreSQL, and is there all the same; fewer indexes answer as much."""

import time
from contextlib import closing
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.ledger.fold import fold
from penstock.ledger.journal import _row
from penstock.ledger.opening import open_ledger
from penstock.ledger.postgres import schema
from penstock.ledger.postgres import store as under
from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.store import PostgresStore
from penstock.ledger.queries import cost, explain
from penstock.ledger.rollup import facts_of
from penstock.ledger.rows import NULL
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from tests.ledger.make import entry, record

native = pytest.mark.skipif(under.native is None, reason=f"no native rows: {under.missing}")
HOUR_MS = 3_600_000
SILENT = (None, "", 0, "[]")
KINDS = b"ttit"


@native
@given(
    st.lists(
        st.tuples(
            st.sampled_from([None, NULL, "", "x"]),
            st.sampled_from([None, "", "x" * 3]),
            st.sampled_from([None, 0, 1, False]),
            st.sampled_from(["[]", '["a"]']),
        ).map(list),
        max_size=6,
    )
)
def test_a_column_is_left_out_where_every_row_has_its_default(rows: list[list[Any]]):
    """And nowhere else: one row that says something, and all of the column is sent."""
    assert under.native is not None
    kinds = under.native.spoken(rows, KINDS, SILENT)
    silent = [
        all(row[0] is None or row[0] != row[0] for row in rows),
        all(row[1] == "" for row in rows),
        all(row[2] == 0 and type(row[2]) is int for row in rows),
        all(row[3] == "[]" for row in rows),
    ]
    assert kinds == bytes(45 if left else kind for kind, left in zip(KINDS, silent, strict=True))
    kept = [[value for value, left in zip(row, silent, strict=True) if not left] for row in rows]
    assert under.native.tuples(rows, kinds) == under.native.tuples(kept, kinds.replace(b"-", b""))


@native
def test_columns_without_a_word_of_their_own_are_an_error():
    """Nothing is read past an end."""
    assert under.native is not None
    with pytest.raises(ValueError, match="silent"):
        under.native.spoken([], b"tt", (None,))
    with pytest.raises(ValueError, match="another number"):
        under.native.spoken([["a"]], b"tt", (None, None))


def made(url: str) -> None:
    with closing(PostgresStore(url)) as store:
        store.write([])


def test_the_defaults_are_those_that_are_not_sent(postgres_url: str):
    """In each partition as in the whole: a column that is left out gets what its rows had."""
    made(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT c.relname, a.attname, pg_get_expr(d.adbin, d.adrelid) FROM pg_attribute a "
            "JOIN pg_class c ON c.oid = a.attrelid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum "
            "WHERE c.relnamespace = 'penstock'::regnamespace AND a.attnum > 0 AND c.relkind IN ('r', 'p') "
            "AND c.relname ~ '^(calls|entries)'"
        ).fetchall()
    written = {None: None, "''::text": "", "'[]'::text": "[]", "0": 0, "'0'::bigint": 0}
    columns = {"calls": CALL_COLUMNS, "entries": ENTRY_COLUMNS}
    seen = 0
    for table, column, default in rows:
        if column in columns[table.partition("_")[0]]:
            assert written[default] == under._SILENT.get(column), (table, column)
            seen += 1
    assert seen >= 4 * len(CALL_COLUMNS) + 4 * len(ENTRY_COLUMNS)  # the whole, the other, and months


def spoken_and_silent() -> list[Any]:
    """A plain call, and one that says something in every column."""
    loud = entry(
        "loud",
        stage="caption",
        stream=True,
        error_code="x",
        error="why",
        connect_ms=1.5,
        meta={"sku": "1"},
        service_tier="flex",
        joules=2.5,
        organisation="acme",
        team="vision",
        user="ann",
        saved_nusd=7,
        **dict.fromkeys(("cache_read", "cache_write_5m", "cache_write_1h", "input_audio"), 3),
        **dict.fromkeys(("input_image", "reasoning", "output_audio", "output_image"), 4),
    )
    said = {"adjusted": ("a",), "explain": {"steps": []}, "client_request_id": "c", "stream": True}
    return [record("plain"), record("loud", loud, organisation="acme", team="vision", user="ann", **said)]


@pytest.mark.parametrize("chosen", [(0,), (1,), (0, 1)], ids=["silent", "spoken", "both"])
@pytest.mark.parametrize("again", [False, True], ids=["once", "again"])
def test_what_was_not_sent_is_read_as_it_was(postgres_url: str, chosen: tuple[int, ...], again: bool):
    """Alone, beside others, and merged after a commit whose answer was lost."""
    records = [spoken_and_silent()[place] for place in chosen]
    with closing(PostgresStore(postgres_url)) as store:
        for _ in range(1 + again):
            store.write([_row(one, one.call, one.entries) for one in records])
    reader = open_ledger(postgres_url)
    for one in records:
        told = explain(reader, one.call.request_id)
        assert told is not None
        assert told.entries == one.entries
        assert told.call == one.call
    assert reader.execute("SELECT count(*) FROM entries").fetchone() == (len(records),)
    reader.close()


def old_ledger(url: str, count: int = 300) -> int:
    """A ledger of the last migration before this one, with calls of an hour ago and now; gives the time now."""
    schema.migrate(Address(url), "0007")
    now_ms = time.time_ns() // 1_000_000
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path = penstock")
        schema.make_months(connection, now_ms)
        for number in range(count):
            at_ms = now_ms - (HOUR_MS if number % 2 else 0)
            connection.execute(
                "INSERT INTO calls (request_id, at_ms, virtual_key, body_id, adjusted) VALUES (%s, %s, 'k', %s, '[]')",
                (f"old{number}", at_ms, f"body{number}"),
            )
            connection.execute(
                "INSERT INTO entries (id, request_id, trace_id, attempt, at_ms, class, provider, cost_nusd, lines) "
                "VALUES (%s, %s, %s, 1, %s, 'delivered', 'openai', 5, '[]')",
                (f"old{number}/1", f"old{number}", f"old{number}", at_ms),
            )
    return now_ms


def test_an_existing_ledger_is_carried_over(postgres_url: str):
    """Its rows answer as before: by body, by time, in the rollups; and new ones stand beside them."""
    now_ms = old_ledger(postgres_url)
    with closing(PostgresStore(postgres_url)) as store:
        one = record("new", entry("new", at_ms=now_ms), at_ms=now_ms)
        store.write([_row(one, one.call, one.entries)])
        found = store.read("body7", "k")
        assert found is not None
        assert found.call.request_id == "old7"
        assert store.read("body7", "another") is None
    assert fold(postgres_url, from_rows=1) == 301
    reader = open_ledger(postgres_url)
    assert sum(cell.cost_nusd for cell in facts_of(reader, (None, None), {}).cells) == 300 * 5 + 270_000
    assert sum(row.cost_nusd for row in cost(reader, by="provider", since_ms=now_ms)) == 150 * 5 + 270_000
    assert [row.entries for row in cost(reader, by="class")] == [301]
    reader.close()


def test_a_row_is_in_as_few_indexes_as_its_questions_need(postgres_url: str):
    """Each is written for every row: who adds one measures it (benches/postgres.py)."""
    made(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'penstock' AND tablename IN ('calls_other', 'entries_other')"
        ).fetchall()
    told = sorted(" ".join(row[0].partition(" USING ")[2].split()[:3]) for row in rows)
    assert told == [
        "brin (at_ms, txn)",
        "btree (id, at_ms)",
        "btree (request_id, at_ms)",
        "btree (trace_id) WHERE",
        "hash (body_id) WHERE",
    ]


def test_a_body_and_what_is_new_are_found_by_their_indexes(postgres_url: str):
    """The planner can use them for the ledger's own questions."""
    made(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("SET search_path = penstock")
        connection.execute("SET enable_seqscan = off")
        asked = {
            "calls_other_body_id_idx": "SELECT * FROM calls_other WHERE body_id = 'b' AND body_id <> '' AND body_id <> request_id",
            "entries_other_at_ms_txn_idx": "SELECT * FROM entries_other WHERE txn >= 5 AND txn < 9",
        }
        for index, question in asked.items():
            plan = "\n".join(row[0] for row in connection.execute(f"EXPLAIN {question}".encode()).fetchall())
            assert index in plan, plan
