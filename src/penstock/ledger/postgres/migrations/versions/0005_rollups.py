"""Hourly rollups (ledger.rollup), and which transaction wrote an entry: the watermark up to which they go."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATE = """
CREATE TABLE penstock.rollup_state (
    one int PRIMARY KEY CHECK (one = 1),
    upto bigint NOT NULL,
    changes bigint NOT NULL,
    cluster bigint NOT NULL,
    parts bigint[] NOT NULL
)
"""
CELLS = """
CREATE TABLE penstock.rollup_cells (
    cell bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    hour bigint NOT NULL,
    stage text COLLATE "C" NOT NULL,
    class text COLLATE "C" NOT NULL,
    provider text COLLATE "C" NOT NULL,
    model text COLLATE "C" NOT NULL,
    entries bigint NOT NULL,
    calls bigint NOT NULL,
    unpriced bigint NOT NULL,
    cost_nusd bigint NOT NULL,
    wall_us bigint NOT NULL,
    UNIQUE (hour, stage, class, provider, model)
)
"""
SETS = """
CREATE TABLE penstock.rollup_sets (
    id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    cells text COLLATE "C" NOT NULL,
    hash bytea NOT NULL UNIQUE,
    traces bigint NOT NULL
)
"""
TRACES = """
CREATE TABLE penstock.rollup_traces (
    trace text COLLATE "C" PRIMARY KEY,
    cells bigint NOT NULL
)
"""
VOID = """
CREATE FUNCTION penstock.rollup_void() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE penstock.rollup_state SET upto = -1, changes = changes + 1;
    RETURN NULL;
END $$
"""
CHANGED = """
CREATE TRIGGER rollup_changed AFTER UPDATE OR DELETE OR TRUNCATE ON penstock.entries
FOR EACH STATEMENT EXECUTE FUNCTION penstock.rollup_void()
"""


def upgrade() -> None:
    """What is there already counts as written by this migration.

    Entries are never changed by us; where somebody does, the rollups start anew. A dropped partition is noticed by its absence.
    """
    for statement in (
        "ALTER TABLE penstock.entries ADD COLUMN txn bigint DEFAULT (pg_current_xact_id()::text::bigint)",
        "CREATE INDEX entries_txn ON penstock.entries USING brin (txn) WITH (pages_per_range = 32, autosummarize = on)",
        STATE,
        "INSERT INTO penstock.rollup_state VALUES (1, 0, 0, 0, '{}')",
        CELLS,
        SETS,
        TRACES,
        VOID,
        CHANGED,
    ):
        op.execute(statement)
