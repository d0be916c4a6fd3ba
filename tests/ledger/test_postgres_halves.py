"""A large batch goes in two halves at once: all of it is there, once, whichever half fails."""

from typing import Any

import psycopg
import pytest

from penstock.ledger.journal import _row
from penstock.ledger.opening import open_ledger
from penstock.ledger.postgres import store as under
from penstock.ledger.postgres.store import PostgresStore
from penstock.ledger.store import Group
from tests.ledger.make import entry, record


def rows(count: int, prefix: str = "r") -> list[Any]:
    found = []
    for number in range(count):
        name = f"{prefix}{number:05d}"
        one = record(name, entry(name, id=f"{name}/1"))
        found.append(_row(one, one.call, one.entries))
    return found


def counted(place: str) -> tuple[int, int, int]:
    reading = open_ledger(place)
    try:
        (calls,) = reading.execute("SELECT count(*) FROM calls", ()).fetchone()
        entries, distinct = reading.execute("SELECT count(*), count(DISTINCT id) FROM entries", ()).fetchone()
        return int(calls), int(entries), int(distinct)
    finally:
        reading.close()


@pytest.fixture
def store(postgres_url):
    made = PostgresStore(postgres_url)
    yield made
    made.close()


def test_two_halves_are_one_ledger(store, postgres_url):
    """Every record is there; the second connection is made for the first large batch, and not before."""
    store.write(rows(10, "small"))
    assert store._beside is None
    store.write(rows(1201))
    assert store._beside is not None
    assert counted(postgres_url) == (1211, 1211, 1211)


@pytest.mark.parametrize("failing", [0, 1])
def test_a_half_that_fails_is_written_again(store, postgres_url, monkeypatch, failing):
    """The batch's fault is told, so that the journal tries again; what had been written is found, and counts once."""
    batch = rows(1000)
    first_of_half = [batch[0][1][0], batch[500][1][0]][failing]
    real = under._copy

    def broken(connection: Any, table: str, columns: Any, some: Any) -> None:
        if table == "entries" and some[0][1] == first_of_half:
            raise psycopg.OperationalError("the connection is gone")
        real(connection, table, columns, some)

    with monkeypatch.context() as patched:
        patched.setattr(under, "_copy", broken)
        with pytest.raises(psycopg.OperationalError):
            store.write(batch)
    assert counted(postgres_url) == (500, 500, 500)
    store.write(batch)
    assert counted(postgres_url) == (1000, 1000, 1000)
    store.write(batch)
    assert counted(postgres_url) == (1000, 1000, 1000)


def test_both_connections_may_die(store, postgres_url):
    """They are made again."""
    store.write(rows(600))
    store._connection.close()
    store._beside.close()
    store.write(rows(600, "again"))
    assert counted(postgres_url) == (1200, 1200, 1200)


def test_what_a_column_cannot_hold_is_mended_in_either_half(store, postgres_url):
    """A zero byte in the last record costs its text."""
    batch = rows(600)
    last = record("odd", entry("odd", id="odd/1", error="a\0b"))
    store.write([*batch, _row(last, last.call, last.entries)])
    assert counted(postgres_url) == (601, 601, 601)


def test_groups_go_in_one_transaction(store, postgres_url):
    """They are told what was new, which two halves could not say after a fault."""
    group = Group((entry("g", id="g/1", klass="own_cost"),), lambda count: None)
    values = _row(record("g", *group.entries), record("g", *group.entries).call, group.entries)[2]
    store.write([*rows(900), (group, [], values)])
    assert store._beside is None
    assert group.new == 1
    assert counted(postgres_url) == (900, 901, 901)
