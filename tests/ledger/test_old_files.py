"""A ledger that an older version made is read as it lies, before any gateway of this version has opened it to write."""

import json
import os
import sqlite3
from contextlib import closing

import pytest

from penstock.cli.main import run
from penstock.ledger.entry import Call, Entry
from penstock.ledger.fold import fold
from penstock.ledger.journal import Journal
from penstock.ledger.opening import open_ledger
from penstock.ledger.pulse import pulse
from penstock.ledger.queries import DIMENSIONS, cost, explain
from penstock.ledger.reading import open_reader
from penstock.ledger.rows import call_values, entry_values
from penstock.ledger.schema import APPLICATION_ID, CALL_COLUMNS, ENTRY_COLUMNS, MIGRATIONS
from penstock.ledger.spent import spent_since
from tests.ledger.make import AT_MS, entry, record

OLD = range(1, len(MIGRATIONS))
NEW_FIELDS = ("organisation", "team", "user", "joules", "service_tier")


def rows():
    """Two calls of one trace, the second of two attempts; a call of its own."""
    return [
        record("r1", entry("r1", trace_id="t1", stage="plan", service_tier=None)),
        record(
            "r2", entry("r2", 1, trace_id="t1", klass="failed"), entry("r2", 2, trace_id="t1", stage="draw")
        ),
        record("r3", entry("r3", row=None), body_id="chatcmpl-3"),
    ]


def old(path, version):
    """The ledger as that version has written it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statements in MIGRATIONS[:version]:
            for statement in statements:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {version}")
        for one in rows():
            tables = [("calls", CALL_COLUMNS, call_values(one.call))]
            tables += [("entries", ENTRY_COLUMNS, entry_values(made)) for made in one.entries]
            for table, columns, values in tables:
                there = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
                kept = [(name, value) for name, value in zip(columns, values, strict=True) if name in there]
                connection.execute(
                    f"INSERT INTO {table} ({', '.join(name for name, _ in kept)}) "
                    f"VALUES ({', '.join('?' * len(kept))})",
                    [value for _, value in kept],
                )
    return path


@pytest.fixture
def new(tmp_path):
    """The same ledger, of this version."""
    path = str(tmp_path / "new.db")
    journal = Journal(path)
    for one in rows():
        journal.add(one)
    journal.close()
    return path


@pytest.mark.parametrize("version", OLD)
def test_every_question_is_answered_as_by_this_version(tmp_path, new, version):
    """Each dimension, alone and as a filter; a call; the demo's figures; what a key has spent. The file stays as it was."""
    path = old(str(tmp_path / "old.db"), version)
    with closing(open_ledger(path)) as reader, closing(open_ledger(new)) as expected:
        for by in (*DIMENSIONS, "meta:sku"):
            assert cost(reader, by=by) == cost(expected, by=by)
            assert cost(reader, by="class", where={by: ""}) == cost(expected, by="class", where={by: ""})
        assert cost(reader, by="class", where={"trace": "t1"}) == cost(
            expected, by="class", where={"trace": "t1"}
        )
        for any_id in ("r1", "r2", "chatcmpl-3", "nobody"):
            assert explain(reader, any_id) == explain(expected, any_id)
        assert pulse(reader) == pulse(expected)
        assert spent_since(reader, "virtual_key", "research", AT_MS) == spent_since(
            expected, "virtual_key", "research", AT_MS
        )
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)
        columns = {row[1] for row in connection.execute("PRAGMA table_info(entries)")}
    assert ("joules" in columns) == (version >= 3)
    assert ("organisation" in columns) == (version >= 5)
    assert "saved_nusd" not in columns


@pytest.mark.parametrize("version", OLD)
def test_every_table_of_the_command_line(tmp_path, new, version, capsys):
    """By stage (folded where that version has rollups), one trace as it went, and the story of a call."""
    path = old(str(tmp_path / "old.db"), version)
    assert fold(path, from_rows=0) == (4 if version >= 4 else 0)
    told = []
    for place in (path, new):
        for words in (("cost", "--by", "stage"), ("cost", "--by", "team"), ("cost", "--trace", "t1")):
            assert run([*words, "--db", place, "--json"]) == 0
            told.append(json.loads(capsys.readouterr().out))
            if isinstance(told[-1], dict):
                told[-1].pop("window_ms", None)
        assert run(["explain", "r2", "--db", place]) == 0
        told.append(capsys.readouterr().out)
    assert told[:4] == told[4:]


@pytest.mark.parametrize("version", OLD)
def test_a_search_stays_a_search(tmp_path, version):
    """The views stand before the tables, not before their indexes."""
    with closing(open_reader(old(str(tmp_path / "old.db"), version))) as reader:
        said = []
        reader.set_trace_callback(said.append)
        explain(reader, "r1")
        cost(reader, by="class", since_ms=AT_MS)
        cost(reader, by="class", where={"trace": "t1"})
        reader.set_trace_callback(None)
        for statement in said:
            plan = [row[3] for row in reader.execute(f"EXPLAIN QUERY PLAN {statement}")]
            assert any(word.startswith("SEARCH") for word in plan)
            assert not any(word.startswith("SCAN") for word in plan)


def test_a_file_that_is_migrated_while_it_is_read(tmp_path):
    """A gateway of this version comes and writes: the reader goes on, and sees what is new."""
    path = old(str(tmp_path / "old.db"), 2)
    with closing(open_ledger(path)) as reader:
        assert explain(reader, "r1").entries[0].team == ""
        journal = Journal(path)
        journal.add(record("r4", entry("r4", team="vision")))
        journal.close()
        assert explain(reader, "r4").call.request_id == "r4"
        assert len(cost(reader, by="virtual_key")) == 1
    with closing(open_ledger(path)) as reader:
        assert explain(reader, "r4").entries[0].team == "vision"


def test_new_fields_are_filled_in_as_a_migration_would(tmp_path):
    """Texts that say nobody, and numbers that are not known: as the structs' defaults."""
    path = old(str(tmp_path / "old.db"), 1)
    with closing(open_ledger(path)) as reader:
        (found, *_) = explain(reader, "r2").entries
        call = explain(reader, "r2").call
    defaults = dict(
        zip(
            Entry.__struct_fields__[-len(Entry.__struct_defaults__) :], Entry.__struct_defaults__, strict=True
        )
    )
    assert {name: getattr(found, name) for name in NEW_FIELDS} == {
        name: defaults[name] for name in NEW_FIELDS
    }
    assert (call.organisation, call.team, call.user) == Call.__struct_defaults__


def test_a_file_in_a_folder_that_may_not_be_written(tmp_path):
    """Another user's, closed in order: read as it lies, though SQLite would want to make its shared memory beside it."""
    path = str(tmp_path / "new.db")
    journal = Journal(path)
    journal.add(record("r1"))
    journal.close()
    mine = [folder for folder in (tmp_path, *tmp_path.parents) if "pytest-of" in str(folder)]
    folders = {folder: folder.stat().st_mode for folder in mine}
    for folder in folders:
        os.chmod(folder, 0o555)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        said = "?"
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            with closing(open_reader(path)) as reader:
                said = str(reader.execute("SELECT count(*) FROM entries").fetchone()[0])
        except BaseException as error:
            said = repr(error)
            raise
        finally:
            os.write(into, said.encode())
            os._exit(0)
    os.waitpid(child, 0)
    os.close(into)
    with os.fdopen(out) as told:
        assert told.read() == "1"
    for folder, mode in folders.items():
        os.chmod(folder, mode)
