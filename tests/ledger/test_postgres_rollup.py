"""Rollups in PostgreSQL say what a scan says, whoever writes while they are made; and the tables are those of a file."""

import random
import threading
from contextlib import closing

import psycopg
import pytest

from penstock.ledger.fold import fold
from penstock.ledger.opening import open_journal, open_ledger
from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.schema import migrate
from penstock.ledger.reconcile import ledger_figures
from penstock.ledger.rollup import HOUR_MS, THERE, facts_of, first_ms, rolled_facts, scanned_facts
from penstock.ledger.waterfall import waterfall
from tests.ledger.make import AT_MS, entry, record
from tests.ledger.test_postgres import DAY_MS, many
from tests.ledger.test_rollup import comparable

STAGES = ("", "plan", "denoise", "encode")
WINDOWS = [
    (None, None),
    (AT_MS + 20 * 60_000, AT_MS + 3 * HOUR_MS + 1),
    (AT_MS + HOUR_MS, None),
    (None, AT_MS + HOUR_MS),
    (AT_MS + 5, AT_MS + 6),
]
WHERES = [{}, {"class": "failed"}, {"stage": "plan", "provider": "openai"}, {"model": "openai/gpt-4o-mini"}]


def written(place, count, start=0, seed=3):
    """Entries over five hours, in traces of many hours and stages; as a gateway writes them."""
    chance = random.Random(seed + start)
    journal = open_journal(place, flush_ms=2, max_queue=100_000)
    for number in range(start, start + count):
        name = f"r{number}"
        rows = [
            entry(
                name,
                attempt,
                trace_id=chance.choice(["", name, f"t{number % 17}"]),
                stage=chance.choice(STAGES),
                klass=chance.choice(["delivered", "failed", "own_cost", "billed_not_delivered"]),
                provider=chance.choice(["openai", "own"]),
                at_ms=AT_MS + chance.randrange(5 * HOUR_MS),
                latency_ms=chance.random() * 1e4,
                **({"cost_nusd": None} if chance.random() < 0.1 else {}),
            )
            for attempt in range(1, chance.choice([2, 2, 3]))
        ]
        journal.add(record(name, *rows))
    journal.close()


def same(url):
    """Both ways agree on every window and filter; what the whole ledger is."""
    with closing(open_ledger(url)) as reader:
        for window in WINDOWS:
            for where in WHERES:
                rolled, scanned = rolled_facts(reader, window, where), scanned_facts(reader, window, where)
                assert comparable(rolled) == comparable(scanned)
        return scanned_facts(reader, (None, None), {})


def watermark(url):
    """How far the rollups go, where they stand."""
    with closing(open_ledger(url)) as reader:
        row = reader.execute(THERE).fetchone()
        return None if row is None else row[0]


def test_rollups_are_the_scan(postgres_url):
    """Before anything is folded, after all of it, with new entries behind it, and after those."""
    written(postgres_url, 300)
    whole = same(postgres_url)
    assert watermark(postgres_url) is None
    entries = sum(cell.entries for cell in whole.cells)
    assert fold(postgres_url, from_rows=0) == entries
    assert watermark(postgres_url) > 0
    assert comparable(same(postgres_url)) == comparable(whole)
    written(postgres_url, 60, start=300)
    assert fold(postgres_url, from_rows=100_000) == 0
    whole = same(postgres_url)
    assert fold(postgres_url, from_rows=1) == sum(cell.entries for cell in whole.cells) - entries
    assert fold(postgres_url, from_rows=1) == 0
    assert comparable(same(postgres_url)) == comparable(whole)
    with closing(open_ledger(postgres_url)) as reader:
        assert comparable(facts_of(reader, (None, None), {})) == comparable(whole)
        traces = sum(row[0] for row in reader.execute("SELECT traces FROM rollup_sets").fetchall())
    assert traces == whole.traces_all


def test_a_file_has_the_same_tables(tmp_path, postgres_url):
    """Stages, a trace as it went, and what a provider's bill is compared with."""
    path = str(tmp_path / "penstock.db")
    for place in (path, postgres_url):
        journal = open_journal(place, flush_ms=5, max_queue=100_000)
        for one in many():
            journal.add(one)
        journal.close()
        fold(place, from_rows=0)
    with closing(open_ledger(path)) as file, closing(open_ledger(postgres_url)) as server:
        assert first_ms(server) == first_ms(file)
        for where in ({}, {"stage": "caption"}, {"meta:sku": "1"}, {"class": "failed", "provider": "openai"}):
            told = comparable(facts_of(file, (AT_MS - 9 * DAY_MS, AT_MS), where))
            assert comparable(facts_of(server, (AT_MS - 9 * DAY_MS, AT_MS), where)) == told
        for trace in ("t1", "t2", "r007"):
            steps = waterfall(file, trace, (None, None), {})
            assert waterfall(server, trace, (None, None), {}) == steps
        span = (AT_MS - 40 * DAY_MS, AT_MS + 40 * DAY_MS)
        for providers, zone in (((), "UTC"), (("openai",), "America/Los_Angeles")):
            told = sorted(map(repr, ledger_figures(file, providers, zone, span)))
            assert sorted(map(repr, ledger_figures(server, providers, zone, span))) == told
            assert told


def test_a_commit_that_comes_late_is_counted(postgres_url):
    """A transaction that was open while later ones were folded: its entry is behind the watermark, not before it."""
    written(postgres_url, 20)
    with psycopg.connect(postgres_url) as slow:
        slow.execute(
            "INSERT INTO penstock.entries (id, request_id, trace_id, stage, attempt, at_ms, class, provider, model, cost_nusd) "
            "VALUES ('late/1', 'late', 'late', 'plan', 1, %s, 'delivered', 'openai', 'gpt-4o-mini', 5)",
            (AT_MS,),
        )
        written(postgres_url, 20, start=20)
        before = same(postgres_url)
        assert fold(postgres_url, from_rows=0) > 0
        assert comparable(same(postgres_url)) == comparable(before)
    assert same(postgres_url).traces_all == before.traces_all + 1
    fold(postgres_url, from_rows=0)
    assert same(postgres_url).traces_all == before.traces_all + 1


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM penstock.entries WHERE id LIKE 'r1%'",
        "UPDATE penstock.entries SET cost_nusd = 7",
        "TRUNCATE penstock.entries",
        "DROP TABLE penstock.entries_other",
        "UPDATE penstock.rollup_state SET cluster = 5",
        "UPDATE penstock.rollup_state SET upto = upto + 1000000000",
    ],
)
def test_what_somebody_changed_is_summed_anew(postgres_url, change):
    """Entries deleted or changed, a partition dropped, a database restored in another cluster: the rollups are void."""
    written(postgres_url, 200)
    fold(postgres_url, from_rows=0)
    assert watermark(postgres_url)
    with psycopg.connect(postgres_url) as other:
        other.execute(change)
    assert watermark(postgres_url) is None
    before = same(postgres_url)
    fold(postgres_url, from_rows=10**9)
    assert watermark(postgres_url)
    assert comparable(same(postgres_url)) == comparable(before)


def test_gateways_write_while_readers_fold(postgres_url):
    """Two of each: nothing is folded twice, nothing is left out."""
    open_journal(postgres_url, flush_ms=2, max_queue=10).close()
    stop = threading.Event()

    def folding():
        while not stop.is_set():
            fold(postgres_url, from_rows=1)

    folders = [threading.Thread(target=folding) for _ in range(2)]
    writers = [threading.Thread(target=written, args=(postgres_url, 400, start)) for start in (0, 1000)]
    for one in (*folders, *writers):
        one.start()
    for one in writers:
        one.join()
    stop.set()
    for one in folders:
        one.join()
    whole = same(postgres_url)
    assert sum(cell.calls for cell in whole.cells) == 800
    fold(postgres_url, from_rows=1)
    assert watermark(postgres_url)
    assert comparable(same(postgres_url)) == comparable(whole)


def test_an_older_ledger_is_folded_with_what_it_held(postgres_url):
    """Entries from before the rollups count as written by the migration."""
    address = Address(postgres_url)
    migrate(address, "0002")
    with psycopg.connect(postgres_url) as connection:
        for number in range(3):
            connection.execute(
                "INSERT INTO penstock.entries (id, request_id, attempt, at_ms, class, cost_nusd, lines) "
                "VALUES (%s, %s, 1, %s, 'delivered', 5, '[]')",
                (f"old{number}/1", f"old{number}", AT_MS),
            )
    assert fold(postgres_url, from_rows=0) == 0
    written(postgres_url, 5)
    whole = same(postgres_url)
    assert fold(postgres_url, from_rows=0) == sum(cell.entries for cell in whole.cells)
    assert comparable(same(postgres_url)) == comparable(whole)


def test_who_may_only_read_is_answered_all_the_same(postgres_server, postgres_url):
    """A role of its own, with SELECT alone: nothing is folded, every answer is exact."""
    written(postgres_url, 50)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DROP ROLE IF EXISTS looker")
        connection.execute("CREATE ROLE looker LOGIN PASSWORD 'looker-secret'")
        connection.execute("GRANT USAGE ON SCHEMA penstock TO looker")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA penstock TO looker")
    looking = postgres_url.replace(postgres_url.split("//")[1].split("@")[0], "looker:looker-secret")
    assert fold(looking, from_rows=0) == 0
    whole = same(looking)
    assert fold(postgres_url, from_rows=0) > 0
    assert watermark(looking) == watermark(postgres_url)
    assert comparable(same(looking)) == comparable(whole)
    with psycopg.connect(postgres_url) as connection:
        connection.execute("DROP OWNED BY looker")
        connection.execute("DROP ROLE looker")


def test_nothing_is_folded_where_nobody_answers():
    """The answer's own reader says what is wrong."""
    assert fold("postgresql://penstock:hush-hush@127.0.0.1:1/ledger") == 0
