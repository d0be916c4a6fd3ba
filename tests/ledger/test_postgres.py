"""The ledger in PostgreSQL is the same ledger: same answers, nothing lost, nothing twice. On a real server."""

import random
import sys
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.base.errors import ConfigFault, OurFault
from penstock.base.usage import Usage
from penstock.ledger.generation import generation
from penstock.ledger.journal import Journal, _row
from penstock.ledger.opening import open_journal, open_ledger, shown, state
from penstock.ledger.postgres import schema
from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.store import PostgresStore
from penstock.ledger.pulse import pulse
from penstock.ledger.queries import DIMENSIONS, cost, explain
from penstock.ledger.schema import CALL_COLUMNS, ENTRY_COLUMNS
from penstock.ledger.spent import spent_by_all, spent_since
from tests.ledger.make import AT_MS, entry, record
from tests.servers import PASSWORD

DAY_MS = 86_400_000
WAIT_S = 20.0


def opened(place):
    return open_journal(place, flush_ms=5, max_queue=100_000)


def many(seed=11, count=120):
    """Calls of every kind, over three months, with what people write into texts."""
    chance = random.Random(seed)
    words = ["", "a", "Ä ö", "a'b\"c\\", "tab\there", "line\nbreak", "%s ? {}", "ключ", "🦆", "Z", "_", "\\N"]
    made = []
    for number in range(count):
        name, at_ms = f"r{number:03d}", AT_MS + chance.randrange(-40, 40) * DAY_MS + chance.randrange(DAY_MS)
        usage = Usage(
            input=chance.randrange(5000), output=chance.randrange(900), cache_read=chance.choice([0, 77])
        )
        tries = [
            entry(
                name,
                attempt,
                usage=usage,
                at_ms=at_ms,
                trace_id=chance.choice([name, "t1", "t2"]),
                stage=chance.choice(["", "caption", "denoise"]),
                provider=chance.choice(["openai", "anthropic"]),
                model=chance.choice(words[1:]),
                virtual_key=chance.choice(words),
                organisation=chance.choice(["", "acme"]),
                team=chance.choice(["", "vision", "text"]),
                user=chance.choice(words),
                klass=chance.choice(["delivered", "failed", "billed_not_delivered"]),
                error_code=chance.choice([None, "upstream_fault"]),
                ttft_ms=chance.choice([None, 12.25]),
                meta=chance.choice([None, {"sku": chance.choice(words)}, {"sku": "1", "k'ey": "v"}]),
                service_tier=chance.choice([None, "", "flex"]),
                stream=chance.random() < 0.5,
                **({"cost_nusd": None} if chance.random() < 0.2 else {}),
            )
            for attempt in range(1, chance.randrange(2, 4))
        ]
        told = {"steps": [], "refused": [["openai/x", chance.choice(["open", "model-denied"]), "why"]]}
        fields = {"explain": chance.choice([None, told]), "status": chance.choice([200, 200, 502])}
        body = chance.choice([f"chatcmpl-{name}", "shared", ""])
        made.append(record(name, *tries, at_ms=at_ms, body_id=body, adjusted=("a", "b"), **fields))
    return made


@pytest.fixture
def both(tmp_path, postgres_url):
    """The same records in SQLite and in PostgreSQL: two connections to read them."""
    path = str(tmp_path / "penstock.db")
    for place in (path, postgres_url):
        journal = opened(place)
        for one in many():
            journal.add(one)
        journal.close()
    connections = open_ledger(path), open_ledger(postgres_url)
    yield connections
    for connection in connections:
        connection.close()


def test_every_question_has_the_same_answer(both):
    """Each dimension, filter and span; calls, traces, the demo's figures, OpenRouter's view."""
    file, server = both
    wheres = [
        {},
        {"meta:sku": "1"},
        {"meta:k'ey": "v"},
        {"trace": "t1"},
        {"trace": "r007"},
        {"class": "failed"},
        {"team": "vision", "organisation": "acme"},
        {"user": "ключ/Ä ö"},
    ]
    spans = [{}, {"since_ms": AT_MS}, {"since_ms": AT_MS - 9 * DAY_MS, "until_ms": AT_MS + 9 * DAY_MS}]
    asked = 0
    for by in (*DIMENSIONS, "meta:sku", "tag:sku", "meta:nobody"):
        for where in wheres:
            for span in spans:
                rows = cost(file, by=by, where=where, **span)
                assert cost(server, by=by, where=where, **span) == rows
                asked += bool(rows)
    assert asked > 150
    assert pulse(server) == pulse(file)
    assert pulse(server, AT_MS).fell_back == pulse(file, AT_MS).fell_back > 0
    everybody = spent_by_all(file, AT_MS)
    assert spent_by_all(server, AT_MS) == everybody
    for kind, name, user in (
        ("organisation", "acme", ""),
        ("team", "text", ""),
        ("virtual_key", "a", ""),
        ("user", "🦆", "Z"),
    ):
        told = spent_since(file, kind, name, AT_MS, user=user)
        assert spent_since(server, kind, name, AT_MS, user=user) == told
        assert kind == "user" or told.calls_nusd > 0
    for one in many():
        told = explain(file, one.call.request_id)
        assert explain(server, one.call.request_id) == told
        assert generation(one)["data"]["request_id"] == told.call.request_id
    assert explain(server, "chatcmpl-r005") == explain(file, "chatcmpl-r005")
    assert explain(server, "nobody") is explain(file, "nobody") is None
    lines = "SELECT * FROM lines ORDER BY entry_id, unit"
    assert [tuple(row) for row in server.execute(lines)] == [tuple(row) for row in file.execute(lines)]


def test_a_reader_cannot_write(both):
    """Not by mistake, either."""
    with pytest.raises(ConfigFault, match="read-only"):
        both[1].execute("DELETE FROM entries")


def counted(url, table="entries"):
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT count(*) FROM penstock.{table}").fetchone()[0]


def test_a_batch_that_is_written_again_counts_once(postgres_url):
    """After a commit whose answer was lost: the batch, and a part of it with something new."""
    store = PostgresStore(postgres_url)
    rows = [_row(one, one.call, one.entries) for one in many(count=40)]
    store.write(rows[:30])
    store.write(rows[:30])
    store.write(rows[20:])
    store.close()
    assert counted(postgres_url, "calls") == 40
    assert counted(postgres_url) == sum(len(one.entries) for one in many(count=40))


def own(name, at_ms=AT_MS, **fields):
    """An entry from outside: its id is its sender's."""
    return record(name, entry(name, id=f"event/{name}", klass="own_cost", at_ms=at_ms, **fields), at_ms=at_ms)


def test_a_foreign_id_counts_once_in_whatever_month(postgres_url):
    """Within a batch, in another month, after a restart; the first one stays."""
    journal = opened(postgres_url)
    journal.add(own("a", cost_nusd=7))
    journal.add(own("a", AT_MS + 40 * DAY_MS, cost_nusd=9))
    journal.close()
    journal = opened(postgres_url)
    journal.add(own("a", AT_MS - 400 * DAY_MS, cost_nusd=11))
    journal.add(own("b", cost_nusd=1))
    journal.close()
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute("SELECT id, cost_nusd FROM penstock.entries ORDER BY id").fetchall()
    assert rows == [("event/a", 7), ("event/b", 1)]


def test_groups_are_told_what_was_new(postgres_url):
    """Within a group, between two of one batch, and after a restart: an id is new once."""
    told, fresh = [], []

    def group(*names):
        entries = tuple(own(name).entries[0] for name in names)
        journal.add_entries(entries, told.append, lambda new: fresh.append([one.id for one in new]))

    journal = opened(postgres_url)
    group("a", "b", "a")
    group("b", "c")
    assert journal.flush(WAIT_S), journal.fault
    journal.close()
    journal = opened(postgres_url)
    group("a", "b", "c")
    group("d")
    journal.close()
    assert told == [2, 1, 0, 1]
    assert [sorted(ids) for ids in fresh] == [["event/a", "event/b"], ["event/c"], [], ["event/d"]]
    assert counted(postgres_url) == 4
    assert counted(postgres_url, "calls") == 0


def test_what_a_column_cannot_hold_costs_its_text_never_its_money(postgres_url):
    """Zero bytes, half a surrogate pair, numbers beyond 64 bits, a wrong type: all are stored, and the sum is right."""
    journal = opened(postgres_url)
    journal.add(record("nul\0", entry("nul", model="a\0b", meta={"k": "x\0y", "b": "\\u0000"})))
    journal.add(record("half", entry("half", error="\ud800 broken")))
    journal.add(record("huge", entry("huge", input=2**70, latency_ms=float("inf"))))
    journal.add(record("odd", entry("odd", status="two hundred", model=5), latency_ms="long"))
    journal.add(record("plain"))
    assert journal.flush(WAIT_S), journal.fault
    journal.close()
    reader = open_ledger(postgres_url)
    assert cost(reader, by="provider")[0].cost_nusd == 5 * 270_000
    assert {row.key for row in cost(reader, by="meta:k")} == {None, "x\ufffdy"}
    assert {row.key for row in cost(reader, by="meta:b")} == {None, "\\u0000"}
    reader.close()


def test_a_server_that_is_away_loses_nothing(postgres_server, postgres_url):
    """Rows wait, are found in memory, the fault is said and then over; what is stored is refused with 503, not with silence."""
    journal = opened(postgres_url)
    journal.add(record("before"))
    assert journal.flush(WAIT_S)
    for _ in range(10):  # so that it is no longer in memory
        journal.find("nobody")
    postgres_server.stop(now=True)
    try:
        for number in range(200):
            journal.add(record(f"away{number}"))
        assert journal.flush(1) is False
        assert journal.queued == 200
        assert "cannot be" in journal.fault
        assert PASSWORD not in journal.fault
        assert journal.find("away7").call.request_id == "away7"
        with pytest.raises(OurFault, match="ledger") as refused:
            journal.find("before")
        assert refused.value.status == 503
    finally:
        postgres_server.start()
    assert journal.flush(WAIT_S), journal.fault
    assert journal.fault is None
    assert journal.queued == 0
    time.sleep(1.1)  # a reader that was refused does not ask again at once
    assert journal.find("before").call.request_id == "before"
    journal.close()
    assert counted(postgres_url) == 201


def test_a_closing_journal_says_what_it_could_not_write(postgres_server, postgres_url):
    """Bounded in time, with the count."""
    journal = opened(postgres_url)
    postgres_server.stop()
    try:
        journal.add(record("r1"))
        with pytest.raises(OurFault, match="1 calls could not be written"):
            journal.close(timeout_s=0.5)
    finally:
        postgres_server.start()


def test_two_gateways_write_at_once(postgres_url):
    """Each its own calls, and both the same events, in orders of their own: nothing is lost, nothing double."""

    def write(name, order):
        journal = opened(postgres_url)
        for number in order:
            journal.add(record(f"{name}{number}"))
            journal.add(own(f"shared{number}"))
            if not number % 50:
                journal.flush(WAIT_S)
        journal.close()

    threads = [
        threading.Thread(target=write, args=("a", range(600))),
        threading.Thread(target=write, args=("b", range(599, -1, -1))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with psycopg.connect(postgres_url) as connection:
        ids = [row[0] for row in connection.execute("SELECT id FROM penstock.entries")]
    assert len(ids) == len(set(ids)) == 1800


def test_a_new_database_is_made_once_by_whoever_comes_first(postgres_url):
    """Four starts at the same moment: one migrates, all open."""
    faults = []

    def start():
        try:
            opened(postgres_url).close()
        except ConfigFault as error:
            faults.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    assert state(postgres_url).endswith(f"schema {schema.HEAD}")


def test_an_older_schema_is_migrated_with_its_rows(postgres_url):
    """A ledger of the first migration, with entries in it, opens, keeps them, and takes new ones."""
    address = Address(postgres_url)
    schema.migrate(address, "0001")
    assert f"the next start brings it to {schema.HEAD}" in state(postgres_url)
    with pytest.raises(ConfigFault, match="no ledger of this version"):
        open_ledger(postgres_url)
    with psycopg.connect(postgres_url) as connection:
        connection.execute(
            "INSERT INTO penstock.entries (id, request_id, at_ms, class, cost_nusd, lines) "
            "VALUES ('old/1', 'old', %s, 'delivered', 5, '[]')",
            (AT_MS,),
        )
    journal = opened(postgres_url)
    journal.add(record("new"))
    journal.close()
    reader = open_ledger(postgres_url)
    assert sum(row.cost_nusd for row in cost(reader, by="class")) == 270_005
    reader.close()


def test_a_newer_schema_is_left_alone(postgres_url):
    """Refused with the remedy, by the writer and the reader."""
    opened(postgres_url).close()
    with psycopg.connect(postgres_url) as connection:
        connection.execute("UPDATE penstock.alembic_version SET version_num = '9999'")
    for opening in (opened, open_ledger, state):
        with pytest.raises(ConfigFault, match="newer Penstock"):
            opening(postgres_url)


def test_the_migrations_are_those_of_this_version(postgres_url):
    """Every migration is known, the last is the head, and every field of an entry and a call has its column."""
    opened(postgres_url).close()
    files = sorted(path.name[:4] for path in schema._MIGRATIONS.glob("versions/0*.py"))
    assert tuple(files) == schema.KNOWN
    assert files[-1] == schema.HEAD
    with psycopg.connect(postgres_url) as connection:
        rows = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'penstock'"
        ).fetchall()
    assert {name for table, name in rows if table == "entries"} >= set(ENTRY_COLUMNS)
    assert {name for table, name in rows if table == "calls"} >= set(CALL_COLUMNS)


def partitions(url):
    """Entry -> the partition that it lies in."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT id, tableoid::regclass::text FROM penstock.entries").fetchall()
    return {name: table.rpartition(".")[2] for name, table in rows}


def month_table(at_ms):
    return "entries_{:04d}_{:02d}".format(*schema.month_of(at_ms))


def test_months_have_their_partitions_ahead(postgres_url):
    """This month and two more; what lay elsewhere moves in when its month is made."""
    now_ms = time.time_ns() // 1_000_000
    far_ms = now_ms + 150 * DAY_MS
    journal = opened(postgres_url)
    journal.add(record("now", entry("now", at_ms=now_ms), at_ms=now_ms))
    journal.add(record("far", entry("far", at_ms=far_ms), at_ms=far_ms))
    journal.close()
    assert partitions(postgres_url) == {"now/1": month_table(now_ms), "far/1": "entries_other"}
    with Address(postgres_url).connect(settings=schema.SESSION) as connection:
        schema.make_months(connection, far_ms)
        schema.make_months(connection, far_ms)
    assert partitions(postgres_url) == {"now/1": month_table(now_ms), "far/1": month_table(far_ms)}


def test_a_month_that_cannot_be_made_just_now_holds_nobody_up(postgres_url):
    """While somebody reads the whole table the partition waits, the rows do not, and they move in later."""
    now_ms = time.time_ns() // 1_000_000
    opened(postgres_url).close()
    with psycopg.connect(postgres_url) as reading:
        reading.execute("SELECT count(*) FROM penstock.entries").fetchone()  # and its transaction stays open
        journal = opened(postgres_url)
        journal.add(record("r1", entry("r1", at_ms=now_ms), at_ms=now_ms))
        assert journal.flush(WAIT_S), journal.fault
        journal.close()
    assert partitions(postgres_url) == {"r1/1": "entries_other"}
    journal = opened(postgres_url)
    journal.add(record("r2", entry("r2", at_ms=now_ms), at_ms=now_ms))
    journal.close()
    assert set(partitions(postgres_url).values()) == {month_table(now_ms)}


@given(st.integers(min_value=0, max_value=4_102_444_800_000), st.integers(min_value=0, max_value=30))
def test_months_follow_each_other_without_a_gap(at_ms, ahead):
    """The first month holds the moment; each begins where the one before ends, at midnight of a first, UTC."""
    months = schema.months_from(at_ms, ahead)
    bounds = [schema.bounds_ms(*month) for month in months]
    assert len(months) == ahead + 1
    assert bounds[0][0] <= at_ms < bounds[0][1]
    assert all(one[1] == two[0] for one, two in pairwise(bounds))
    assert all(
        datetime.fromtimestamp(first / 1000, UTC).strftime("%d %H%M%S") == "01 000000" for first, _ in bounds
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://penstock:hush-hush@127.0.0.1:1/ledger",
        "postgresql://penstock:hush-hush@127.0.0.1:port/ledger",
        "postgresql://penstock:hush-hush@[::1/ledger",
        "postgresql://penstock@127.0.0.1:1/ledger?password=hush-hush",
        "postgresql://penstock@127.0.0.1/ledger?nonsense=hush-hush",
    ],
)
def test_no_error_shows_the_password(url):
    """Not of an unreachable server, nor of a URL that cannot be read."""
    for opening in (opened, open_ledger, state):
        with pytest.raises(ConfigFault) as refused:
            opening(url)
        assert "hush-hush" not in refused.value.public() + repr(refused.value)
    assert "hush-hush" not in shown(url)


def test_a_wrong_password_is_said_without_it(postgres_url):
    """The server's own words, and what to check."""
    with pytest.raises(ConfigFault, match="password authentication failed") as refused:
        opened(postgres_url.replace(PASSWORD, "wrong-one-4711"))
    assert "wrong-one" not in refused.value.public()
    assert "wrong-one" not in repr(Address(postgres_url.replace(PASSWORD, "wrong-one-4711")))


def test_a_strangers_database_is_refused(postgres_url):
    """Reading where there is no ledger says how to make one; nothing is made."""
    with pytest.raises(ConfigFault, match="has no ledger") as refused:
        open_ledger(postgres_url)
    assert "penstock serve" in refused.value.public()
    assert state(postgres_url).endswith(f"schema none yet; the next start brings it to {schema.HEAD}")


def test_without_the_extra_the_remedy_is_said(monkeypatch):
    """An install without psycopg names the extra."""
    monkeypatch.setitem(sys.modules, "penstock.ledger.postgres.store", None)
    with pytest.raises(ConfigFault, match=r"penstock\[postgres\]|not installed") as refused:
        opened("postgresql://127.0.0.1/ledger")
    assert "pip install 'penstock[postgres]'" in refused.value.public()


def test_the_file_stays_the_default(tmp_path):
    """A path is SQLite's."""
    journal = opened(str(tmp_path / "penstock.db"))
    assert isinstance(journal, Journal)
    journal.close()
    assert (tmp_path / "penstock.db").exists()
