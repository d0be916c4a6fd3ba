"""Folds new entries into the rollups (ledger.rollup) of a ledger in PostgreSQL, in the server, in one transaction.

Rules
- One folds at a time; who comes second leaves it. All is read in one snapshot, and what was written by transactions that
  ended before it is folded: each entry once, whoever wrote it, and however late its commit was.
- Where that cannot be (a user who may only read, a server that is away), nothing is folded: answers are exact without, only
  slower.
"""

import psycopg

from penstock.base.errors import PenstockError
from penstock.ledger.postgres.address import Address
from penstock.ledger.postgres.schema import HEAD, version_of
from penstock.ledger.rollup import HOUR_MS, MODEL, PROVIDER, STAGE, THERE, TRACE
from penstock.ledger.sql import POSTGRES

_SESSION = "-c search_path=penstock -c lock_timeout=2000"
_LOCK = 0x50454E55

_OLDEST = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
"""The oldest transaction that this snapshot may not see whole: all before it have ended."""
_NEW = "txn >= %s AND txn < %s"
_READ = f"""
CREATE TEMPORARY TABLE new_rows ON COMMIT DROP AS
SELECT {TRACE} AS trace, floor(at_ms / {HOUR_MS}.0)::bigint AS hour, {STAGE} AS stage, class, {PROVIDER} AS provider,
    {MODEL} AS model, attempt, cost_nusd, {POSTGRES.wall_us} AS wall_us
FROM entries WHERE {_NEW}
"""  # noqa: S608 - our own names
_KEY = "hour, stage, class, provider, model"
_ADD_UP = f"""
INSERT INTO rollup_cells ({_KEY}, entries, calls, unpriced, cost_nusd, wall_us)
SELECT {_KEY}, count(*), count(*) FILTER (WHERE attempt = 1), count(*) - count(cost_nusd),
    coalesce(sum(cost_nusd), 0), sum(wall_us)
FROM new_rows GROUP BY {_KEY}
ON CONFLICT ({_KEY}) DO UPDATE SET
    entries = rollup_cells.entries + excluded.entries,
    calls = rollup_cells.calls + excluded.calls,
    unpriced = rollup_cells.unpriced + excluded.unpriced,
    cost_nusd = rollup_cells.cost_nusd + excluded.cost_nusd,
    wall_us = rollup_cells.wall_us + excluded.wall_us
"""  # noqa: S608 - our own names
_MOVE = f"""
CREATE TEMPORARY TABLE moved ON COMMIT DROP AS
WITH seen AS (SELECT DISTINCT n.trace, c.cell FROM new_rows n JOIN rollup_cells c USING ({_KEY})),
    had AS (
        SELECT t.trace, t.cells AS old, s.cells FROM rollup_traces t JOIN rollup_sets s ON s.id = t.cells
        WHERE t.trace IN (SELECT trace FROM seen)
    ),
    every AS (
        SELECT trace, cell FROM seen
        UNION SELECT trace, unnest(string_to_array(cells, ',')::bigint[]) FROM had
    )
SELECT e.trace, max(had.old) AS old, string_agg(e.cell::text, ',' ORDER BY e.cell) AS cells
FROM every e LEFT JOIN had USING (trace) GROUP BY e.trace
"""  # noqa: S608 - our own names
"""Which set of cells each of these traces had, and has now."""
_SETS = """
INSERT INTO rollup_sets (cells, hash, traces) SELECT DISTINCT cells, sha256(cells::bytea), 0 FROM moved
ON CONFLICT (hash) DO NOTHING
"""
_PLACE = """
CREATE TEMPORARY TABLE placed ON COMMIT DROP AS
SELECT m.trace, m.old, s.id AS new FROM moved m JOIN rollup_sets s ON s.hash = sha256(m.cells::bytea)
WHERE m.old IS DISTINCT FROM s.id
"""
_COUNT = """
UPDATE rollup_sets s SET traces = s.traces + d.more FROM (
    SELECT id, sum(more) AS more FROM (
        SELECT new AS id, 1 AS more FROM placed UNION ALL SELECT old, -1 FROM placed WHERE old IS NOT NULL
    ) x GROUP BY id
) d WHERE d.id = s.id
"""
_TRACES = """
INSERT INTO rollup_traces SELECT trace, new FROM placed ON CONFLICT (trace) DO UPDATE SET cells = excluded.cells
"""
_FOLD = (_ADD_UP, _MOVE, _SETS, _PLACE, _COUNT, _TRACES, "DELETE FROM rollup_sets WHERE traces = 0")
_STATE = """
UPDATE rollup_state SET upto = %s, cluster = (SELECT system_identifier FROM pg_control_system()), parts =
(SELECT array_agg(inhrelid::bigint) FROM pg_inherits WHERE inhparent = 'penstock.entries'::regclass)
"""


def fold(url: str, *, from_rows: int) -> int:
    """Fold what is new, if it is at least ``from_rows`` entries: how many; 0 where that cannot be."""
    try:
        with Address(url).connect(settings=_SESSION) as connection:
            if version_of(connection) != HEAD:
                return 0
            connection.commit()
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            if not _locked(connection):
                return 0
            return _fold(connection, from_rows)
    except (psycopg.Error, PenstockError):
        return 0


def _locked(connection: "psycopg.Connection[tuple[object, ...]]") -> bool:
    """The session's lock: taken before the snapshot, so that what the last one folded is seen."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
    connection.commit()
    return row == (True,)


def _fold(connection: "psycopg.Connection[tuple[object, ...]]", from_rows: int) -> int:
    row = connection.execute(THERE.encode()).fetchone()
    begun = connection.execute("SELECT upto <> 0 FROM rollup_state").fetchone()
    after = 0 if row is None else row[0]
    upto = (connection.execute(_OLDEST).fetchone() or (0,))[0]
    void = row is None and begun == (True,)
    if void:
        connection.execute("DELETE FROM rollup_cells")
        connection.execute("DELETE FROM rollup_sets")
        connection.execute("DELETE FROM rollup_traces")
    enough = connection.execute(
        f"SELECT 1 FROM entries WHERE {_NEW} OFFSET %s LIMIT 1".encode(),  # noqa: S608 - our own names
        (after, upto, max(0, from_rows - 1)),
    ).fetchone()
    if enough is None and not void:
        connection.rollback()
        return 0
    rows = connection.execute(_READ.encode(), (after, upto)).rowcount
    connection.execute("ANALYZE pg_temp.new_rows")
    for statement in _FOLD:
        connection.execute(statement.encode())
    connection.execute(_STATE, (upto,))
    connection.commit()
    return max(0, rows)
